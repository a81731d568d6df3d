package rewrite

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Path is a compiled ir.PathRewrite.
type Path struct {
	kind     ir.PathRewriteKind
	value    []byte
	prefix   []byte
	segments bool
	re       *regexp.Regexp
}

// NewPath compiles a rewrite. The error says which part cannot be used.
func NewPath(r *ir.PathRewrite) (*Path, error) {
	p := &Path{kind: r.Kind, value: []byte(r.Value), prefix: []byte(r.Prefix), segments: r.Segments}
	switch r.Kind {
	case ir.ReplaceFull:
		if r.Value == "" {
			p.value = []byte("/")
		}
	case ir.ReplacePrefix:
		if r.Segments {
			p.prefix = bytes.TrimSuffix(p.prefix, []byte("/"))
		}
	case ir.ReplaceRegex:
		re, err := regexp.Compile(r.Regex)
		if err != nil {
			return nil, fmt.Errorf("path rewrite: %w", err)
		}
		p.re, p.value = re, []byte(references(r.Value))
		return p, nil
	default:
		return nil, fmt.Errorf("path rewrite %q is not known", r.Kind)
	}
	if len(p.value) > 0 && p.value[0] != '/' {
		p.value = append([]byte("/"), p.value...)
	}
	if detail := ambiguous(p.value); detail != "" {
		return nil, fmt.Errorf("path replacement %q has %s", r.Value, detail)
	}
	return p, nil
}

// references turns RE2's \1 into Go's ${1}.
func references(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			b.WriteString("$$")
		case c == '\\' && i+1 < len(s):
			i++
			if '0' <= s[i] && s[i] <= '9' {
				b.WriteString("${" + s[i:i+1] + "}")
			} else if s[i] == '$' {
				b.WriteString("$$")
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Bound returns how long the result for path can become; for regular expressions it is a guess.
func (p *Path) Bound(path []byte) int { return len(path) + len(p.value) + 1 }

// Append appends the rewritten form of path, which begins with "/", to dst. detail is not empty if the
// result would be ambiguous or the path has not the prefix; then the request must be refused.
func (p *Path) Append(dst, path []byte) (out []byte, detail string) {
	from := len(dst)
	switch p.kind {
	case ir.ReplaceFull:
		return append(dst, p.value...), ""
	case ir.ReplacePrefix:
		if len(path) < len(p.prefix) || !message.EqualFold(path[:len(p.prefix)], p.prefix) {
			return nil, "the path lacks the prefix that is to be replaced"
		}
		dst = p.joined(dst, path[len(p.prefix):])
	case ir.ReplaceRegex:
		dst = p.replaced(dst, path)
	}
	out = dst[from:]
	if len(out) == 0 || out[0] != '/' {
		out = append([]byte("/"), out...)
		dst = append(dst[:from], out...)
		out = dst[from:]
	}
	if bytes.Contains(out, []byte("//")) && !bytes.Contains(path, []byte("//")) {
		dst = append(dst[:from], merged(out)...)
		out = dst[from:]
	}
	if detail = ambiguous(out); detail != "" {
		return nil, "the rewritten path has " + detail
	}
	return dst, ""
}

// joined appends the replacement and the rest behind the prefix. By segments the rest is empty or
// begins with "/", and the replacement's own trailing slash counts only if nothing follows; this
// gives Gateway API's HTTPPathModifier table.
func (p *Path) joined(dst, rest []byte) []byte {
	value := p.value
	if len(rest) > 0 && rest[0] == '/' {
		value = bytes.TrimSuffix(value, []byte("/"))
	}
	return append(append(dst, value...), rest...)
}

func (p *Path) replaced(dst, path []byte) []byte {
	at := 0
	for _, m := range p.re.FindAllSubmatchIndex(path, -1) {
		dst = append(dst, path[at:m[0]]...)
		dst = p.re.Expand(dst, p.value, path, m)
		at = m[1]
	}
	return append(dst, path[at:]...)
}

func merged(path []byte) []byte {
	out := make([]byte, 0, len(path))
	for i, c := range path {
		if c != '/' || i == 0 || path[i-1] != '/' {
			out = append(out, c)
		}
	}
	return out
}

// ambiguous says what in a path readers disagree about, or "".
func ambiguous(path []byte) string {
	start := 0 // of the segment
	for i := 0; i <= len(path); i++ {
		if i == len(path) || path[i] == '/' {
			s := path[start:i]
			if k := bytes.IndexByte(s, ';'); k >= 0 {
				s = s[:k]
			}
			if len(s) == 1 && s[0] == '.' || len(s) == 2 && s[0] == '.' && s[1] == '.' {
				return "a dot segment"
			}
			start = i + 1
			continue
		}
		switch c := path[i]; {
		case c <= ' ' || c >= 0x7f:
			return "a byte that paths cannot hold"
		case c == '?' || c == '#' || c == '\\':
			return fmt.Sprintf("%q in the path", c)
		case c == '%':
			if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
				return "a broken percent escape"
			}
			if e := unhex(path[i+1])<<4 | unhex(path[i+2]); e == '/' || e == '\\' || e == 0 || e == '.' {
				return fmt.Sprintf("the escape %q", path[i:i+3])
			}
		}
	}
	return ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}
