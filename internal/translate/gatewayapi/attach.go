package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// attach binds a route to the listeners that one of its parentRefs selects, and returns the Accepted
// condition for it. False means that the parent is not ours, so that it has no status.
func (t *translator) attach(r *route, ref *gatewayv1.ParentReference, field string) (Condition, bool) {
	g := t.parent(r, ref, field)
	if g == nil {
		return Condition{}, false
	}
	selected := selectListeners(g, ref)
	if len(selected) == 0 {
		return t.noSuchListener(r, g, ref, field), true
	}
	allowed, attached := t.accepting(r, nearby(g, selected, r.hosts))
	if len(attached) == 0 {
		allowed, _ = t.accepting(r, selected) // for the reason
	}
	switch {
	case len(allowed) == 0:
		return t.notAllowed(r, g, selected, field), true
	case len(r.hosts) == 0:
		return bad(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonUnsupportedValue, diag.RouteHostInvalid, "no hostname of the route can be used"), true
	case len(attached) == 0:
		return t.noCommonHost(r, g, allowed, field), true
	}
	attached, rival := withoutRivals(r, attached)
	if rival.of != nil {
		if c := t.kindConflict(r, rival, field); len(attached) == 0 {
			return c, true
		}
	}
	for _, l := range attached {
		if !slices.Contains(r.listeners, l) {
			r.listeners = append(r.listeners, l)
			l.attached = append(l.attached, r)
			l.claim(r)
		}
	}
	return r.accepted, true
}

// accepting returns the listeners that admit the route's kind and namespace, and those of them that have a host
// in common with it.
func (t *translator) accepting(r *route, list []*listener) (allowed, attached []*listener) {
	for _, l := range list {
		if !l.admission.admits(r.Kind, r.Namespace, t.set) {
			continue
		}
		allowed = append(allowed, l)
		if l.host.IsValid() && slices.ContainsFunc(r.hosts, func(h hostname.Pattern) bool { return intersects(l.host, h) }) {
			attached = append(attached, l)
		}
	}
	return allowed, attached
}

// nearby narrows the listeners down to those that can have a host in common with a route, where that
// is quick to tell: ten thousand routes on ten thousand listeners must not be compared in pairs.
func nearby(g *gateway, selected []*listener, hosts []hostname.Pattern) []*listener {
	if len(selected) < len(g.listeners) || slices.ContainsFunc(hosts, func(h hostname.Pattern) bool { return !h.IsExact() }) {
		return selected
	}
	var out []*listener
	for _, h := range hosts {
		for _, p := range append([]hostname.Pattern{h}, ancestors(h)...) {
			for _, l := range g.byHost[p] {
				if !slices.Contains(out, l) {
					out = append(out, l)
				}
			}
		}
	}
	return out
}

func intersects(p, q hostname.Pattern) bool {
	_, ok := hostname.Intersect(p, q)
	return ok
}

// parent returns the Gateway of ours that a parentRef names, or nil.
func (t *translator) parent(r *route, ref *gatewayv1.ParentReference, field string) *gateway {
	group, kind := gatewayv1.GroupName, resource.KindGateway
	if ref.Group != nil {
		group = string(*ref.Group)
	}
	if ref.Kind != nil && *ref.Kind != "" {
		kind = string(*ref.Kind)
	}
	if group != gatewayv1.GroupName || kind != resource.KindGateway {
		what := "routes are attached to Gateways only"
		if kind == resource.KindService {
			what = "routes of a service mesh are not served here"
		}
		t.withoutEffect(r.Meta, field, fmt.Sprintf("parent %s %s: %s", kind, ref.Name, what))
		return nil
	}
	name := objectName{r.Namespace, string(ref.Name)}
	if ref.Namespace != nil && *ref.Namespace != "" {
		name.namespace = string(*ref.Namespace)
	}
	if g := t.gateways[name]; g != nil {
		return g
	}
	if t.set.Gateway(name.namespace, name.name) == nil {
		t.noSuchGateway(r, name, field)
	}
	return nil
}

// noSuchGateway says what is near a name that no Gateway has.
func (t *translator) noSuchGateway(r *route, name objectName, field string) {
	key := resource.Key{Group: resource.GroupGateway, Kind: resource.KindGateway, Namespace: name.namespace, Name: name.name}
	if stands := t.set.Unaccepted(key); stands != "" {
		t.report(r.Meta, diag.GatewayNotFound, field, fmt.Sprintf("Gateway %s/%s %s", name.namespace, name.name, stands), "Mend what is reported there.")
		return
	}
	message := fmt.Sprintf("no Gateway %s/%s exists", name.namespace, name.name)
	fix := "Create it, or correct the name."
	var elsewhere, names []string
	for _, g := range t.set.Gateways() {
		if g.Name == name.name {
			elsewhere = append(elsewhere, g.Namespace)
		}
		names = append(names, g.Namespace+"/"+g.Name)
	}
	if len(elsewhere) > 0 {
		fix = fmt.Sprintf("Write namespace: %s; a Gateway of this name is there.", elsewhere[0])
	} else if near := nearest(name.namespace+"/"+name.name, names); near != "" {
		fix = fmt.Sprintf("Did you mean %s?", near)
	}
	if t.set.IstioGateway(name.namespace, name.name) != nil {
		message += "; the one of this name belongs to networking.istio.io, which takes VirtualServices"
	}
	t.report(r.Meta, diag.GatewayNotFound, field, message, fix)
}

// selectListeners returns the listeners that sectionName and port of a parentRef select.
func selectListeners(g *gateway, ref *gatewayv1.ParentReference) []*listener {
	if deref(ref.SectionName) == "" && ref.Port == nil {
		return g.listeners
	}
	var out []*listener
	for _, l := range g.listeners {
		if s := deref(ref.SectionName); (s == "" || s == l.spec.Name) && (ref.Port == nil || *ref.Port == l.spec.Port) {
			out = append(out, l)
		}
	}
	return out
}

func (t *translator) noSuchListener(r *route, g *gateway, ref *gatewayv1.ParentReference, field string) Condition {
	var names []string
	for _, l := range g.listeners {
		names = append(names, fmt.Sprintf("%s (port %d)", l.spec.Name, l.spec.Port))
	}
	want := ""
	if s := deref(ref.SectionName); s != "" {
		want += fmt.Sprintf(" named %q", s)
	}
	if ref.Port != nil {
		want += fmt.Sprintf(" on port %d", *ref.Port)
	}
	message := fmt.Sprintf("%s has no listener%s", g.Object(), want)
	t.report(r.Meta, diag.RouteNotAttached, field, message, "Use one of its listeners: "+strings.Join(names, ", ")+".")
	return bad(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonNoMatchingParent, diag.RouteNotAttached, message)
}

func (t *translator) notAllowed(r *route, g *gateway, selected []*listener, field string) Condition {
	var admits []string
	for _, l := range selected {
		if !slices.Contains(l.admission.kinds, r.Kind) {
			admits = append(admits, fmt.Sprintf("%s admits no %s", l.spec.Name, r.Kind))
		} else {
			admits = append(admits, fmt.Sprintf("%s admits %s", l.spec.Name, l.admission.String()))
		}
	}
	message := fmt.Sprintf("no listener of %s admits %ss of namespace %s: %s", g.Object(), r.Kind, r.Namespace, strings.Join(admits, "; "))
	t.report(r.Meta, diag.RouteNotAllowed, field, message, "Widen allowedRoutes of the listener, or move the route.")
	return bad(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonNotAllowedByListeners, diag.RouteNotAllowed, message)
}

func (t *translator) noCommonHost(r *route, g *gateway, allowed []*listener, field string) Condition {
	var have []string
	for _, l := range allowed {
		have = append(have, l.host.String())
	}
	message := fmt.Sprintf("the route's hosts (%s) have no name in common with the listeners of %s (%s)", joinHosts(r.hosts), g.Object(), strings.Join(have, ", "))
	t.report(r.Meta, diag.RouteHostMismatch, field, message, "Make hostnames overlap.")
	return bad(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonNoMatchingListenerHostname, diag.RouteHostMismatch, message)
}

func joinHosts(hosts []hostname.Pattern) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.String())
	}
	return strings.Join(out, ", ")
}
