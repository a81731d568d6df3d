package redirect

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

func TestLocation(t *testing.T) {
	for _, c := range []struct {
		name              string
		r                 ir.Redirect
		scheme, authority string
		listen            uint16
		want              string
	}{
		// Gateway API: the listener's port, or the scheme's own where a scheme is given.
		{"host", ir.Redirect{Host: "example.org"}, "http", "a.test", 80, "http://example.org/p?q=1"},
		{"host on another port", ir.Redirect{Host: "example.org"}, "http", "a.test:8080", 8080, "http://example.org:8080/p?q=1"},
		{"scheme", ir.Redirect{Scheme: "https"}, "http", "a.test:8080", 8080, "https://a.test/p?q=1"},
		{"scheme and its port", ir.Redirect{Scheme: "https", Port: 443}, "http", "a.test", 80, "https://a.test/p?q=1"},
		{"scheme and odd port", ir.Redirect{Scheme: "https", Port: 8443}, "http", "a.test", 80, "https://a.test:8443/p?q=1"},
		{"port", ir.Redirect{Port: 8083}, "http", "a.test", 80, "http://a.test:8083/p?q=1"},
		{"port 80 over http", ir.Redirect{Port: 80}, "http", "a.test:8080", 8080, "http://a.test/p?q=1"},
		{"port 80 over https", ir.Redirect{Port: 80}, "https", "a.test", 443, "https://a.test:80/p?q=1"},
		{"IPv6", ir.Redirect{Port: 81}, "http", "[::1]:80", 80, "http://[::1]:81/p?q=1"},
		{"IPv6 host", ir.Redirect{Host: "2001:db8::1", Port: 81}, "http", "a.test", 80, "http://[2001:db8::1]:81/p?q=1"},
		// Istio: what the client used.
		{"httpsRedirect", ir.Redirect{Scheme: "https", KeepPort: true}, "http", "a.test", 80, "https://a.test/p?q=1"},
		{"httpsRedirect drops http's port", ir.Redirect{Scheme: "https", KeepPort: true}, "http", "a.test:80", 80, "https://a.test/p?q=1"},
		{"keeps odd port", ir.Redirect{KeepPort: true}, "http", "a.test:8080", 80, "http://a.test:8080/p?q=1"},
		{"authority replaced", ir.Redirect{Host: "b.test", KeepPort: true}, "http", "a.test:8080", 80, "http://b.test/p?q=1"},
		{"authority with port", ir.Redirect{Host: "b.test:99", KeepPort: true}, "http", "a.test:8080", 80, "http://b.test:99/p?q=1"},
		{"path", ir.Redirect{Path: ir.PathRewrite{Kind: ir.ReplaceFull, Value: "/new"}, KeepPort: true}, "http", "a.test", 80, "http://a.test/new?q=1"},
		{"prefix", ir.Redirect{Path: ir.PathRewrite{Kind: ir.ReplacePrefix, Prefix: "/p", Value: "/x", Segments: true}}, "https", "a.test", 443, "https://a.test/x?q=1"},
	} {
		c.r.Status = 302
		f, err := New(&c.r)
		if err != nil {
			t.Fatal(err)
		}
		x := &filter.Exchange{Peer: &filter.Peer{ListenPort: c.listen}, Request: &message.Request{Scheme: c.scheme, Authority: []byte(c.authority),
			Path: []byte("/p"), Query: []byte("q=1"), HasQuery: true}}
		r := f.Request(x)
		if r.Verdict != filter.Respond || r.Response.Status != 302 || r.Response.Location != c.want {
			t.Errorf("%s: %d %q, want %q", c.name, r.Response.Status, r.Response.Location, c.want)
		}
	}
}

func TestSettingsThatCannotBeUsed(t *testing.T) {
	for _, r := range []ir.Redirect{{Status: 200}, {Status: 304}, {Status: 302, Host: "a/b"}, {Status: 302, Scheme: "ht tp"}, {Status: 302, Host: "a\r\nb"}, {Status: 302, Host: "é"},
		{Status: 302, Path: ir.PathRewrite{Kind: ir.ReplaceFull, Value: "/a?b"}}} {
		if _, err := New(&r); err == nil {
			t.Errorf("%+v is accepted", r)
		}
	}
}
