package gatewayapi

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// virtualHosts orders the routes attached to a listener for each host pattern that they have in common
// with it. The list of a pattern is complete: it also holds the rules of routes whose wider hostnames
// cover the pattern, because a request that no rule of the most specific hostname matches falls through
// to them (HTTPRouteSpec.hostnames). It never leaves the listener.
func (t *translator) virtualHosts(listener hostname.Pattern, attached []*route) []*ir.VirtualHost {
	// By the hostname as the route wrote it, which decides precedence, not by its intersection.
	levels := map[hostname.Pattern][]candidate{}
	var patterns []hostname.Pattern
	seen := map[hostname.Pattern]bool{}
	for _, r := range attached {
		for _, h := range r.hosts {
			p, ok := hostname.Intersect(listener, h)
			if !ok {
				continue
			}
			for _, rule := range r.rules {
				levels[h] = append(levels[h], candidate{rule, r})
			}
			if !seen[p] {
				seen[p] = true
				patterns = append(patterns, p)
			}
		}
	}
	for h, level := range levels {
		slices.SortStableFunc(level, func(a, b candidate) int {
			return cmp.Or(compareRank(a.rank, b.rank), cmp.Compare(a.of.Rank, b.of.Rank), cmp.Compare(a.rule, b.rule), cmp.Compare(a.match, b.match))
		})
		t.shadowed(h, level)
	}
	slices.SortFunc(patterns, hostname.Compare)
	var out []*ir.VirtualHost
	for _, p := range patterns {
		out = append(out, &ir.VirtualHost{Hosts: []hostname.Pattern{p}, Routes: orderedRoutes(p, levels)})
	}
	return out
}

// orderedRoutes returns the routes of every hostname that covers p, in order of precedence: the most
// specific hostname, then HTTPRouteRule.matches, then the older route, then the order of rules.
func orderedRoutes(p hostname.Pattern, levels map[hostname.Pattern][]candidate) []*ir.Route {
	var out []*ir.Route
	placed := map[*route]int{} // at which hostname; a wider one of the same route adds nothing
	for i, h := range append([]hostname.Pattern{p}, ancestors(p)...) {
		for _, c := range levels[h] {
			at, ok := placed[c.of]
			if !ok {
				placed[c.of] = i
			} else if at != i {
				continue
			}
			out = append(out, c.Route)
		}
	}
	return out
}

// candidate is a match with its route, while a list is put into order.
type candidate struct {
	rankedRoute
	of *route
}

// shadowed warns of matches that an equal match of the same hostname stands before.
func (t *translator) shadowed(host hostname.Pattern, ordered []candidate) {
	first := map[string]*ir.Route{}
	for _, c := range ordered {
		key := fmt.Sprint(c.Match)
		winner := first[key]
		if winner == nil {
			first[key] = c.Route
			continue
		}
		t.report(c.of.Meta, diag.RouteShadowed, fmt.Sprintf("spec.rules[%d].matches[%d]", c.rule, c.match),
			fmt.Sprintf("on host %q %s has the same match and goes first, so this one never matches", host, winner.Name), "Remove one of the two, or make this match narrower.")
	}
}
