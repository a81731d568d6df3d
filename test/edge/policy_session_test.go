//go:build e2e

package edge

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/testca"
)

// newSessions serves open.test without policy, and one.test and two.test, each with a policy for /in of its own
// that trusts CA A by the bundle called as the host's first label.
func newSessions(t *testing.T, lines ...string) *world {
	t.Helper()
	w := newWorld(t, "open.test", "one.test", "two.test")
	for _, name := range []string{"one", "two"} {
		w.files[name+".yaml"] = w.guarded(name, lines...)
		w.files[name+"-ca.yaml"] = bundle(name, w.a.CertPEM(), nil)
	}
	w.start()
	return w
}

func (w *world) guarded(name string, lines ...string) string {
	return policy(name, append([]string{"hosts: [" + name + ".test]", "paths: [/in]", trusts(name)}, lines...)...)
}

// revoke puts certificates of CA A on the list of a bundle.
func (w *world) revoke(name string, number int64, certs ...*testca.Pair) {
	w.Helper()
	spec := testca.CRLSpec{Number: number}
	for _, c := range certs {
		spec.Revoked = append(spec.Revoked, c.Cert)
	}
	w.g.Change(func() { w.g.Write(name+"-ca.yaml", bundle(name, w.a.CertPEM(), w.a.CRL(spec))) })
}

func eachVersion(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			t.Parallel()
			f(t, v)
		})
	}
}

// oneSession offers its session to every server.
type oneSession struct{ state *tls.ClientSessionState }

func (o *oneSession) Get(string) (*tls.ClientSessionState, bool) { return o.state, o.state != nil }
func (o *oneSession) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		o.state = s
	}
}

// visit makes a connection with a session cache, asks for /in and returns whether the session was taken.
func (w *world) visit(version uint16, host string, cert *testca.Pair, cache tls.ClientSessionCache) (resumed bool, got string) {
	w.Helper()
	config := w.config(host, cert)
	config.MinVersion, config.MaxVersion, config.ClientSessionCache = version, version, cache
	c := client.DialTLS(w, w.g.Addr(443), config)
	defer c.Close()
	c.Send("GET /in HTTP/1.1\r\nHost: " + host + "\r\nAccept: application/json\r\n\r\n")
	resp, body := c.Receive("GET")
	return c.TLS().DidResume, fmt.Sprint(resp.StatusCode, codeIn(body))
}

// codeIn returns " HKnnnn" where an answer's body has a code.
func codeIn(body string) string {
	if _, rest, ok := strings.Cut(body, `"code":"`); ok {
		return " " + rest[:6]
	}
	return ""
}

// TestTicketsBetweenHosts offers tickets of one host on another with Go's TLS and with openssl's.
func TestTicketsBetweenHosts(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version uint16) {
		w := newSessions(t)
		alice, bob := w.a.Issue(testca.Spec{CommonName: "alice"}), w.b.Issue(testca.Spec{CommonName: "bob"})
		cache := &oneSession{}
		for i, k := range []struct {
			host    string
			who     *testca.Pair
			resumed bool
			want    string
		}{
			{"open.test", nil, false, "200"}, {"open.test", nil, true, "200"}, // a ticket of the open host
			{"one.test", nil, false, "403 HK2101"}, {"one.test", alice, false, "200"}, {"one.test", alice, true, "200"}, {"one.test", nil, true, "200"}, // the certificate is in the ticket, for this host
			{"two.test", nil, false, "403 HK2101"}, {"two.test", alice, false, "200"}, {"one.test", nil, false, "403 HK2101"}, // and for no other
			{"two.test", bob, false, "403 HK2102"}, {"open.test", bob, false, "200"}, {"one.test", bob, false, "403 HK2102"},
		} {
			if resumed, got := w.visit(version, k.host, k.who, cache); resumed != k.resumed || got != k.want {
				t.Errorf("step %d, %s: resumed %v, %s; want %v, %s", i, k.host, resumed, got, k.resumed, k.want)
			}
		}
		w.opensslSessions(version, alice)
	})
}

func (w *world) opensslSessions(version uint16, alice *testca.Pair) {
	w.Helper()
	dir := w.TempDir()
	cert, key := alice.Write(dir, "alice")
	protocol := map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]
	ask := func(host, in, out string, args ...string) (reused bool, got string) {
		w.Helper()
		args = append(args, "-servername", host, protocol)
		if in != "" {
			args = append(args, "-sess_in", filepath.Join(dir, in))
		}
		if out != "" {
			args = append(args, "-sess_out", filepath.Join(dir, out))
		}
		s := client.SClient(w, w.g.Addr(443), "GET /in HTTP/1.1\r\nHost: "+host+"\r\nAccept: application/json\r\nConnection: close\r\n\r\n", args...)
		_, answer, _ := strings.Cut(s.Text, "HTTP/1.1 ")
		return s.Reused, fmt.Sprint(answer[:min(3, len(answer))], codeIn(answer))
	}
	with := []string{"-cert", cert, "-key", key}
	for i, k := range []struct {
		host, in, out string
		args          []string
		reused        bool
		want          string
	}{
		{"open.test", "", "open", nil, false, "200"}, {"open.test", "open", "", nil, true, "200"}, {"one.test", "open", "", nil, false, "403 HK2101"},
		{"one.test", "", "one", with, false, "200"}, {"one.test", "one", "", nil, true, "200"}, {"two.test", "one", "", nil, false, "403 HK2101"}, {"open.test", "one", "", nil, false, "200"},
	} {
		if reused, got := ask(k.host, k.in, k.out, k.args...); reused != k.reused || got != k.want {
			w.Errorf("openssl, step %d, %s: reused %v, %s; want %v, %s", i, k.host, reused, got, k.reused, k.want)
		}
	}
}

// TestTwoHostsOnOneConnection: a connection of HTTP/2 or 1.1 for one host serves no host of other policies.
func TestTwoHostsOnOneConnection(t *testing.T) {
	t.Parallel()
	w := newSessions(t)
	alice := w.a.Issue(testca.Spec{CommonName: "alice"})
	hosts := []string{"open.test", "one.test", "two.test"}
	for _, sni := range hosts {
		c := client.DialHTTP2(t, w.g.Addr(443), w.config(sni, alice), 0, false)
		old := w.raw(sni, alice)
		for _, host := range append(hosts, sni) {
			want := 421
			if host == sni {
				want = 200
			}
			if s, err := c.Get("https", host, "/in"); err != nil || s.Status != want {
				t.Errorf("HTTP/2 for %s asked for %s: %d %v, want %d", sni, host, s.Status, err, want)
			}
			if resp, _ := old.Get(host, "/in"); resp.StatusCode != want {
				t.Errorf("HTTP/1.1 for %s asked for %s: %d, want %d", sni, host, resp.StatusCode, want)
			} else if resp.Close {
				old = w.raw(sni, alice)
			}
		}
		c.Close()
	}
	if n := w.up.Count(); n != 3*2*2 {
		t.Errorf("the origin saw %d requests", n)
	}
}

// TestChangesOnOpenConnections changes lists, CAs and rules under connections: the next request is judged anew,
// and tickets of before mean a full handshake.
func TestChangesOnOpenConnections(t *testing.T) {
	t.Parallel()
	w := newSessions(t)
	alice := w.a.Issue(testca.Spec{CommonName: "alice"})
	http1 := w.raw("one.test", alice)
	http2 := client.DialHTTP2(t, w.g.Addr(443), w.config("one.test", alice), 0, false)
	defer http2.Close()
	ask := client.Request("GET", "https", "one.test", "/in", "accept", "application/json")
	for i, k := range []struct {
		change func()
		want   string
	}{
		{nil, "200"},
		{func() { w.revoke("one", 1, alice) }, "403 HK2106"},
		{func() { w.revoke("one", 2) }, "200"},
		{func() { w.g.Change(func() { w.g.Write("one-ca.yaml", bundle("one", w.b.CertPEM(), nil)) }) }, "403 HK2102"},
		{func() { w.g.Change(func() { w.g.Write("one-ca.yaml", bundle("one", w.a.CertPEM(), nil)) }) }, "200"},
		{func() {
			w.g.Change(func() { w.g.Write("one.yaml", w.guarded("one", "allow: [{commonNames: [vera]}]")) })
		}, "403 HK2117"},
		{func() {
			w.g.Change(func() { w.g.Write("one.yaml", w.guarded("one", "mode: Audit", "allow: [{commonNames: [vera]}]")) })
		}, "200"},
		{func() {
			w.g.Change(func() {
				w.g.Write("one.yaml", w.guarded("one", fmt.Sprintf("revocation: {serials: ['%x']}", alice.Cert.SerialNumber)))
			})
		}, "403 HK2140"},
		{func() { w.g.Change(func() { w.g.Write("one.yaml", w.guarded("one")) }) }, "200"},
		{func() { w.g.Change(func() { w.g.Write("one-ca.yaml", bundle("one", nil, nil)) }) }, "403 HK2124"},
		{func() { w.g.Change(func() { w.g.Remove("one.yaml") }) }, "200"},
	} {
		cache, other := &oneSession{}, &oneSession{}
		w.visit(tls.VersionTLS13, "one.test", alice, cache)
		w.visit(tls.VersionTLS13, "two.test", alice, other)
		if k.change != nil {
			k.change()
			if resumed, got := w.visit(tls.VersionTLS13, "one.test", alice, cache); resumed || got != k.want {
				t.Errorf("step %d, with a ticket: resumed %v, %s, want %s", i, resumed, got, k.want)
			}
			if resumed, got := w.visit(tls.VersionTLS13, "two.test", alice, other); !resumed || got != "200" {
				t.Errorf("step %d, with a ticket of two.test: resumed %v, %s", i, resumed, got)
			}
		}
		http1.Send("GET /in HTTP/1.1\r\nHost: one.test\r\nAccept: application/json\r\n\r\n")
		if resp, body, err := http1.TryReceive("GET"); err != nil || fmt.Sprint(resp.StatusCode, codeIn(body)) != k.want {
			t.Errorf("step %d, HTTP/1.1: %v %v, want %s", i, resp, err, k.want)
			http1 = w.raw("one.test", alice)
		}
		if s, err := http2.Await(http2.Open(ask, true), nil); err != nil || fmt.Sprint(s.Status, codeIn(string(s.Body))) != k.want {
			t.Errorf("step %d, HTTP/2: %d %s %v, want %s", i, s.Status, s.Body, err, k.want)
		}
	}
}

// TestPolicyUnderOpenConnections gives a host its first policy: it holds for the next request of connections that
// were made before, which are told to come again where a certificate is asked for.
func TestPolicyUnderOpenConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.test", "b.test")
	w.start()
	var http1 []*client.Conn
	for range 2 {
		c := w.raw("a.test", nil)
		if resp, _ := c.Get("a.test", "/in"); resp.StatusCode != 200 {
			t.Fatalf("%d before", resp.StatusCode)
		}
		http1 = append(http1, c)
	}
	own, shared := client.DialHTTP2(t, w.g.Addr(443), w.config("a.test", nil), 0, false), client.DialHTTP2(t, w.g.Addr(443), w.config("b.test", nil), 0, false)
	defer own.Close()
	defer shared.Close()
	for _, c := range []*client.HTTP2{own, shared} {
		if s, err := c.Get("https", "a.test", "/in"); err != nil || s.Status != 200 {
			t.Fatalf("%d before, %v", s.Status, err)
		}
	}
	w.g.Change(func() { w.g.Write("policies.yaml", policy("p", "hosts: [a.test]", "paths: [/in]", trusts("a"))) })
	for path, want := range map[string]int{"/in": 421, "/out": 200} {
		c := http1[len(path)-3]
		if resp, _ := c.Get("a.test", path); resp.StatusCode != want || !resp.Close {
			t.Errorf("HTTP/1.1, %s: %d, close %v", path, resp.StatusCode, resp.Close)
		}
	}
	for _, c := range []*client.HTTP2{own, shared} {
		if s, err := c.Get("https", "a.test", "/in"); err != nil || s.Status != 421 {
			t.Errorf("HTTP/2: %d %s %v", s.Status, s.Body, err)
		}
	}
	if s, err := shared.Get("https", "b.test", "/in"); err != nil || s.Status != 200 {
		t.Errorf("HTTP/2, the other host: %d %v", s.Status, err)
	}
	if n := w.up.Count(); n != 6 {
		t.Errorf("the origin saw %d requests", n)
	}
}

// TestOnChange revokes a client with everything in progress: with Now it ends within two seconds, with Finish
// it goes on. What others have in progress goes on in both.
func TestOnChange(t *testing.T) {
	t.Parallel()
	for _, now := range []bool{false, true} {
		t.Run(map[bool]string{false: "Finish", true: "Now"}[now], func(t *testing.T) {
			t.Parallel()
			lines := []string{"onChange: Finish"}
			if now {
				lines = []string{"onChange: Now"}
			}
			w := newSockets(t, lines...)
			mallory, vera := w.a.Issue(testca.Spec{CommonName: "mallory"}), w.a.Issue(testca.Spec{CommonName: "vera"})
			bad, good, other := w.busy("a.test", mallory), w.busy("a.test", vera), w.busy("b.test", nil)
			w.g.Change(func() {
				w.g.Write("bundles.yaml", documents(bundle("a", w.a.CertPEM(), w.a.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{mallory.Cert}})), configMap("b", string(w.b.CertPEM()))))
			})
			if now {
				bad.ended(2 * time.Second)
				w.g.AwaitLineThat(0, "of a connection that was cut", func(l gateway.Line) bool { return l.S("code") == "HK2125" })
			} else {
				time.Sleep(2 * time.Second)
				bad.goesOn("a.test, revoked")
			}
			good.goesOn("a.test, another client")
			other.goesOn("b.test")
		})
	}
}

// busy is a client with an idle connection, an answer in progress over each protocol, and two WebSockets.
type busy struct {
	*world
	idle, socket, slow *client.Conn
	http2              *client.HTTP2
	slow2, socket2     uint32
	seen               int
}

func (w *world) busy(host string, cert *testca.Pair) *busy {
	w.Helper()
	b := &busy{world: w, idle: w.raw(host, cert), socket: w.raw(host, cert), slow: w.raw(host, cert), http2: client.DialHTTP2(w, w.g.Addr(443), w.config(host, cert), 0, false)}
	w.Cleanup(func() { b.http2.Close() })
	if resp, _ := b.idle.Get(host, "/socket/plain"); resp.StatusCode != 200 {
		w.Fatalf("%s: %d", host, resp.StatusCode)
	}
	b.socket.Send(upgrade(host, "/socket"))
	if resp, err := http.ReadResponse(b.socket.R, nil); err != nil || resp.StatusCode != 101 {
		w.Fatalf("%s: %v %v", host, resp, err)
	}
	b.slow.Send("GET /slow HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	if resp, err := http.ReadResponse(b.slow.R, nil); err != nil || resp.StatusCode != 200 {
		w.Fatalf("%s: %v %v", host, resp, err)
	}
	_, _ = b.slow.R.Discard(len("5\r\nbegin\r\n"))
	b.slow2 = b.http2.Open(client.Request("GET", "https", host, "/slow"), true)
	b.socket2 = b.http2.Open(client.Lines(":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", host, ":path", "/socket", "sec-websocket-version", "13"), false)
	for _, id := range []uint32{b.slow2, b.socket2} {
		if s, err := b.http2.Await(id, func(s *client.Stream) bool { return s.Status != 0 }); err != nil || s.Status != 200 {
			w.Fatalf("%s: %+v %v", host, s, err)
		}
	}
	b.goesOn(host)
	return b
}

// goesOn asserts that all of it is in progress.
func (b *busy) goesOn(what string) {
	b.Helper()
	for name, c := range map[string]*client.Conn{"idle": b.idle, "slow": b.slow} {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.R.Peek(1); !isTimeout(err) {
			b.Errorf("%s: the %s connection: %v", what, name, err)
		}
		_ = c.SetReadDeadline(time.Time{})
	}
	b.socket.Send("ping")
	echo := make([]byte, 4)
	_ = b.socket.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(b.socket.R, echo); err != nil || string(echo) != "ping" {
		b.Errorf("%s: WebSocket over HTTP/1.1: %q %v", what, echo, err)
	}
	b.http2.Data(b.socket2, []byte("ping"), false)
	b.seen += 4
	if s, err := b.http2.Await(b.socket2, func(s *client.Stream) bool { return len(s.Body) >= b.seen }); err != nil || s.Ended || s.Reset {
		b.Errorf("%s: WebSocket over HTTP/2: %+v %v", what, s, err)
	}
	if s, err := b.http2.Await(b.slow2, func(*client.Stream) bool { return true }); err != nil || s.Ended || s.Reset {
		b.Errorf("%s: the answer over HTTP/2: %+v %v", what, s, err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// ended asserts that all of it ends in a time.
func (b *busy) ended(limit time.Duration) {
	b.Helper()
	end := time.Now().Add(limit)
	for name, c := range map[string]*client.Conn{"idle": b.idle, "slow": b.slow, "WebSocket": b.socket} {
		_ = c.SetReadDeadline(end)
		if _, err := io.Copy(io.Discard, c.R); isTimeout(err) {
			b.Errorf("the %s connection was not ended in %s", name, limit)
		}
	}
	for _, id := range []uint32{b.slow2, b.socket2} {
		if s, err := b.http2.Await(id, func(*client.Stream) bool { return time.Now().After(end) }); err == nil && !s.Reset && !s.Ended {
			b.Errorf("a stream of HTTP/2 was not ended in %s: %+v", limit, s)
		}
	}
}

// TestNobodyElseLosesARequest changes lists again and again under load, with onChange: Now: the requests of
// clients that are let in all the time succeed, on the connections that they have.
func TestNobodyElseLosesARequest(t *testing.T) {
	t.Parallel()
	w := newSessions(t, "onChange: Now")
	vera, mallory := w.a.Issue(testca.Spec{CommonName: "vera"}), w.a.Issue(testca.Spec{CommonName: "mallory"})
	var stop atomic.Bool
	var asked atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		host := []string{"one.test", "two.test", "open.test", "one.test"}[i]
		wg.Go(func() { // HTTP/1.1
			c := w.raw(host, vera)
			for !stop.Load() {
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				if _, err := fmt.Fprintf(c, "POST /in HTTP/1.1\r\nHost: %s\r\nContent-Length: 3\r\n\r\nabc", host); err != nil {
					t.Errorf("%s: %v", host, err)
					return
				}
				resp, body, err := c.TryReceive("POST")
				if err != nil || resp.StatusCode != 200 || resp.Close {
					t.Errorf("%s: %v %v %s", host, resp, err, body)
					return
				}
				asked.Add(1)
			}
		})
		wg.Go(func() { // HTTP/2
			c := client.DialHTTP2(t, w.g.Addr(443), w.config(host, vera), 0, false)
			defer c.Close()
			for !stop.Load() {
				if s, err := c.Get("https", host, "/in"); err != nil || s.Status != 200 {
					away, _ := c.Away()
					t.Errorf("HTTP/2, %s: %d %v %v", host, s.Status, err, away)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 6 {
		bad := w.raw("one.test", mallory)
		if resp, _ := bad.Get("one.test", "/in"); resp.StatusCode != 200 {
			t.Errorf("round %d: %d", i, resp.StatusCode)
		}
		w.revoke("one", int64(2*i+1), mallory)
		bad.Closed()
		w.revoke("one", int64(2*i+2))
	}
	stop.Store(true)
	wg.Wait()
	if asked.Load() < 100 {
		t.Errorf("%d requests only", asked.Load())
	}
}
