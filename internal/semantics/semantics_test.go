package semantics

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/message"
)

func TestTextEnd(t *testing.T) {
	for c := range 256 {
		forbidden := c < 0x20 && c != '\t' || c == 0x7f
		for at := range 20 {
			b := []byte("aaaa\xffaaaa\x80aaa~aaa aa")
			b[at] = byte(c)
			want := len(b)
			if forbidden {
				want = at
			}
			if got := TextEnd(b, 0); got != want {
				t.Fatalf("byte %#x at %d: end %d, want %d", c, at, got, want)
			}
		}
	}
}

// scan reads a target as both engines do.
func scan(target string) (req message.Request, fault string) {
	b := []byte(target)
	end, path, query, rewrite := ScanTarget(b, 0)
	switch {
	case end != len(b):
		return req, BadTarget(b[end])
	case path != 0:
		return req, "no path"
	}
	fault = SetPath(&req, b, query, rewrite)
	return req, fault
}

func TestSetPath(t *testing.T) {
	for target, want := range map[string]string{
		"/": "/", "/a?": "/a?", "/a?b?c": "/a?b?c", "//a//b": "/a/b", "/a/./b/../c": "/a/c", "/%7euser/%2b": "/~user/%2B", "/a/..": "/",
	} {
		req, fault := scan(target)
		got := string(req.Path)
		if req.HasQuery {
			got += "?" + string(req.Query)
		}
		if fault != "" || got != want {
			t.Errorf("%q: %q %q, want %q", target, got, fault, want)
		}
	}
	for target, want := range map[string]string{
		"": "no path", "*": "no path", "/a#b": "fragment in the target", "/a\\b": "backslash in the path", "/\x00": "NUL in the target",
		"/\xc3": "byte outside ASCII in the target", "/ ": "control byte in the target", "/%2f": "encoded slash in the path", "/%5C": "encoded backslash in the path",
		"/%00": "encoded NUL in the path", "/%4": "broken percent escape in the path", "/%zz": "broken percent escape in the path",
		"/../a": "path climbs above the root", "/..;/a": "dot segment with parameters in the path",
	} {
		if _, fault := scan(target); fault != want {
			t.Errorf("%q: %q, want %q", target, fault, want)
		}
	}
}

func TestSetAuthority(t *testing.T) {
	for a, host := range map[string]string{"A.Test:443": "a.test", "a.test.": "a.test", "[2001:DB8::1]:80": "2001:db8::1", "127.0.0.1": "127.0.0.1"} {
		var req message.Request
		if !SetAuthority(&req, []byte(a)) || string(req.Authority) != a || string(req.Host) != host {
			t.Errorf("%q: %q %q", a, req.Authority, req.Host)
		}
	}
	for _, a := range []string{"", "u@a.test", "a.test:", "a.test:0", "a.test:65536", "a..test", ".a", "a test", "[::1", "[::g]", "a/b", "a%41"} {
		var req message.Request
		if SetAuthority(&req, []byte(a)) {
			t.Errorf("%q is taken", a)
		}
	}
}

func TestLength(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "10": 10, "9223372036854775807": 1<<63 - 1} {
		if n, ok := Length([]byte(s)); !ok || n != want {
			t.Errorf("%q: %d %v", s, n, ok)
		}
	}
	for _, s := range []string{"", "01", "+1", "-1", "1 ", "1,1", "0x1", "9223372036854775808", "99999999999999999999"} {
		if _, ok := Length([]byte(s)); ok {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestAliasesFraming(t *testing.T) {
	for name, want := range map[string]bool{"Transfer_Encoding": true, "content_length": true, "content-length": false, "content_type": false} {
		if got := AliasesFraming([]byte(name)); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// A path of the configuration has the form of the request path that it means.
func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/test1", "/%74est1//a/../b/", "/a%2fb", "/x;a=b", "/../a", "/a b", "/\u00e4", "x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, fault := CanonicalPath(p)
		if (got == "") != (fault != "") {
			t.Fatalf("%q: %q and %q", p, got, fault)
		}
		if fault != "" {
			return
		}
		if again, fault := CanonicalPath(got); again != got || fault != "" {
			t.Errorf("%q becomes %q, and that %q (%s)", p, got, again, fault)
		}
		target := []byte(got)
		end, path, query, rewrite := ScanTarget(target, 0)
		var req message.Request
		if end != len(target) || path != 0 || query >= 0 {
			t.Fatalf("%q becomes %q, which no request can have", p, got)
		}
		if bad := SetPath(&req, target, query, rewrite); bad != "" || string(req.Path) != got {
			t.Errorf("%q becomes %q, which requests have as %q (%s)", p, got, req.Path, bad)
		}
	})
}
