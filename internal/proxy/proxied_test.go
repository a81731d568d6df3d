package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/route"
)

// chooser is a Forwarder that sends everything to one upstream, unless choose says otherwise.
type chooser struct {
	g        *gateway
	choose   func(*ForwardRequest) (ForwardChoice, bool)
	chosen   atomic.Int32
	released atomic.Int32
	answered atomic.Int32
}

func (f *chooser) Choose(r *ForwardRequest) ForwardChoice {
	if f.choose != nil {
		if c, ok := f.choose(r); ok {
			return c
		}
	}
	f.chosen.Add(1)
	return ForwardChoice{Upstream: f.g.up, Route: &route.Route{IR: &ir.Route{Name: "ns/f"}}, Release: func() { f.released.Add(1) }}
}

// settled fails the test if what was chosen is not let go of, which is after the record.
func (f *chooser) settled(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); f.chosen.Load() != f.released.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d chosen, %d released", f.chosen.Load(), f.released.Load())
		}
	}
}

func (f *chooser) Answered(r *ForwardRequest) {
	f.answered.Add(1)
	r.Response.Fields.SetString("X-Answered", "yes")
}

func (f *chooser) Explain(_ *ForwardRequest, r *filter.Response) ([]byte, string) {
	return []byte("explained " + r.Code.String()), "text/plain"
}

// startProxy is start with a listener that is a forward proxy.
func startProxy(t testing.TB, s setup, f *chooser, settings *ir.Forward) *gateway {
	t.Helper()
	g := start(t, s)
	f.g = g
	if settings == nil {
		settings = &ir.Forward{Via: true, Hostname: "proxy.test", ForwardedFor: "on"}
	}
	g.state.Store(g.p.Compile(&ir.Listener{Name: "*:80", Port: 3128, Forward: &ir.ForwardListener{Mode: ir.ForwardExplicit}},
		Wiring{Forwarder: f, Forward: settings}))
	return g
}

// mirroring serves requests without body, answering each with the head that it received.
func mirroring(fields string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(head), fields, head); err != nil {
				return
			}
		}
	}
}

// newTLSOrigin is newOrigin with TLS.
func newTLSOrigin(t testing.TB, serve func(net.Conn, *bufio.Reader)) *rawOrigin {
	config := selfSigned()
	config.NextProtos = nil
	return newOrigin(t, func(c net.Conn, _ *bufio.Reader) {
		tc := tls.Server(c, config)
		serve(tc, bufio.NewReader(tc))
	})
}

// echoingAfterUpgrade takes one upgrade and echoes.
func echoingAfterUpgrade(c net.Conn, r *bufio.Reader) {
	readHead(r)
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(c, r)
}

// newMirror is an origin that answers with the head that it received as its body, and with fields.
func newMirror(t testing.TB, fields string) *rawOrigin {
	return newOrigin(t, mirroring(fields))
}

func TestForwardTargets(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, request, line, url string
		status                   int
		code                     diag.Code
	}{
		{"absolute", "GET http://a.test/x?y=1 HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /x?y=1 HTTP/1.1\r\nHost: a.test\r\n", "http://a.test/x?y=1", 200, 0},
		{"default port", "GET http://A.test:80/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: A.test:80\r\n", "http://a.test/", 200, 0},
		{"other port", "GET http://a.test:8080/ HTTP/1.1\r\nHost: a.test:8080\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test:8080\r\n", "http://a.test:8080/", 200, 0},
		{"https without CONNECT", "GET https://a.test/s HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /s HTTP/1.1\r\nHost: a.test\r\n", "https://a.test/s", 200, 0},
		{"another Host", "GET http://a.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\n", "http://a.test/", 200, 0},
		{"no Host", "GET http://a.test/ HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\n", "http://a.test/", 200, 0},
		{"HTTP/1.0", "GET http://a.test/ HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\n", "http://a.test/", 200, 0},
		{"address", "GET http://[::1]:81/ HTTP/1.1\r\nHost: [::1]:81\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:81\r\n", "http://[::1]:81/", 200, 0},
		{"no path", "OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n", "http://a.test", 200, 0},
		{"path alone", "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a.test\r\n", "http://a.test/x", 200, 0},
		{"two Hosts", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "", "", 400, diag.RequestBadHost},
		{"another scheme", "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "", "", 400, diag.RequestMalformed},
		{"user information", "GET http://u:p@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "", "", 400, diag.RequestBadHost},
		{"climbing path", "GET http://a.test/../x HTTP/1.1\r\nHost: a.test\r\n\r\n", "", "", 400, diag.RequestBadPath},
		{"TRACE with a body", "TRACE http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx", "", "http://a.test/", 400, diag.RequestMalformed},
	} {
		t.Run(x.name, func(t *testing.T) {
			f := &chooser{}
			g := startProxy(t, setup{backend: newMirror(t, "").addr}, f, nil)
			c := g.dial()
			resp, body := roundTrip(t, c, bufio.NewReader(c), "GET", x.request)
			if resp.StatusCode != x.status || !strings.HasPrefix(body, x.line) {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, x.status, x.line)
			}
			a := g.record()
			if string(a.URL) != x.url || a.Code != x.code {
				t.Errorf("URL %q code %v, want %q %v", a.URL, a.Code, x.url, x.code)
			}
			f.settled(t)
			if x.status == 200 && (a.Result != "TCP_MISS" || a.Hierarchy != "HIER_DIRECT" || resp.Header.Get("Via") != "1.1 proxy.test (hakone)" || resp.Header.Get("X-Answered") != "yes") {
				t.Errorf("%s %s, head %v", a.Result, a.Hierarchy, resp.Header)
			}
			if x.status == 400 && x.url != "" && a.Result != "NONE_NONE" {
				t.Errorf("result %s", a.Result)
			}
		})
	}
}

func TestForwardFields(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		mode, sent, want string
	}{
		{"on", "", "127.0.0.1"},
		{"", "10.0.0.1", "10.0.0.1, 127.0.0.1"},
		{"off", "10.0.0.1", "10.0.0.1, unknown"},
		{"transparent", "10.0.0.1", "10.0.0.1"},
		{"transparent", "", ""},
		{"delete", "10.0.0.1", ""},
		{"truncate", "10.0.0.1", "127.0.0.1"},
	} {
		g := startProxy(t, setup{backend: newMirror(t, "").addr}, &chooser{}, &ir.Forward{Hostname: "proxy.test", Via: true, ForwardedFor: x.mode, Remove: []string{"x-secret"}})
		xff := ""
		if x.sent != "" {
			xff = "X-Forwarded-For: " + x.sent + "\r\n"
		}
		c := g.dial()
		_, body := roundTrip(t, c, bufio.NewReader(c), "GET", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nVia: 1.0 before\r\nProxy-Authorization: Basic eDp5\r\n"+
			"Proxy-Connection: keep-alive\r\nX-Secret: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n"+xff+"\r\n")
		head, err := http.ReadRequest(bufio.NewReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		if got := head.Header.Get("X-Forwarded-For"); got != x.want {
			t.Errorf("mode %q: X-Forwarded-For %q, want %q", x.mode, got, x.want)
		}
		if got := strings.Join(head.Header["Via"], ", "); got != "1.0 before, 1.1 proxy.test (hakone)" {
			t.Errorf("Via %q", got)
		}
		for _, name := range []string{"Proxy-Authorization", "Proxy-Connection", "X-Secret", "X-Hop", "Connection", "X-Request-Id", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"} {
			if v, ok := head.Header[name]; ok {
				t.Errorf("%s: %q goes to the internet", name, v)
			}
		}
	}
}

// TestForwardWithoutVia adds nothing.
func TestForwardWithoutVia(t *testing.T) {
	g := startProxy(t, setup{backend: newMirror(t, "").addr}, &chooser{}, &ir.Forward{Hostname: "proxy.test", ForwardedFor: "delete"})
	c := g.dial()
	resp, body := roundTrip(t, c, bufio.NewReader(c), "GET", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if body != "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n" || resp.Header.Get("Via") != "" {
		t.Errorf("%q %v", body, resp.Header)
	}
}

func TestMaxForwards(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		request, want string
		status        int
	}{
		{"TRACE http://a.test/p HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\nCookie: c\r\nAuthorization: a\r\nX-A: b\r\n\r\n", "TRACE http://a.test/p HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\nX-A: b\r\n\r\n", 200},
		{"TRACE http://a.test/p HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 3\r\n\r\n", "TRACE /p HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 2\r\n", 200},
		{"OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n", "", 200},
		{"OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: x\r\n\r\n", "", 400},
		{"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n", 200},
	} {
		f := &chooser{}
		g := startProxy(t, setup{backend: newMirror(t, "").addr}, f, nil)
		c := g.dial()
		resp, body := roundTrip(t, c, bufio.NewReader(c), "GET", x.request)
		if resp.StatusCode != x.status || x.status == 200 && !strings.HasPrefix(body, x.want) {
			t.Errorf("%q: %d %q", x.request, resp.StatusCode, body)
		}
		g.record()
		f.settled(t)
	}
}

// TestForwardRefuses has answers of the Forwarder: pages, a demand for credentials on a connection that goes on, and
// failures of the destination.
func TestForwardRefuses(t *testing.T) {
	f := &chooser{choose: func(r *ForwardRequest) (ForwardChoice, bool) {
		if _, ok := r.Request.Fields.Get(message.ProxyAuthorization); ok {
			return ForwardChoice{}, false
		}
		return ForwardChoice{Respond: &filter.Response{Status: 407, Code: diag.ForwardAuthRequired, Body: []byte("who?"), Type: "text/html",
			Fields: []ir.NameValue{{Name: "Proxy-Authenticate", Value: `Basic realm="x"`}}}}, true
	}}
	g := startProxy(t, setup{backend: newMirror(t, "").addr}, f, nil)
	c := g.dial()
	r := bufio.NewReader(c)
	for range 2 { // on one connection
		resp, body := roundTrip(t, c, r, "GET", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if resp.StatusCode != 407 || body != "who?" || resp.Close || resp.Header.Get("Proxy-Authenticate") != `Basic realm="x"` ||
			!strings.Contains(resp.Header.Get("Proxy-Status"), "http_request_denied") || resp.Header.Get("X-Answered") != "yes" {
			t.Fatalf("%d %q %v", resp.StatusCode, body, resp.Header)
		}
		if a := g.record(); a.Result != "TCP_DENIED" || a.Hierarchy != "HIER_NONE" || a.Code != diag.ForwardAuthRequired {
			t.Errorf("%s %s %v", a.Result, a.Hierarchy, a.Code)
		}
	}
	if resp, _ := roundTrip(t, c, r, "GET", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic eDp5\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	g.record()
	down := startProxy(t, setup{backend: "127.0.0.1:1"}, &chooser{}, nil)
	c = down.dial()
	resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if resp.StatusCode != 503 || !strings.Contains(resp.Header.Get("Proxy-Status"), "connection_refused") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if a := down.record(); a.Result != "TCP_MISS" || a.Hierarchy != "HIER_DIRECT" || a.Endpoint != "127.0.0.1:1" { // as Squid: it was tried
		t.Errorf("%s %s", a.Result, a.Hierarchy)
	}
}

// TestForwardRewrites asks in plain HTTP for what is spoken to in TLS.
func TestForwardRewrites(t *testing.T) {
	t.Parallel()
	answer := "Location: %\r\nSet-Cookie: a=1; Path=/; Secure; SameSite=None; HttpOnly\r\nSet-Cookie: b=2; samesite = none;partitioned\r\nStrict-Transport-Security: max-age=1\r\nAlt-Svc: h3\r\nRefresh: 5; url='https://a.test/r'\r\n"
	all := &ir.Forward{RewriteLocation: true, RewriteCookies: true, RewriteHSTS: true}
	for _, x := range []struct {
		asked, location, want string
		settings              *ir.Forward
	}{
		{"a.test", "https://a.test/x", "http://a.test/x", all},
		{"a.test", "HTTPS://A.test:443", "http://A.test", all},
		{"a.test", "https://www.a.test/?q#f", "http://www.a.test/?q#f", all}, // which the Forwarder names
		{"a.test", "https://b.test/", "https://b.test/", all},
		{"a.test", "https://a.test:8443/", "https://a.test:8443/", all},
		{"a.test", "/path", "/path", all},
		{"a.test", "http://a.test/", "http://a.test/", all},
		{"a.test:8080", "https://a.test/", "http://a.test:8080/", all},
		{"a.test:8443", "https://a.test:8443/", "http://a.test:8443/", all},
		{"a.test", "https://a.test.evil.test/", "https://a.test.evil.test/", all},
		{"a.test", "https://a.test@evil.test/", "https://a.test@evil.test/", all},
		{"a.test", "https://a.test/x", "https://a.test/x", &ir.Forward{}},
	} {
		o := newTLSOrigin(t, mirroring(strings.Replace(answer, "%", x.location, 1)))
		f := &chooser{}
		f.choose = func(*ForwardRequest) (ForwardChoice, bool) {
			return ForwardChoice{Upstream: f.g.up, Route: &route.Route{IR: &ir.Route{}}, Originates: func(host string) bool { return host == "www.a.test" }}, true
		}
		g := startProxy(t, setup{backend: o.addr, upTLS: offering{}}, f, x.settings)
		c := g.dial()
		resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", "GET http://"+x.asked+"/ HTTP/1.1\r\nHost: "+x.asked+"\r\n\r\n")
		h := resp.Header
		if h.Get("Location") != x.want {
			t.Errorf("asked %s, Location %q became %q, want %q", x.asked, x.location, h.Get("Location"), x.want)
		}
		if x.settings == all {
			if got := strings.Join(h["Set-Cookie"], " | "); got != "a=1; Path=/; HttpOnly | b=2" {
				t.Errorf("Set-Cookie %q", got)
			}
			if h.Get("Strict-Transport-Security") != "" || h.Get("Alt-Svc") != "" || x.asked == "a.test" && h.Get("Refresh") != "5; url='http://a.test/r'" {
				t.Errorf("%v", h)
			}
		} else if h.Get("Strict-Transport-Security") == "" || !strings.Contains(h.Get("Set-Cookie"), "Secure") {
			t.Errorf("changed without having been asked to: %v", h)
		}
		// Who asks for https is told what the destination says.
		resp, _ = roundTrip(t, c, bufio.NewReader(c), "GET", "GET https://"+x.asked+"/ HTTP/1.1\r\nHost: "+x.asked+"\r\n\r\n")
		if resp.Header.Get("Location") != x.location || !strings.Contains(resp.Header.Get("Set-Cookie"), "Secure") {
			t.Errorf("https: %v", resp.Header)
		}
	}
}

// TestForwardUpgrade opens a WebSocket by a plain request to the proxy.
func TestForwardUpgrade(t *testing.T) {
	o := newOrigin(t, echoingAfterUpgrade)
	g := startProxy(t, setup{backend: o.addr}, &chooser{}, nil)
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "GET http://a.test/chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("%q", head)
	}
	_, _ = io.WriteString(c, "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
}
