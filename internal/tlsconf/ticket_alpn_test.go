package tlsconf

import (
	"crypto/tls"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestTicketAcrossProtocols earns a ticket under one application protocol and offers it with another:
// the session is resumed, since a ticket stands for the keys and not for what is spoken (RFC 8446
// section 4.2.11), the protocol is negotiated anew, and the policy is bound all the same.
func TestTicketAcrossProtocols(t *testing.T) {
	server, ca := testca.New(t, testca.Spec{}), testca.New(t, testca.Spec{})
	alice := ca.Issue(testca.Spec{CommonName: "alice"})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, c := range []struct{ first, then string }{{"http/1.1", "h2"}, {"h2", "http/1.1"}, {"", "h2"}, {"h2", ""}, {"h2", "h2"}} {
			t.Run(tls.VersionName(version)+" "+c.first+" to "+c.then, func(t *testing.T) {
				w := newWorld()
				s := w.host(t, "a.test", server.Issue(testca.Spec{DNS: []string{"a.test"}}))
				s.ALPN = []string{"h2", "http/1.1"}
				w.clients(s, ir.ClientAuthRequire, ca)
				g := w.serve(t)
				tickets := &oneTicket{}
				shake := func(protocol string) *tls.ConnectionState {
					config := with(client(server, "a.test"), alice.TLS())
					config.MaxVersion, config.ClientSessionCache = version, tickets
					if protocol != "" {
						config.NextProtos = []string{protocol}
					}
					out := g.dial(config)
					rec := g.record()
					if out.err != nil || rec.Code != 0 || rec.ALPN != protocol || out.state.NegotiatedProtocol != protocol {
						t.Fatalf("%q: %v; record %s, ALPN %q", protocol, out.err, rec.Code, rec.ALPN)
					}
					if rec.PeerHash != keyPair(t, alice).Fingerprint {
						t.Errorf("%q: the session belongs to %q", protocol, rec.PeerHash)
					}
					return &out.state
				}
				if shake(c.first).DidResume {
					t.Fatal("the first one resumed")
				}
				if !shake(c.then).DidResume {
					t.Error("the session was not resumed")
				}
				next := w.clone()
				next.listener.Chains[0].TLS.MinVersion, next.listener.Chains[0].TLS.CipherSuites = version, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
				g.apply(next)
				if shake(c.first).DidResume {
					t.Error("resumed under another policy")
				}
			})
		}
	}
}
