package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// class notes the status of a GatewayClass of ours.
func (t *translator) class(c *resource.GatewayClass) {
	if string(c.Spec.ControllerName) != t.ctx.ControllerName {
		return
	}
	if c.Spec.ParametersRef != nil {
		t.withoutEffect(&c.Meta, "spec.parametersRef", "a GatewayClass of Hakone takes no parameters")
	}
	t.status.Classes = append(t.status.Classes, ClassStatus{
		Object: c.Object(), Generation: c.Generation,
		Accepted: good(gatewayv1.GatewayClassConditionStatusAccepted, gatewayv1.GatewayClassReasonAccepted, "the class is served by "+t.ctx.ControllerName),
	})
}

// isOurs reports whether a Gateway is to be served here: its class names our controller, or no such
// class exists and the name is one of those that are taken as ours without an object, or the class was
// adopted by name. The GatewayClass of another controller gets no status from us even if adopted.
func (t *translator) isOurs(g *resource.Gateway) bool {
	const field = "spec.gatewayClassName"
	name := string(g.Spec.GatewayClassName)
	class := t.set.GatewayClass(name)
	severity := diag.Info
	fix := fmt.Sprintf("Use a class whose controllerName is %s, or start with --gateway-class %s.", t.ctx.ControllerName, name)
	if len(t.ctx.AssumeClasses) > 0 { // a folder, where nobody else will serve it
		severity = diag.Warning
		fix = fmt.Sprintf("Use gatewayClassName hakone (or istio without a GatewayClass object), or start with --gateway-class %s to serve this class here.", name)
	}
	switch {
	case slices.Contains(t.ctx.AdoptClasses, name):
		return true
	case class != nil && string(class.Spec.ControllerName) == t.ctx.ControllerName:
		return true
	case class != nil:
		t.reportAs(severity, &g.Meta, diag.ForeignClass, field, fmt.Sprintf("class %q belongs to controller %s, so this Gateway is left to it", name, class.Spec.ControllerName), fix)
		return false
	case t.set.Unaccepted(resource.Key{Group: resource.GroupGateway, Kind: resource.KindGatewayClass, Name: name}) != "" && !slices.Contains(t.ctx.AssumeClasses, name):
		stands := t.set.Unaccepted(resource.Key{Group: resource.GroupGateway, Kind: resource.KindGatewayClass, Name: name})
		t.reportAs(diag.Warning, &g.Meta, diag.ForeignClass, field, fmt.Sprintf("GatewayClass %s %s, so nobody serves this Gateway", name, stands), "Mend what is reported there.")
	case slices.Contains(t.ctx.AssumeClasses, name):
		t.report(&g.Meta, diag.ClassAssumed, field, fmt.Sprintf("no GatewayClass %q exists; the name is taken as ours", name), "Nothing to do.")
		return true
	case len(t.ctx.AssumeClasses) > 0:
		t.reportAs(severity, &g.Meta, diag.ForeignClass, field, fmt.Sprintf("no GatewayClass %q exists, so nobody serves this Gateway", name), fix)
	}
	return false
}

// nearest returns the candidate most like name, or "" if none is close.
func nearest(name string, candidates []string) string {
	best, limit := "", len(name)/3+1
	for _, c := range candidates {
		if d := diag.Distance(name, c, limit+1); d <= limit && (d < limit || best == "") {
			best, limit = c, d
		}
	}
	return best
}
