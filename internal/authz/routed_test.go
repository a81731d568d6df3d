package authz

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// A request that another route took is covered by the policy of a route all the same, where an origin may
// read its path as one that this route matches.
func TestRoutesUnderEveryReading(t *testing.T) {
	own := ir.Route{Origin: ir.Origin{Object: diag.Object{Kind: "HTTPRoute", Name: "own"}}}
	other := ir.Route{Origin: ir.Origin{Object: diag.Object{Kind: "HTTPRoute", Name: "other"}}}
	c, ps := chain(t, "own a.test", "exact a.test")
	c.Access[0].Route = &ir.RouteTarget{Object: own.Origin.Object, Paths: []ir.RoutePath{{Path: "/test1"}}}
	c.Access[1].Route = &ir.RouteTarget{Object: own.Origin.Object, Section: "x", Paths: []ir.RoutePath{{Path: "/one", Exact: true}}}
	x := NewIndex(c, ps)
	for _, k := range []struct {
		path  string
		route *ir.Route
		want  string
	}{
		{"/test1", &own, "own"},
		{"/test1", &other, ""}, // another method of the path, say: routing saw it
		{"/test1/below", &other, ""},
		{"/TEST1", &other, "own"},
		{"/TEST1/x", nil, "own"},
		{"/test1;a", &other, "own"},
		{"/test1.", &other, "own"},
		{"/%2574est1", &other, "own"},
		{"/test10", &other, ""},
		{"/TEST10", &other, ""},
		{"/one", &other, ""},
		{"/one/", &other, "exact"}, // origins that are not strict serve it as /one
		{"/ONE", &other, "exact"},
		{"/one/x", &other, ""},
		{"/ONE/x", &other, ""},
		{"/one;a", &other, "exact"},
	} {
		if got := deciders(x, "a.test", k.path, k.route); got != k.want {
			t.Errorf("%s is decided by %q, want %q", k.path, got, k.want)
		}
	}
}
