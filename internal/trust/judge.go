package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

const (
	// maxPresented bounds how many certificates of a peer are looked at. Bridged CAs send dozens (36 in
	// the vectors of bettertls); crypto/x509 bounds the signatures that are verified for them to 100.
	maxPresented = 40
	// maxRSA is the largest RSA key, in bits, with which anything is verified; crypto/tls has the same.
	maxRSA = 8192
	// maxDetail bounds a sentence, in bytes: names in it are the peer's.
	maxDetail = 1000
)

// refusal is a cause with its sentence. The zero value accepts.
type refusal struct {
	code   diag.Code
	detail string
}

// judge decides without the cache. presented is not empty.
func (v *Verifier) judge(presented []*x509.Certificate, c causes, name string, q *inquiry) Verdict {
	now := q.now
	leaf := presented[0]
	facts, factsErr := NewFacts(leaf)
	d := Verdict{Leaf: facts}
	refuse := func(r refusal) Verdict {
		d.Code, d.Detail = r.code, r.detail
		if len(d.Detail) > maxDetail {
			d.Detail = strings.ToValidUTF8(d.Detail[:maxDetail], "") + "…"
		}
		return v.soften(d)
	}
	if factsErr != nil {
		return refuse(refusal{c.malformed, fmt.Sprintf("the %s certificate %q cannot be used: %v", c.role, facts.Subject, factsErr)})
	}
	if r := v.presentable(presented, c); r.code != 0 {
		return refuse(r)
	}
	chains, r := v.chains(presented, c, now)
	if r.code != 0 {
		return refuse(r)
	}
	if r := bareCA(leaf, facts, c); r.code != 0 {
		return refuse(r)
	}
	chain, warnings, r := v.choose(chains, c, q)
	if r.code != 0 {
		return refuse(r)
	}
	if r := v.named(facts, leaf, c, name); r.code != 0 {
		return refuse(r)
	}
	if r := v.pinned(facts, leaf, c); r.code != 0 {
		return refuse(r)
	}
	if leaf.Version < 3 {
		warnings = append(warnings, Warning{diag.CertVersion1, fmt.Sprintf("the %s certificate %q is X.509 version %d: it carries no names and no usages", c.role, facts.Subject, leaf.Version)})
	}
	d.Chain, d.Warnings = chain, warnings
	return d
}

// presentable bounds what is verified at all.
func (v *Verifier) presentable(presented []*x509.Certificate, c causes) refusal {
	if len(presented) > maxPresented {
		return refusal{c.tooLong, fmt.Sprintf("the %s sent %d certificates; %d are looked at", c.role, len(presented), maxPresented)}
	}
	for _, p := range presented {
		if k, ok := p.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSA {
			return refusal{c.malformed, fmt.Sprintf("the key of %q is RSA-%d, larger than %d bits", secret.Subject(p), k.N.BitLen(), maxRSA)}
		}
	}
	if !v.policy.anchored() {
		code := diag.TrustMissing
		if c.role == "server" {
			code = diag.UpstreamCredentialMissing
		}
		return refusal{code, "the trust bundle is missing or empty"}
	}
	return refusal{}
}

// chains builds every valid chain to an anchor, and names the cause where there is none.
func (v *Verifier) chains(presented []*x509.Certificate, c causes, now time.Time) ([][]*x509.Certificate, refusal) {
	opts := x509.VerifyOptions{CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{c.usage}, Intermediates: x509.NewCertPool()}
	for _, p := range presented[1:] {
		opts.Intermediates.AddCert(p)
	}
	for _, p := range v.policy.Roots.Paths() {
		opts.Intermediates.AddCert(p)
	}
	var chains [][]*x509.Certificate
	var first error
	for _, pool := range v.pools() {
		opts.Roots = pool
		found, err := presented[0].Verify(opts)
		if err == nil {
			chains = append(chains, found...)
		} else if first == nil || isUnknown(first) {
			first = err
		}
	}
	if len(chains) == 0 {
		return nil, v.explain(first, presented, c, now)
	}
	return chains, refusal{}
}

// bareCA refuses a client that shows a CA certificate whose key usage is for signing certificates
// alone (RFC 5280 section 4.2.1.3): a handshake is signed with digitalSignature, and who holds a CA's
// key is not one client among others. Without the extension any use is allowed.
func bareCA(leaf *x509.Certificate, facts *Facts, c causes) refusal {
	if c.role != "client" || !leaf.IsCA || leaf.KeyUsage == 0 || leaf.KeyUsage&x509.KeyUsageDigitalSignature != 0 {
		return refusal{}
	}
	return refusal{c.wrongUsage, fmt.Sprintf("the client certificate %q is a CA's, and its key usage lacks digitalSignature, which a handshake needs", facts.Subject)}
}

func (v *Verifier) pools() []*x509.CertPool {
	var out []*x509.CertPool
	if v.policy.Roots.Len() > 0 {
		out = append(out, v.policy.Roots.AnchorPool())
	}
	if v.policy.System != nil {
		out = append(out, v.policy.System)
	}
	return out
}

func isUnknown(err error) bool {
	var u x509.UnknownAuthorityError
	return errors.As(err, &u)
}

// choose returns the first chain that holds strong keys, a proper anchor and no revoked certificate.
func (v *Verifier) choose(chains [][]*x509.Certificate, c causes, q *inquiry) ([]*x509.Certificate, []Warning, refusal) {
	var first refusal
	for _, chain := range chains {
		r := anchorFit(chain, c)
		if r.code == 0 {
			r = strong(chain, c)
		}
		var warnings []Warning
		if r.code == 0 {
			warnings, r = v.revoked(chain, c, q)
		}
		if r.code == 0 {
			return chain, warnings, refusal{}
		}
		// A revocation is the cause that matters, whatever other chains lack.
		if first.code == 0 || c.revocation(r.code) {
			first = r
		}
	}
	return nil, nil, first
}

// anchorFit refuses a version 1 or 2 certificate as an issuer unless it is self-signed: such a
// certificate says nothing about being a CA, and in the bundle as somebody's leaf it must not become
// one.
func anchorFit(chain []*x509.Certificate, c causes) refusal {
	anchor := chain[len(chain)-1]
	if len(chain) == 1 || anchor.Version >= 3 || selfIssued(anchor) && anchor.CheckSignatureFrom(anchor) == nil {
		return refusal{}
	}
	return refusal{c.unknownCA, fmt.Sprintf("%q is in the trust bundle, but as an X.509 version %d certificate that another CA issued it cannot issue others",
		secret.Subject(anchor), anchor.Version)}
}

// strong refuses weak keys anywhere in the chain. Weak signatures never get this far, and that of an
// anchor does not matter.
func strong(chain []*x509.Certificate, c causes) refusal {
	for i, x := range chain {
		weak := false
		switch k := x.PublicKey.(type) {
		case *rsa.PublicKey:
			weak = k.N.BitLen() < 2048
		case *ecdsa.PublicKey:
			weak = k.Curve.Params().BitSize < 256
		}
		if weak {
			return refusal{c.weak, fmt.Sprintf("the %s has a weak key, %s", roleOf(i, x, c), secret.KeyType(x.PublicKey))}
		}
	}
	return refusal{}
}

// roleOf names the i-th certificate of a chain.
func roleOf(i int, x *x509.Certificate, c causes) string {
	if i == 0 {
		return fmt.Sprintf("%s certificate %q", c.role, secret.Subject(x))
	}
	return fmt.Sprintf("CA %q", secret.Subject(x))
}

// named checks the names asked for.
func (v *Verifier) named(facts *Facts, leaf *x509.Certificate, c causes, name string) refusal {
	if len(v.policy.SANs) > 0 {
		for _, s := range v.policy.SANs {
			if s.Match(facts) {
				return refusal{}
			}
		}
		return refusal{c.name, fmt.Sprintf("the %s certificate %q has %s; wanted is one of %s", c.role, facts.Subject, facts.namesWords(), sanWords(v.policy.SANs))}
	}
	if c.role != "server" {
		return refusal{}
	}
	switch {
	case name == "":
		return refusal{c.name, "there is no name to verify the upstream's certificate against"}
	case leaf.VerifyHostname(name) == nil:
		return refusal{}
	case !facts.HasSAN:
		return refusal{c.noName, fmt.Sprintf("the server certificate %q has only a common name; wanted is %q as a subject alternative name", facts.Subject, name)}
	}
	return refusal{c.name, fmt.Sprintf("the server certificate %q has %s; wanted is %q", facts.Subject, facts.namesWords(), name)}
}

func (v *Verifier) pinned(facts *Facts, leaf *x509.Certificate, c causes) refusal {
	if len(v.policy.SPKI)+len(v.policy.Hashes) == 0 ||
		slices.Contains(v.policy.SPKI, sha256.Sum256(leaf.RawSubjectPublicKeyInfo)) ||
		slices.Contains(v.policy.Hashes, sha256.Sum256(leaf.Raw)) {
		return refusal{}
	}
	return refusal{c.pin, fmt.Sprintf("the %s certificate %q is not pinned: spki %s, certificate hash %s", c.role, facts.Subject, facts.SPKI, facts.Hash)}
}

// explain turns crypto/x509's error into a cause.
func (v *Verifier) explain(err error, presented []*x509.Certificate, c causes, now time.Time) refusal {
	var invalid x509.CertificateInvalidError
	var critical x509.UnhandledCriticalExtension
	switch {
	case errors.As(err, &critical):
		return refusal{c.malformed, fmt.Sprintf("a certificate of the chain of %q has a critical extension that is not known", secret.Subject(presented[0]))}
	case errors.As(err, &invalid):
		return v.explainInvalid(invalid, presented, c, now)
	case isUnknown(err):
		return v.explainUnknown(presented, c)
	}
	return refusal{c.invalid, fmt.Sprintf("the %s certificate %q does not verify: %v", c.role, secret.Subject(presented[0]), err)}
}

func (v *Verifier) explainInvalid(e x509.CertificateInvalidError, presented []*x509.Certificate, c causes, now time.Time) refusal {
	leaf, at := presented[0], 0
	if !e.Cert.Equal(leaf) {
		at = 1
	}
	who := roleOf(at, e.Cert, c)
	switch e.Reason {
	case x509.Expired:
		if now.Before(e.Cert.NotBefore) {
			return refusal{c.notYetValid, fmt.Sprintf("the %s is valid from %s, %s from now; is a clock wrong?", who, stamp(e.Cert.NotBefore), span(e.Cert.NotBefore.Sub(now)))}
		}
		return refusal{c.expired, fmt.Sprintf("the %s expired at %s, %s ago%s", who, stamp(e.Cert.NotAfter), span(now.Sub(e.Cert.NotAfter)), v.alsoUnknown(leaf, presented))}
	case x509.NotAuthorizedToSign:
		return v.explainUnknown(presented, c)
	case x509.TooManyIntermediates:
		return refusal{c.tooLong, fmt.Sprintf("the %s allows fewer certificates below it than the chain has (path length %d)", who, e.Cert.MaxPathLen)}
	case x509.CANotAuthorizedForThisName, x509.UnconstrainedName, x509.TooManyConstraints:
		return refusal{c.constraint, fmt.Sprintf("a CA above %q is constrained to other names: %s", secret.Subject(leaf), e.Detail)}
	case x509.IncompatibleUsage, x509.CANotAuthorizedForExtKeyUsage:
		return refusal{c.wrongUsage, v.usageWords(presented, c)}
	}
	return refusal{c.invalid, fmt.Sprintf("the %s certificate %q does not verify: %v", c.role, secret.Subject(leaf), e)}
}

// alsoUnknown adds that renewing an expired certificate will not be enough.
func (v *Verifier) alsoUnknown(leaf *x509.Certificate, presented []*x509.Certificate) string {
	if v.policy.System != nil || v.policy.Roots.Contains(leaf) {
		return ""
	}
	for _, issuer := range slices.Concat(presented[1:], v.policy.Roots.Certificates) {
		if bytes.Equal(issuer.RawSubject, leaf.RawIssuer) {
			return ""
		}
	}
	return fmt.Sprintf("; its issuer %q is not accepted either", secret.Issuer(leaf))
}

func (v *Verifier) usageWords(presented []*x509.Certificate, c causes) string {
	for i, x := range presented {
		if len(x.ExtKeyUsage)+len(x.UnknownExtKeyUsage) > 0 && !slices.Contains(x.ExtKeyUsage, c.usage) && !slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageAny) {
			return fmt.Sprintf("the %s has the usages %s, needed is %s", roleOf(i, x, c), usages(x), c.usageTxt)
		}
	}
	return fmt.Sprintf("a CA above %q does not allow the usage %s", secret.Subject(presented[0]), c.usageTxt)
}

func usages(x *x509.Certificate) string {
	var out []string
	for _, u := range x.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			out = append(out, "serverAuth")
		case x509.ExtKeyUsageClientAuth:
			out = append(out, "clientAuth")
		case x509.ExtKeyUsageCodeSigning:
			out = append(out, "codeSigning")
		case x509.ExtKeyUsageEmailProtection:
			out = append(out, "emailProtection")
		case x509.ExtKeyUsageOCSPSigning:
			out = append(out, "OCSPSigning")
		case x509.ExtKeyUsageTimeStamping:
			out = append(out, "timeStamping")
		default:
			out = append(out, fmt.Sprintf("usage %d", u))
		}
	}
	for _, oid := range x.UnknownExtKeyUsage {
		out = append(out, oid.String())
	}
	return strings.Join(out, ", ")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// span renders a duration in one unit that people think in.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
