package gatewayapi

import (
	"fmt"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// matchRank orders matches of one host: it is compared from its first number on, and the greater goes
// first. For an HTTPRoute it holds what HTTPRouteRule.matches asks for: the kind of the path match, its
// length, whether there is a method, the numbers of headers and of query parameters. The API leaves
// the place of regular expressions open; here they stand between Exact and prefixes, so that a rule for
// "/" does not hide them. GRPCRoutes have ranks of their own; see translateCall.
type matchRank [5]int

// Places in the rank of an HTTPRoute's match, and kinds of path.
const (
	rankPath, rankLength, rankMethod, rankHeaders, rankQueries = 0, 1, 2, 3, 4

	pathPrefix, pathRegex, pathExact = 1, 2, 3
)

// compareRank returns a negative number if a goes before b.
func compareRank(a, b matchRank) int { return slices.Compare(b[:], a[:]) }

// fieldError is what is wrong with one field, relative to the object that is translated.
type fieldError struct{ field, message string }

// translatedMatch is one HTTPRouteMatch. If faults is not empty, Match is as much of it as could be
// understood, widened where it could not: a refusal in its place refuses at least what was meant.
// If never is set the match can match no request.
type translatedMatch struct {
	match  ir.Match
	rank   matchRank
	faults []fieldError
	never  bool
}

// defaultMatch is the match of a rule without matches: the prefix "/".
func defaultMatch() translatedMatch {
	return translatedMatch{match: ir.Match{Path: ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: "/"}}, rank: matchRank{pathPrefix, len("/")}}
}

// translateMatch translates one match; field is its path, as in "spec.rules[0].matches[1]".
func translateMatch(m *gatewayv1.HTTPRouteMatch, field string) translatedMatch {
	t := defaultMatch()
	t.path(m.Path, field+".path")
	if m.Method != nil && *m.Method != "" {
		t.match.Method = ir.StringMatch{Kind: ir.MatchExact, Value: string(*m.Method)}
		t.rank[rankMethod] = 1
	}
	for i, h := range m.Headers {
		t.header(string(h.Name), string(deref(h.Type)), h.Value, fmt.Sprintf("%s.headers[%d]", field, i))
	}
	for i, q := range m.QueryParams {
		name := string(q.Name)
		if slices.ContainsFunc(t.match.Query, func(f ir.FieldMatch) bool { return f.Name == name }) {
			continue
		}
		at := fmt.Sprintf("%s.queryParams[%d]", field, i)
		t.match.Query = append(t.match.Query, ir.FieldMatch{Name: name, Match: t.value(string(deref(q.Type)), q.Value, at)})
	}
	t.rank[rankHeaders], t.rank[rankQueries] = len(t.match.Headers), len(t.match.Query)
	return t
}

func (t *translatedMatch) fault(field, message string) {
	t.faults = append(t.faults, fieldError{field, message})
}

func (t *translatedMatch) path(p *gatewayv1.HTTPPathMatch, field string) {
	if p == nil {
		return
	}
	value := "/"
	if p.Value != nil {
		value = *p.Value
	}
	kind := gatewayv1.PathMatchPathPrefix
	if p.Type != nil {
		kind = *p.Type
	}
	switch kind {
	case gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix:
		if err := checkPath(value); err != "" {
			t.fault(field+".value", fmt.Sprintf("path %q %s", value, err))
			t.never = true
			return
		}
		if kind == gatewayv1.PathMatchExact {
			t.match.Path = ir.PathMatch{Kind: ir.MatchExact, Value: value}
			t.rank[rankPath] = pathExact
		} else {
			value = trimSlash(value)
			t.match.Path = ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: value}
		}
	case gatewayv1.PathMatchRegularExpression:
		if _, err := regexp.Compile(value); err != nil {
			t.fault(field+".value", fmt.Sprintf("regular expression %q: %s", value, regexError(err)))
			value = literalPrefix(value)
			t.match.Path = ir.PathMatch{Kind: ir.MatchPrefix, Value: value}
			break
		}
		t.match.Path = ir.PathMatch{Kind: ir.MatchRegex, Value: value}
		t.rank[rankPath] = pathRegex
	default:
		t.fault(field+".type", fmt.Sprintf("path type %q is not one of Exact, PathPrefix, RegularExpression", kind))
		value = "/"
	}
	t.rank[rankLength] = len(value)
}

// value translates the type and value of a header or query parameter match. What cannot be understood
// becomes "is present".
func (t *translatedMatch) value(kind, value, field string) ir.StringMatch {
	switch kind {
	case "", string(gatewayv1.HeaderMatchExact):
		return ir.StringMatch{Kind: ir.MatchExact, Value: value}
	case string(gatewayv1.HeaderMatchRegularExpression):
		if _, err := regexp.Compile(value); err != nil {
			t.fault(field+".value", fmt.Sprintf("regular expression %q: %s", value, regexError(err)))
			return ir.StringMatch{Kind: ir.MatchPresent}
		}
		return ir.StringMatch{Kind: ir.MatchRegex, Value: value}
	}
	t.fault(field+".type", fmt.Sprintf("type %q is not one of Exact, RegularExpression", kind))
	return ir.StringMatch{Kind: ir.MatchPresent}
}

// checkPath says what is wrong with an Exact or PathPrefix value, or "". Requests are matched by
// their normalised path, in which none of what is refused here can stand.
func checkPath(p string) string {
	if !strings.HasPrefix(p, "/") {
		return "does not begin with a slash"
	}
	lower := strings.ToLower(p)
	for _, never := range []string{"//", "/./", "/../", "%2f", "%00", "#", "?"} {
		if strings.Contains(lower, never) {
			return fmt.Sprintf("contains %q, which no matched path does", never)
		}
	}
	if strings.HasSuffix(lower, "/..") || strings.HasSuffix(lower, "/.") {
		return "ends in a dot segment, which no matched path does"
	}
	if _, err := url.PathUnescape(p); err != nil {
		return "has a broken percent escape"
	}
	return ""
}

// trimSlash removes the trailing slash that a PathPrefix ignores.
func trimSlash(p string) string {
	if len(p) > 1 {
		return strings.TrimSuffix(p, "/")
	}
	return p
}

// literalPrefix returns what every match of a broken expression would begin with: the characters
// before the first one that means something, less the last if that may be optional.
func literalPrefix(expr string) string {
	expr = strings.TrimPrefix(expr, "^")
	i := strings.IndexAny(expr, `\.+*?()|[]{}^$`)
	switch {
	case i < 0:
		return expr
	case strings.ContainsRune("?*{", rune(expr[i])) && i > 0:
		i--
	case strings.ContainsRune(expr, '|'):
		i = 0 // an alternative may begin with anything
	}
	if i == 0 {
		return "/"
	}
	return expr[:i]
}

func regexError(err error) string {
	if e, ok := err.(*syntax.Error); ok {
		return fmt.Sprintf("%s: %q", e.Code, e.Expr)
	}
	return err.Error()
}

// isToken reports whether s is a field name (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// deref returns what p points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// header adds a condition on a header. Of equal names only the first counts, as the API says.
func (t *translatedMatch) header(name, kind, value, at string) {
	name = strings.ToLower(name)
	if slices.ContainsFunc(t.match.Headers, func(f ir.FieldMatch) bool { return f.Name == name }) {
		return
	}
	if !isToken(name) {
		t.fault(at+".name", fmt.Sprintf("%q is no header name", name))
		t.never = true
		return
	}
	t.match.Headers = append(t.match.Headers, ir.FieldMatch{Name: name, Match: t.value(kind, value, at)})
}
