package http1

import (
	"errors"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

func parseRequest(t *testing.T, text string) *message.Request {
	t.Helper()
	var p RequestParser
	var req message.Request
	n, err := p.Parse([]byte(text), &req)
	if err != nil || n != len(text) {
		t.Fatalf("Parse(%q) = %d, %v", text, n, err)
	}
	return &req
}

func TestRequestFields(t *testing.T) {
	req := parseRequest(t, "POST /a?b=c HTTP/1.1\r\nHOST: Shop.Example:8443\r\ncontent-length: 7\r\nX-Y:  z \r\nExpect: 100-Continue\r\n\r\n")
	for _, c := range []struct{ what, got, want string }{
		{"method", string(req.Method), "POST"}, {"target", string(req.Target), "/a?b=c"}, {"path", string(req.Path), "/a"},
		{"query", string(req.Query), "b=c"}, {"authority", string(req.Authority), "Shop.Example:8443"}, {"host", string(req.Host), "shop.example"},
	} {
		if c.got != c.want {
			t.Errorf("%s %q, want %q", c.what, c.got, c.want)
		}
	}
	if req.Proto != message.HTTP11 || !req.KeepAlive || !req.Continue || !req.HasQuery || req.Upgrade != nil {
		t.Errorf("%+v", req)
	}
	if req.Body != (message.Body{Kind: message.Sized, Length: 7}) {
		t.Errorf("body %+v", req.Body)
	}
	if v, ok := req.Fields.Lookup([]byte("x-y")); !ok || string(v) != "z" {
		t.Errorf("x-y = %q, %v", v, ok)
	}
}

func TestKeepAlive(t *testing.T) {
	for _, c := range []struct {
		version, connection string
		want                bool
	}{
		{"1.1", "", true}, {"1.1", "close", false}, {"1.1", "Close", false}, {"1.1", "x, close", false}, {"1.1", "keep-alive", true},
		{"1.1", "keep-alive, close", false}, {"1.0", "", false}, {"1.0", "Keep-Alive", true}, {"1.0", "keep-alive, close", false}, {"1.1", "closed", true},
	} {
		req := parseRequest(t, "GET / HTTP/"+c.version+"\r\nHost: a\r\nConnection: "+c.connection+"\r\n\r\n")
		if req.KeepAlive != c.want {
			t.Errorf("HTTP/%s with %q: keep-alive %v", c.version, c.connection, req.KeepAlive)
		}
	}
}

func TestHosts(t *testing.T) {
	for in, want := range map[string]string{
		"a.test": "a.test", "A.TEST.": "a.test", "a.test:1": "a.test", "a.test.:65535": "a.test", "192.0.2.1:80": "192.0.2.1", "x_y": "x_y", "a": "a",
		"[::1]": "::1", "[::1]:443": "::1", "[2001:DB8::A]": "2001:db8::a", "[1:2:3:4:5:6:7:8]": "1:2:3:4:5:6:7:8", "[::ffff:192.0.2.1]": "::ffff:192.0.2.1",
		"[1::]": "1::", "[::]": "::", "[1:2:3:4:5:6:192.0.2.1]": "1:2:3:4:5:6:192.0.2.1",
	} {
		if got := string(parseRequest(t, "GET / HTTP/1.1\r\nHost: "+in+"\r\n\r\n").Host); got != want {
			t.Errorf("host of %q = %q, want %q", in, got, want)
		}
	}
	for _, bad := range []string{"", ".", "..", ".a", "a..", "a:0", "a:01", "a:65536", "a:123456", ":80", "[]", "[:]", "[::1]x", "[::1]:", "[1:2:3]", "[:1]", "[1:]",
		"[1::2::3]", "[12345::]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7::8]x", "[::1.2.3]", "[::1.2.3.256]", "[::01.2.3.4]", "[::1.2.3.4.5]", "[v1.x]",
		"[1:2:3:4:5:6:7:1.2.3.4]", "[:::]", "[1:2:3:4:5:6:7:8::]", "[::1:2:3:4:5:6:7:8]", strings.Repeat("a", 254)} {
		var p RequestParser
		var req message.Request
		_, err := p.Parse([]byte("GET / HTTP/1.1\r\nHost: "+bad+"\r\n\r\n"), &req)
		if e := new(Error); !errors.As(err, &e) || e.Code != diag.RequestBadHost {
			t.Errorf("Host %q gives %v (host %q), want it refused", bad, err, req.Host)
		}
	}
}

func TestHTTP10WithoutHost(t *testing.T) {
	req := parseRequest(t, "GET / HTTP/1.0\r\n\r\n")
	if len(req.Host) != 0 || req.KeepAlive {
		t.Errorf("%+v", req)
	}
	req = parseRequest(t, "GET http://A.test:80/x HTTP/1.0\r\n\r\n")
	if string(req.Host) != "a.test" || string(req.Authority) != "A.test:80" || req.Absolute != "http" || string(req.Path) != "/x" {
		t.Errorf("%+v", req)
	}
}

func TestConnect(t *testing.T) {
	for _, host := range []string{"a.test:443", "A.test"} {
		req := parseRequest(t, "CONNECT a.test:443 HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if string(req.Authority) != "a.test:443" || string(req.Host) != "a.test" || len(req.Path) != 0 {
			t.Errorf("%+v", req)
		}
	}
	var p RequestParser
	var req message.Request
	if _, err := p.Parse([]byte("CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n"), &req); err == nil {
		t.Error("CONNECT with another Host accepted")
	}
}

func TestPaths(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "//": "/", "/.": "/", "/./": "/", "/a/..": "/", "/a/../": "/", "/a/.": "/a/", "/a/./": "/a/", "/a/b/..": "/a/", "/a/b/../c": "/a/c",
		"/a//b": "/a/b", "/a//../b": "/b", "/a/.//": "/a/", "/%41%2d%2D%5f%7E": "/A--_~", "/%c3%a9": "/%C3%A9", "/a%3fb": "/a%3Fb", "/a%25": "/a%25",
		"/%2e/a": "/a", "/a/%2e%2e/b": "/b", "/...": "/...", "/.a/..b": "/.a/..b", "/a/b/c/../../d": "/a/d", "/a;x/../b": "/b", "/a.;x": "/a.;x",
		"/{x}|[y]^`\"<>": "/{x}|[y]^`\"<>", "/a/.../b//.c": "/a/.../b/.c",
	} {
		if got := string(parseRequest(t, "GET "+in+" HTTP/1.1\r\nHost: a\r\n\r\n").Path); got != want {
			t.Errorf("path of %q = %q, want %q", in, got, want)
		}
		if got := string(parseRequest(t, "GET "+want+" HTTP/1.1\r\nHost: a\r\n\r\n").Path); got != want {
			t.Errorf("%q is not canonical: %q", want, got)
		}
	}
	for _, bad := range []string{"/..", "/a/../..", "/%2e%2e", "/./..", "//..", "/a%2f", "/%5C", "/%00", "/%", "/%4", "/%g0", "/%0g", "/..;", "/.;", "/.;/a", "/%2e%2e;x/a"} {
		var p RequestParser
		var req message.Request
		_, err := p.Parse([]byte("GET "+bad+" HTTP/1.1\r\nHost: a\r\n\r\n"), &req)
		if e := new(Error); !errors.As(err, &e) || e.Code != diag.RequestBadPath {
			t.Errorf("path %q gives %v (path %q), want it refused", bad, err, req.Path)
		}
	}
}

// A clean path is a slice of what was received; nothing is copied.
func TestCleanPathIsNotCopied(t *testing.T) {
	buf := []byte("GET /shop/items.json?x=1 HTTP/1.1\r\nHost: a.test\r\n\r\n")
	var p RequestParser
	var req message.Request
	if _, err := p.Parse(buf, &req); err != nil {
		t.Fatal(err)
	}
	if &req.Path[0] != &buf[4] || &req.Host[0] != &req.Authority[0] {
		t.Error("path or host was copied")
	}
}

func TestScheme(t *testing.T) {
	p := RequestParser{Scheme: "http"}
	var req message.Request
	for range 2 {
		if _, err := p.Parse([]byte("GET http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n"), &req); err != nil || req.Scheme != "http" || string(req.Path) != "/" {
			t.Errorf("%v %+v", err, req)
		}
	}
	if _, err := p.Parse([]byte("GET HTTPS://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"), &req); err == nil {
		t.Error("target of another scheme accepted")
	}
}

func TestLimitsAreSettings(t *testing.T) {
	head := "GET /0123456789 HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n"
	for _, c := range []struct {
		limits Limits
		want   diag.Code
	}{
		{Limits{}, 0}, {Limits{HeadBytes: len(head), Fields: 2, TargetBytes: 11}, 0}, {Limits{HeadBytes: len(head) - 1}, diag.RequestHeadTooLarge},
		{Limits{Fields: 1}, diag.RequestTooManyFields}, {Limits{TargetBytes: 10}, diag.RequestURITooLong},
	} {
		p := RequestParser{Limits: c.limits}
		var req message.Request
		_, err := p.Parse([]byte(head), &req)
		var e *Error
		if errors.As(err, &e); e == nil && c.want != 0 || e != nil && e.Code != c.want {
			t.Errorf("%+v: %v, want %v", c.limits, err, c.want)
		}
	}
}

// A head that comes byte by byte is looked at a bounded number of times.
func TestSlowHeadIsNotParsedAgainAndAgain(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a.test\r\n" + strings.Repeat("X-Field: some value\r\n", 100) + "\r\n"
	var w headWait
	parses := 0
	for i := 1; i <= len(head); i++ {
		if w.ready([]byte(head[:i]), DefaultHeadBytes) {
			parses++
			w.from = i
		}
	}
	if parses > 3 {
		t.Errorf("parsed %d times", parses)
	}
}

func TestErrorText(t *testing.T) {
	err := refuse(diag.RequestBadHost, "no Host in HTTP/1.1")
	if got := err.Error(); got != "HK4006 request_bad_host: no Host in HTTP/1.1" {
		t.Error(got)
	}
	for _, c := range []struct {
		code diag.Code
		want int
	}{{diag.RequestURITooLong, 414}, {diag.UpstreamProtocolError, 502}, {diag.ClientTooSlow, 400}} {
		if got := (&Error{Code: c.code}).Status(); got != c.want {
			t.Errorf("status of %v = %d, want %d", c.code, got, c.want)
		}
	}
}
