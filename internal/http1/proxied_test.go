package http1

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

// proxied are requests as clients of forward proxies send them.
var proxied = []struct {
	name, request           string
	code                    diag.Code
	scheme, authority, path string
	absolute                string
}{
	{"plain", "GET http://a.test/p HTTP/1.1\r\nHost: a.test\r\n\r\n", 0, "http", "a.test", "/p", "http"},
	{"https", "GET https://a.test/p HTTP/1.1\r\nHost: a.test\r\n\r\n", 0, "https", "a.test", "/p", "https"},
	{"scheme in capitals", "GET HTTPS://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", 0, "https", "a.test", "/", "https"},
	{"another Host", "GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n", 0, "http", "a.test", "/", "http"},
	{"broken Host", "GET http://a.test/ HTTP/1.1\r\nHost: a b\r\n\r\n", 0, "http", "a.test", "/", "http"},
	{"no Host", "GET http://a.test/ HTTP/1.1\r\n\r\n", 0, "http", "a.test", "/", "http"},
	{"two Hosts", "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n", diag.RequestBadHost, "", "", "", ""},
	{"query without path", "GET http://a.test?q HTTP/1.1\r\nHost: a.test\r\n\r\n", 0, "http", "a.test", "/", "http"},
	{"asterisk", "OPTIONS http://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", 0, "http", "a.test", "*", "http"},
	{"origin form", "GET /p HTTP/1.1\r\nHost: a.test\r\n\r\n", 0, "http", "a.test", "/p", ""},
	{"origin form without Host", "GET /p HTTP/1.1\r\n\r\n", diag.RequestBadHost, "", "", "", ""},
	{"ftp", "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", diag.RequestMalformed, "", "", "", ""},
	{"no host", "GET http:///p HTTP/1.1\r\nHost: a.test\r\n\r\n", diag.RequestBadHost, "", "", "", ""},
	{"user information", "GET http://a@b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n", diag.RequestBadHost, "", "", "", ""},
	{"backslash", "GET http://a.test\\@b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n", diag.RequestBadHost, "", "", "", ""},
	{"CONNECT", "CONNECT a.test:443 HTTP/1.1\r\nHost: proxy.test:3128\r\n\r\n", 0, "http", "a.test:443", "", ""},
	{"CONNECT without Host", "CONNECT a.test:443 HTTP/1.1\r\n\r\n", 0, "http", "a.test:443", "", ""},
	{"CONNECT to an address", "CONNECT [::1]:443 HTTP/1.1\r\n\r\n", 0, "http", "[::1]:443", "", ""},
	{"CONNECT without port", "CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", diag.RequestMalformed, "", "", "", ""},
	{"CONNECT to a URL", "CONNECT http://a.test:80/ HTTP/1.1\r\nHost: a.test\r\n\r\n", diag.RequestMalformed, "", "", "", ""},
	{"CONNECT twice a port", "CONNECT a.test:80:443 HTTP/1.1\r\n\r\n", diag.RequestMalformed, "", "", "", ""},
}

func TestProxied(t *testing.T) {
	for _, x := range proxied {
		p := RequestParser{Scheme: "http", Proxy: true}
		var req message.Request
		n, err := p.Parse([]byte(x.request+"next"), &req)
		if x.code != 0 {
			var refused *Error
			if !errors.As(err, &refused) || refused.Code != x.code {
				t.Errorf("%s: %v, want %v", x.name, err, x.code)
			}
			continue
		}
		if err != nil || n != len(x.request) {
			t.Errorf("%s: %d of %d, %v", x.name, n, len(x.request), err)
		}
		if req.Scheme != x.scheme || string(req.Authority) != x.authority || string(req.Path) != x.path || req.Absolute != x.absolute {
			t.Errorf("%s: %s %s %s %q", x.name, req.Scheme, req.Authority, req.Path, req.Absolute)
		}
		// What is passed on names the target's host once, whatever Host said.
		if x.path == "" {
			continue
		}
		out := AppendRequestHead(nil, &req, message.Body{})
		if strings.Count(string(out), "Host: ") != 1 || !strings.Contains(string(out), "\r\nHost: "+x.authority+"\r\n") || strings.Contains(string(out), "://") {
			t.Errorf("%s: sent on as %q", x.name, out)
		}
	}
}

// FuzzProxied: what a forward proxy takes has a scheme and a host that the next hop reads as well.
func FuzzProxied(f *testing.F) {
	for _, x := range proxied {
		f.Add([]byte(x.request))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := RequestParser{Scheme: "http", Proxy: true}
		var req message.Request
		n, err := p.Parse(bytes.Clone(data), &req)
		if err != nil || n == 0 || len(req.Authority) == 0 {
			return
		}
		if req.Scheme != "http" && req.Scheme != "https" {
			t.Fatalf("scheme %q", req.Scheme)
		}
		RemoveHopByHop(&req.Fields)
		out := AppendRequestHead(nil, &req, message.Body{})
		// The next hop is no proxy: it must find the same host.
		next := RequestParser{}
		if string(req.Method) == "CONNECT" {
			next.Proxy = true
		}
		var again message.Request
		if _, err := next.Parse(out, &again); err != nil {
			t.Fatalf("%q was sent on as %q: %v", data, out, err)
		}
		if !bytes.Equal(again.Host, req.Host) || !bytes.Equal(again.Path, req.Path) || !bytes.Equal(again.Method, req.Method) {
			t.Fatalf("%q was sent on as %q", data, out)
		}
	})
}
