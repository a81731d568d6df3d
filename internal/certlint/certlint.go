// Package certlint judges certificates that are about to be served or trusted: will clients take
// them, today and in the time to come? It returns findings for hakone check and for warnings at load.
//
// Everything here is advice: what cannot be used at all was refused when it was parsed (package
// secret), and peers are judged by package trust. The package refuses to know where certificates came
// from and reads no clock: the time is an argument, so equal input gives equal findings. Begin reading
// at Leaf and Bundle.
package certlint

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Input is a key pair with what it is for.
type Input struct {
	Pair   *secret.KeyPair
	Hosts  []hostname.Pattern // that it is to serve; not looked at if Client
	Beside []*secret.KeyPair  // other pairs that serve the same hosts
	Client bool               // the pair authenticates us to upstreams

	Known  *Known         // CAs seen anywhere in the configuration; nil: none
	System *x509.CertPool // the machine's roots; nil: not asked
}

const (
	longLife       = 825 * 24 * time.Hour // Apple's bound, private roots included
	longPublicLife = 398 * 24 * time.Hour // CA/Browser Forum
)

// Leaf judges a pair at the time now. Findings are ordered by what was looked at, at most one of a
// code and certificate.
func Leaf(in Input, now time.Time) []secret.Finding {
	leaf := in.Pair.Leaf
	l := &lint{}
	l.validity(leaf, "the certificate", now)
	l.form(leaf, in.Client)
	l.strength(leaf, "the certificate")
	l.usage(leaf, in.Client)
	for _, c := range linked(in.Pair)[1:] {
		who := fmt.Sprintf("the intermediate %q", secret.Subject(c))
		l.validity(c, who, now)
		if !selfIssued(c) {
			l.strength(c, who)
		}
	}
	l.chain(in)
	if !in.Client {
		l.hosts(leaf, in.Hosts)
		l.speed(in)
		l.life(leaf)
	}
	return l.found
}

// lint collects findings.
type lint struct{ found []secret.Finding }

func (l *lint) add(code diag.Code, sev diag.Severity, message, fix string) {
	l.found = append(l.found, secret.Finding{Code: code, Severity: sev, Message: message, Fix: fix})
}

// tell adds a finding of the code's own severity.
func (l *lint) tell(code diag.Code, message, fix string) { l.add(code, code.Severity(), message, fix) }

// validity looks at the dates.
func (l *lint) validity(c *x509.Certificate, who string, now time.Time) {
	life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(now)
	switch {
	case now.After(c.NotAfter):
		l.tell(diag.CertExpired, fmt.Sprintf("%s expired on %s, %s ago", who, day(c.NotAfter), span(-left)), "Renew it; open connections live on when the secret is replaced.")
	case now.Before(c.NotBefore):
		l.tell(diag.CertNotYetValid, fmt.Sprintf("%s is valid from %s, %s from now", who, stamp(c.NotBefore), span(c.NotBefore.Sub(now))), "Check the clock of this machine and of the CA, or wait.")
	case left < life/10:
		l.tell(diag.CertExpiresSoon, fmt.Sprintf("%s expires on %s, in %s: less than a tenth of its life is left, whatever renews it has failed", who, day(c.NotAfter), span(left)), "Renew it now.")
	case left < life/3:
		l.tell(diag.CertExpiresSoon, fmt.Sprintf("%s expires on %s, in %s: less than a third of its life is left", who, day(c.NotAfter), span(left)), "Renew it.")
	}
}

// form looks at what kind of certificate it is. Nobody connects to a client by name.
func (l *lint) form(c *x509.Certificate, client bool) {
	if c.Version < 3 {
		l.tell(diag.CertVersion1, fmt.Sprintf("the certificate of %s is X.509 version %d: it can carry neither names nor usages", secret.Subject(c), c.Version),
			"Re-issue it with openssl x509 -req … -copy_extensions copy, from a request made with -addext subjectAltName=DNS:HOST.")
	}
	if !client && len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs)+len(c.EmailAddresses) == 0 {
		only := "it has only the common name " + fmt.Sprintf("%q", c.Subject.CommonName)
		if c.Subject.CommonName == "" {
			only = "it has no common name either"
		}
		l.tell(diag.CertNoSAN, fmt.Sprintf("the certificate of %s has no subject alternative name (%s); browsers and Go clients refuse it", secret.Subject(c), only),
			"Re-issue it with subjectAltName = DNS:HOST.")
	}
	if c.BasicConstraintsValid && c.IsCA {
		l.tell(diag.CertIsCA, fmt.Sprintf("the certificate of %s is a CA certificate; its key can issue others", secret.Subject(c)),
			"Issue a leaf from it, and keep its key off the gateway.")
	}
}

// strength looks at key and signature.
func (l *lint) strength(c *x509.Certificate, who string) {
	if weakKey(c) {
		l.tell(diag.CertWeakKey, fmt.Sprintf("%s has the weak key %s; clients refuse it", who, secret.KeyType(c.PublicKey)), "Re-issue it with RSA 2048 or ECDSA P-256.")
	}
	if weakSignature(c) && !selfIssued(c) {
		l.tell(diag.CertWeakSig, fmt.Sprintf("%s is signed with %s; clients refuse it", who, c.SignatureAlgorithm), "Re-issue it with SHA-256 (openssl: -sha256).")
	}
}

func weakKey(c *x509.Certificate) bool {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() < 2048
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize < 256
	}
	return false
}

func weakSignature(c *x509.Certificate) bool {
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1, x509.UnknownSignatureAlgorithm:
		return true
	}
	return false
}

func (l *lint) usage(c *x509.Certificate, client bool) {
	want, word, peer := x509.ExtKeyUsageServerAuth, "serverAuth", "clients refuse it"
	if client {
		want, word, peer = x509.ExtKeyUsageClientAuth, "clientAuth", "upstreams refuse it"
	}
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, want) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return
	}
	l.tell(diag.CertEKU, fmt.Sprintf("the certificate's extended key usage lacks %s; %s", word, peer), "Re-issue it with extendedKeyUsage = "+word+".")
}

// hosts compares the certificate's names with the hosts. A certificate without names was told of
// already.
func (l *lint) hosts(c *x509.Certificate, hosts []hostname.Pattern) {
	if len(c.DNSNames)+len(c.IPAddresses) == 0 {
		return
	}
	var missing []string
	for _, h := range hosts {
		if !h.IsAny() && !covers(c, h) && !slices.Contains(missing, h.String()) {
			missing = append(missing, h.String())
		}
	}
	if len(missing) == 0 {
		return
	}
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	l.tell(diag.CertHostMismatch, fmt.Sprintf("the certificate does not name %s; it names %s", few(missing), few(names)),
		"Re-issue it with every host among its subject alternative names, or give these hosts another secret.")
}

// covers reports whether clients that ask for (some of) the host take the certificate. A wildcard
// host matches any number of labels, a wildcard name only one, so any name below the host will do.
func covers(c *x509.Certificate, h hostname.Pattern) bool {
	if h.IsExact() {
		return c.VerifyHostname(bracketed(h.String())) == nil
	}
	for _, n := range c.DNSNames {
		if p, err := hostname.Parse(n); err == nil && (h.Covers(p) || p.Covers(h)) {
			return true
		}
	}
	return false
}

// bracketed writes an IPv6 address the way VerifyHostname tells it from a name.
func bracketed(host string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return "[" + host + "]"
	}
	return host
}

// speed tells of RSA where no faster key serves the same hosts.
func (l *lint) speed(in Input) {
	k, ok := in.Pair.Leaf.PublicKey.(*rsa.PublicKey)
	if !ok || slices.ContainsFunc(in.Beside, func(b *secret.KeyPair) bool { return !b.IsRSA() }) {
		return
	}
	l.tell(diag.CertRSA, fmt.Sprintf("the key is RSA-%d; an ECDSA P-256 key signs about 30 times faster than RSA-2048, and that bounds new connections per second", k.N.BitLen()),
		"Switch to an ECDSA P-256 certificate, or serve one beside it.")
}

func (l *lint) life(c *x509.Certificate) {
	life, bound := c.NotAfter.Sub(c.NotBefore), longLife
	if public(c) {
		bound = longPublicLife
	}
	if life <= bound+24*time.Hour || c.IsCA {
		return
	}
	l.tell(diag.CertLongLived, fmt.Sprintf("the certificate lives %d days; some clients refuse more than %d", life/(24*time.Hour), bound/(24*time.Hour)),
		"Issue shorter ones and rotate; rotation drops no connection here.")
}

func few(all []string) string {
	const most = 5
	if len(all) == 0 {
		return "nothing"
	}
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

func day(t time.Time) string   { return t.UTC().Format(time.DateOnly) }
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// span renders a duration in one unit that people think in.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}
