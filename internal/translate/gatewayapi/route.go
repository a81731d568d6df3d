package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// route is an HTTPRoute or GRPCRoute while it is translated. Meta.Kind tells which.
type route struct {
	*resource.Meta
	common    *gatewayv1.CommonRouteSpec
	hostnames []gatewayv1.Hostname
	specs     []ruleSpec

	hosts     []hostname.Pattern // "*" alone if the route names none; empty if none can be used
	rules     []rankedRoute
	listeners []*listener // attached to

	accepted Condition // if a parent accepts it
	resolved Condition
	partial  *Condition
}

// ruleSpec is one rule of either kind: a GRPCRoute's is written as an HTTPRoute's, which can say all of it
// but the matches.
type ruleSpec struct {
	*gatewayv1.HTTPRouteRule
	matches []translatedMatch
}

// isGRPC reports whether the route is a GRPCRoute.
func (r *route) isGRPC() bool { return r.Kind == resource.KindGRPCRoute }

// routesOf returns the routes of both kinds in the order of the Set: the older first.
func routesOf(set *resource.Set) []*route {
	var out []*route
	for _, o := range set.HTTPRoutes() {
		out = append(out, httpRoute(o))
	}
	for _, o := range set.GRPCRoutes() {
		out = append(out, grpcRoute(o))
	}
	slices.SortFunc(out, func(a, b *route) int { return a.Rank - b.Rank })
	return out
}

// httpRoute reads an HTTPRoute. Its matches are translated with its rules.
func httpRoute(o *resource.HTTPRoute) *route {
	r := &route{Meta: &o.Meta, common: &o.Spec.CommonRouteSpec, hostnames: o.Spec.Hostnames}
	for i := range o.Spec.Rules {
		spec := ruleSpec{HTTPRouteRule: &o.Spec.Rules[i]}
		for j := range spec.Matches {
			spec.matches = append(spec.matches, translateMatch(&spec.Matches[j], fmt.Sprintf("spec.rules[%d].matches[%d]", i, j)))
		}
		r.specs = append(r.specs, spec)
	}
	return r
}

// rankedRoute is one match of one rule, ready to be put into order.
type rankedRoute struct {
	*ir.Route
	rank        matchRank
	rule, match int
}

// route translates a route and attaches it to the Gateways of ours that it names. A route that names
// none is left alone: it is not ours to judge.
func (t *translator) route(r *route) {
	if r.common.UseDefaultGateways != "" && r.common.UseDefaultGateways != gatewayv1.GatewayDefaultScopeNone {
		t.withoutEffect(r.Meta, "spec.useDefaultGateways", "routes are attached by parentRefs only")
	}
	if len(r.common.ParentRefs) == 0 {
		t.report(r.Meta, diag.RouteNotAttached, "spec.parentRefs", "the route names no Gateway", "Add parentRefs.")
		return
	}
	if t.namesOurs(r) {
		t.hosts(r)
		t.rules(r)
	}
	s := RouteStatus{Object: r.Object(), Generation: r.Generation}
	for i := range r.common.ParentRefs {
		ref := &r.common.ParentRefs[i]
		accepted, ours := t.attach(r, ref, fmt.Sprintf("spec.parentRefs[%d]", i))
		if !ours {
			continue
		}
		p := ParentStatus{Ref: *ref, Conditions: []Condition{accepted, r.resolved}}
		if r.partial != nil && accepted.True {
			p.Conditions = append(p.Conditions, *r.partial)
		}
		s.Parents = append(s.Parents, p)
	}
	if r.accepted.True {
		for _, l := range r.listeners {
			l.counted++
		}
	}
	t.unusedHosts(r)
	if len(s.Parents) > 0 {
		t.status.Routes = append(t.status.Routes, s)
	}
}

// namesOurs reports whether a parentRef may name a Gateway of ours.
func (t *translator) namesOurs(r *route) bool {
	return slices.ContainsFunc(r.common.ParentRefs, func(ref gatewayv1.ParentReference) bool {
		name := objectName{r.Namespace, string(ref.Name)}
		if ref.Namespace != nil && *ref.Namespace != "" {
			name.namespace = string(*ref.Namespace)
		}
		return t.gateways[name] != nil
	})
}

// hosts reads hostnames.
func (t *translator) hosts(r *route) {
	if len(r.hostnames) == 0 {
		r.hosts = []hostname.Pattern{hostname.Any()}
		return
	}
	for i, h := range r.hostnames {
		p, problem := parseHost(string(h))
		if problem != "" {
			t.report(r.Meta, diag.RouteHostInvalid, fmt.Sprintf("spec.hostnames[%d]", i), problem+"; it is left out", "Write a DNS name or *.NAME; leave hostnames out to take every host of the listener.")
			continue
		}
		if !slices.Contains(r.hosts, p) {
			r.hosts = append(r.hosts, p)
		}
	}
}

// unusedHosts warns of hostnames that no listener takes although the route is attached: the API
// ignores them, which is rarely what was meant.
func (t *translator) unusedHosts(r *route) {
	if len(r.listeners) == 0 {
		return
	}
	for i, h := range r.hostnames {
		p, problem := parseHost(string(h))
		if problem == "" && !slices.ContainsFunc(r.listeners, func(l *listener) bool { return intersects(l.host, p) }) {
			t.reportAs(diag.Warning, r.Meta, diag.RouteHostMismatch, fmt.Sprintf("spec.hostnames[%d]", i),
				fmt.Sprintf("no listener that takes the route serves host %q, so the name is ignored", h), "Add a listener for it, or remove it.")
		}
	}
}

// rules translates the rules of a route once, for all its parents.
func (t *translator) rules(r *route) {
	r.accepted = good(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonAccepted, "")
	r.resolved = good(gatewayv1.RouteConditionResolvedRefs, gatewayv1.RouteReasonResolvedRefs, "")
	rules := r.specs
	if len(rules) == 0 {
		rules = []ruleSpec{{HTTPRouteRule: &gatewayv1.HTTPRouteRule{}}} // the API's default: one that matches everything
	}
	var faulty []Condition
	for i, spec := range rules {
		if fault := t.rule(r, i, spec); fault != nil {
			faulty = append(faulty, *fault)
		}
	}
	switch {
	case len(faulty) == 0:
	case len(faulty) == len(rules):
		r.accepted = faulty[0]
	default:
		c := faulty[0]
		c.Type, c.True = string(gatewayv1.RouteConditionPartiallyInvalid), true
		c.Message = "Dropped Rule: requests for it are answered 500: " + c.Message
		r.partial = &c
	}
}

// unresolved sets ResolvedRefs to false, unless it is already.
func (r *route) unresolved(reason gatewayv1.RouteConditionReason, code diag.Code, message string) {
	if r.resolved.True {
		r.resolved = bad(gatewayv1.RouteConditionResolvedRefs, reason, code, message)
	}
}
