package tlsconf

import (
	"crypto/tls"
	"encoding/hex"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// oneTicket offers whatever ticket it got last, under any name.
type oneTicket struct{ session *tls.ClientSessionState }

func (o *oneTicket) Get(string) (*tls.ClientSessionState, bool) { return o.session, o.session != nil }
func (o *oneTicket) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		o.session = s
	}
}

// TestTickets earns a ticket on a.test, changes something, and offers it again: it may be resumed only
// where nothing that matters has changed, and is never a reason to drop the connection.
func TestTickets(t *testing.T) {
	server, ca, other := testca.New(t, testca.Spec{CommonName: "Server CA"}), testca.New(t, testca.Spec{CommonName: "Client CA"}), testca.New(t, testca.Spec{CommonName: "Other CA"})
	alice := ca.Issue(testca.Spec{CommonName: "alice", DNS: []string{"alice.test"}})
	leaf := server.Issue(testca.Spec{DNS: []string{"a.test", "b.test"}})
	renewed := server.Issue(testca.Spec{DNS: []string{"a.test", "b.test"}})
	for _, c := range []struct {
		name    string
		host    string // on which the ticket is offered
		change  func(*world, *ir.TLS, ir.TrustRef)
		resumed bool
		code    diag.Code
	}{
		{"nothing", "a.test", func(*world, *ir.TLS, ir.TrustRef) {}, true, 0},
		{"certificate renewed", "a.test", func(w *world, s *ir.TLS, _ ir.TrustRef) {
			w.secrets.ByRef[s.Certificates[0]] = &ir.Credential{Pair: keyPair(t, renewed)}
		}, true, 0},
		{"another host of the same class", "b.test", func(*world, *ir.TLS, ir.TrustRef) {}, false, 0},
		{"a host of another CA", "b.test", func(w *world, _ *ir.TLS, _ ir.TrustRef) {
			w.trust.ByRef["test/b"] = &ir.TrustBundle{Bundle: secret.NewBundle(other.Cert)}
			w.listener.Chains[1].TLS.ClientAuth.Trust = "test/b"
		}, false, diag.ClientCertUnknownCA},
		{"CA replaced", "a.test", func(w *world, _ *ir.TLS, ref ir.TrustRef) {
			w.trust.ByRef[ref] = &ir.TrustBundle{Bundle: secret.NewBundle(other.Cert)}
		}, false, diag.ClientCertUnknownCA},
		{"CA removed", "a.test", func(w *world, _ *ir.TLS, ref ir.TrustRef) { delete(w.trust.ByRef, ref) }, false, diag.TrustMissing},
		{"CA added", "a.test", func(w *world, _ *ir.TLS, ref ir.TrustRef) {
			w.trust.ByRef[ref] = &ir.TrustBundle{Bundle: secret.NewBundle(ca.Cert, other.Cert)}
		}, false, 0},
		{"revoked", "a.test", func(w *world, s *ir.TLS, ref ir.TrustRef) {
			w.trust.ByRef[ref] = &ir.TrustBundle{Bundle: secret.NewBundle(ca.Cert), CRLs: crls(t, ca.CRL(testca.CRLSpec{Revoked: certs(alice)}))}
		}, false, diag.ClientCertRevoked},
		{"wanted name changed", "a.test", func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.ClientAuth.SANs = []string{"bob.test"} }, false, diag.ClientCertSANMismatch},
		{"pin changed", "a.test", func(_ *world, s *ir.TLS, _ ir.TrustRef) {
			s.ClientAuth.Hashes = []string{hex.EncodeToString(make([]byte, 32))}
		}, false, diag.ClientCertPinMismatch},
		{"mode relaxed", "a.test", func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthNone} }, false, 0},
		{"suites changed", "a.test", func(_ *world, s *ir.TLS, _ ir.TrustRef) {
			s.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
		}, false, 0},
		{"floor raised", "a.test", func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.MinVersion = tls.VersionTLS13 }, false, 0},
	} {
		for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
			t.Run(c.name+" "+tls.VersionName(version), func(t *testing.T) {
				w := newWorld()
				for _, h := range []string{"a.test", "b.test"} {
					s := w.host(t, h, leaf)
					w.clients(s, ir.ClientAuthRequire, ca)
					s.ClientAuth.Trust = "test/ca of a.test"
				}
				g := w.serve(t)
				config := with(client(server, "a.test"), alice.TLS())
				config.MaxVersion, config.ClientSessionCache = version, &oneTicket{}
				if out := g.dial(config); out.err != nil {
					t.Fatal(out.err)
				}
				g.record()

				next := w.clone()
				c.change(next, next.listener.Chains[0].TLS, "test/ca of a.test")
				g.apply(next)
				config = config.Clone()
				config.ServerName = c.host
				out := g.dial(config)
				rec := g.record()
				want := c.code
				if c.name == "floor raised" && version == tls.VersionTLS12 {
					want = diag.TLSVersionTooLow
				}
				if !rec.Hello.Ticket {
					t.Error("the client did not offer its ticket")
				}
				if rec.Code != want || (out.err == nil) != (want == 0) || rec.Resumed != c.resumed {
					t.Errorf("client %v (resumed %v); record %s %q, resumed %v", out.err, out.state.DidResume, rec.Code, rec.Detail, rec.Resumed)
				}
				if want != 0 && out.alert == 0 {
					t.Errorf("refused without an alert: %v", out.err)
				}
				if c.resumed && (rec.PeerHash == "" || rec.PeerHash != keyPair(t, alice).Fingerprint) {
					t.Errorf("the resumed session belongs to %q", rec.PeerSubject)
				}
			})
		}
	}
}

// clone copies w deeply enough for a test to change it while the old one serves.
func (w *world) clone() *world {
	out := newWorld()
	l := *w.listener
	l.Chains = nil
	for _, chain := range w.listener.Chains {
		c, s := *chain, *chain.TLS
		c.TLS = &s
		l.Chains = append(l.Chains, &c)
	}
	out.listener, out.opts = &l, w.opts
	for k, v := range w.secrets.ByRef {
		out.secrets.ByRef[k] = v
	}
	for k, v := range w.trust.ByRef {
		out.trust.ByRef[k] = v
	}
	return out
}

// TestTicketKeys rotates keys and forgets them.
func TestTicketKeys(t *testing.T) {
	var keys ticketKeys
	start := time.Unix(1_000_000, 0)
	ticket := keys.seal(start, []byte("session"))
	for _, c := range []struct {
		after time.Duration
		opens bool
	}{{0, true}, {13 * time.Hour, true}, {26 * time.Hour, true}, {35 * time.Hour, true}, {37 * time.Hour, false}, {1, false}} {
		if c.after == 1 {
			ticket[len(ticket)-1] ^= 1
			c.after = 0
		}
		if got := keys.open(start.Add(c.after), ticket); (string(got) == "session") != c.opens {
			t.Errorf("after %s: %q", c.after, got)
		}
	}
	for _, junk := range [][]byte{nil, {1}, make([]byte, 8), make([]byte, 200)} {
		if keys.open(start, junk) != nil {
			t.Errorf("%d bytes of junk open", len(junk))
		}
	}
	var fresh ticketKeys
	if a, b := fresh.seal(start, nil), fresh.seal(start.Add(12*time.Hour), nil); string(a[:8]) == string(b[:8]) {
		t.Error("the key was not rotated")
	}
}
