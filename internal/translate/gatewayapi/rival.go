package gatewayapi

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
)

// claims are the hosts of a listener that accepted routes have, by kind of route and by the pattern as
// the route names it. A host belongs to HTTPRoutes or to GRPCRoutes, never to both
// (GRPCRouteSpec.hostnames).
type claims map[string]map[hostname.Pattern]*route

// claim notes the hosts of a route that was attached, unless the route as a whole is refused.
func (l *listener) claim(r *route) {
	if !r.accepted.True {
		return
	}
	if l.claims == nil {
		l.claims = claims{}
	}
	mine := l.claims[r.Kind]
	if mine == nil {
		mine = map[hostname.Pattern]*route{}
		l.claims[r.Kind] = mine
	}
	for _, h := range r.hosts {
		if p, ok := hostname.Intersect(l.host, h); ok && mine[p] == nil {
			mine[p] = r
		}
	}
}

// rival is an older route of the other kind that has a host of a route on a listener.
type rival struct {
	of       *route
	host     hostname.Pattern // the narrower of the two hosts
	listener *listener
}

// rival returns the oldest route of the other kind that has a host of r on this listener; of is nil if
// there is none. Hostnames that the listener does not serve do not count.
func (l *listener) rival(r *route) rival {
	best := rival{listener: l}
	for kind, theirs := range l.claims {
		if kind == r.Kind {
			continue
		}
		for _, h := range r.hosts {
			if p, ok := hostname.Intersect(l.host, h); ok {
				best.consider(theirs, p)
			}
		}
	}
	return best
}

// consider looks for claims that have a host in common with p.
func (x *rival) consider(theirs map[hostname.Pattern]*route, p hostname.Pattern) {
	take := func(r *route, host hostname.Pattern) {
		if r != nil && (x.of == nil || r.Rank < x.of.Rank || r == x.of && hostname.Compare(host, x.host) < 0) {
			x.of, x.host = r, host
		}
	}
	take(theirs[p], p)
	for _, q := range ancestors(p) {
		take(theirs[q], p)
	}
	if p.IsExact() {
		return
	}
	for q, r := range theirs {
		if p.Covers(q) {
			take(r, q)
		}
	}
}

// withoutRivals returns the listeners on which no older route of the other kind has a host of r. Of the
// others the last one's rival is returned too.
func withoutRivals(r *route, list []*listener) (free []*listener, found rival) {
	for _, l := range list {
		if x := l.rival(r); x.of != nil {
			found = x
			continue
		}
		free = append(free, l)
	}
	return free, found
}

// kindConflict reports that an older route of the other kind has a host, and returns the Accepted
// condition of a route that is left without a listener by that. The API names no reason for it.
func (t *translator) kindConflict(r *route, x rival, field string) Condition {
	message := fmt.Sprintf("%s, which is older, has host %q on listener %s, and a listener takes either HTTPRoutes or GRPCRoutes for a host", x.of.Object(), x.host, x.listener.spec.Name)
	t.report(r.Meta, diag.RouteKindConflict, field, message, "Give one of the two other hostnames, or write all rules in one kind.")
	return bad(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonNotAllowedByListeners, diag.RouteKindConflict, message)
}
