package hostname

import (
	"slices"
	"strings"
	"testing"
)

func must(t *testing.T, s string) Pattern {
	t.Helper()
	p, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM": "example.com", "a.b.": "a.b", "*.Example.com": "*.example.com", "*": "*",
		"mtls_lb.mtls-test.net": "mtls_lb.mtls-test.net", "192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::1", "localhost": "localhost",
	} {
		if got := must(t, in).String(); got != want {
			t.Errorf("Parse(%q) = %q, want %q", in, got, want)
		}
	}
	for _, bad := range []string{"", ".", "a..b", "-a.b", "a-.b", "*.", "a.*.b", "*a.b", "**", "*.*.a", "a b", "a:80", "http://a", "é.com",
		strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 127) + "b", "a/b", "a\x00"} {
		if p, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %q, want an error", bad, p)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"example.com", "example.com", true}, {"example.com", "a.example.com", false},
		{"*.example.com", "a.example.com", true}, {"*.example.com", "a.b.example.com", true},
		{"*.example.com", "example.com", false}, {"*.example.com", ".example.com", false}, {"*.example.com", "aexample.com", false},
		{"*", "x", true}, {"*", "", true}, {"example.com", "", false}, {"*.com", "", false},
	} {
		if got := must(t, c.pattern).Match(c.host); got != c.want {
			t.Errorf("%q.Match(%q) = %v", c.pattern, c.host, got)
		}
	}
}

func TestIntersect(t *testing.T) {
	for _, c := range []struct{ p, q, want string }{
		{"*", "a.b", "a.b"}, {"*.b", "a.b", "a.b"}, {"*.b", "*.a.b", "*.a.b"}, {"*.a.b", "*.b", "*.a.b"},
		{"a.b", "a.b", "a.b"}, {"a.b", "b.b", ""}, {"*.a", "*.b", ""}, {"*.b", "b", ""}, {"*", "*", "*"},
	} {
		got, ok := Intersect(must(t, c.p), must(t, c.q))
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("Intersect(%q, %q) = %q, %v; want %q", c.p, c.q, got, ok, c.want)
		}
	}
}

func TestCompareOrdersBySpecificity(t *testing.T) {
	ps := []Pattern{Any(), must(t, "*.com"), must(t, "b.example.com"), must(t, "*.example.com"), must(t, "a.com")}
	slices.SortFunc(ps, Compare)
	var got []string
	for _, p := range ps {
		got = append(got, p.String())
	}
	if want := "b.example.com a.com *.example.com *.com *"; strings.Join(got, " ") != want {
		t.Errorf("order %v, want %s", got, want)
	}
}
