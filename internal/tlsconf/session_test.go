package tlsconf

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// open makes a connection that lasts until the test ends, and returns its session.
func (g *gate) open(config *tls.Config) *Session {
	g.t.Helper()
	c, err := tls.Dial("tcp", g.addr, config)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	res := g.result()
	if res.Record.Code != 0 {
		g.t.Fatalf("refused: %s %s", res.Record.Code, res.Record.Detail)
	}
	return res.Session(&g.term)
}

// sessionCase is a change of settings under open connections, of alice with a certificate and of
// somebody without.
type sessionCase struct {
	name   string
	mode   ir.ClientAuthMode // before
	change func(w *world, s *ir.TLS, ref ir.TrustRef)
	alice  diag.Code // 0: goes on
	nobody diag.Code // not asked where mode is ClientAuthRequire
	detail string    // of alice's
}

// TestSessionFollowsPolicy changes settings and trust under open connections.
func TestSessionFollowsPolicy(t *testing.T) {
	server, ca, other := testca.New(t, testca.Spec{CommonName: "Server CA"}), testca.New(t, testca.Spec{CommonName: "Client CA"}), testca.New(t, testca.Spec{CommonName: "Client CA"})
	alice, bob := ca.Issue(testca.Spec{CommonName: "alice", DNS: []string{"alice.test"}}), ca.Issue(testca.Spec{CommonName: "bob"})
	leaf := server.Issue(testca.Spec{DNS: []string{"a.test"}})
	trusting := func(b ...*testca.Pair) func(*world, *ir.TLS, ir.TrustRef) {
		return func(w *world, _ *ir.TLS, ref ir.TrustRef) {
			w.trust.ByRef[ref] = &ir.TrustBundle{Bundle: secret.NewBundle(certs(b...)...)}
		}
	}
	revoking := func(p *testca.Pair) func(*world, *ir.TLS, ir.TrustRef) {
		return func(w *world, _ *ir.TLS, ref ir.TrustRef) {
			w.trust.ByRef[ref] = &ir.TrustBundle{Bundle: secret.NewBundle(ca.Cert), CRLs: crls(t, ca.CRL(testca.CRLSpec{Revoked: certs(p)}))}
		}
	}
	mode := func(m ir.ClientAuthMode) func(*world, *ir.TLS, ir.TrustRef) {
		return func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.ClientAuth.Mode = m }
	}
	gone := func(w *world, _ *ir.TLS, ref ir.TrustRef) { delete(w.trust.ByRef, ref) }
	const require, optional, request, none = ir.ClientAuthRequire, ir.ClientAuthOptional, ir.ClientAuthRequest, ir.ClientAuthNone
	const withdrawn, again = diag.ClientCertWithdrawn, diag.Draining
	for _, c := range []sessionCase{
		{"nothing", require, func(*world, *ir.TLS, ir.TrustRef) {}, 0, 0, ""},
		{"floor raised", require, func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.MinVersion = tls.VersionTLS13 }, 0, 0, ""},
		{"ceiling lowered", require, func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.MaxVersion = tls.VersionTLS12 }, 0, 0, ""},
		{"CA replaced by one of that name", require, trusting(other), withdrawn, 0, "HK2102"},
		{"CA added", require, trusting(ca, other), 0, 0, ""},
		{"CA gone", require, gone, withdrawn, 0, "HK2303"},
		{"revoked", require, revoking(alice), withdrawn, 0, "HK2106"},
		{"another one revoked", require, revoking(bob), 0, 0, ""},
		{"the same trust under another name", require, func(w *world, s *ir.TLS, ref ir.TrustRef) {
			w.trust.ByRef["test/copy"], s.ClientAuth.Trust = w.trust.ByRef[ref], "test/copy"
		}, 0, 0, ""},
		{"name wanted that it has", require, func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.ClientAuth.SANs = []string{"alice.test"} }, 0, 0, ""},
		{"name wanted that it lacks", require, func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.ClientAuth.SANs = []string{"bob.test"} }, withdrawn, 0, "HK2107"},
		{"another one pinned", require, func(_ *world, s *ir.TLS, _ ir.TrustRef) {
			s.ClientAuth.Hashes = []string{hex.EncodeToString(make([]byte, 32))}
		}, withdrawn, 0, "HK2108"},
		{"a pin that cannot be read", require, func(_ *world, s *ir.TLS, _ ir.TrustRef) { s.ClientAuth.SPKI = []string{"?"} }, withdrawn, 0, "HK2303"},
		{"no certificates asked for any more", require, mode(none), again, 0, "was require"},
		{"chain gone", require, func(w *world, _ *ir.TLS, _ ir.TrustRef) { w.listener.Chains[0].Name = "test/gw/new" }, again, 0, "gone"},

		{"optional, revoked", optional, revoking(alice), withdrawn, 0, "HK2106"},
		{"optional, CA gone", optional, gone, withdrawn, withdrawn, "HK2303"},
		{"optional, required now", optional, mode(require), again, withdrawn, "was optional"},
		{"judged only, CA replaced", request, trusting(other), withdrawn, 0, "HK2102"},
		{"judged only, CA added", request, trusting(ca, other), 0, 0, ""},
		{"not asked, required now", none, mode(require), withdrawn, withdrawn, "HK2101"},
		{"not asked, optional now", none, mode(optional), again, again, "was none"},
		{"not asked, other trust", none, trusting(other), 0, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			s := w.host(t, "a.test", leaf)
			w.clients(s, c.mode, ca)
			g := w.serve(t)
			sessions := map[*Session]diag.Code{g.open(with(client(server, "a.test"), alice.TLS())): c.alice}
			if c.mode != require {
				sessions[g.open(client(server, "a.test"))] = c.nobody
			}
			next := w.clone()
			c.change(next, next.listener.Chains[0].TLS, s.ClientAuth.Trust)
			g.apply(next)
			for session, want := range sessions {
				for range 2 {
					if code, ok := session.Admits(); code != want || ok != (want == 0) {
						t.Errorf("%d certificates: %v, want %v", len(session.peers), code, want)
					}
				}
				code, detail := session.Withdrawn()
				if code != want || len(session.peers) > 0 && !strings.Contains(detail, c.detail) || (detail == "") != (want == 0) {
					t.Errorf("%d certificates: %v %q, want %q", len(session.peers), code, detail, c.detail)
				}
			}
			g.apply(w) // taken back
			for session := range sessions {
				if code, ok := session.Admits(); !ok {
					t.Errorf("after the change was taken back: %v", code)
				}
			}
		})
	}
}

// TestNoTLSAnyMore ends the connections of a listener that has become a plain one.
func TestNoTLSAnyMore(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	g := w.serve(t)
	s := g.open(client(ca, "a.test"))
	term := g.term.Swap(nil)
	defer g.term.Store(term)
	if code, ok := s.Admits(); ok || code != diag.Draining {
		t.Errorf("%v", code)
	}
	if found := g.state.Index().Review(t.Context()); len(found) != 0 {
		t.Errorf("%v", found)
	}
}

// TestReview finds the withdrawn ones among open connections, each once, without waiting for a request.
func TestReview(t *testing.T) {
	server, ca := testca.New(t, testca.Spec{}), testca.New(t, testca.Spec{})
	alice, bob := ca.Issue(testca.Spec{}), ca.Issue(testca.Spec{})
	w := newWorld()
	s := w.host(t, "a.test", server.Issue(testca.Spec{DNS: []string{"a.test"}}))
	w.clients(s, ir.ClientAuthRequire, ca)
	g := w.serve(t)
	first, second := g.open(with(client(server, "a.test"), alice.TLS())), g.open(with(client(server, "a.test"), alice.TLS()))
	kept := g.open(with(client(server, "a.test"), bob.TLS()))
	next := w.clone()
	next.trust.ByRef[s.ClientAuth.Trust] = &ir.TrustBundle{Bundle: secret.NewBundle(ca.Cert), CRLs: crls(t, ca.CRL(testca.CRLSpec{Revoked: certs(alice)}))}
	g.apply(next)
	if code, _ := first.Withdrawn(); code != 0 {
		t.Fatalf("judged before anybody asked: %v", code)
	}
	first.Admits()
	if found := g.state.Index().Review(t.Context()); found["*:443"] != 2 || len(found) != 1 {
		t.Errorf("found %v", found)
	}
	for session, want := range map[*Session]diag.Code{first: diag.ClientCertWithdrawn, second: diag.ClientCertWithdrawn, kept: 0} {
		if code, _ := session.Withdrawn(); code != want {
			t.Errorf("%v, want %v", code, want)
		}
	}
	if found := g.state.Index().Review(t.Context()); len(found) != 0 {
		t.Errorf("counted again: %v", found)
	}
}

// TestReviewIsPaced judges a thousand connections after a change, and takes its time over it; a second
// review has nothing to verify.
func TestReviewIsPaced(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{})
	real := time.Now()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.host(t, "a.test", leaf)
		w.clients(s, ir.ClientAuthRequire, ca)
		g := &gate{t: t, state: NewState(func() time.Time { return real })}
		g.apply(w)
		const n = 1000
		x := g.state.Index()
		for i := range n {
			sh := &x.shard[i%shards]
			if sh.conns == nil {
				sh.conns = map[*listen.Conn]indexed{}
			}
			sh.conns[&listen.Conn{}] = indexed{session: &Session{present: &g.term, sni: "a.test", chain: "test/gw/a.test",
				peers: leaf.Chain(), verified: true, since: real, class: g.term.Load().policies[s].class}}
		}
		next := w.clone()
		next.listener.Chains[0].TLS.ClientAuth.SANs = []string{"other.test"}
		g.apply(next)
		for _, want := range []struct {
			took  time.Duration
			found int
		}{{n / reviewBurst * reviewPause, n}, {0, 0}} {
			begun := time.Now()
			found := x.Review(t.Context())
			if took := time.Since(begun); took != want.took || found["*:443"] != want.found {
				t.Errorf("found %v in %v, want %d in %v", found, took, want.found, want.took)
			}
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		g.apply(w)
		g.apply(next)
		if found := x.Review(stopped); len(found) != 0 {
			t.Errorf("found %v", found)
		}
	})
}

// BenchmarkAdmits is what every request pays.
func BenchmarkAdmits(b *testing.B) {
	var present atomic.Pointer[Terminator]
	present.Store(&Terminator{})
	s := &Session{present: &present}
	s.admitted.Store(present.Load())
	for b.Loop() {
		if _, ok := s.Admits(); !ok {
			b.Fatal("not admitted")
		}
	}
}
