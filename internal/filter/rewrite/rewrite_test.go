package rewrite

import (
	"bytes"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

func TestPaths(t *testing.T) {
	segments := func(prefix, value string) ir.PathRewrite {
		return ir.PathRewrite{Kind: ir.ReplacePrefix, Prefix: prefix, Value: value, Segments: true}
	}
	prefix := func(prefix, value string) ir.PathRewrite {
		return ir.PathRewrite{Kind: ir.ReplacePrefix, Prefix: prefix, Value: value}
	}
	regex := func(re, value string) ir.PathRewrite {
		return ir.PathRewrite{Kind: ir.ReplaceRegex, Regex: re, Value: value}
	}
	for _, c := range []struct {
		r        ir.PathRewrite
		in, want string // want "" means refused
	}{
		// The table of Gateway API's HTTPPathModifier.
		{segments("/foo", "/xyz"), "/foo/bar", "/xyz/bar"},
		{segments("/foo", "/xyz/"), "/foo/bar", "/xyz/bar"},
		{segments("/foo/", "/xyz"), "/foo/bar", "/xyz/bar"},
		{segments("/foo/", "/xyz/"), "/foo/bar", "/xyz/bar"},
		{segments("/foo", "/xyz"), "/foo", "/xyz"},
		{segments("/foo", "/xyz"), "/foo/", "/xyz/"},
		{segments("/foo", ""), "/foo/bar", "/bar"},
		{segments("/foo", ""), "/foo/", "/"},
		{segments("/foo", ""), "/foo", "/"},
		{segments("/foo", "/"), "/foo/", "/"},
		{segments("/foo", "/"), "/foo", "/"},
		{segments("/foo", "/"), "/foo/bar", "/bar"},
		{segments("/", "/foo"), "/test", "/foo/test"},
		{segments("/", "/foo"), "/", "/foo/"},
		{segments("/foo", "/xyz/"), "/foo", "/xyz/"},
		{segments("/Foo", "/xyz"), "/foo/bar", "/xyz/bar"},
		// By bytes, as Istio's prefix.
		{prefix("/foo", "/bar"), "/foox", "/barx"},
		{prefix("/api", "/"), "/api/x", "/x"},
		{prefix("/api/", "/"), "/api/x", "/x"},
		{prefix("/api/", "/v1"), "/api/x", "/v1x"},
		{prefix("/api", ""), "/api/x", "/x"},
		{prefix("/foo", "/bar"), "/other", ""},
		{prefix("/a", "/x/"), "/a..", ""},
		{prefix("/a", "/x/"), "/a./y", ""},
		{ir.PathRewrite{Kind: ir.ReplaceFull, Value: "/all"}, "/any/thing", "/all"},
		{ir.PathRewrite{Kind: ir.ReplaceFull, Value: ""}, "/any", "/"},
		{ir.PathRewrite{Kind: ir.ReplaceFull, Value: "all"}, "/any", "/all"},
		{regex(`^/service/([^/]+)(/.*)$`, `\2/instance/\1`), "/service/foo/v1/api", "/v1/api/instance/foo"},
		{regex(`one`, `two`), "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"},
		{regex(`/b`, `$1`), "/a/b", "/a$1"},
		{regex(`^/a`, `\\`), "/a/b", ""},
		{regex(`^/a/(.*)$`, `//\1`), "/a/b", "/b"},
		{regex(`^/`, ``), "/a", "/a"},
		{regex(`x`, `.`), "/a/xx", ""},
	} {
		p, err := NewPath(&c.r)
		if err != nil {
			t.Errorf("%+v: %v", c.r, err)
			continue
		}
		out, detail := p.Append(nil, []byte(c.in))
		if string(out) != c.want || (detail == "") != (c.want != "") {
			t.Errorf("%+v on %q: %q (%s), want %q", c.r, c.in, out, detail, c.want)
		}
		if again, _ := p.Append([]byte("http://h"), []byte(c.in)); c.want != "" && string(again) != "http://h"+c.want {
			t.Errorf("%+v appended: %q", c.r, again)
		}
	}
}

func TestReplacementsThatCannotBeUsed(t *testing.T) {
	for _, v := range []string{"/a/../b", "/.", "/a?b", "/a#b", "/a b", "/%2f", "/%zz", "/a%", "/\\", "/..;x/y", "/%2e%2e/", "/é"} {
		if _, err := NewPath(&ir.PathRewrite{Kind: ir.ReplaceFull, Value: v}); err == nil {
			t.Errorf("%q is accepted", v)
		}
	}
	if _, err := NewPath(&ir.PathRewrite{Kind: ir.ReplaceRegex, Regex: "("}); err == nil {
		t.Error("a broken expression is accepted")
	}
	for _, h := range []string{"a b", "a/b", "u@h", "[::1", ":80"} {
		if _, err := New(&ir.Rewrite{Host: h}); err == nil {
			t.Errorf("host %q is accepted", h)
		}
	}
}

func TestRequest(t *testing.T) {
	f, err := New(&ir.Rewrite{Host: "Origin.test:8443", Path: ir.PathRewrite{Kind: ir.ReplacePrefix, Prefix: "/a", Value: "/b/"}})
	if err != nil {
		t.Fatal(err)
	}
	req := &message.Request{Authority: []byte("a.test"), Host: []byte("a.test"), Path: []byte("/a/x"), Query: []byte("q=1"), HasQuery: true}
	x := &filter.Exchange{Request: req}
	if r := f.Request(x); r.Verdict != filter.Continue || string(req.Authority) != "Origin.test:8443" || string(req.Host) != "origin.test" ||
		string(req.Path) != "/b/x" || string(req.Query) != "q=1" {
		t.Errorf("%v %s %s %s", r.Verdict, req.Authority, req.Host, req.Path)
	}
	req.Path = []byte("/a..")
	if r := f.Request(x); r.Verdict != filter.Respond || r.Response.Code != diag.RequestBadPath {
		t.Errorf("an ambiguous result passed: %+v, path %s", r, req.Path)
	}
	req.Path = []byte("*")
	if r := f.Request(x); r.Verdict != filter.Continue || string(req.Path) != "*" {
		t.Errorf("OPTIONS *: %v %s", r.Verdict, req.Path)
	}
	path := []byte("/a/x")
	run := func() { req.Fields.Reset(); req.Path = path; f.Request(x) }
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add("/foo", "/bar", "/foo/x", true)
	f.Add("/a", "/x/", "/a..", false)
	f.Add("/a%4", "/x", "/a%41", false)
	f.Fuzz(func(t *testing.T, prefix, value, path string, segments bool) {
		p, err := NewPath(&ir.PathRewrite{Kind: ir.ReplacePrefix, Prefix: prefix, Value: value, Segments: segments})
		if err != nil || path == "" || path[0] != '/' || ambiguous([]byte(path)) != "" {
			return
		}
		out, detail := p.Append(nil, []byte(path))
		if detail == "" && (out[0] != '/' || ambiguous(out) != "" || bytes.Contains(out, []byte("//")) && !bytes.Contains([]byte(path), []byte("//"))) {
			t.Errorf("%q for %q on %q gives %q", value, prefix, path, out)
		}
	})
}
