package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
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

// findings is a trust.Online whose knowledge changes.
type findings struct{ now atomic.Pointer[trust.Finding] }

func (f *findings) Check(*x509.Certificate, *x509.Certificate, ir.Revocation, time.Time) trust.Finding {
	return *f.now.Load()
}

// TestUpstreamRevokedLater: a revocation that becomes known after the handshake is told once, an answer that
// is missing is none, and nothing is looked at where nothing is fetched.
func TestUpstreamRevokedLater(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	pair := ca.Issue(testca.Spec{DNS: []string{"up.test"}}).TLS()
	addr := tlsOrigin(t, &tls.Config{Certificates: []tls.Certificate{pair}})
	know := &findings{}
	originate := func(how *ir.Revocation) *Originator {
		state := NewState(nil)
		state.UseOnline(know)
		know.now.Store(&trust.Finding{Standing: trust.Good})
		o := Originate("up", &ir.UpstreamTLS{SNI: "up.test", VerifyName: "up.test", Trust: "test/ca", Revocation: how}, &ir.Secrets{},
			&ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"test/ca": {Bundle: secret.NewBundle(ca.Cert)}}}, state, nil)
		if got := reach(t, o, addr, "up.test"); got.code != 0 {
			t.Fatalf("%v %q", got.code, got.detail)
		}
		return o
	}
	for _, how := range []*ir.Revocation{{Hard: true, OCSP: true}, {FetchCRL: true}} {
		o := originate(how)
		know.now.Store(&trust.Finding{Detail: "nobody answers"})
		if o.Revoked() {
			t.Errorf("%+v: a responder that is away revokes", how)
		}
		know.now.Store(&trust.Finding{Standing: trust.Revoked, OCSP: how.OCSP})
		if !o.Revoked() || o.Revoked() {
			t.Errorf("%+v: not told, or told twice", how)
		}
		if got := reach(t, o, addr, "up.test"); got.code == 0 {
			t.Errorf("%+v: a new connection is made", how)
		}
	}
	o := originate(nil)
	know.now.Store(&trust.Finding{Standing: trust.Revoked})
	if o.Revoked() || len(o.peers.of) != 0 {
		t.Error("looked at, where nothing is fetched")
	}
}

// TestPeersBounded keeps at most maxPeers.
func TestPeersBounded(t *testing.T) {
	var p peers
	cert := testca.New(t, testca.Spec{}).Cert
	for i := range maxPeers + 10 {
		p.remember(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}, fmt.Sprint(i))
	}
	if len(p.of) != maxPeers {
		t.Errorf("%d", len(p.of))
	}
}
