package gatewayapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestParseDuration(t *testing.T) {
	good := map[string]time.Duration{"0s": 0, "1h": time.Hour, "1m30s": 90 * time.Second, "500ms": 500 * time.Millisecond, "1h1m1s1ms": time.Hour + time.Minute + time.Second + time.Millisecond, "99999s": 99999 * time.Second}
	for s, want := range good {
		if got, ok := parseDuration(s); !ok || got != want {
			t.Errorf("parseDuration(%q) = %s, %t; want %s", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "1", "s", "-1s", "+1s", "1.5s", "1us", "1ns", "1d", "100000s", "1h1h1h1h1h", "1 s", "1sm"} {
		if got, ok := parseDuration(s); ok {
			t.Errorf("parseDuration(%q) = %s, want a refusal", s, got)
		}
	}
}

func TestAncestors(t *testing.T) {
	for s, want := range map[string]string{
		"*": "", "com": "*", "a.com": "*.com *", "a.b.com": "*.b.com *.com *", "*.b.com": "*.com *", "*.com": "*",
	} {
		p, err := hostname.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range ancestors(p) {
			if !q.Covers(p) {
				t.Errorf("%s does not cover %s", q, p)
			}
			got = append(got, q.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("ancestors(%s) = %v, want %s", s, got, want)
		}
	}
}

func pathMatch(kind, value string) *gatewayv1.HTTPPathMatch {
	k := gatewayv1.PathMatchType(kind)
	return &gatewayv1.HTTPPathMatch{Type: &k, Value: &value}
}

func TestTranslateMatchPaths(t *testing.T) {
	for _, tc := range []struct {
		kind, value string
		want        ir.PathMatch
		faults      int
		never       bool
	}{
		{"Exact", "/a/", ir.PathMatch{Kind: ir.MatchExact, Value: "/a/"}, 0, false},
		{"PathPrefix", "/a/", ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: "/a"}, 0, false},
		{"PathPrefix", "/", ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: "/"}, 0, false},
		{"RegularExpression", "/a.*", ir.PathMatch{Kind: ir.MatchRegex, Value: "/a.*"}, 0, false},
		{"RegularExpression", "/api/v(1", ir.PathMatch{Kind: ir.MatchPrefix, Value: "/api/v"}, 1, false},
		{"RegularExpression", "/apis?(", ir.PathMatch{Kind: ir.MatchPrefix, Value: "/api"}, 1, false},
		{"RegularExpression", "/a(|/b", ir.PathMatch{Kind: ir.MatchPrefix, Value: "/"}, 1, false},
		{"RegularExpression", "[", ir.PathMatch{Kind: ir.MatchPrefix, Value: "/"}, 1, false},
		{"Exact", "a", ir.PathMatch{}, 1, true},
		{"PathPrefix", "/a//b", ir.PathMatch{}, 1, true},
		{"PathPrefix", "/a/%2Fb", ir.PathMatch{}, 1, true},
		{"Exact", "/a/../b", ir.PathMatch{}, 1, true},
		{"Exact", "/a/..", ir.PathMatch{}, 1, true},
		{"Exact", "/a%zz", ir.PathMatch{}, 1, true},
		{"Exact", "/a?b", ir.PathMatch{}, 1, true},
		{"Unknown", "/a", ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: "/"}, 1, false},
	} {
		m := translateMatch(&gatewayv1.HTTPRouteMatch{Path: pathMatch(tc.kind, tc.value)}, "m")
		if len(m.faults) != tc.faults || m.never != tc.never || !m.never && m.match.Path != tc.want {
			t.Errorf("%s %q: %+v, never %t, %v; want %+v", tc.kind, tc.value, m.match.Path, m.never, m.faults, tc.want)
		}
	}
}

func TestTranslateMatchFields(t *testing.T) {
	regex := gatewayv1.HeaderMatchRegularExpression
	m := translateMatch(&gatewayv1.HTTPRouteMatch{
		Headers:     []gatewayv1.HTTPHeaderMatch{{Name: "X-A", Value: "V"}, {Name: "x-a", Value: "later"}, {Name: "X-B", Type: &regex, Value: "v[0-9]"}},
		QueryParams: []gatewayv1.HTTPQueryParamMatch{{Name: "Q", Value: "1"}, {Name: "Q", Value: "2"}, {Name: "q", Value: "3"}},
	}, "m")
	want := "[{x-a {exact V false} false} {x-b {regex v[0-9] false} false}] [{Q {exact 1 false} false} {q {exact 3 false} false}]"
	if got := fmt.Sprint(m.match.Headers, m.match.Query); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if m.rank[rankHeaders] != 2 || m.rank[rankQueries] != 2 {
		t.Errorf("rank %+v counts repeated names", m.rank)
	}
	if m := translateMatch(&gatewayv1.HTTPRouteMatch{Headers: []gatewayv1.HTTPHeaderMatch{{Name: "no name", Value: "v"}}}, "m"); !m.never || len(m.faults) != 1 {
		t.Errorf("a header that cannot exist: %+v", m)
	}
}

func TestTranslateFiltersRefusals(t *testing.T) {
	status, host, scheme, full := 418, gatewayv1.PreciseHostname("*.example.com"), "ftp", "/a b"
	header := func(name gatewayv1.HTTPHeaderName, value string) *gatewayv1.HTTPHeaderFilter {
		return &gatewayv1.HTTPHeaderFilter{Set: []gatewayv1.HTTPHeader{{Name: name, Value: value}}}
	}
	redirect := func(r gatewayv1.HTTPRequestRedirectFilter) []gatewayv1.HTTPRouteFilter {
		return []gatewayv1.HTTPRouteFilter{{Type: gatewayv1.HTTPRouteFilterRequestRedirect, RequestRedirect: &r}}
	}
	for name, list := range map[string][]gatewayv1.HTTPRouteFilter{
		"no settings":    {{Type: gatewayv1.HTTPRouteFilterURLRewrite}},
		"header name":    {{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: header("a b", "v")}},
		"header value":   {{Type: gatewayv1.HTTPRouteFilterResponseHeaderModifier, ResponseHeaderModifier: header("a", "v\r\nX: y")}},
		"removed header": {{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: &gatewayv1.HTTPHeaderFilter{Remove: []string{""}}}},
		"twice": {{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: header("a", "1")},
			{Type: gatewayv1.HTTPRouteFilterRequestHeaderModifier, RequestHeaderModifier: header("a", "2")}},
		"unknown":       {{Type: "Waf"}},
		"external auth": {{Type: gatewayv1.HTTPRouteFilterExternalAuth}},
		"status":        redirect(gatewayv1.HTTPRequestRedirectFilter{StatusCode: &status}),
		"host":          redirect(gatewayv1.HTTPRequestRedirectFilter{Hostname: &host}),
		"scheme":        redirect(gatewayv1.HTTPRequestRedirectFilter{Scheme: &scheme}),
		"path":          redirect(gatewayv1.HTTPRequestRedirectFilter{Path: &gatewayv1.HTTPPathModifier{Type: gatewayv1.FullPathHTTPPathModifier, ReplaceFullPath: &full}}),
		"path type":     redirect(gatewayv1.HTTPRequestRedirectFilter{Path: &gatewayv1.HTTPPathModifier{Type: "Other"}}),
		"redirect and rewrite": append(redirect(gatewayv1.HTTPRequestRedirectFilter{}),
			gatewayv1.HTTPRouteFilter{Type: gatewayv1.HTTPRouteFilterURLRewrite, URLRewrite: &gatewayv1.HTTPURLRewriteFilter{}}),
	} {
		f := translateFilters(list, "filters", filterContext{prefix: "/"})
		if len(f.faults) != 1 {
			t.Errorf("%s: faults %v, want one", name, f.faults)
		}
		if f.mixed != (name == "redirect and rewrite") {
			t.Errorf("%s: mixed %t", name, f.mixed)
		}
	}
	if f := translateFilters(redirect(gatewayv1.HTTPRequestRedirectFilter{}), "filters", filterContext{backend: true}); len(f.faults) != 1 {
		t.Errorf("a redirect on a backendRef: %v", f.faults)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"infra/edge", "infra/internal"}
	for name, want := range map[string]string{"infra/edeg": "infra/edge", "infra/edge": "infra/edge", "other/thing": ""} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestNearby: ten thousand routes on ten thousand listeners must not be compared in pairs.
func TestNearby(t *testing.T) {
	g := &gateway{byHost: map[hostname.Pattern][]*listener{}}
	parse := func(s string) hostname.Pattern {
		p, err := hostname.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, s := range []string{"a.example.com", "b.example.com", "*.example.com", "*.com", "*", "*.example.org"} {
		l := &listener{host: parse(s)}
		g.listeners = append(g.listeners, l)
		g.byHost[l.host] = append(g.byHost[l.host], l)
	}
	for hosts, want := range map[string]string{
		"a.example.com":               "a.example.com *.example.com *.com *",
		"a.example.com b.example.com": "a.example.com *.example.com *.com * b.example.com",
		"c.example.net":               "*",
		"*.example.com":               "a.example.com b.example.com *.example.com *.com * *.example.org",
	} {
		var patterns []hostname.Pattern
		for s := range strings.SplitSeq(hosts, " ") {
			patterns = append(patterns, parse(s))
		}
		var got []string
		for _, l := range nearby(g, g.listeners, patterns) {
			got = append(got, l.host.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("nearby(%s) = %v, want %s", hosts, got, want)
		}
	}
	if got := nearby(g, g.listeners[:1], []hostname.Pattern{parse("b.example.com")}); len(got) != 1 {
		t.Errorf("a parentRef that selects one listener gets %d", len(got))
	}
}
