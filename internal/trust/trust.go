// Package trust verifies the certificates of peers, clients and upstreams alike, and names the cause
// of every refusal by its code.
//
// It exists beside crypto/tls's own verification because that is not repeated when a session is
// resumed, knows neither revocation nor pins, and gives one error for many causes. A Verifier is
// called from VerifyConnection, which runs before possession of the key is proved: a verdict says that
// a certificate is acceptable, not that the peer owns it.
//
// The package refuses to know about connections, configuration objects and files; it reads no clock
// and does no I/O. Trust is told apart by content: CAs with one subject and different keys are
// different CAs. Begin reading at Policy and Verifier.
package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// CRLMode says what happens when revocation cannot be judged.
type CRLMode uint8

// Modes. With CRLHard, as soon as any revocation list is configured, every CA of a chain needs one
// that is not stale (Envoy and OpenSSL ask the same). With CRLSoft a missing or stale list is only
// warned about. A certificate that a stale list names is revoked in both.
const (
	CRLHard CRLMode = iota
	CRLSoft

	crlAged // as CRLHard, but a stale list is only warned about: Verifier.VerifyOngoing
)

// Policy is what a peer's certificate has to fulfil. Its content must not change once it is given to
// New. Every list is optional; Roots and System together are the anchors.
type Policy struct {
	Mode    ir.ClientAuthMode // of clients; no meaning for servers
	Roots   *secret.Bundle
	System  *x509.CertPool // the system's roots; nil means they are not trusted. Taken as fixed for the life of the process.
	CRLs    []*secret.CRL
	CRLMode CRLMode
	SANs    []SAN               // one of them must be in the certificate
	SPKI    [][sha256.Size]byte // pins: SHA-256 over SubjectPublicKeyInfo, or
	Hashes  [][sha256.Size]byte // over the certificate; a match in either list suffices

	// Revocation and Online are for certificates that no list of CRLs decides about. Online may be nil.
	// Staples: answers that a server staples count too, and are demanded where its certificate does.
	Revocation ir.Revocation
	Online     Online
	Staples    bool

	// InsecureSkip judges and records, but accepts any certificate: Verdict.Ignored holds the cause.
	// It does not make up for a certificate that is required and missing.
	InsecureSkip bool
}

// ClientPolicy makes the policy of a host's client authentication. b is nil where the bundle is
// missing: then everybody is refused. The error names a malformed pin; nothing may be served then.
func ClientPolicy(a ir.ClientAuth, b *ir.TrustBundle) (Policy, error) {
	p := Policy{Mode: a.Mode, SANs: ParseSANs(a.SANs), InsecureSkip: a.Mode == ir.ClientAuthRequest}
	p.take(b)
	var err error
	if p.SPKI, err = parsePins(a.SPKI, base64.StdEncoding.DecodeString); err != nil {
		return Policy{}, fmt.Errorf("SPKI pin: %w", err)
	}
	if p.Hashes, err = parsePins(a.Hashes, hex.DecodeString); err != nil {
		return Policy{}, fmt.Errorf("certificate hash: %w", err)
	}
	return p, nil
}

// ServerPolicy makes the policy towards an upstream. With t.Trust empty the system's roots are
// trusted; else b alone, and b is nil where the bundle is missing. online may be nil: then nothing is
// fetched. The error names a malformed pin or revoked serial number; nothing may be sent then.
func ServerPolicy(t *ir.UpstreamTLS, b *ir.TrustBundle, system *x509.CertPool, online Online) (Policy, error) {
	p := Policy{SANs: ParseSANs(t.SANs), InsecureSkip: t.InsecureSkipVerify, Online: online}
	p.take(b)
	if t.Trust == "" {
		p.System = system
	}
	var err error
	if p.SPKI, err = parsePins(t.SPKI, base64.StdEncoding.DecodeString); err != nil {
		return Policy{}, fmt.Errorf("SPKI pin: %w", err)
	}
	if t.Revocation != nil {
		p.Staples = true
		if err := p.revocation(*t.Revocation); err != nil {
			return Policy{}, err
		}
	}
	return p, nil
}

func (p *Policy) take(b *ir.TrustBundle) {
	if b != nil {
		p.Roots, p.CRLs = b.Bundle, b.CRLs
	}
}

func parsePins(in []string, decode func(string) ([]byte, error)) ([][sha256.Size]byte, error) {
	var out [][sha256.Size]byte
	for _, s := range in {
		b, err := decode(strings.TrimSpace(s))
		if err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("%q is not a SHA-256", s)
		}
		out = append(out, [sha256.Size]byte(b))
	}
	return out, nil
}

// Warning is something to tell about a certificate that was accepted.
type Warning struct {
	Code   diag.Code
	Detail string
}

// Verdict is the judgement on one peer. The zero Verdict accepts a peer without a certificate.
type Verdict struct {
	Code   diag.Code // 0: accepted
	Detail string    // one sentence for logs and dumps; never for the peer

	// Ignored and its Detail say why the certificate would have been refused, had the policy not
	// been told to accept anything. Such a certificate authenticates nobody.
	Ignored diag.Code

	Chain    []*x509.Certificate // verified, leaf first, anchor last; nil unless Verified
	Leaf     *Facts              // of the certificate presented, refused ones too; nil without one
	Warnings []Warning

	// Until is when what was fetched about revocation is to be asked for again; zero: nothing was.
	Until time.Time
}

// Verified reports whether the peer presented a certificate and it fulfils the policy.
func (v Verdict) Verified() bool { return v.Code == 0 && v.Ignored == 0 && v.Leaf != nil }

// Verifier judges certificates by one policy. It is safe for concurrent use.
type Verifier struct {
	policy   Policy
	revision string
	edges    []time.Time // when anchors and lists begin or cease to be valid
	crls     *crlIndex
	cache    *Cache
	aged     *Verifier // the same with crlAged in place of CRLHard
	bad      revokedLocally
}

// New returns a verifier that remembers its verdicts in c; nil remembers nothing. Verifiers of all
// policies may share one cache.
func New(p Policy, c *Cache) *Verifier {
	v := &Verifier{policy: p, revision: revision(p), crls: newCRLIndex(p.CRLs), cache: c, bad: newRevokedLocally(p.Revocation)}
	for i := range p.Roots.Len() {
		v.edges = append(v.edges, certEdges(p.Roots.Certificates[i])...)
	}
	for _, l := range p.CRLs {
		v.edges = append(v.edges, l.ThisUpdate.Add(-clockSkew))
		if !l.NextUpdate.IsZero() {
			v.edges = append(v.edges, l.NextUpdate.Add(1))
		}
	}
	aged := *v
	if aged.policy.CRLMode == CRLHard {
		aged.policy.CRLMode = crlAged
		aged.revision = revision(aged.policy)
	}
	v.aged = &aged
	return v
}

// Revision returns a digest of the policy's content, anchors and revocation lists included: equal
// revisions judge equally at the same time.
func (v *Verifier) Revision() string { return v.revision }

func revision(p Policy) string {
	h := sha256.New()
	put := func(parts ...string) {
		for _, s := range parts {
			_, _ = fmt.Fprintf(h, "%d:%s", len(s), s)
		}
		_, _ = h.Write([]byte{0})
	}
	put(string(p.Mode), fmt.Sprint(p.CRLMode, p.InsecureSkip, p.System != nil))
	if p.Roots != nil {
		put(p.Roots.Digest)
	}
	put()
	put(fmt.Sprintf("%+v %t %t", p.Revocation, p.Online != nil, p.Staples))
	for _, l := range p.CRLs {
		put(l.Digest)
	}
	put()
	for _, s := range p.SANs {
		put(fmt.Sprint(s.Kind), s.Value)
	}
	put()
	for _, pin := range p.SPKI {
		put(string(pin[:]))
	}
	put()
	for _, pin := range p.Hashes {
		put(string(pin[:]))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// anchored reports whether there is anything to verify against.
func (p *Policy) anchored() bool { return p.Roots.Len() > 0 || p.System != nil }

// VerifyClient judges what a client presented (leaf first, as tls.ConnectionState.PeerCertificates
// holds it; empty without a certificate). now is the time to judge at.
func (v *Verifier) VerifyClient(presented []*x509.Certificate, now time.Time) Verdict {
	switch v.policy.Mode {
	case ir.ClientAuthRequire, ir.ClientAuthOptional, ir.ClientAuthRequest:
	default:
		return Verdict{}
	}
	if v.policy.Mode == ir.ClientAuthRequire && !v.policy.anchored() {
		return Verdict{Code: diag.TrustMissing, Detail: "the host's trust bundle is missing or empty"}
	}
	if len(presented) == 0 {
		if v.policy.Mode != ir.ClientAuthRequire {
			return Verdict{}
		}
		return Verdict{Code: diag.ClientCertMissing, Detail: "no certificate was sent; accepted issuers: " + v.policy.acceptedWords()}
	}
	return v.cached(presented, clientCauses(), "", &inquiry{now: now})
}

// VerifyServer judges what an upstream presented. The certificate must carry one of the policy's
// SANs or, if it has none, name (a DNS name or IP address). Neither of both refuses.
func (v *Verifier) VerifyServer(presented []*x509.Certificate, name string, now time.Time) Verdict {
	return v.VerifyStapled(presented, nil, name, now)
}

// VerifyStapled is VerifyServer for an upstream that stapled an OCSP answer (tls.ConnectionState's
// OCSPResponse; empty without one). It counts where the policy says so.
func (v *Verifier) VerifyStapled(presented []*x509.Certificate, staple []byte, name string, now time.Time) Verdict {
	if len(presented) == 0 {
		return Verdict{Code: diag.UpstreamTLSFailed, Detail: "the upstream sent no certificate"}
	}
	if !v.policy.Staples {
		staple = nil
	}
	return v.cached(presented, serverCauses(), name, &inquiry{now: now, staple: staple})
}

func (v *Verifier) cached(presented []*x509.Certificate, c causes, name string, q *inquiry) Verdict {
	if v.cache == nil || len(presented[0].Raw) > maxCachedCert {
		return v.asked(presented, c, name, q)
	}
	key := cacheKey(c.role, v.revision, name, presented, q.staple)
	if hit, ok := v.cache.get(key, q.now); ok {
		return hit
	}
	verdict := v.asked(presented, c, name, q)
	if q.brief {
		return verdict
	}
	from, until := v.window(presented, q.now)
	if !q.until.IsZero() {
		until = earliest(until, q.until)
	}
	if verdict.Code != 0 || verdict.Ignored != 0 {
		until = earliest(until, q.now.Add(refusalLife))
	}
	v.cache.put(key, verdict, from, until)
	return verdict
}

// asked is judge with the verdict's Until.
func (v *Verifier) asked(presented []*x509.Certificate, c causes, name string, q *inquiry) Verdict {
	verdict := v.judge(presented, c, name, q)
	if verdict.Until = q.until; q.brief {
		verdict.Until = q.now
	}
	return verdict
}

// soften applies InsecureSkip.
func (v *Verifier) soften(d Verdict) Verdict {
	if v.policy.InsecureSkip && d.Code != 0 {
		d.Ignored, d.Code, d.Chain = d.Code, 0, nil
	}
	return d
}

// acceptedWords names the accepted issuers for people.
func (p *Policy) acceptedWords() string {
	names := secret.NewBundle(p.Roots.Anchors()...).Subjects()
	const most = 3
	more := len(names) - most
	names = names[:min(len(names), most)]
	for i, n := range names {
		names[i] = fmt.Sprintf("%q", n)
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	if p.System != nil {
		names = append(names, "the system's roots")
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }
