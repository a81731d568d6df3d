package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestAnswers is a table of what a client sees for what an upstream sends.
func TestAnswers(t *testing.T) {
	t.Parallel()
	get10 := "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n"
	tests := []struct {
		name    string
		request string
		answer  string
		close   bool // the upstream closes after the answer
		status  int
		want    []string // parts of the raw answer
		not     []string
		body    string
		keep    bool // another request is answered on the connection
		reuse   bool // on the same upstream connection
		code    diag.Code
	}{
		{name: "chunked", request: get, answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
			status: 200, body: "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", want: []string{"Transfer-Encoding: chunked"}, keep: true, reuse: true},
		{name: "trailers", request: get, answer: "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n",
			status: 200, body: "1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n", keep: true, reuse: true},
		{name: "until close becomes chunked", request: get, answer: "HTTP/1.1 200 OK\r\n\r\nabc", close: true,
			status: 200, body: "3\r\nabc\r\n0\r\n\r\n", want: []string{"Transfer-Encoding: chunked"}, keep: true},
		{name: "upstream of HTTP/1.0", request: get, answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", close: true,
			status: 200, body: "ok", want: []string{"HTTP/1.1 200"}, keep: true},
		{name: "chunked for a client of HTTP/1.0", request: get10, answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			status: 200, body: "abc", want: []string{"Connection: close"}, not: []string{"Transfer-Encoding"}, reuse: true},
		{name: "sized for a client of HTTP/1.0", request: get10, answer: sized("abc"), status: 200, body: "abc",
			want: []string{"Connection: keep-alive"}, keep: true, reuse: true},
		{name: "HEAD", request: "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n", answer: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n",
			status: 200, want: []string{"Content-Length: 99"}, keep: true, reuse: true},
		{name: "204", request: get, answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, not: []string{"Content-Length", "Transfer-Encoding"}, keep: true, reuse: true},
		{name: "304 with a length", request: get, answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", status: 304, keep: true, reuse: true},
		{name: "hop-by-hop of the answer", request: get,
			answer: "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\nX-End: 2\r\n\r\n",
			status: 200, want: []string{"X-End: 2"}, not: []string{"X-Hop", "Keep-Alive"}, keep: true, reuse: true},
		{name: "103 is passed on", request: get, answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized("x"), status: 103,
			want: []string{"Link: </a>", "200 OK"}, body: "-", keep: true, reuse: true},
		{name: "103 not to HTTP/1.0", request: get10, answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized("x"), status: 200, body: "x", keep: true, reuse: true},
		{name: "100 that nobody waits for", request: get, answer: "HTTP/1.1 100 Continue\r\n\r\n" + sized("x"), status: 200, body: "x", keep: true, reuse: true},
		{name: "bytes after the answer", request: get, answer: sized("ok") + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", status: 200, body: "ok", keep: true},
		{name: "answer wants to close", request: get, answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok",
			not: []string{"Connection: close"}, keep: true},
		{name: "two lengths", request: get, answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", status: 502,
			want: []string{"Proxy-Status: hakone; error=http_protocol_error", "X-Request-Id: "}, body: "-", keep: true, code: diag.UpstreamProtocolError},
		{name: "no HTTP", request: get, answer: "SSH-2.0-OpenSSH\r\n", status: 502, body: "-", keep: true, code: diag.UpstreamProtocolError},
		{name: "TLS", request: get, answer: "\x15\x03\x01\x00\x02\x02\x28", status: 502, body: "-", keep: true, code: diag.UpstreamSpeaksTLS},
		{name: "closes without an answer", request: get, answer: "", close: true, status: 502, body: "-", keep: true, code: diag.UpstreamClosedEarly},
		{name: "closes in the head", request: get, answer: "HTTP/1.1 200 OK\r\nContent-", close: true, status: 502, body: "-", keep: true, code: diag.UpstreamClosedEarly},
		{name: "bad chunk", request: get, answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX", status: 502, body: "-", keep: true, code: diag.UpstreamProtocolError},
		{name: "101 unasked", request: get, answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", status: 502, body: "-", keep: true, code: diag.UpstreamProtocolError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
				for readHead(r) != "" {
					if _, err := io.WriteString(c, tt.answer); err != nil || tt.close {
						return
					}
				}
			})
			g := start(t, setup{backend: o.addr})
			c := g.dial()
			raw := readAnswer(t, c, tt.request)
			a := g.record()
			if a.Code != tt.code {
				t.Errorf("record has %s %s, want %s", a.Code, a.Detail, tt.code)
			}
			if !strings.HasPrefix(raw, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) {
				t.Fatalf("got %q, want status %d", raw, tt.status)
			}
			for _, w := range tt.want {
				if !strings.Contains(raw, w) {
					t.Errorf("no %q in %q", w, raw)
				}
			}
			for _, n := range tt.not {
				if strings.Contains(raw, n) {
					t.Errorf("%q in %q", n, raw)
				}
			}
			_, body, _ := strings.Cut(raw, "\r\n\r\n")
			if tt.body != "-" && body != tt.body {
				t.Errorf("body %q, want %q", body, tt.body)
			}
			if strings.Contains(raw, "evil") {
				t.Error("bytes beyond the answer reached the client")
			}
			if again := readAnswer(t, c, get); (again != "") != tt.keep {
				t.Errorf("second request got %q, want an answer: %v", again, tt.keep)
			} else if tt.keep && o.conns.Load() == 1 != tt.reuse {
				t.Errorf("upstream saw %d connections, reuse is to be %v", o.conns.Load(), tt.reuse)
			}
		})
	}
}

// readAnswer sends a request and returns what comes until nothing has come for a moment.
func readAnswer(t *testing.T, c net.Conn, request string) string {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		return ""
	}
	var b strings.Builder
	buf := make([]byte, 64<<10)
	for wait := 5 * time.Second; ; wait = 60 * time.Millisecond {
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, err := c.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// TestRefusals is a table of requests that are answered without asking an upstream.
func TestRefusals(t *testing.T) {
	t.Parallel()
	routes := []*ir.Route{
		{Name: "fault", Match: path("/fault"), Fault: &ir.Fault{Code: diag.RouteInvalid, Detail: "the backend is missing"}},
		{Name: "moved", Match: path("/moved"), Redirect: &ir.Redirect{Scheme: "https", Status: 301}},
		{Name: "teapot", Match: path("/teapot"), Respond: &ir.Respond{Status: 418, Body: "short and stout"}},
		{Name: "nowhere", Match: path("/nowhere"), Forward: []ir.Backend{{Upstream: "missing", Weight: 1}}},
		{Name: "u", Match: path("/u"), Forward: []ir.Backend{{Upstream: "u", Weight: 1}}},
	}
	tests := []struct {
		name, request string
		status        int
		code          diag.Code
		want          string
		keep          bool
	}{
		{"no route", "GET /zzz HTTP/1.1\r\nHost: a.test\r\n\r\n", 404, diag.NoRoute, "error=destination_not_found", true},
		{"json", "GET /zzz HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\n\r\n", 404, diag.NoRoute, `"code":"HK4101"`, true},
		{"html", "GET /zzz HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\n\r\n", 404, diag.NoRoute, "<h1>404 Not Found", true},
		{"fault", "GET /fault HTTP/1.1\r\nHost: a.test\r\n\r\n", 500, diag.RouteInvalid, "proxy_configuration_error", true},
		{"missing upstream", "GET /nowhere HTTP/1.1\r\nHost: a.test\r\n\r\n", 500, diag.RouteInvalid, "", true},
		{"redirect", "GET /moved HTTP/1.1\r\nHost: a.test\r\n\r\n", 301, 0, "Location: https://a.test/moved", true},
		{"direct answer", "GET /teapot HTTP/1.1\r\nHost: a.test\r\n\r\n", 418, 0, "short and stout", true},
		{"with a body that came along", "POST /teapot HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab", 418, 0, "short", true},
		{"with a body that has not come", "POST /teapot HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20\r\n\r\nab", 418, 0, "Connection: close", false},
		{"CONNECT", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 405, diag.MethodNotSupported, "Allow: ", true},
		{"TRACE", "TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", 405, diag.MethodNotSupported, "Allow: ", true},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, diag.RequestBadHost, "Connection: close", false},
		{"two lengths", "POST /u HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, diag.RequestAmbiguousBody, "close", false},
		{"length and chunked", "POST /u HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, diag.RequestAmbiguousBody, "close", false},
		{"bad chunk", "POST /u HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, diag.RequestBadChunk, "close", false},
		{"version", "GET / HTTP/3.0\r\nHost: a.test\r\n\r\n", 505, diag.RequestVersion, "close", false},
		{"expectation", "POST /u HTTP/1.1\r\nHost: a.test\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417, diag.RequestExpectation, "close", false},
		{"no endpoints", "GET /u HTTP/1.1\r\nHost: a.test\r\n\r\n", 503, diag.UpstreamNoEndpoints, "error=destination_unavailable", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, setup{routes: routes})
			c := g.dial()
			raw := readAnswer(t, c, tt.request)
			if !strings.HasPrefix(raw, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) || !strings.Contains(raw, tt.want) {
				t.Errorf("got %q, want %d with %q", raw, tt.status, tt.want)
			}
			a := g.record()
			if a.Code != tt.code || a.Status != tt.status {
				t.Errorf("record has %s %d %q, want %s", a.Code, a.Status, a.Detail, tt.code)
			}
			if a.Detail != "" && strings.Contains(raw, a.Detail) {
				t.Errorf("the answer tells the detail %q", a.Detail)
			}
			if tt.code != 0 && !strings.Contains(raw, "X-Request-Id: "+a.ID) {
				t.Errorf("the answer does not name request %q", a.ID)
			}
			again := readAnswer(t, c, "GET /teapot HTTP/1.1\r\nHost: a.test\r\n\r\n")
			if (again != "") != tt.keep {
				t.Errorf("second request got %q, want an answer: %v", again, tt.keep)
			}
		})
	}
}

func path(p string) ir.Match {
	return ir.Match{Path: ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: p}}
}
