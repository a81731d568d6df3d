package istio

import (
	"encoding/json"
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// shadows finds routes that can never match because an earlier one takes everything. A route stands
// in as many lists as it has hosts and servers; it is only reported if it is shadowed in all of them.
type shadows struct {
	placed map[*ir.Route]int
	hidden map[*ir.Route]int
	by     map[*ir.Route]*ir.Route
	order  []*ir.Route // as first hidden
}

func newShadows() *shadows {
	return &shadows{map[*ir.Route]int{}, map[*ir.Route]int{}, map[*ir.Route]*ir.Route{}, nil}
}

// add looks at the list of one host.
func (x *shadows) add(routes []*ir.Route) {
	seen := make(map[string]*ir.Route, len(routes))
	var all *ir.Route
	for _, r := range routes {
		x.placed[r]++
		key, err := json.Marshal(r.Match)
		if err != nil {
			continue // A match always encodes.
		}
		before := seen[string(key)]
		if all != nil {
			before = all
		}
		if before != nil {
			if x.hidden[r]++; x.by[r] == nil {
				x.by[r] = before
				x.order = append(x.order, r)
			}
			continue
		}
		seen[string(key)] = r
		if matchesAll(r.Match) {
			all = r
		}
	}
}

// report tells of the routes that are shadowed everywhere.
func (x *shadows) report(t *translator) {
	for _, r := range x.order {
		if x.hidden[r] < x.placed[r] {
			continue
		}
		t.report(diag.RouteShadowed, r.Origin, fmt.Sprintf("can never match: %s before it takes everything that it would", place(x.by[r].Origin, r.Origin)),
			"Put the narrower rule first, or remove this one.")
	}
}

// place names an origin from the point of view of another.
func place(o, from ir.Origin) string {
	if o.Object == from.Object {
		return o.Field
	}
	return o.String()
}

func matchesAll(m ir.Match) bool {
	path := m.Path.Kind == ir.MatchAny || m.Path.Kind == ir.MatchPrefix && m.Path.Value == "/"
	none := ir.StringMatch{}
	return path && m.Method == none && m.Scheme == none && m.Authority == none && len(m.Headers) == 0 && len(m.Query) == 0
}
