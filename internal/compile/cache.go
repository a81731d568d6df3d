package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// applyCaches gives routes the caches of the policies that cover them: of the narrowest target, and of
// equals the older's. Routes may be shared by chains, so those that get one are copied.
func (c *compiler) applyCaches(listeners []*ir.Listener) {
	if len(c.caches) == 0 {
		return
	}
	slices.SortStableFunc(c.caches, func(a, b translate.Cache) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Cache.Name, b.Cache.Name))
	})
	a := &cacher{compiler: c, used: make([]map[string]bool, len(c.caches)), told: map[[2]int]bool{}}
	for i := range a.used {
		a.used[i] = map[string]bool{}
	}
	owner := make(map[*ir.Chain]*translate.Listener, len(c.listeners))
	for _, l := range c.listeners {
		owner[l.Chain] = l
	}
	for _, l := range listeners {
		for _, chain := range l.Chains {
			a.chain(chain, owner[chain])
		}
	}
	a.unused()
}

// cacher holds the state of applyCaches.
type cacher struct {
	*compiler
	used []map[string]bool // for each policy the targets that something was found for
	told map[[2]int]bool   // pairs of policies that were told to be rivals
}

// chain gives the routes of one chain their caches.
func (a *cacher) chain(chain *ir.Chain, from *translate.Listener) {
	copies := map[*ir.Route]*ir.Route{} // of routes that have a cache here
	for _, vh := range chain.VirtualHosts {
		var routes []*ir.Route
		for i, r := range vh.Routes {
			kept := copies[r]
			if kept == nil {
				policy := a.covering(r, from)
				if policy < 0 {
					continue
				}
				clone := *r
				clone.Cache = a.caches[policy].Cache
				kept = &clone
				copies[r] = kept
			}
			if routes == nil {
				routes = slices.Clone(vh.Routes)
			}
			routes[i] = kept
		}
		if routes != nil {
			vh.Routes = routes
		}
	}
}

// covering returns the policy that decides about a route, or -1.
func (a *cacher) covering(r *ir.Route, from *translate.Listener) int {
	best, reached := -1, reach(-1)
	for i := range a.caches {
		own := reach(-1)
		for _, t := range a.caches[i].Targets {
			at, ok := reachGateway, false
			switch {
			case !isRoute(t.Object.Kind):
				at, ok = targetsListener(t, from)
			case isOf(t, r):
				at, ok = reachRoute, true
				if t.Section != "" {
					at = reachRule
				}
			}
			if !ok {
				continue
			}
			a.used[i][t.Field] = true
			own = max(own, at)
		}
		if own < 0 || r.Forward == nil {
			continue
		}
		switch {
		case own > reached:
			best, reached = i, own
		case own == reached:
			a.rivals(best, i, r)
		}
	}
	return best
}

// rivals tells of a policy that an older one of equal reach precedes.
func (a *cacher) rivals(older, younger int, r *ir.Route) {
	if a.told[[2]int{older, younger}] {
		return
	}
	a.told[[2]int{older, younger}] = true
	a.report(diag.CachePolicyConflict, a.caches[younger].Cache.Origin.Object, "spec.targetRefs",
		fmt.Sprintf("it covers routes of %s like %s, which is older and decides", r.Origin.Object, a.caches[older].Cache.Origin.Object), "Remove one of the two, or narrow one by sectionName.")
}

// unused tells of targets that nothing was found for, and of those whose answers are never kept.
func (a *cacher) unused() {
	v := &coverage{compiler: a.compiler}
	for i := range a.caches {
		obj := a.caches[i].Cache.Origin.Object
		for _, t := range a.caches[i].Targets {
			switch {
			case a.used[i][t.Field] && t.Object.Kind == "GRPCRoute":
				a.report(diag.FieldWithoutEffect, obj, t.Field, fmt.Sprintf("calls of %s are POSTs, whose answers are not kept (RFC 9111 section 3)", t.Object), "Remove the target.")
			case a.used[i][t.Field]:
			default:
				if message := a.unaccepted(t); message != "" {
					a.report(diag.CachePolicyCoversNothing, obj, t.Field, message+", so nothing is kept through this target", mendThere)
					continue
				}
				message, near := v.absent(t)
				message = strings.ReplaceAll(message, "nothing is protected", "nothing is kept")
				a.report(diag.CachePolicyCoversNothing, obj, t.Field, message, near()+"Correct the target; hakone dump routes shows what is served.")
			}
		}
	}
}
