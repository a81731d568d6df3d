package istio

import (
	"fmt"
	"time"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
)

// rule is one match of one http rule, with the conditions that depend on the server.
type rule struct {
	route    *ir.Route
	port     uint32       // of the server; 0: any
	gateways []objectName // empty: every gateway of the VirtualService
}

// rules translates all http rules, in their order. asMesh takes those for sidecars, else those for
// gateways.
func (t *translator) rules(v *resource.VirtualService, asMesh bool) []rule {
	var out []rule
	for i, h := range v.Spec.GetHttp() {
		if !asMesh && meshMatches(h.GetMatch()) {
			continue
		}
		b := &ruleBuilder{t: t, v: v, spec: h, from: at(&v.Meta, "spec.http[%d]", i)}
		b.action()
		name := fmt.Sprintf("%s/%s/rule-%d", v.Namespace, v.Name, i)
		if len(h.GetMatch()) == 0 {
			out = append(out, rule{route: b.route(name, b.from, matched{})})
			continue
		}
		for j, m := range h.GetMatch() {
			from := below(b.from, "match[%d]", j)
			if !asMesh && onlyMesh(m.GetGateways()) || !t.forUs(m, from) {
				continue
			}
			r := rule{route: b.route(fmt.Sprintf("%s/match-%d", name, j), from, t.match(m, from)), port: m.GetPort()}
			for _, g := range m.GetGateways() {
				if !asMesh {
					r.gateways = append(r.gateways, gatewayName(g, v.Namespace))
				}
			}
			out = append(out, r)
		}
	}
	return out
}

// forUs applies sourceLabels and sourceNamespace, which on a gateway speak of the gateway itself.
func (t *translator) forUs(m *istio.HTTPMatchRequest, from ir.Origin) bool {
	return t.sourceIsUs(m.GetSourceLabels(), m.GetSourceNamespace(), from)
}

func (t *translator) sourceIsUs(labels map[string]string, namespace string, from ir.Origin) bool {
	for k, v := range labels {
		if !t.ctx.Is(k, v) {
			t.info(diag.FieldWithoutEffect, below(from, "sourceLabels"), "the match is for workloads with other labels than this gateway, so it is left out here", "Nothing to do if that is meant.")
			return false
		}
	}
	if namespace != "" && namespace != t.ctx.Namespace {
		t.info(diag.FieldWithoutEffect, below(from, "sourceNamespace"), "the match is for workloads of another namespace than this gateway's, so it is left out here", "Nothing to do if that is meant.")
		return false
	}
	return true
}

// ruleBuilder makes the routes of one http rule. What does not depend on the match is made once.
type ruleBuilder struct {
	t    *translator
	v    *resource.VirtualService
	spec *istio.HTTPRoute
	from ir.Origin

	fault   *ir.Fault
	forward []ir.Backend
	respond *ir.Respond
	filters []ir.Filter
	timeout time.Duration
	try     time.Duration // of one try
	retry   *ir.Retry
}

// refuse reports why the rule cannot be used as written and makes it refuse. The first fault stays.
func (b *ruleBuilder) refuse(code diag.Code, from ir.Origin, message, fix string) {
	b.t.report(code, from, message, fix)
	if b.fault == nil {
		b.fault = &ir.Fault{Code: code, Detail: from.String() + ": " + message}
	}
}

// action reads everything but the match.
func (b *ruleBuilder) action() {
	h := b.spec
	count := 0
	for _, set := range []bool{len(h.GetRoute()) > 0, h.GetRedirect() != nil, h.GetDirectResponse() != nil} {
		if set {
			count++
		}
	}
	switch {
	case h.GetDelegate() != nil:
		b.refuse(diag.RouteActionInvalid, below(b.from, "delegate"), "delegate does nothing in this version, so the rule refuses its requests", "Write the delegate's rules here.")
	case count == 0:
		b.refuse(diag.RouteActionInvalid, b.from, "the rule neither forwards nor redirects nor answers", "Add route, redirect or directResponse.")
	case count > 1:
		b.refuse(diag.RouteActionInvalid, b.from, "the rule has more than one of route, redirect and directResponse", "Keep one.")
	case h.GetRedirect() != nil && h.GetRewrite() != nil:
		b.refuse(diag.RouteFilterInvalid, below(b.from, "rewrite"), "a redirect is not sent on, so there is nothing to rewrite", "Remove rewrite or redirect.")
	}
	if d := h.GetTimeout(); d != nil {
		if b.timeout = d.AsDuration(); b.timeout < 0 {
			b.timeout = 0
			b.refuse(diag.RouteTimeout, below(b.from, "timeout"), "the timeout is negative", "Write a duration such as 10s.")
		}
	}
	b.retry, b.try = b.retries()
	b.filters = b.headers(h.GetHeaders(), below(b.from, "headers"))
	switch {
	case len(h.GetRoute()) > 0:
		b.destinations(h.GetRoute())
	case h.GetDirectResponse() != nil:
		b.directResponse(h.GetDirectResponse())
	}
}

// destinations reads the weighted destinations.
func (b *ruleBuilder) destinations(routes []*istio.HTTPRouteDestination) {
	sum := int64(0)
	for i, r := range routes {
		from := below(b.from, "route[%d]", i)
		weight := r.GetWeight()
		if weight < 0 {
			b.refuse(diag.RouteWeights, below(from, "weight"), fmt.Sprintf("weight %d is negative", weight), "Write 0 or more.")
			weight = 0
		}
		if len(routes) == 1 {
			weight = 100 // A single destination gets everything, whatever its weight says.
		}
		sum += int64(weight)
		back := ir.Backend{Weight: uint32(weight), Origin: below(from, "destination"), Filters: b.headers(r.GetHeaders(), below(from, "headers"))}
		d := r.GetDestination()
		l := leg{backend.Destination{Host: d.GetHost(), Port: d.GetPort().GetNumber(), Subset: d.GetSubset()}, b.v.Namespace, back.Origin}
		res := b.t.resolve(l, b.v.Spec.GetHosts(), httpHop)
		back.Upstream, back.Fault = res.Upstream, res.Fault
		b.forward = append(b.forward, back)
	}
	if sum == 0 {
		b.refuse(diag.RouteWeights, below(b.from, "route"), "all weights are 0, so there is nothing to send to", "Set the weights.")
	}
}

func (b *ruleBuilder) directResponse(d *istio.HTTPDirectResponse) {
	from := below(b.from, "directResponse")
	if d.GetStatus() < 200 || d.GetStatus() > 599 {
		b.refuse(diag.RouteActionInvalid, below(from, "status"), fmt.Sprintf("status %d is none that can be answered", d.GetStatus()), "Use 200 to 599.")
		return
	}
	body := d.GetBody().GetString_()
	if raw := d.GetBody().GetBytes(); len(raw) > 0 {
		body = string(raw)
	}
	b.respond = &ir.Respond{Status: int(d.GetStatus()), Body: body}
}

// route puts one match together with the rule's action.
func (b *ruleBuilder) route(name string, from ir.Origin, m matched) *ir.Route {
	r := &ir.Route{Name: name, Origin: from, Match: m.match, Section: b.spec.GetName(), Timeout: b.timeout}
	fault := b.fault
	if fault == nil {
		fault = m.fault
	}
	filters := append([]ir.Filter(nil), b.filters...)
	switch {
	case b.spec.GetRedirect() != nil:
		redirect, f := b.redirectFor(m)
		r.Redirect = redirect
		if fault == nil {
			fault = f
		}
	case b.respond != nil:
		r.Respond = b.respond
	default:
		r.Forward, r.Retry, r.BackendTimeout = b.forward, b.retry, b.try
	}
	if b.spec.GetRewrite() != nil && b.spec.GetRedirect() == nil {
		rewrite, f := b.rewriteFor(m)
		if rewrite != nil {
			filters = append(filters, ir.Filter{Origin: below(b.from, "rewrite"), Rewrite: rewrite})
		}
		if fault == nil {
			fault = f
		}
	}
	if fault != nil {
		return &ir.Route{Name: name, Origin: from, Match: m.match, Section: r.Section, Fault: fault}
	}
	r.Filters = filters
	return r
}
