package istio

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// matched is a match that was read. With a fault, match is what is left of it without the parts that
// cannot be used: the route then refuses rather more than it should have matched, never less.
type matched struct {
	match ir.Match
	fault *ir.Fault
}

// match reads one HTTPMatchRequest.
func (t *translator) match(m *istio.HTTPMatchRequest, from ir.Origin) matched {
	r := &matchReader{t: t}
	uri := r.text(m.GetUri(), below(from, "uri"))
	r.out.match.Path = ir.PathMatch{Kind: uri.Kind, Value: uri.Value, IgnoreCase: m.GetIgnoreUriCase() && uri.Kind != ir.MatchRegex && uri.Kind != ir.MatchAny}
	if r.out.match.Path.Unmatchable() {
		t.report(diag.RouteNeverMatches, below(from, "uri.%s", string(uri.Kind)), fmt.Sprintf("no request matches %q: paths begin with a slash", uri.Value), fmt.Sprintf("Write %q.", "/"+uri.Value))
	}
	r.out.match.Scheme = r.text(m.GetScheme(), below(from, "scheme"))
	r.out.match.Method = r.text(m.GetMethod(), below(from, "method"))
	r.out.match.Authority = r.text(m.GetAuthority(), below(from, "authority"))
	if a := &r.out.match.Authority; a.Kind != ir.MatchRegex {
		a.Value = strings.ToLower(a.Value)
	}
	r.headers(m.GetHeaders(), below(from, "headers"), false)
	r.headers(m.GetWithoutHeaders(), below(from, "withoutHeaders"), true)
	for _, name := range slices.Sorted(maps.Keys(m.GetQueryParams())) {
		r.out.match.Query = append(r.out.match.Query, ir.FieldMatch{Name: name, Match: r.present(m.GetQueryParams()[name], below(from, "queryParams[%s]", name))})
	}
	return r.out
}

// matchReader collects one match and its first fault.
type matchReader struct {
	t     *translator
	out   matched
	count int // of faults
}

func (r *matchReader) refuse(from ir.Origin, message, fix string) {
	r.t.report(diag.RouteMatchInvalid, from, message+"; the rule refuses its requests", fix)
	r.count++
	if r.out.fault == nil {
		r.out.fault = &ir.Fault{Code: diag.RouteMatchInvalid, Detail: from.String() + ": " + message}
	}
}

// text reads a StringMatch; one that is absent matches all.
func (r *matchReader) text(s *istio.StringMatch, from ir.Origin) ir.StringMatch {
	var out ir.StringMatch
	switch m := s.GetMatchType().(type) {
	case *istio.StringMatch_Exact:
		out = ir.StringMatch{Kind: ir.MatchExact, Value: m.Exact}
	case *istio.StringMatch_Prefix:
		out = ir.StringMatch{Kind: ir.MatchPrefix, Value: m.Prefix}
	case *istio.StringMatch_Regex:
		out = ir.StringMatch{Kind: ir.MatchRegex, Value: m.Regex}
		if _, err := regexp.Compile(m.Regex); err != nil {
			r.refuse(below(from, "regex"), fmt.Sprintf("regular expression does not compile: %v", err), "Write it in RE2 syntax (github.com/google/re2/wiki/Syntax).")
			return literalStart(m.Regex)
		}
	default:
		if s != nil {
			r.refuse(from, "the match says neither exact nor prefix nor regex", "Write one of them, or remove the field.")
		}
		return ir.StringMatch{}
	}
	if out.Value == "" {
		r.refuse(below(from, "%s", string(out.Kind)), fmt.Sprintf("%s is empty", out.Kind), "Write what is to be compared.")
		return ir.StringMatch{}
	}
	return out
}

// literalStart returns a match for everything that a regular expression could have meant by its
// literal beginning, so that a broken one refuses its own neighbourhood and not the whole host.
func literalStart(re string) ir.StringMatch {
	i := strings.IndexAny(re, `\.+*?()|[]{}^$`)
	if i < 0 || strings.ContainsRune(re, '|') {
		return ir.StringMatch{}
	}
	if strings.IndexByte("*?{", re[i]) >= 0 && i > 0 {
		i-- // The last letter is the one that may be absent.
	}
	if i == 0 {
		return ir.StringMatch{}
	}
	return ir.StringMatch{Kind: ir.MatchPrefix, Value: re[:i]}
}

// present is text for headers and parameters, where an empty match asks for presence and an empty
// exact value is one.
func (r *matchReader) present(s *istio.StringMatch, from ir.Origin) ir.StringMatch {
	switch m := s.GetMatchType().(type) {
	case nil:
		return ir.StringMatch{Kind: ir.MatchPresent}
	case *istio.StringMatch_Exact:
		if m.Exact == "" {
			return ir.StringMatch{Kind: ir.MatchExact}
		}
	case *istio.StringMatch_Prefix:
		if m.Prefix == "" {
			return ir.StringMatch{Kind: ir.MatchPresent}
		}
	}
	return r.text(s, from)
}

func (r *matchReader) headers(fields map[string]*istio.StringMatch, from ir.Origin, invert bool) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		at, lower := ir.Origin{Object: from.Object, Field: fmt.Sprintf("%s[%s]", from.Field, name)}, strings.ToLower(name)
		switch lower {
		case "uri", "scheme", "method", "authority":
			r.t.report(diag.FieldWithoutEffect, at, fmt.Sprintf("Istio ignores the header name %q here", name), "Use the field of that name beside headers.")
			continue
		}
		if !isToken(lower) {
			r.refuse(at, fmt.Sprintf("%q is no header name", name), "Write a field name; for method, path and authority there are fields of their own.")
			continue
		}
		before := r.count
		f := ir.FieldMatch{Name: lower, Match: r.present(fields[name], at), Invert: invert}
		if invert && r.count > before {
			continue // Kept, the wider comparison would match fewer requests than were meant.
		}
		r.out.match.Headers = append(r.out.match.Headers, f)
	}
}

// isToken applies RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return s != ""
}
