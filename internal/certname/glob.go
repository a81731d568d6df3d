package certname

import "strings"

// Glob is a pattern in which "*" stands for any run of characters, cut at its stars. It matches literally
// otherwise. The zero value matches nothing.
type Glob []string

// NewGlob cuts a pattern at its stars.
func NewGlob(pattern string) Glob { return strings.Split(pattern, "*") }

// Globs is NewGlob for several.
func Globs(patterns []string) []Glob {
	var out []Glob
	for _, p := range patterns {
		out = append(out, NewGlob(p))
	}
	return out
}

// Match reports whether the pattern covers the whole of s. It takes time in proportion to both.
func (g Glob) Match(s string) bool {
	if len(g) == 0 {
		return false
	}
	last := len(g) - 1
	if last == 0 {
		return s == g[0]
	}
	if len(s) < len(g[0])+len(g[last]) || !strings.HasPrefix(s, g[0]) || !strings.HasSuffix(s, g[last]) {
		return false
	}
	s = s[len(g[0]) : len(s)-len(g[last])]
	for _, part := range g[1:last] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// MatchDNS is Match for DNS names in lower case, where "*." at the begin is one label.
func (g Glob) MatchDNS(name string) bool {
	if len(g) < 2 || g[0] != "" || !strings.HasPrefix(g[1], ".") {
		return g.Match(name)
	}
	label, rest, ok := strings.Cut(name, ".")
	if !ok || label == "" {
		return false
	}
	inner := append(Glob{g[1][1:]}, g[2:]...)
	return inner.Match(rest)
}
