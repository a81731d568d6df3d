package backend

import (
	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// applyTLS puts the policy's tls into an upstream. Settings that cannot be used make the upstream
// refuse: nothing is sent unverified or in the clear instead.
func (p policy) applyTLS(r *Resolver, up *ir.Upstream, t target) {
	s := p.tls
	if !p.originates() {
		return
	}
	up.TLS = &ir.UpstreamTLS{Origin: p.tlsFrom, SNI: s.GetSni(), HostSNI: s.GetSni() == "", VerifyName: s.GetSni(), SANs: s.GetSubjectAltNames(),
		InsecureSkipVerify: s.GetInsecureSkipVerify().GetValue()}
	if len(up.TLS.SANs) == 0 {
		for _, e := range t.entries {
			up.TLS.SANs = append(up.TLS.SANs, e.Spec.GetSubjectAltNames()...)
		}
	}
	if s.GetMode() == istio.ClientTLSSettings_ISTIO_MUTUAL {
		p.refuse(r, up, "mode", "mode ISTIO_MUTUAL needs a mesh identity, which this gateway does not have",
			"Use SIMPLE, or MUTUAL with a client certificate.")
		return
	}
	if s.GetMode() == istio.ClientTLSSettings_MUTUAL {
		p.clientCertificate(r, up)
	}
	if up.TLS.InsecureSkipVerify {
		r.report(diag.VerificationOff, below(p.tlsFrom, "insecureSkipVerify"), "any certificate of "+t.String()+" is accepted, even an attacker's",
			"Remove insecureSkipVerify and give caCertificates or credentialName.")
		return
	}
	p.trust(r, up)
}

// refuse makes the upstream answer 503. The first reason stays.
func (p policy) refuse(r *Resolver, up *ir.Upstream, field, message, fix string) {
	r.report(diag.UpstreamTLSInvalid, below(p.tlsFrom, field), message, fix)
	p.spoil(up, diag.UpstreamTLSInvalid, message)
}

// spoil is refuse for what has been reported already.
func (p policy) spoil(up *ir.Upstream, code diag.Code, detail string) {
	if up.Fault == nil {
		up.Fault = &ir.Fault{Code: code, Detail: p.tlsFrom.String() + ": " + detail}
	}
}

func (p policy) clientCertificate(r *Resolver, up *ir.Upstream) {
	s, ok := p.tls, false
	switch {
	case s.GetCredentialName() != "":
		up.TLS.Certificate, ok = r.creds.Pair(r.creds.Places(p.tlsOwner.Namespace), s.GetCredentialName(), below(p.tlsFrom, "credentialName"))
	case s.GetClientCertificate() != "" && s.GetPrivateKey() != "":
		up.TLS.Certificate, ok = r.creds.PairFiles(s.GetClientCertificate(), s.GetPrivateKey(),
			below(p.tlsFrom, "clientCertificate"), below(p.tlsFrom, "privateKey"))
	default:
		p.refuse(r, up, "mode", "mode MUTUAL names no client certificate", "Add credentialName, or clientCertificate and privateKey.")
		return
	}
	if !ok {
		p.spoil(up, diag.UpstreamCredentialMissing, "the client certificate is missing or broken")
	}
}

// trust decides by what the server's certificate is verified: caCertificates, the CA of
// credentialName, or the system's roots.
func (p policy) trust(r *Resolver, up *ir.Upstream) {
	s, ok := p.tls, true
	switch {
	case s.GetCredentialName() != "":
		up.TLS.Trust, ok = r.creds.TrustBeside(r.creds.Places(p.tlsOwner.Namespace), s.GetCredentialName(), below(p.tlsFrom, "credentialName"))
		if s.GetCaCrl() != "" {
			p.refuse(r, up, "caCrl", "caCrl cannot be combined with credentialName", "Put the revocation list into the secret as ca.crl (or crl).")
		}
	case s.GetCaCertificates() != "":
		up.TLS.Trust, ok = r.creds.TrustFiles(s.GetCaCertificates(), s.GetCaCrl(), below(p.tlsFrom, "caCertificates"), below(p.tlsFrom, "caCrl"))
	case s.GetCaCrl() != "":
		p.refuse(r, up, "caCrl", "caCrl needs caCertificates: the system's roots have no revocation list here", "Add caCertificates, or remove caCrl.")
	}
	if !ok {
		p.spoil(up, diag.UpstreamCredentialMissing, "the CA that verifies the server is missing or broken")
	}
}
