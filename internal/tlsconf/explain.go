package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// most is how many values a sentence lists.
const most = 6

// list joins names, and says how many it left out.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// shortVersion returns "1.2" for TLS 1.2.
func shortVersion(v uint16) string { return strings.TrimPrefix(tls.VersionName(v), "TLS ") }

// aboutVersion names both sides' versions.
func (s *shake) aboutVersion(tls.ConnectionState) (diag.Code, string) {
	settings := s.policy.tls
	offered := "TLS " + shortVersion(s.hello.MaxVersion())
	if low := s.hello.MinVersion(); low != s.hello.MaxVersion() {
		offered = "TLS " + shortVersion(low) + "–" + shortVersion(s.hello.MaxVersion())
	}
	if s.hello.MinVersion() > settings.MaxVersion && settings.MaxVersion != 0 {
		return diag.TLSVersionTooHigh, fmt.Sprintf("client offered %s, host allows at most %s", offered, shortVersion(settings.MaxVersion))
	}
	return diag.TLSVersionTooLow, fmt.Sprintf("client offered %s, host requires %s", offered, shortVersion(settings.MinVersion))
}

// suiteNames names cipher suites.
func suiteNames(ids []uint16) string {
	var out []string
	for _, id := range ids {
		out = append(out, tls.CipherSuiteName(id))
	}
	return list(out)
}

// aboutCipher tells a missing certificate type and missing groups from plainly different suites.
func (s *shake) aboutCipher(cs tls.ConnectionState) (diag.Code, string) {
	client := s.hello.Suites
	if cs.Version < tls.VersionTLS13 {
		var ecdsa, rsa bool
		for _, id := range client {
			name := tls.CipherSuiteName(id)
			ecdsa = ecdsa || strings.HasPrefix(name, "TLS_ECDHE_ECDSA_")
			rsa = rsa || strings.HasPrefix(name, "TLS_ECDHE_RSA_") || strings.HasPrefix(name, "TLS_RSA_")
		}
		known := ecdsa || rsa
		host := s.served
		hasRSA := slices.ContainsFunc(host.pairs[:host.n], (*secret.KeyPair).IsRSA)
		hasECDSA := slices.ContainsFunc(host.pairs[:host.n], func(p *secret.KeyPair) bool { return !p.IsRSA() })
		switch {
		case known && !ecdsa && !hasRSA:
			return diag.NoCommonCipher, "client only accepts RSA certificates, host has " + host.keyTypes()
		case known && !rsa && !hasECDSA:
			return diag.NoCommonCipher, "client only accepts ECDSA certificates, host has " + host.keyTypes()
		case known && len(s.hello.Groups) > 0 && !s.shareGroup():
			return s.aboutGroups(cs)
		}
	}
	host := suiteNames(s.policy.class.config.CipherSuites)
	if s.policy.class.config.CipherSuites == nil {
		host = "Go's secure defaults"
	}
	return diag.NoCommonCipher, fmt.Sprintf("client offered %s; host has %s", suiteNames(client), host)
}

// defaultGroups are what crypto/tls uses if none are configured (Go 1.26).
var defaultGroups = [...]tls.CurveID{tls.X25519MLKEM768, tls.SecP256r1MLKEM768, tls.SecP384r1MLKEM1024,
	tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}

// groups returns the host's groups.
func (s *shake) groups() []tls.CurveID {
	if own := s.policy.tls.Groups; len(own) > 0 {
		return own
	}
	return defaultGroups[:]
}

// shareGroup reports whether both sides have a group.
func (s *shake) shareGroup() bool {
	return slices.ContainsFunc(s.groups(), func(g tls.CurveID) bool { return slices.Contains(s.hello.Groups, uint16(g)) })
}

func groupNames[T uint16 | tls.CurveID](ids []T) string {
	var out []string
	for _, id := range ids {
		name := tls.CurveID(id).String()
		if strings.HasPrefix(name, "CurveID(") {
			name = fmt.Sprintf("0x%04x", uint16(id))
		}
		out = append(out, name)
	}
	return list(out)
}

func (s *shake) aboutGroups(tls.ConnectionState) (diag.Code, string) {
	return diag.NoCommonGroup, fmt.Sprintf("client offered the groups %s; host has %s", groupNames(s.hello.Groups), groupNames(s.groups()))
}

func (s *shake) aboutALPN(tls.ConnectionState) (diag.Code, string) {
	if slices.Contains(s.policy.tls.ALPN, "h2") && slices.Contains(s.hello.ALPN, "h2") {
		return diag.NoCommonALPN, "client offered only h2, and no TLS version and cipher suite that HTTP/2 may use (RFC 9113 section 9.2)"
	}
	return diag.NoCommonALPN, fmt.Sprintf("client offered only %s; host speaks %s", list(s.hello.ALPN), list(s.policy.tls.ALPN))
}

func (s *shake) aboutSignature(tls.ConnectionState) (diag.Code, string) {
	var names []string
	for _, id := range s.hello.SignatureSchemes {
		names = append(names, tls.SignatureScheme(id).String())
	}
	return diag.NoCommonSignature, fmt.Sprintf("client accepts the signatures %s; host has %s", list(names), s.served.keyTypes())
}

func (s *shake) aboutMissing(tls.ConnectionState) (diag.Code, string) {
	if code, words := s.policy.class.rejects(nil, time.Time{}); code != 0 {
		return code, words
	}
	accepted := quoted(anchors(s.policy.class.bundle).Subjects())
	return diag.ClientCertMissing, "the host requires a client certificate and the client sent none; accepted issuers: " + list(accepted)
}

func (s *shake) aboutPossession(cs tls.ConnectionState) (diag.Code, string) {
	who := "a certificate"
	if len(cs.PeerCertificates) > 0 {
		who = fmt.Sprintf("the certificate %q", secret.Subject(cs.PeerCertificates[0]))
	}
	return diag.ClientCertNoPossession, "the client presented " + who + " and did not prove that it holds its key"
}

func quoted(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		out = append(out, fmt.Sprintf("%q", n))
	}
	return out
}

// clientAlert finds the reason for an alert that a client sent about pair.
func clientAlert(n uint8, sni string, pair *secret.KeyPair, now time.Time) (diag.Code, string) {
	said := "the client sent " + alertWords(n)
	switch n {
	case 42, 46:
		return diag.PeerRejectedCert, said + "; " + suspects(sni, pair, now)
	case 43, 44:
		return diag.PeerCertUnsupported, said
	case 45:
		if pair == nil || now.Before(pair.Leaf.NotAfter) && now.After(pair.Leaf.NotBefore) {
			return diag.PeerCertExpired, said + ", but the certificate is valid by our clock; is the client's wrong?"
		}
		return diag.PeerCertExpired, said + "; " + suspects(sni, pair, now)
	case 48:
		return diag.PeerUnknownCA, said + "; " + suspectsCA(pair)
	case 51:
		if pair != nil {
			return diag.PeerUnknownCA, said + fmt.Sprintf("; it could not verify a signature: most likely the CA it trusts is another one of the same name, %q", secret.Issuer(lastOf(pair)))
		}
	}
	return diag.PeerAlert, said
}

// suspects ranks what a client may dislike about the certificate: first what is certainly wrong.
func suspects(sni string, pair *secret.KeyPair, now time.Time) string {
	if pair == nil {
		return "no certificate had been sent (the session was resumed)"
	}
	leaf := pair.Leaf
	var found []string
	switch {
	case now.After(leaf.NotAfter):
		found = append(found, "it expired at "+leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		found = append(found, "it is valid only from "+leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.URIs)+len(leaf.EmailAddresses) == 0 {
		found = append(found, "it has only a common name and no subject alternative name")
	} else if sni != "" && leaf.VerifyHostname(sni) != nil {
		found = append(found, fmt.Sprintf("it names %s and not %q", namesOf(leaf), sni))
	}
	if !issuerSent(pair) {
		found = append(found, fmt.Sprintf("no intermediate is sent, and the client may not know the issuer %q", secret.Issuer(leaf)))
	}
	if len(found) == 0 {
		return fmt.Sprintf("the certificate looks good from here; most likely the client does not trust the issuer %q", secret.Issuer(lastOf(pair)))
	}
	return "most likely: " + strings.Join(found, "; or ")
}

// suspectsCA says what was sent, for a client that found no way to a CA it trusts.
func suspectsCA(pair *secret.KeyPair) string {
	switch {
	case pair == nil:
		return "no certificate had been sent (the session was resumed)"
	case selfIssued(pair.Leaf):
		return "the certificate is self-signed; the client must be given it as a CA"
	case !issuerSent(pair):
		return fmt.Sprintf("only the leaf is sent; the client does not know its issuer %q: give it that CA, or add the intermediate to the secret", secret.Issuer(pair.Leaf))
	}
	return fmt.Sprintf("the chain that is sent ends below %q, which the client does not trust", secret.Issuer(lastOf(pair)))
}

// issuerSent reports whether more than the leaf is sent, or nothing more is to be sent.
func issuerSent(pair *secret.KeyPair) bool { return len(pair.Chain) > 1 || selfIssued(pair.Leaf) }

func selfIssued(c *x509.Certificate) bool { return string(c.RawSubject) == string(c.RawIssuer) }

// lastOf returns the certificate at the end of the chain that is sent.
func lastOf(pair *secret.KeyPair) *x509.Certificate {
	if n := len(pair.Issuers); n > 0 {
		return pair.Issuers[n-1]
	}
	return pair.Leaf
}

// namesOf lists a certificate's names.
func namesOf(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "nothing but the subject " + fmt.Sprintf("%q", secret.Subject(c))
	}
	return list(names)
}
