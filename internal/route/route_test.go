package route

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

func noFilters(*ir.Route, *ir.Backend) ([]filter.Filter, error) { return nil, nil }

func patterns(t testing.TB, names ...string) (ps []hostname.Pattern) {
	t.Helper()
	for _, n := range names {
		p, err := hostname.Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

func to(name string, m ir.Match) *ir.Route {
	return &ir.Route{Name: name, Match: m, Forward: []ir.Backend{{Upstream: "u", Weight: 1}}}
}

func path(kind ir.MatchKind, v string) ir.Match {
	return ir.Match{Path: ir.PathMatch{Kind: kind, Value: v}}
}

func table(t testing.TB, host string, routes ...*ir.Route) *Table {
	t.Helper()
	return Compile(&ir.Chain{Name: "ns/gw/https", VirtualHosts: []*ir.VirtualHost{{Hosts: patterns(t, host), Routes: routes}}}, noFilters)
}

// request reads "METHOD host/path?query" and "Name: value" lines.
func request(line string, fields ...string) *message.Request {
	method, rest, _ := strings.Cut(line, " ")
	at := strings.IndexAny(rest, "/*")
	authority, target := rest[:at], rest[at:]
	p, q, has := strings.Cut(target, "?")
	host, _, _ := strings.Cut(strings.ToLower(authority), ":")
	r := &message.Request{Proto: message.HTTP11, Method: []byte(method), Scheme: "https", Authority: []byte(authority),
		Host: []byte(host), Path: []byte(p), Query: []byte(q), HasQuery: has}
	for _, f := range fields {
		n, v, _ := strings.Cut(f, ": ")
		r.Fields.AddString(n, v)
	}
	return r
}

func name(r *Route, code diag.Code) string {
	if r == nil {
		return code.String()
	}
	return r.IR.Name
}

func field(name string, kind ir.MatchKind, v string) []ir.FieldMatch {
	return []ir.FieldMatch{{Name: name, Match: ir.StringMatch{Kind: kind, Value: v}}}
}

func TestMatch(t *testing.T) {
	without := field("x-env", ir.MatchPresent, "")
	without[0].Invert = true
	tb := table(t, "a.test",
		to("exact", path(ir.MatchExact, "/exact")),
		to("get", ir.Match{Path: ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: "/m"}, Method: ir.StringMatch{Kind: ir.MatchExact, Value: "GET"}}),
		to("header", ir.Match{Path: ir.PathMatch{Kind: ir.MatchPrefix, Value: "/h"}, Headers: field("x-env", ir.MatchExact, "prod,eu")}),
		to("without", ir.Match{Path: ir.PathMatch{Kind: ir.MatchExact, Value: "/h/without"}, Headers: without}),
		to("query", ir.Match{Path: ir.PathMatch{Kind: ir.MatchExact, Value: "/q"}, Query: field("a b", ir.MatchExact, "1+1=2")}),
		to("queryre", ir.Match{Path: ir.PathMatch{Kind: ir.MatchExact, Value: "/q"}, Query: field("v", ir.MatchRegex, "[0-9]+")}),
		to("authority", ir.Match{Path: ir.PathMatch{Kind: ir.MatchExact, Value: "/port"}, Authority: ir.StringMatch{Kind: ir.MatchExact, Value: "a.test:8443"}}),
		to("plain", ir.Match{Path: ir.PathMatch{Kind: ir.MatchExact, Value: "/scheme"}, Scheme: ir.StringMatch{Kind: ir.MatchExact, Value: "http"}}),
		to("fold", ir.Match{Path: ir.PathMatch{Kind: ir.MatchPrefix, Value: "/Fold", IgnoreCase: true}}),
		to("regex", path(ir.MatchRegex, "/r/a|/r/b+")),
		to("quoted", path(ir.MatchRegex, `/\Q(x`)),
		to("segments", path(ir.MatchSegmentPrefix, "/seg/")),
		to("bytes", path(ir.MatchPrefix, "/seg")),
		to("late-exact", path(ir.MatchExact, "/seg")),
	)
	for _, c := range []struct {
		want string
		req  *message.Request
	}{
		{"exact", request("GET a.test/exact")},
		{"HK4101", request("GET a.test/exact/")},
		{"HK4101", request("GET a.test/Exact")},
		{"get", request("GET a.test/m/x")},
		{"HK4101", request("POST a.test/m/x")},
		{"HK4101", request("GET a.test/mx")},
		{"header", request("GET a.test/hx", "X-Env: prod", "Accept: x", "x-env: eu")},
		{"HK4101", request("GET a.test/hx", "X-Env: prod")},
		{"without", request("GET a.test/h/without")},
		{"HK4101", request("GET a.test/h/without", "x-env: ")},
		{"query", request("GET a.test/q?x=1&a+b=1%2b1%3D2")},
		{"query", request("GET a.test/q?a%20b=1%2B1%3d2&a+b=no")},
		{"HK4101", request("GET a.test/q?a+b=no&a+b=1%2B1%3D2")},
		{"queryre", request("GET a.test/q?v=%31%32")},
		{"HK4101", request("GET a.test/q?v=12a")},
		{"HK4101", request("GET a.test/q?v")},
		{"authority", request("GET A.test:8443/port")},
		{"HK4101", request("GET a.test/port")},
		{"HK4101", request("GET a.test/scheme")},
		{"fold", request("GET a.test/fOLDER")},
		{"regex", request("GET a.test/r/bbb")},
		{"HK4101", request("GET a.test/r/ax")},
		{"HK4101", request("GET a.test/r/b/r/a")},
		{"quoted", request("GET a.test/(x")},
		{"segments", request("GET a.test/seg")},
		{"segments", request("GET a.test/seg/x")},
		{"bytes", request("GET a.test/segment")},
		{"HK4102", request("GET b.test/exact")},
		{"HK4101", request("OPTIONS a.test*")},
	} {
		if got := name(tb.Match(c.req)); got != c.want {
			t.Errorf("%s %s?%s: %s, want %s", c.req.Method, c.req.Path, c.req.Query, got, c.want)
		}
	}
}

func TestMostSpecificHostIsComplete(t *testing.T) {
	vh := func(host string) *ir.VirtualHost {
		return &ir.VirtualHost{Hosts: patterns(t, host), Routes: []*ir.Route{to(host, path(ir.MatchPrefix, "/p"))}}
	}
	tb := Compile(&ir.Chain{VirtualHosts: []*ir.VirtualHost{vh("a.b.test"), vh("*.b.test"), vh("*.test"), vh("*")}}, noFilters)
	for host, want := range map[string]string{
		"a.b.test": "a.b.test", "c.b.test": "*.b.test", "d.c.b.test": "*.b.test", "b.test": "*.test", "test": "*", "": "*",
		"x.other": "*", ".b.test": "*.test",
	} {
		if got := name(tb.Match(request("GET " + host + "/p"))); got != want {
			t.Errorf("host %q: %s, want %s", host, got, want)
		}
	}
	if got := name(tb.Match(request("GET a.b.test/other"))); got != "HK4101" {
		t.Errorf("a miss in the most specific host gave %s", got)
	}
}

// TestAgreesWithScan compares the tree with the definition: the first in list order that matches.
func TestAgreesWithScan(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	kinds := []ir.MatchKind{ir.MatchExact, ir.MatchPrefix, ir.MatchSegmentPrefix, ir.MatchAny}
	word := func() string {
		s := "/"
		for range rng.IntN(5) {
			s += string("ab/"[rng.IntN(3)])
		}
		return s
	}
	for round := range 300 {
		var routes []*ir.Route
		for i := range 1 + rng.IntN(30) {
			m := path(kinds[rng.IntN(10)%4], word())
			m.Path.IgnoreCase = rng.IntN(4) == 0
			if rng.IntN(3) == 0 {
				m.Method = ir.StringMatch{Kind: ir.MatchExact, Value: "PUT"}
			}
			routes = append(routes, to(fmt.Sprint(i), m))
		}
		tb := table(t, "*", routes...)
		for range 30 {
			req := request([]string{"GET ", "PUT "}[rng.IntN(2)] + "h" + word())
			want := "HK4101"
			for _, r := range tb.hosts[0].routes {
				if r.match.path.matches(req.Path) && r.match.method.matches(req.Method) {
					want = r.IR.Name
					break
				}
			}
			if got := name(tb.Match(req)); got != want {
				t.Fatalf("round %d: %s %s: %s, want %s", round, req.Method, req.Path, got, want)
			}
		}
	}
}

func TestWhatCannotBeBuiltFailsClosed(t *testing.T) {
	build := func(r *ir.Route, b *ir.Backend) ([]filter.Filter, error) {
		if r.Name == "filter" || b != nil && b.Upstream == "bad" {
			return nil, errors.New("no such thing")
		}
		return nil, nil
	}
	bad := to("regex", path(ir.MatchRegex, "a)|(b"))
	zero := to("zero", path(ir.MatchExact, "/zero"))
	zero.Forward[0].Weight = 0
	half := to("half", path(ir.MatchExact, "/half"))
	half.Forward = append(half.Forward, ir.Backend{Upstream: "bad", Weight: 1})
	tb := Compile(&ir.Chain{VirtualHosts: []*ir.VirtualHost{{Hosts: patterns(t, "*"), Routes: []*ir.Route{
		to("filter", path(ir.MatchExact, "/filter")), zero, half, {Name: "empty", Match: path(ir.MatchExact, "/empty")}, bad,
		to("all", ir.Match{})}}}}, build)
	for p, want := range map[string]string{"/filter": "no such thing", "/zero": "weights", "/empty": "neither", "/other": "regular expression"} {
		r, _ := tb.Match(request("GET h" + p))
		if r == nil || r.Fault == nil || r.Fault.Code != diag.RouteInvalid || !strings.Contains(r.Fault.Detail, want) {
			t.Errorf("%s: %+v", p, r)
		}
	}
	r, _ := tb.Match(request("GET h/half"))
	if r.Fault != nil || r.Pick(0).Fault != nil || r.Pick(1<<31).Fault == nil {
		t.Errorf("half: a backend's fault must be that of its share alone")
	}
}

func TestPickKeepsToWeights(t *testing.T) {
	r := to("w", ir.Match{})
	r.Forward = []ir.Backend{{Upstream: "a", Weight: 0}, {Upstream: "b", Weight: 1}, {Upstream: "c", Weight: 3}, {Upstream: "d", Weight: 0}}
	c, _ := table(t, "*", r).Match(request("GET h/"))
	n := map[string]int{}
	for i := range 4000 {
		n[c.Pick(uint32(i*(1<<32/4000))).IR.Upstream]++
	}
	if n["a"] != 0 || n["d"] != 0 || n["b"] < 990 || n["b"] > 1010 {
		t.Errorf("picks %v, want b 1000 and c 3000", n)
	}
	if got := c.Pick(^uint32(0)).IR.Upstream; got != "c" {
		t.Errorf("highest number picks %s", got)
	}
	big := to("big", ir.Match{})
	big.Forward = []ir.Backend{{Upstream: "a", Weight: ^uint32(0)}, {Upstream: "b", Weight: ^uint32(0)}}
	c, _ = table(t, "*", big).Match(request("GET h/"))
	if c.Pick(0) == nil || c.Pick(^uint32(0)) == nil {
		t.Error("large weights pick nothing")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	var routes []*ir.Route
	for i := range 1000 {
		routes = append(routes, to(fmt.Sprint(i), path(ir.MatchSegmentPrefix, fmt.Sprintf("/service/%d", i))))
	}
	plain := table(t, "*.test", routes...)
	rich := table(t, "a.test",
		to("r", ir.Match{Path: ir.PathMatch{Kind: ir.MatchRegex, Value: "/x/[a-z]+"}, Headers: field("x-a", ir.MatchRegex, "1,2"),
			Query: field("q", ir.MatchPrefix, "a b"), Authority: ir.StringMatch{Kind: ir.MatchPrefix, Value: "a."}}))
	x := request("GET A.test/x/abc?z=1&q=a+b", "X-A: 1", "X-A: 2")
	p := request("GET A.test/service/999/x")
	h, in := rich.hosts[0], new(input)
	for what, f := range map[string]func(){
		"paths": func() { plain.Match(p) },
		"conditions": func() { // as Match, without its pool, which loses what it holds under the race detector
			in.begin(x, &h.names)
			h.match(in)
			in.end()
		},
	} {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	if got := name(rich.Match(x)); got != "r" {
		t.Errorf("rich route: %s", got)
	}
}

func TestNearest(t *testing.T) {
	tb := table(t, "httpbin.example.com",
		to("default/httpbin/rule-0", ir.Match{Path: ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: "/status"}, Headers: field("x-env", ir.MatchExact, "prod")}),
		to("default/httpbin/rule-1", path(ir.MatchExact, "/delay")))
	for _, c := range []struct {
		req  *message.Request
		want string
	}{
		{request("GET httpbin.example.com/status/418", "x-env: dev"), `nearest is route default/httpbin/rule-0: path prefix "/status" matched, header x-env = "prod" did not: got "dev"`},
		{request("GET httpbin.example.com/status/418"), `header x-env = "prod" did not: got none`},
		{request("GET httpbin.example.com/delai"), `nearest is route default/httpbin/rule-1: path = "/delay" did not: got "/delai"`},
		{request("GET htpbin.example.com/"), `host "htpbin.example.com" is not among those of ns/gw/https; the nearest is "httpbin.example.com"`},
		{request("GET x/"), `host "x" is not among those of ns/gw/https`},
	} {
		if got := tb.Nearest(c.req); !strings.Contains(got, c.want) {
			t.Errorf("Nearest(%s%s) = %s\nwant %s", c.req.Host, c.req.Path, got, c.want)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	var routes []*ir.Route
	for i := range 1000 {
		routes = append(routes, to(fmt.Sprint(i), path(ir.MatchSegmentPrefix, fmt.Sprintf("/service/%d", i))))
	}
	tb, req := table(b, "*.test", routes...), request("GET a.test/service/999/x")
	for b.Loop() {
		tb.Match(req)
	}
}

func TestVariantsByHost(t *testing.T) {
	b := Backend{Upstream: "base"}
	for _, p := range patterns(t, "a.x.test", "*.x.test") {
		b.Variants = append(b.Variants, Variant{Host: p, Upstream: p.String()})
	}
	b.Variants = append(b.Variants, Variant{Host: patterns(t, "*.y.test")[0], Fault: &ir.Fault{Code: diag.RouteInvalid}})
	for host, want := range map[string]string{"a.x.test": "a.x.test", "b.x.test": "*.x.test", "x.test": "base", "": "base"} {
		if got, fault := b.For([]byte(host)); got != want || fault != nil {
			t.Errorf("%q: %v, %v", host, got, fault)
		}
	}
	if _, fault := b.For([]byte("z.y.test")); fault == nil {
		t.Error("a variant that cannot be used must refuse, not fall to another")
	}
	plain := Backend{Upstream: "base"}
	if n := testing.AllocsPerRun(100, func() { _, _ = plain.For([]byte("a.x.test")) }); n != 0 {
		t.Errorf("%v allocations without variants", n)
	}
}
