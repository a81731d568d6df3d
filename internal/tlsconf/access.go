package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Hosts whose clients policies judge (ir.ClientAuthPolicy) ask for a certificate and take what comes, unless
// a policy wants bad ones refused at once. Requests are decided one by one (package authz); what a ticket
// is bound to and how open connections end is decided here.

// maxAuthorities bounds the names of CAs that clients are told, in bytes: the list has 64 KiB at most
// (RFC 8446 section 4.2.4), and a hello of that size gets lost in many middleboxes. Beyond it none are told,
// which asks for any certificate.
const maxAuthorities = 16 << 10

// accessOf returns the policies that settings name; nil for those that are missing.
func (t *Terminator) accessOf(a *ir.ClientAuth) []*authz.Policy {
	if a.Mode != ir.ClientAuthPolicy {
		return nil
	}
	out := make([]*authz.Policy, len(a.Policies))
	for i, name := range a.Policies {
		out[i] = t.opts.Access.Policy(name)
	}
	return out
}

// acceptable returns the CAs that clients are told: those of all policies, nil for none or too many.
func acceptable(access []*authz.Policy) *x509.CertPool {
	var bundles []*secret.Bundle
	for _, p := range access {
		if p != nil && !p.IR().Open {
			bundles = append(bundles, anchors(p.Trust()))
		}
	}
	all := secret.Merge(bundles...)
	size := 0
	for _, c := range all.Certificates {
		size += len(c.RawSubject) + 2
	}
	if all.Len() == 0 || size > maxAuthorities {
		return nil
	}
	return all.Pool()
}

// verifyPolicies refuses whom ClientAuth.Reject says, on full handshakes and resumed ones. It implements
// tls.Config.VerifyConnection.
func (c *class) verifyPolicies(cs tls.ConnectionState) error {
	if code, detail := c.rejects(cs.PeerCertificates, c.state.now()); code != 0 {
		return &refusal{code, detail}
	}
	return nil
}

// rejects returns why a client is refused in the handshake, 0 if it is not.
func (c *class) rejects(presented []*x509.Certificate, now time.Time) (diag.Code, string) {
	if c.auth.Reject == ir.RejectNone || len(presented) == 0 && c.auth.Reject != ir.RejectAll {
		return 0, ""
	}
	code, detail := diag.Code(0), ""
	for i, p := range c.access {
		why, words := diag.PolicyBroken, fmt.Sprintf("there is no policy %s", c.auth.Policies[i])
		switch {
		case p == nil:
		case !p.IR().Reject:
			continue
		case p.IR().Open, p.IR().Audit:
			return 0, ""
		case len(presented) == 0:
			why, words = diag.ClientCertMissing, "no certificate was sent, and policy "+p.Name()+" covers the whole host"
		default:
			j := p.Judge(presented, now)
			why, words = j.Code, j.Detail
		}
		if why == 0 {
			return 0, ""
		}
		if code == 0 {
			code, detail = why, words
		}
	}
	return code, detail
}

// considerAccess decides about a session whose host's policies, or what they trust, have changed. Most of
// that concerns the next request only.
func (t *Terminator) considerAccess(s *Session, was, is *class) (diag.Code, string) {
	now := t.state.now()
	for _, old := range was.access {
		if old == nil {
			continue
		}
		i := slices.IndexFunc(is.access, func(p *authz.Policy) bool { return p != nil && p.Name() == old.Name() })
		if i >= 0 && is.access[i] == old || !old.IR().CloseNow && (i < 0 || !is.access[i].IR().CloseNow) {
			continue
		}
		if code, _ := old.Ongoing(s.peers, s.since, now); code != 0 {
			continue // it did not let the client in
		}
		var code diag.Code
		var detail string
		if i >= 0 {
			code, detail = is.access[i].Ongoing(s.peers, s.since, now)
		} else {
			code, detail = is.anyLetsIn(s, now)
		}
		if code != 0 {
			return diag.AccessWithdrawn, fmt.Sprintf("policy %s does not let the client in any more: %s (%s)", old.Name(), detail, code)
		}
	}
	if len(s.peers) == 0 && !sameAuthorities(was, is) {
		return diag.Draining, "the host names other CAs to its clients than before, and this one sent no certificate"
	}
	return 0, ""
}

// anyLetsIn returns 0 if a policy lets the client in or there is none, else why the first does not.
func (c *class) anyLetsIn(s *Session, now time.Time) (diag.Code, string) {
	code, detail := diag.Code(0), ""
	for _, p := range c.access {
		if p == nil {
			continue
		}
		why, words := p.Ongoing(s.peers, s.since, now)
		if why == 0 {
			return 0, ""
		}
		if code == 0 {
			code, detail = why, words
		}
	}
	return code, detail
}

// sameAuthorities reports whether two classes tell clients the same CAs.
func sameAuthorities(a, b *class) bool {
	pa, pb := a.config.ClientCAs, b.config.ClientCAs
	if pa == nil || pb == nil {
		return pa == pb
	}
	return pa.Equal(pb)
}
