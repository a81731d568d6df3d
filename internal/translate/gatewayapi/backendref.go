package gatewayapi

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
	"github.com/hakone-gateway/hakone/internal/translate/grant"
)

// backends translates backendRefs. An invalid one keeps its share of the weight and refuses it. If
// there is nothing to send to and no redirect, noAction says what is answered instead.
func (b *ruleBuilder) backends(spec *gatewayv1.HTTPRouteRule, redirects bool) []ir.Backend {
	field := b.field + ".backendRefs"
	switch {
	case redirects && len(spec.BackendRefs) > 0:
		b.fail(diag.RouteFilterInvalid, gatewayv1.RouteReasonIncompatibleFilters, field, "a rule with RequestRedirect cannot have backendRefs", "Remove one of the two.")
		return nil
	case redirects:
		return nil
	case len(spec.BackendRefs) == 0:
		message, fix := "the rule has neither backendRefs nor a redirect, so it answers 500", "Add backendRefs, or a RequestRedirect filter."
		if b.route.isGRPC() {
			message, fix = "the rule has no backendRefs, so it answers UNAVAILABLE", "Add backendRefs."
		}
		b.reportAs(diag.Warning, b.route.Meta, diag.RouteActionInvalid, field, message, fix)
		b.noAction = b.unavailable(&ir.Fault{Code: diag.RouteActionInvalid, Detail: message})
		return nil
	}
	var out []ir.Backend
	var total uint64
	for i := range spec.BackendRefs {
		backend := b.backend(&spec.BackendRefs[i], fmt.Sprintf("%s[%d]", field, i))
		total += uint64(backend.Weight)
		out = append(out, backend)
	}
	if total == 0 {
		const message = "all weights are 0, so there is nothing to send requests to"
		b.report(b.route.Meta, diag.RouteWeights, field, message, "Give a backend a weight.")
		b.noAction = b.unavailable(&ir.Fault{Code: diag.RouteWeights, Detail: message})
	}
	return out
}

// backend translates one backendRef.
func (b *ruleBuilder) backend(ref *gatewayv1.HTTPBackendRef, field string) ir.Backend {
	at := ir.Origin{Object: b.route.Object(), Field: field}
	out := ir.Backend{Weight: 1, Origin: at}
	if ref.Weight != nil {
		if *ref.Weight < 0 || *ref.Weight > 1_000_000 {
			out.Fault = b.unavailable(b.badBackend(field+".weight", diag.BadValue, gatewayv1.RouteReasonUnsupportedValue, fmt.Sprintf("weight %d is not between 0 and 1000000", *ref.Weight), "Correct the weight."))
			return out
		}
		out.Weight = uint32(*ref.Weight)
	}
	upstream, fault := b.upstream(&ref.BackendObjectReference, at)
	if fault != nil {
		out.Fault = b.unavailable(fault)
		return out
	}
	f := translateFilters(ref.Filters, field+".filters", filterContext{object: at.Object, backend: true})
	for _, x := range f.noEffect {
		b.withoutEffect(b.route.Meta, x.field, x.message)
	}
	for _, x := range f.faults {
		b.report(b.route.Meta, diag.RouteFilterInvalid, x.field, x.message+"; the backend refuses its share of requests", "Correct or remove the filter; a filter is never skipped.")
	}
	if len(f.faults) > 0 {
		out.Fault = b.unavailable(&ir.Fault{Code: diag.RouteFilterInvalid, Detail: f.faults[0].message})
		b.partialFault(f.faults[0].message)
		return out
	}
	out.Upstream, out.Filters = upstream, f.filters
	return out
}

// upstream resolves the object of a backendRef.
func (b *ruleBuilder) upstream(ref *gatewayv1.BackendObjectReference, at ir.Origin) (string, *ir.Fault) {
	to := grant.To{Group: string(deref(ref.Group)), Kind: resource.KindService, Namespace: b.route.Namespace, Name: string(ref.Name)}
	if ref.Kind != nil && *ref.Kind != "" {
		to.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil && *ref.Namespace != "" {
		to.Namespace = string(*ref.Namespace)
	}
	from := grant.From{Group: gatewayv1.GroupName, Kind: b.route.Kind, Namespace: b.route.Namespace}
	isPool := to.Group == resource.GroupHakone && to.Kind == resource.KindOriginPool
	switch {
	case !isPool && (to.Group != "" || to.Kind != resource.KindService):
		message, fix := fmt.Sprintf("kind %s (group %q) cannot be a backend", to.Kind, to.Group), `Refer to a Service (group "") or an OriginPool (group "hakone.dev").`
		if to.Kind == resource.KindOriginPool {
			fix = `Write group: hakone.dev.`
		}
		return "", b.badBackend(at.Field, diag.RefKindInvalid, gatewayv1.RouteReasonInvalidKind, message, fix)
	case !b.grants.Permits(from, to):
		message, fix := b.grants.Refusal(from, to)
		return "", b.badBackend(at.Field, diag.RefNotPermitted, gatewayv1.RouteReasonRefNotPermitted, message, fix)
	case isPool:
		return b.pool(to, ref, at)
	case ref.Port == nil || *ref.Port < 1 || *ref.Port > 65535:
		return "", b.badBackend(at.Field+".port", diag.ServicePortMissing, gatewayv1.RouteReasonBackendNotFound,
			fmt.Sprintf("a backendRef to a Service needs a port between 1 and 65535, and this one has %d", deref(ref.Port)), "Add the Service's port.")
	}
	resolve := b.resolver.Service
	if b.route.isGRPC() {
		resolve = b.resolver.GRPCService
	}
	return b.resolved(resolve(to.Namespace, to.Name, uint16(*ref.Port), at))
}

// pool resolves a backendRef to an OriginPool.
func (b *ruleBuilder) pool(to grant.To, ref *gatewayv1.BackendObjectReference, at ir.Origin) (string, *ir.Fault) {
	if ref.Port != nil {
		b.withoutEffect(b.route.Meta, at.Field+".port", "the ports of an OriginPool are its origins' own; port does nothing")
	}
	return b.resolved(b.resolver.Pool(to.Namespace, to.Name, b.route.isGRPC(), at))
}

// resolved notes what is wrong with a reference in the route's status.
func (b *ruleBuilder) resolved(result backend.Result) (string, *ir.Fault) {
	if result.Fault != nil {
		reason := gatewayv1.RouteReasonBackendNotFound
		if result.Fault.Code == diag.ProtocolIneffective || result.Fault.Code == diag.PolicyNotEnforced {
			reason = gatewayv1.RouteReasonUnsupportedProtocol
		}
		b.route.unresolved(reason, result.Fault.Code, result.Fault.Detail)
	}
	return result.Upstream, result.Fault
}

// badBackend reports a backendRef that cannot be resolved and returns its fault.
func (b *ruleBuilder) badBackend(field string, code diag.Code, reason gatewayv1.RouteConditionReason, message, fix string) *ir.Fault {
	answer := "500"
	if b.route.isGRPC() {
		answer = "UNAVAILABLE"
	}
	b.report(b.route.Meta, code, field, message+"; the backend's share of requests is answered "+answer, fix)
	b.route.unresolved(reason, code, message)
	return &ir.Fault{Code: code, Detail: message}
}

// unavailable turns the fault of a GRPCRoute's backend into one that is answered with the gRPC status
// UNAVAILABLE (GRPCRouteRule.backendRefs); of an HTTPRoute it is left as it is.
func (b *ruleBuilder) unavailable(f *ir.Fault) *ir.Fault {
	if !b.route.isGRPC() {
		return f
	}
	return &ir.Fault{Code: diag.GRPCBackendUnusable, Detail: f.Code.String() + ": " + f.Detail}
}

// partialFault notes that a backend refuses although its reference is good.
func (b *ruleBuilder) partialFault(message string) {
	if b.route.partial == nil {
		c := good(gatewayv1.RouteConditionPartiallyInvalid, gatewayv1.RouteReasonUnsupportedValue, "Dropped Rule: a backend refuses its share: "+message)
		c.Code = diag.RouteFilterInvalid
		b.route.partial = &c
	}
}
