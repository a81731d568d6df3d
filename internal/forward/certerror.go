package forward

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// errorNames says in OpenSSL's words what is wrong with a chain that verification refused with a code: that, and
// what else a rule must excuse before the destination may be spoken to.
func (p *Policy) errorNames(code diag.Code, chain []*x509.Certificate, name string, via *ir.Via) []string {
	if code == 0 {
		return nil
	}
	now := p.opts.State.now()
	out := []string{errorName(code, chain, now)}
	if len(chain) == 0 {
		return out
	}
	add := func(n string) {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	for _, c := range chain {
		if now.After(c.NotAfter) {
			add("X509_V_ERR_CERT_HAS_EXPIRED")
		}
		if now.Before(c.NotBefore) {
			add("X509_V_ERR_CERT_NOT_YET_VALID")
		}
	}
	if chain[0].VerifyHostname(name) != nil {
		add("SQUID_X509_V_ERR_DOMAIN_MISMATCH")
	}
	if !p.anchored(chain, via) {
		add(untrustedName(chain))
	}
	return out
}

// errorName is OpenSSL's word for a code.
func errorName(code diag.Code, chain []*x509.Certificate, now time.Time) string {
	switch code {
	case diag.UpstreamUnknownCA, diag.InterceptionUnknownCA, diag.UnexpectedInterception, diag.InterceptionMissing:
		return untrustedName(chain)
	case diag.UpstreamCertExpired:
		return "X509_V_ERR_CERT_HAS_EXPIRED"
	case diag.InterceptionExpired:
		if len(chain) > 0 && now.Before(chain[0].NotBefore) {
			return "X509_V_ERR_CERT_NOT_YET_VALID"
		}
		return "X509_V_ERR_CERT_HAS_EXPIRED"
	case diag.UpstreamCertNotYetValid:
		return "X509_V_ERR_CERT_NOT_YET_VALID"
	case diag.UpstreamNameMismatch, diag.UpstreamCertNoSAN, diag.InterceptionNameMismatch:
		return "SQUID_X509_V_ERR_DOMAIN_MISMATCH"
	case diag.UpstreamCertRevoked:
		return "X509_V_ERR_CERT_REVOKED"
	case diag.UpstreamCRLUnusable:
		return "X509_V_ERR_UNABLE_TO_GET_CRL"
	case diag.UpstreamPinMismatch:
		return "X509_V_ERR_CERT_REJECTED"
	}
	return "X509_V_ERR_UNSPECIFIED"
}

// untrustedName tells the ways of not being trusted apart.
func untrustedName(chain []*x509.Certificate) string {
	switch {
	case len(chain) == 0:
		return "X509_V_ERR_CERT_UNTRUSTED"
	case selfSigned(chain[0]):
		return "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"
	case selfSigned(chain[len(chain)-1]):
		return "X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN"
	}
	return "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
}

func selfSigned(c *x509.Certificate) bool {
	return string(c.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(c) == nil || string(c.RawSubject) == string(c.RawIssuer) && !c.IsCA
}

// anchored reports whether a chain leads to an anchor, whatever the validity of what was shown: that is judged by itself. Anchors
// count that are valid now, or were while the leaf was. Whatever else is wrong with the chain, it leads nowhere.
func (p *Policy) anchored(chain []*x509.Certificate, via *ir.Via) bool {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(always(c))
	}
	leaf := always(chain[0])
	for _, roots := range p.roots(via) {
		for _, at := range []time.Time{p.opts.State.now(), chain[0].NotBefore, chain[0].NotAfter} {
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
				return true
			}
		}
	}
	return false
}

// always returns a copy of a certificate that verification takes at any time.
func always(c *x509.Certificate) *x509.Certificate {
	timeless := *c
	timeless.NotBefore, timeless.NotAfter = time.Unix(0, 0), time.Unix(1<<40, 0)
	return &timeless
}

// roots are the anchors of the way, each pool for itself.
func (p *Policy) roots(via *ir.Via) []*x509.CertPool {
	var out []*x509.CertPool
	add := func(ref ir.TrustRef) {
		if b := p.opts.Trust.ByRef[ref]; b != nil && b.Bundle != nil {
			out = append(out, b.Bundle.Pool())
		}
	}
	only := false
	if via != nil {
		for _, n := range via.Proxies {
			if x := p.via[n]; x != nil && x.Interception != "" {
				add(x.Interception)
				only = only || !x.Either
			}
		}
	}
	if only {
		return out
	}
	t := p.ir.Template.TLS
	if t != nil && t.Trust != "" {
		add(t.Trust)
	}
	if t == nil || t.Trust == "" || t.System {
		if pool, err := x509.SystemCertPool(); err == nil {
			out = append(out, pool)
		}
	}
	return out
}
