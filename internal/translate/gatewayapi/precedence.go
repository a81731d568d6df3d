package gatewayapi

import (
	"cmp"
	"slices"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// virtualHosts orders the routes attached to a listener for each host pattern that they have in common
// with it. The list of a pattern is complete: it also holds the rules of routes whose wider hostnames
// cover the pattern, because a request that no rule of the most specific hostname matches falls through
// to them (HTTPRouteSpec.hostnames). It never leaves the listener.
func virtualHosts(listener hostname.Pattern, attached []*route) []*ir.VirtualHost {
	// By the hostname as the route wrote it, which decides precedence, not by its intersection.
	byHost := map[hostname.Pattern][]*route{}
	var patterns []hostname.Pattern
	seen := map[hostname.Pattern]bool{}
	for _, r := range attached {
		for _, h := range r.hosts {
			p, ok := hostname.Intersect(listener, h)
			if !ok {
				continue
			}
			byHost[h] = append(byHost[h], r)
			if !seen[p] {
				seen[p] = true
				patterns = append(patterns, p)
			}
		}
	}
	slices.SortFunc(patterns, hostname.Compare)
	var out []*ir.VirtualHost
	for _, p := range patterns {
		out = append(out, &ir.VirtualHost{Hosts: []hostname.Pattern{p}, Routes: orderedRoutes(p, byHost)})
	}
	return out
}

// orderedRoutes returns the routes of every hostname that covers p, in order of precedence: the most
// specific hostname, then HTTPRouteRule.matches, then the older route, then the order of rules.
func orderedRoutes(p hostname.Pattern, byHost map[hostname.Pattern][]*route) []*ir.Route {
	var out []*ir.Route
	taken := map[*route]bool{}
	for _, h := range append([]hostname.Pattern{p}, ancestors(p)...) {
		type candidate struct {
			rankedRoute
			age int
		}
		var level []candidate
		for _, r := range byHost[h] {
			if taken[r] {
				continue // its rules stand already at the place of a more specific hostname
			}
			taken[r] = true
			for _, rule := range r.rules {
				level = append(level, candidate{rule, r.Rank})
			}
		}
		slices.SortStableFunc(level, func(a, b candidate) int {
			return cmp.Or(compareRank(a.rank, b.rank), cmp.Compare(a.age, b.age), cmp.Compare(a.rule, b.rule), cmp.Compare(a.match, b.match))
		})
		for _, c := range level {
			out = append(out, c.Route)
		}
	}
	return out
}
