package route

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// text is a compiled comparison of one string.
type text struct {
	kind    ir.MatchKind
	literal []byte // in lower case if fold; of a segment prefix without its trailing slash
	fold    bool
	re      *regexp.Regexp
}

// compileText prepares a comparison. On an error the comparison returned holds for everything, so
// that the route, which gets a fault, refuses at least what it was meant for.
func compileText(kind ir.MatchKind, value string, fold bool) (text, error) {
	switch kind {
	case ir.MatchAny, ir.MatchPresent:
		return text{kind: kind}, nil
	case ir.MatchExact, ir.MatchPrefix, ir.MatchSegmentPrefix:
		t := text{kind: kind, literal: []byte(value), fold: fold}
		if fold {
			t.literal = lowerAll(value)
		}
		if kind == ir.MatchSegmentPrefix {
			t.literal = bytes.TrimSuffix(t.literal, []byte("/"))
		}
		return t, nil
	case ir.MatchRegex:
		re, err := whole(value, fold)
		if err != nil {
			return text{kind: ir.MatchAny}, err
		}
		return text{kind: kind, re: re}, nil
	}
	return text{kind: ir.MatchAny}, fmt.Errorf("kind of match %q is not known", kind)
}

// whole compiles an expression that has to match the whole string. It is parsed by itself first:
// wrapping the text would change what an open group or \Q means.
func whole(expr string, fold bool) (*regexp.Regexp, error) {
	flags := syntax.Perl
	if fold {
		flags |= syntax.FoldCase
	}
	parsed, err := syntax.Parse(expr, flags)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	re, err := regexp.Compile(`\A(?:` + parsed.String() + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", expr, err)
	}
	return re, nil
}

func (t *text) matches(b []byte) bool {
	switch t.kind {
	case ir.MatchAny, ir.MatchPresent:
		return true
	case ir.MatchExact:
		if t.fold {
			return equalLower(b, t.literal)
		}
		return bytes.Equal(b, t.literal)
	case ir.MatchPrefix:
		return hasPrefix(b, t.literal, t.fold)
	case ir.MatchSegmentPrefix:
		return t.matchesSegments(b)
	case ir.MatchRegex:
		return t.re.Match(b)
	}
	return false
}

func (t *text) matchesSegments(b []byte) bool {
	n := len(t.literal)
	return hasPrefix(b, t.literal, t.fold) && (len(b) == n || b[n] == '/')
}

// describe names the comparison for people.
func (t *text) describe(value string) string {
	switch t.kind {
	case ir.MatchAny:
		return "any"
	case ir.MatchPresent:
		return "present"
	case ir.MatchExact:
		return fmt.Sprintf("= %q", value)
	case ir.MatchRegex:
		return fmt.Sprintf("~ %q", value)
	}
	return fmt.Sprintf("prefix %q", value)
}
