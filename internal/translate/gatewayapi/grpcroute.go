package gatewayapi

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// grpcRoute reads a GRPCRoute. Filters and backends are those of an HTTPRoute by other names.
func grpcRoute(o *resource.GRPCRoute) *route {
	r := &route{Meta: &o.Meta, common: &o.Spec.CommonRouteSpec, hostnames: o.Spec.Hostnames}
	rules := o.Spec.Rules
	if len(rules) == 0 {
		rules = []gatewayv1.GRPCRouteRule{{}}
	}
	for i := range rules {
		g := &rules[i]
		spec := ruleSpec{HTTPRouteRule: &gatewayv1.HTTPRouteRule{Name: g.Name, Filters: httpFilters(g.Filters), SessionPersistence: g.SessionPersistence}}
		for _, b := range g.BackendRefs {
			spec.BackendRefs = append(spec.BackendRefs, gatewayv1.HTTPBackendRef{BackendRef: b.BackendRef, Filters: httpFilters(b.Filters)})
		}
		for j := range g.Matches {
			spec.matches = append(spec.matches, translateCall(&g.Matches[j], fmt.Sprintf("spec.rules[%d].matches[%d]", i, j)))
		}
		if len(spec.matches) == 0 {
			spec.matches = []translatedMatch{{}}
		}
		r.specs = append(r.specs, spec)
	}
	return r
}

func httpFilters(list []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	var out []gatewayv1.HTTPRouteFilter
	for _, f := range list {
		out = append(out, gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterType(f.Type), RequestHeaderModifier: f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier, RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef})
	}
	return out
}

// translateCall translates one GRPCRouteMatch; field is its path. A call of method M of service S is a
// request for the path /S/M. Without a method match every request matches, gRPC-Web and others among
// them: the host belongs to GRPCRoutes alone.
func translateCall(m *gatewayv1.GRPCRouteMatch, field string) translatedMatch {
	var t translatedMatch
	if m.Method != nil {
		t.call(m.Method, field+".method")
	}
	for i, h := range m.Headers {
		t.header(string(h.Name), string(deref(h.Type)), h.Value, fmt.Sprintf("%s.headers[%d]", field, i))
	}
	t.rank[callHeaders] = len(t.match.Headers)
	return t
}

// Places in the rank of a GRPCRoute's match.
const callService, callMethod, callHeaders, callExact, callLength = 0, 1, 2, 3, 4

// call turns a method match into a match of the path.
func (t *translatedMatch) call(m *gatewayv1.GRPCMethodMatch, field string) {
	service, method := deref(m.Service), deref(m.Method)
	t.rank[callService], t.rank[callMethod] = min(len(service), 1), min(len(method), 1)
	switch kind := deref(m.Type); kind {
	case "", gatewayv1.GRPCMethodMatchExact:
		t.rank[callExact] = 1
		for _, part := range []struct{ name, value string }{{"service", service}, {"method", method}} {
			if !isCallName(part.value, part.name == "service") {
				t.fault(field+"."+part.name, fmt.Sprintf("%q is no name of a gRPC %s", part.value, part.name))
				t.never = true
			}
		}
		switch {
		case t.never:
		case service != "" && method != "":
			t.match.Path = ir.PathMatch{Kind: ir.MatchExact, Value: "/" + service + "/" + method}
		case service != "":
			t.match.Path = ir.PathMatch{Kind: ir.MatchPrefix, Value: "/" + service + "/"}
		case method != "":
			t.match.Path = ir.PathMatch{Kind: ir.MatchRegex, Value: "/[^/]+/" + regexp.QuoteMeta(method)}
		}
	case gatewayv1.GRPCMethodMatchRegularExpression:
		t.rank[callLength] = len(service) + len(method)
		t.callExpression(service, method, field)
	default:
		t.fault(field+".type", fmt.Sprintf("type %q is not one of Exact, RegularExpression", kind))
	}
}

// callExpression matches service and method by regular expressions, each over the whole name. Of a
// broken one its literal beginning stays.
func (t *translatedMatch) callExpression(service, method, field string) {
	parts := [2]string{"[^/]+", "[^/]+"}
	for i, expr := range []string{service, method} {
		if expr == "" {
			continue
		}
		if _, err := regexp.Compile(expr); err != nil {
			t.fault(field+"."+[]string{"service", "method"}[i], fmt.Sprintf("regular expression %q: %s", expr, regexError(err)))
			expr = regexp.QuoteMeta(strings.TrimPrefix(literalPrefix(expr), "/")) + ".*"
		}
		parts[i] = "(?:" + expr + ")"
	}
	if service != "" || method != "" {
		t.match.Path = ir.PathMatch{Kind: ir.MatchRegex, Value: "/" + parts[0] + "/" + parts[1]}
	}
}

// isCallName reports whether s may be the name of a service, in which dots separate parts, or of a
// method. The empty name stands for all.
func isCallName(s string, dotted bool) bool {
	if s == "" {
		return true
	}
	parts := []string{s}
	if dotted {
		parts = strings.Split(strings.TrimPrefix(s, "."), ".")
	}
	return !slices.ContainsFunc(parts, func(p string) bool {
		return p == "" || p[0] >= '0' && p[0] <= '9' || strings.IndexFunc(p, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
		}) >= 0
	})
}
