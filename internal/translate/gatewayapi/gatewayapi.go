// Package gatewayapi translates the Gateway API (GatewayClass, Gateway, HTTPRoute, GRPCRoute,
// ReferenceGrant) into a Fragment, and says for every object of ours what its conditions are made of.
//
// It is pure, and knows nothing of Istio's API beyond the listener options that Istio defined for this
// one. What it cannot resolve it refuses in place: a rule, backend or listener with a fault never lets
// traffic fall through to a broader one. Begin reading at Translate; then gateway.go and listener.go
// for the way down, route.go for attachment, and precedence.go for the order of routes.
//
// Specification: https://gateway-api.sigs.k8s.io/reference/spec/ (v1.6.3).
package gatewayapi

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
	"github.com/hakone-gateway/hakone/internal/translate/grant"
)

// Translate returns the fragment and status of every Gateway API object of ours in the set.
// Diagnostics are complete with positions and in a fixed order. The cache may be nil.
func Translate(set *resource.Set, ctx translate.Context, cache *credential.Cache) (*translate.Fragment, *Status) {
	out := translate.NewFragment()
	creds := credential.New(set, ctx, out, cache)
	t := &translator{
		set: set, ctx: ctx, cache: cache, credentials: creds, resolver: backend.New(set, ctx, out, creds),
		fragment: out, status: &Status{}, grants: grant.New(set), gateways: map[objectName]*gateway{},
	}
	for _, c := range set.GatewayClasses() {
		t.class(c)
	}
	var ours []*gateway
	for _, g := range set.Gateways() {
		if t.isOurs(g) {
			ours = append(ours, t.gateway(g))
		}
	}
	for _, r := range routesOf(set) {
		t.route(r)
	}
	for _, g := range ours {
		t.finish(g)
	}
	out.Diagnostics = diag.Compact(set.Place(out.Diagnostics))
	return out, t.status
}

// objectName is a namespaced name.
type objectName struct{ namespace, name string }

// translator holds the state of one Translate.
type translator struct {
	set         *resource.Set
	ctx         translate.Context
	cache       *credential.Cache
	credentials *credential.Finder
	resolver    *backend.Resolver
	grants      grant.Grants

	fragment *translate.Fragment
	status   *Status
	gateways map[objectName]*gateway // ours
}

// report adds a diagnostic about a field of an object.
func (t *translator) report(m *resource.Meta, code diag.Code, field, message, fix string) {
	t.fragment.Diagnostics = append(t.fragment.Diagnostics, m.Diag(code, field, message, fix))
}

// reportAs is report with another severity than the code's own.
func (t *translator) reportAs(s diag.Severity, m *resource.Meta, code diag.Code, field, message, fix string) {
	d := m.Diag(code, field, message, fix)
	d.Severity = s
	t.fragment.Diagnostics = append(t.fragment.Diagnostics, d)
}

// withoutEffect says that a field is valid and changes nothing.
func (t *translator) withoutEffect(m *resource.Meta, field, message string) {
	t.report(m, diag.FieldWithoutEffect, field, message, "Do not rely on it; remove it to silence this.")
}

// fromGateway is a Gateway as the source of references.
func fromGateway(namespace string) grant.From {
	return grant.From{Group: gatewayv1.GroupName, Kind: resource.KindGateway, Namespace: namespace}
}
