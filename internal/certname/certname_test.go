package certname

import "testing"

func TestGlob(t *testing.T) {
	for _, k := range []struct {
		pattern, s string
		want       bool
	}{{"", "", true}, {"", "a", false}, {"*", "", true}, {"a*", "a", true}, {"*a", "ba", true}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "axbxc", true},
		{"a*b*c", "acb", false}, {"*b*", "abc", true}, {"**", "x", true}, {"a**b", "ab", true}} {
		if NewGlob(k.pattern).Match(k.s) != k.want {
			t.Errorf("%q and %q", k.pattern, k.s)
		}
	}
}

// Names are parsed without losing anything that would make two of them equal.
func FuzzDN(f *testing.F) {
	for _, s := range []string{"CN=a", `CN=a\,b+O=c,OU=*`, `CN="a,b"`, "CN=#0401", `CN=\2A`, "CN=", "1.2.3=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePattern(s)
		if err != nil {
			return
		}
		if len(p) == 0 || len(p[0]) == 0 {
			t.Errorf("%q is empty", s)
		}
		p.Match(Name{{{kind: "2.5.4.3", text: s}}})
		if p.Match(nil) {
			t.Errorf("%q covers no name at all", s)
		}
	})
}
