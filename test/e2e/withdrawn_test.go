//go:build e2e

//lint:file-ignore SA1019 x/net's HTTP/2 takes single connections, which net/http does not

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/testca"
)

// withdrawnGrace is the grace of the gateways here.
const withdrawnGrace = 1500 * time.Millisecond

// mutualWorld is a gateway with the hosts a.test and b.test, which one certificate names and which take
// clients of one CA each, over a backend whose answers can last.
type mutualWorld struct {
	*testing.T
	g          *gateway.Gateway
	site       site
	ca         *testca.Pair // of clients of a.test
	alice, bob *testca.Pair // clients of a.test
}

func newMutualWorld(t *testing.T) *mutualWorld {
	t.Helper()
	w := &mutualWorld{T: t, site: newSite(t, "a.test", "b.test"), ca: testca.New(t, testca.Spec{CommonName: "Client CA"})}
	w.alice, w.bob = w.ca.Issue(testca.Spec{CommonName: "alice"}), w.ca.Issue(testca.Spec{CommonName: "bob"})
	backend := httptest.NewServer(http.HandlerFunc(lasting))
	t.Cleanup(backend.Close)
	w.g = gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": w.gateway(""), "route.yaml": routeAll("all", "*", "backend"),
		"a.yaml": w.secret("a", nil, w.ca), "b.yaml": w.secret("b", nil, testca.New(t, testca.Spec{CommonName: "CA of b"}))},
		Endpoints: []string{"backend.default:8000=" + backend.Listener.Addr().String()}, Args: []string{"--withdrawn-grace", withdrawnGrace.String()}})
	return w
}

// lasting answers /lasting with a line every 50 ms until the client goes, /echo with an upgraded
// connection that says back what it is told, and anything else with "ok".
func lasting(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/lasting":
		for r.Context().Err() == nil {
			_, _ = io.WriteString(rw, "tick\n")
			_ = http.NewResponseController(rw).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	case "/echo":
		c, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, buf)
	default:
		_, _ = io.WriteString(rw, "ok")
	}
}

func (w *mutualWorld) gateway(tls string) string {
	return istioGateway(istioServer{host: "a.test", secret: "a", mode: "MUTUAL", tls: tls}, istioServer{host: "b.test", secret: "b", mode: "MUTUAL"})
}

func (w *mutualWorld) secret(name string, crl []byte, cas ...*testca.Pair) string {
	var pem []byte
	for _, ca := range cas {
		pem = append(pem, ca.CertPEM()...)
	}
	return testca.SecretYAML("istio-system", name, w.site.leaf.SecretData(testca.FormatTLS, pem, crl))
}

// h2 makes one connection for a.test that speaks HTTP/2.
func (w *mutualWorld) h2(who *testca.Pair, version uint16) *http2.ClientConn {
	w.Helper()
	config := presents(w.site.config("a.test"), who.TLS())
	config.NextProtos, config.MaxVersion = []string{"h2"}, version
	raw, err := tls.Dial("tcp", w.g.Addr(443), config)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { raw.Close() })
	if p := raw.ConnectionState().NegotiatedProtocol; p != "h2" {
		w.Fatalf("negotiated %q", p)
	}
	c, err := (&http2.Transport{}).NewClientConn(raw)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// stream is an answer that lasts.
type stream struct {
	body  *bufio.Reader
	began time.Time
}

func get(c *http2.ClientConn, host, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), "GET", "https://"+host+path, nil)
	if err != nil {
		return nil, err
	}
	return c.RoundTrip(req)
}

// lasts begins an answer that lasts, and has read the first of it.
func (w *mutualWorld) lasts(c *http2.ClientConn) *stream {
	w.Helper()
	resp, err := get(c, "a.test", "/lasting")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { resp.Body.Close() })
	s := &stream{bufio.NewReader(resp.Body), time.Now()}
	if line, err := s.body.ReadString('\n'); err != nil || line != "tick\n" {
		w.Fatalf("%q %v", line, err)
	}
	return s
}

// goesOn reads for a while.
func (s *stream) goesOn(d time.Duration) error {
	for until := time.Now().Add(d); time.Now().Before(until); {
		if _, err := s.body.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// ends reads to the end and returns how long that took, and how it ended.
func (s *stream) ends() (time.Duration, error) {
	begun := time.Now()
	_, err := io.Copy(io.Discard, s.body)
	return time.Since(begun), err
}

// served makes a new connection with a request.
func (w *mutualWorld) served(who *testca.Pair) error {
	c, err := client.TryTLS(w, w.g.Addr(443), presents(w.site.config("a.test"), who.TLS()))
	if err != nil {
		return err
	}
	defer c.Close()
	c.Send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	resp, _, err := c.TryReceive("GET")
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

// TestWithdrawnStreams takes away what a client was let in by: what it does on HTTP/2 ends within the
// grace, nothing new is served to it, and those who may come are not disturbed.
func TestWithdrawnStreams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(w *mutualWorld) (stays *testca.Pair)
		cause  string
	}{
		{"CA replaced", func(w *mutualWorld) *testca.Pair {
			next := testca.New(w, testca.Spec{CommonName: "Client CA"})
			w.g.Write("a.yaml", w.secret("a", nil, next))
			return next.Issue(testca.Spec{CommonName: "carol"})
		}, "HK2102"},
		{"revoked", func(w *mutualWorld) *testca.Pair {
			w.g.Write("a.yaml", w.secret("a", w.ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{w.alice.Cert}}), w.ca))
			return w.bob
		}, "HK2106"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newMutualWorld(t)
			conn := w.h2(w.alice, tls.VersionTLS13)
			open := w.lasts(conn)
			mark := w.g.Mark()
			var stays *testca.Pair
			w.g.Change(func() { stays = c.change(w) })
			changed := time.Now()
			if resp, err := get(conn, "a.test", "/"); err == nil {
				if resp.StatusCode != 421 {
					t.Errorf("a new stream got %d", resp.StatusCode)
				}
				resp.Body.Close()
			}
			if err := w.served(stays); err != nil {
				t.Errorf("who may come: %v", err)
			}
			if err := w.served(w.alice); err == nil {
				t.Error("who may not come any more was let in")
			}
			if err := open.goesOn(max(0, time.Until(changed.Add(withdrawnGrace/2)))); err != nil {
				t.Errorf("the open stream got no grace: %v", err)
			}
			if took, err := open.ends(); err == nil || took > withdrawnGrace+5*time.Second {
				t.Errorf("the open stream ended after %v: %v", took, err)
			}
			if line := w.g.AwaitLine(mark, "kind", "request", "code", "HK2304", "target", "/lasting"); !strings.Contains(line.S("detail"), c.cause) {
				t.Errorf("%v", line)
			}
			if n := w.g.Counter("hakone_connections_withdrawn_total", `listener="*:443"`); n != 1 {
				t.Errorf("%v connections withdrawn", n)
			}
		})
	}
}

// TestStreamsGoOn changes what withdraws nobody: connection and streams go on beyond the grace.
func TestStreamsGoOn(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *mutualWorld){
		"CA added": func(w *mutualWorld) {
			w.g.Write("a.yaml", w.secret("a", nil, w.ca, testca.New(w, testca.Spec{CommonName: "Next CA"})))
		},
		"another client revoked": func(w *mutualWorld) {
			w.g.Write("a.yaml", w.secret("a", w.ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{w.bob.Cert}}), w.ca))
		},
		"floor raised":       func(w *mutualWorld) { w.g.Write("gateway.yaml", w.gateway("minProtocolVersion: TLSV1_3")) },
		"CA of another host": func(w *mutualWorld) { w.g.Write("b.yaml", w.secret("b", nil, testca.New(w, testca.Spec{}))) },
		"certificate renewed": func(w *mutualWorld) {
			w.site.leaf = w.site.ca.Issue(testca.Spec{DNS: []string{"a.test", "b.test"}})
			w.g.Write("a.yaml", w.secret("a", nil, w.ca))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newMutualWorld(t)
			conn := w.h2(w.alice, tls.VersionTLS12)
			open := w.lasts(conn)
			w.g.Change(func() { change(w) })
			if err := open.goesOn(withdrawnGrace + 1500*time.Millisecond); err != nil {
				t.Errorf("the open stream: %v", err)
			}
			if resp, err := get(conn, "a.test", "/"); err != nil || resp.StatusCode != 200 {
				t.Errorf("a new stream: %v %v", resp, err)
			}
			if n := w.g.Counter("hakone_connections_withdrawn_total"); n != 0 {
				t.Errorf("%v connections withdrawn", n)
			}
		})
	}
}

// TestCoalescedHosts asks on one HTTP/2 connection for another host that its certificate names and whose
// clients another CA judges.
func TestCoalescedHosts(t *testing.T) {
	t.Parallel()
	w := newMutualWorld(t)
	conn := w.h2(w.alice, tls.VersionTLS13)
	port := w.g.Port(443)
	for _, c := range []struct {
		authority string
		status    int
	}{
		{"a.test", 200}, {"b.test", 421}, {fmt.Sprintf("a.test:%d", port), 200}, {"A.TEST", 200}, {"a.test.", 200},
		{fmt.Sprintf("B.test:%d", port), 421}, {"b.test.", 421}, {"127.0.0.1", 404}, {"[::1]", 404}, {"nobody.test", 404},
	} {
		mark := w.g.Mark()
		resp, err := get(conn, c.authority, "/")
		if err != nil {
			t.Fatalf("%s: %v", c.authority, err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", c.authority, resp.StatusCode, c.status)
		}
		if c.status == 421 {
			if line := w.g.AwaitLine(mark, "kind", "request", "code", "HK4103"); line.N("status") != 421 || !strings.Contains(string(body), "HK4103") {
				t.Errorf("%s: %v\n%s", c.authority, line, body)
			}
		}
	}
	cert, key := w.alice.Write(t.TempDir(), "alice")
	for host, served := range map[string]bool{"a.test": true, "b.test": false} {
		a := client.Curl(t, w.g.Addr(443), "https://"+host+"/", "--http2", "--cacert", w.site.caFile(t), "--cert", cert, "--key", key)
		if (a.Status == 200) != served || served && !strings.HasPrefix(a.Head, "HTTP/2 200") {
			t.Errorf("curl to %s: %d, exit %d %s\n%s", host, a.Status, a.Exit, a.Err, a.Head)
		}
	}
}

// TestWithdrawnHTTP1 takes the CA away under HTTP/1.1: an idle connection ends or answers 421, a tunnel
// and a lasting answer end within the grace.
func TestWithdrawnHTTP1(t *testing.T) {
	t.Parallel()
	w := newMutualWorld(t)
	dial := func() *client.Conn {
		return client.DialTLS(t, w.g.Addr(443), presents(w.site.config("a.test"), w.alice.TLS()))
	}
	idle, tunnel, slow := dial(), dial(), dial()
	if resp, _ := idle.Get("a.test", "/"); resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	tunnel.Send("GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nping")
	slow.Send("GET /lasting HTTP/1.1\r\nHost: a.test\r\n\r\n")
	for c, last := range map[*client.Conn]string{tunnel: "\r\n\r\nping", slow: "tick\n"} {
		buf := make([]byte, 0, 4096)
		for !strings.Contains(string(buf), last) {
			n, err := c.Read(buf[len(buf):cap(buf)])
			if buf = buf[:len(buf)+n]; err != nil {
				t.Fatalf("%q: %v", buf, err)
			}
		}
	}
	mark := w.g.Mark()
	w.g.Change(func() { w.g.Write("a.yaml", w.secret("a", nil, testca.New(t, testca.Spec{CommonName: "Client CA"}))) })
	begun := time.Now()
	idle.Send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if resp, body, err := idle.TryReceive("GET"); err == nil && (resp.StatusCode != 421 || !resp.Close || !strings.Contains(body, "HK2304")) {
		t.Errorf("a request on a connection that is withdrawn: %d\n%s", resp.StatusCode, body)
	}
	tunnel.Send("pong")
	if text := readToEnd(t, tunnel); !strings.HasPrefix(text, "pong") {
		t.Errorf("the tunnel got no grace: %q", text)
	}
	readToEnd(t, slow)
	if took := time.Since(begun); took < withdrawnGrace/2 || took > withdrawnGrace+5*time.Second {
		t.Errorf("all ended after %v", took)
	}
	w.g.AwaitLine(mark, "kind", "request", "code", "HK2304", "target", "/echo")
	w.g.AwaitLine(mark, "kind", "request", "code", "HK2304", "target", "/lasting")
}
