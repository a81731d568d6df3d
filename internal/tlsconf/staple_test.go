package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

// onlineOf is a trust.Online that knows one thing about every certificate.
type onlineOf trust.Finding

func (o onlineOf) Check(*x509.Certificate, *x509.Certificate, ir.Revocation, time.Time) trust.Finding {
	return trust.Finding(o)
}

// TestUpstreamRevocation proves the codes of revocation with upstreams that staple, or not, with a
// resumed connection after each full one: a session does not outlive the judgement.
func TestUpstreamRevocation(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	plain, must := ca.Issue(testca.Spec{DNS: []string{"up.test"}}), ca.Issue(testca.Spec{DNS: []string{"up.test"}, MustStaple: true})
	serve := func(p *testca.Pair, spec *testca.OCSPSpec) *tls.Config {
		pair := p.TLS()
		if spec != nil {
			pair.OCSPStaple = ca.OCSP(p.Cert, *spec)
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	later := time.Now().Add(time.Hour)
	good, gone, lost := trust.Finding{Standing: trust.Good, Until: later}, trust.Finding{Standing: trust.Revoked, OCSP: true, Until: later}, trust.Finding{Detail: "nobody answers"}
	tests := []struct {
		name   string
		origin *tls.Config
		how    *ir.Revocation
		online trust.Finding
		code   diag.Code
	}{
		{"not asked", serve(plain, &testca.OCSPSpec{Revoked: true}), nil, gone, 0},
		{"stapled good", serve(plain, &testca.OCSPSpec{}), &ir.Revocation{Hard: true, OCSP: true}, gone, 0},
		{"stapled revoked", serve(plain, &testca.OCSPSpec{Revoked: true}), &ir.Revocation{}, good, diag.UpstreamRevokedOCSP},
		{"asked, revoked", serve(plain, nil), &ir.Revocation{OCSP: true}, gone, diag.UpstreamRevokedOCSP},
		{"unknown, hard", serve(plain, nil), &ir.Revocation{Hard: true, OCSP: true}, lost, diag.UpstreamRevocationUnknown},
		{"unknown, soft", serve(plain, nil), &ir.Revocation{OCSP: true}, lost, 0},
		{"must, none", serve(must, nil), &ir.Revocation{Hard: true, OCSP: true}, good, diag.UpstreamStapleMissing},
		{"must, stapled", serve(must, &testca.OCSPSpec{}), &ir.Revocation{Hard: true}, lost, 0},
		{"serial", serve(plain, nil), &ir.Revocation{Serials: []string{plain.Cert.SerialNumber.Text(16)}}, good, diag.UpstreamRevokedLocally},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			state := NewState(nil)
			state.UseOnline(onlineOf(tc.online))
			up := ir.UpstreamTLS{SNI: "up.test", VerifyName: "up.test", Trust: "test/ca", Revocation: tc.how}
			o := Originate("up", &up, &ir.Secrets{}, &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"test/ca": {Bundle: secret.NewBundle(ca.Cert)}}}, state, nil)
			addr := tlsOrigin(t, tc.origin)
			for i := range 2 {
				if got := reach(t, o, addr, "up.test"); got.code != tc.code || got.resumed != (i > 0 && tc.code == 0) {
					t.Errorf("%v %q, resumed %v; want %v", got.code, got.detail, got.resumed, tc.code)
				}
			}
		})
	}
	bad := Originate("up", &ir.UpstreamTLS{SNI: "up.test", Trust: "test/ca", SPKI: []string{"no pin"}}, &ir.Secrets{},
		&ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"test/ca": {Bundle: secret.NewBundle(ca.Cert)}}}, NewState(nil), nil)
	if got := reach(t, bad, tlsOrigin(t, serve(plain, nil)), "up.test"); got.code == 0 {
		t.Error("a malformed pin lets everything through")
	}
}
