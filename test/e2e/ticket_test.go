//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// oneSession is a session cache that offers the same session to every server.
type oneSession struct{ state *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.state, o.state != nil }
func (o *oneSession) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		o.state = s
	}
}

// ticketWorld is a gateway with hosts a.test and b.test whose clients need a certificate, and alice and
// bob who have one.
type ticketWorld struct {
	*testing.T
	g          *gateway.Gateway
	site       site
	clients    *testca.Pair
	alice, bob *testca.Pair
	version    uint16
}

func newTicketWorld(t *testing.T, version uint16) *ticketWorld {
	t.Helper()
	w := &ticketWorld{T: t, site: newSite(t, "a.test", "b.test"), clients: testca.New(t, testca.Spec{CommonName: "Client CA"}), version: version}
	w.alice, w.bob = w.clients.Issue(testca.Spec{CommonName: "alice"}), w.clients.Issue(testca.Spec{CommonName: "bob"})
	w.g = gateway.Start(t, gateway.Options{Files: map[string]string{
		"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "a", mode: "MUTUAL"}, istioServer{host: "b.test", secret: "b", mode: "MUTUAL"},
			istioServer{host: "plain.test", secret: "plain"}),
		"route.yaml": routeAll("all", "*", "backend"),
		"a.yaml":     w.secret("a", w.clients, nil), "b.yaml": w.secret("b", w.clients, nil), "plain.yaml": secretTLS("plain", w.site.leaf),
	}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	return w
}

func (w *ticketWorld) secret(name string, ca *testca.Pair, crl []byte) string {
	return testca.SecretYAML("istio-system", name, w.site.leaf.SecretData(testca.FormatTLS, ca.CertPEM(), crl))
}

// ask makes a handshake with a session cache and a request, and returns whether the session was taken,
// and the error of either. An error that is no alert is a dropped connection and fails the test.
func (w *ticketWorld) ask(host string, who *testca.Pair, cache tls.ClientSessionCache) (resumed bool, err error) {
	w.Helper()
	config := &tls.Config{ServerName: host, InsecureSkipVerify: true, ClientSessionCache: cache, MinVersion: tls.VersionTLS12, MaxVersion: w.version}
	if who != nil {
		config = presents(config, who.TLS())
	}
	c, err := client.TryTLS(w, w.g.Addr(443), config)
	if err == nil {
		resumed = c.TLS().DidResume
		c.Send("GET /status/200 HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
		resp, _, readErr := c.TryReceive("GET") // takes the tickets of TLS 1.3 too
		if err = readErr; err == nil && resp.StatusCode != 200 {
			w.Errorf("%s: status %d", host, resp.StatusCode)
		}
		c.Close()
	}
	if err != nil && !strings.Contains(err.Error(), "remote error: tls: ") {
		w.Errorf("%s: the connection was dropped without an alert: %v", host, err)
	}
	return resumed, err
}

// earn returns a session of host that is known to be taken there again.
func (w *ticketWorld) earn(host string, who *testca.Pair) *oneSession {
	w.Helper()
	cache := &oneSession{}
	for i := range 2 {
		resumed, err := w.ask(host, who, cache)
		if err != nil || cache.state == nil {
			w.Fatalf("%s: no session: %v", host, err)
		}
		if resumed != (i == 1) {
			w.Fatalf("%s: handshake %d resumed: %v", host, i+1, resumed)
		}
	}
	return cache
}

func eachVersion(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			t.Parallel()
			f(t, v)
		})
	}
}

// TestTicketOnAnotherHost offers a ticket where it was not earned: the handshake is a full one, and
// whoever has no certificate for that host does not get in by it.
func TestTicketOnAnotherHost(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		w := newTicketWorld(t, version)
		session := w.earn("a.test", w.alice)
		if resumed, err := w.ask("b.test", w.alice, &oneSession{session.state}); resumed || err != nil {
			t.Errorf("a's ticket on b: resumed %v, %v", resumed, err)
		}
		if resumed, err := w.ask("b.test", nil, &oneSession{session.state}); resumed || err == nil {
			t.Errorf("a's ticket on b, without certificate: resumed %v, %v", resumed, err)
		}
		plain := w.earn("plain.test", nil)
		if resumed, err := w.ask("a.test", nil, &oneSession{plain.state}); resumed || err == nil {
			t.Errorf("the ticket of a host without client certificates on a: resumed %v, %v", resumed, err)
		}
		if resumed, err := w.ask("plain.test", nil, &oneSession{session.state}); resumed || err != nil {
			t.Errorf("a's ticket on plain: resumed %v, %v", resumed, err)
		}
		w.g.AwaitLine(0, "kind", "handshake", "code", "HK2101", "sni", "b.test")
		w.g.AwaitLine(0, "kind", "handshake", "code", "HK2101", "sni", "a.test")
	})
}

// TestTicketAfterCARemoval replaces the CA that a ticket's client was verified with.
func TestTicketAfterCARemoval(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		w := newTicketWorld(t, version)
		session, other := w.earn("a.test", w.alice), w.earn("b.test", w.alice)
		w.g.Change(func() { w.g.Write("a.yaml", w.secret("a", testca.New(t, testca.Spec{CommonName: "Client CA"}), nil)) })
		if resumed, err := w.ask("a.test", w.alice, session); resumed || err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
			t.Errorf("after the CA was replaced: resumed %v, %v", resumed, err)
		}
		if resumed, err := w.ask("b.test", w.alice, other); !resumed || err != nil {
			t.Errorf("b's trust did not change: resumed %v, %v", resumed, err)
		}
		w.g.AwaitLine(0, "kind", "handshake", "code", "HK2102", "sni", "a.test")
	})
}

// TestTicketAfterRevocation puts a ticket's client on a revocation list.
func TestTicketAfterRevocation(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		w := newTicketWorld(t, version)
		alice, bob := w.earn("a.test", w.alice), w.earn("a.test", w.bob)
		list := w.clients.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{w.alice.Cert}})
		w.g.Change(func() { w.g.Write("a.yaml", w.secret("a", w.clients, list)) })
		if resumed, err := w.ask("a.test", w.alice, alice); resumed || err == nil || !strings.Contains(err.Error(), "bad certificate") {
			t.Errorf("revoked: resumed %v, %v", resumed, err)
		}
		if resumed, err := w.ask("a.test", w.bob, bob); resumed || err != nil {
			t.Errorf("not revoked: resumed %v, %v; want a full handshake", resumed, err)
		}
		w.g.AwaitLine(0, "kind", "handshake", "code", "HK2106", "sni", "a.test")
	})
}

// TestTicketAfterRaisedFloor raises the floor to 1.3 and, for tickets of TLS 1.3, also narrows it from
// the other side.
func TestTicketAfterRaisedFloor(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		w := newTicketWorld(t, version)
		session := w.earn("plain.test", nil)
		if r := w.g.Run("tls-version", "set", "1.3", "--yes", "--no-probe"); r.Code != 0 {
			t.Fatalf("set: %+v", r)
		}
		resumed, err := w.ask("plain.test", nil, session)
		if version == tls.VersionTLS13 && (resumed || err != nil) {
			t.Errorf("a ticket earned under another floor: resumed %v, %v; want a full handshake", resumed, err)
		}
		if version == tls.VersionTLS12 && (err == nil || !strings.Contains(err.Error(), "protocol version not supported")) {
			t.Errorf("TLS 1.2 after the floor is 1.3: resumed %v, %v; want alert 70", resumed, err)
		}
	})
}

// TestTicketOpenSSL is the first and the third of these with openssl s_client.
func TestTicketOpenSSL(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		w := newTicketWorld(t, version)
		flag := map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]
		cert, key := w.alice.Write(t.TempDir(), "alice")
		file := filepath.Join(t.TempDir(), "session")
		request := func(host string) string {
			return "GET /status/200 HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
		}
		shake := func(host string, more ...string) client.Shake {
			return client.SClient(t, w.g.Addr(443), request(host), append([]string{"-servername", host, flag, "-cert", cert, "-key", key}, more...)...)
		}
		served := func(s client.Shake) bool { return strings.Contains(s.Text, "HTTP/1.1 200") }
		if s := shake("a.test", "-sess_out", file); !served(s) || s.Reused {
			t.Fatalf("first: %s", s.Text)
		}
		if _, err := os.Stat(file); err != nil {
			t.Fatal(err)
		}
		if s := shake("a.test", "-sess_in", file); !served(s) || !s.Reused {
			t.Errorf("the same host again: served %v, reused %v\n%s", served(s), s.Reused, s.Text)
		}
		if s := shake("b.test", "-sess_in", file); !served(s) || s.Reused {
			t.Errorf("another host: served %v, reused %v\n%s", served(s), s.Reused, s.Text)
		}
		list := w.clients.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{w.alice.Cert}})
		w.g.Change(func() { w.g.Write("a.yaml", w.secret("a", w.clients, list)) })
		if s := shake("a.test", "-sess_in", file); served(s) || s.Alert != 42 {
			t.Errorf("revoked: served %v, reused %v, alert %d\n%s", served(s), s.Reused, s.Alert, s.Text)
		}
	})
}

// TestOpenConnectionAfterRotation shows that changes which would let the client in again leave an open
// connection alone.
func TestOpenConnectionAfterRotation(t *testing.T) {
	t.Parallel()
	w := newTicketWorld(t, tls.VersionTLS13)
	c := client.DialTLS(t, w.g.Addr(443), presents(&tls.Config{ServerName: "a.test", InsecureSkipVerify: true}, w.alice.TLS()))
	for i, change := range []func(){
		func() { w.g.Write("a.yaml", w.secret("a", w.clients, w.clients.CRL(testca.CRLSpec{}))) },
		func() { w.g.Write("b.yaml", secretTLS("b", w.site.leaf)) },
	} {
		w.g.Change(change)
		if resp, _ := c.Get("a.test", fmt.Sprintf("/status/20%d", i)); resp.StatusCode != 200+i {
			t.Errorf("after change %d: status %d", i, resp.StatusCode)
		}
	}
}
