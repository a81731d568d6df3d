package gatewayapi

import (
	"fmt"
	"net/netip"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// gateway is a Gateway of ours while it is translated.
type gateway struct {
	*resource.Gateway
	bind      string     // IP address, or "" for the process's own
	refused   *Condition // Accepted, if the Gateway as a whole is not
	insecure  bool       // a port lets clients without a valid certificate pass
	listeners []*listener

	validations map[string]*portTrust // by the field of spec.tls.frontend
	byHost      map[hostname.Pattern][]*listener
}

// gateway translates a Gateway as far as that is possible without its routes.
func (t *translator) gateway(r *resource.Gateway) *gateway {
	g := &gateway{Gateway: r, validations: map[string]*portTrust{}, byHost: map[hostname.Pattern][]*listener{}}
	t.gateways[objectName{r.Namespace, r.Name}] = g
	t.addresses(g)
	t.ignoredFields(g)
	if len(r.Spec.Listeners) == 0 {
		t.report(&r.Meta, diag.GatewayWithoutServer, "spec.listeners", "the Gateway has no listeners, so it serves nothing", "Add a listener.")
	}
	names := map[gatewayv1.SectionName]bool{}
	for i := range r.Spec.Listeners {
		spec := &r.Spec.Listeners[i]
		field := fmt.Sprintf("spec.listeners[%d]", i)
		if spec.Name == "" || names[spec.Name] {
			t.report(&r.Meta, diag.BadValue, field+".name", fmt.Sprintf("listener name %q is empty or used before; the listener is left out", spec.Name), "Give each listener its own name.")
			continue
		}
		names[spec.Name] = true
		l := t.listener(g, spec, field)
		g.listeners = append(g.listeners, l)
		if l.host.IsValid() {
			g.byHost[l.host] = append(g.byHost[l.host], l)
		}
	}
	t.unusedPorts(g)
	t.conflicts(g)
	t.overlaps(g)
	return g
}

// addresses reads spec.addresses. One IPAddress is bound by every listener of the Gateway. Several are
// not served by this version: the first is used. A type that is not served refuses the Gateway, as the
// API asks (UnsupportedAddress).
func (t *translator) addresses(g *gateway) {
	for i, a := range g.Spec.Addresses {
		field := fmt.Sprintf("spec.addresses[%d]", i)
		typ := gatewayv1.IPAddressType
		if a.Type != nil {
			typ = *a.Type
		}
		ip, err := netip.ParseAddr(a.Value)
		switch {
		case typ != gatewayv1.IPAddressType:
			t.refuseAddress(g, field+".type", fmt.Sprintf("addresses of type %s cannot be served", typ))
		case a.Value == "": // "assign one": the process's own
		case err != nil:
			t.refuseAddress(g, field+".value", fmt.Sprintf("%q is not an IP address", a.Value))
		case g.bind != "":
			t.withoutEffect(&g.Meta, field, fmt.Sprintf("this version binds one address for each Gateway; %s is used", g.bind))
		default:
			g.bind = ip.Unmap().String()
		}
	}
}

func (t *translator) refuseAddress(g *gateway, field, message string) {
	t.report(&g.Meta, diag.AddressUnsupported, field, message+", so the Gateway serves nothing", "Use type IPAddress with an address of this machine, or remove spec.addresses.")
	if g.refused == nil {
		c := bad(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonUnsupportedAddress, diag.AddressUnsupported, message)
		g.refused = &c
	}
}

// ignoredFields names the parts of the spec that have no effect.
func (t *translator) ignoredFields(g *gateway) {
	if g.Spec.Infrastructure != nil {
		t.withoutEffect(&g.Meta, "spec.infrastructure", "no infrastructure is made for a Gateway here")
	}
	if g.Spec.AllowedListeners != nil {
		t.withoutEffect(&g.Meta, "spec.allowedListeners", "ListenerSets are not served by this version")
	}
	if g.Spec.DefaultScope != "" {
		t.withoutEffect(&g.Meta, "spec.defaultScope", "routes without parentRefs are not attached by this version")
	}
	if g.Spec.TLS != nil && g.Spec.TLS.Backend != nil {
		t.withoutEffect(&g.Meta, "spec.tls.backend", "no client certificate is presented to backends by this version")
	}
}

// finish makes chains of a Gateway's listeners, now that routes are attached, and notes its status.
func (t *translator) finish(g *gateway) {
	s := GatewayStatus{Object: g.Object(), Generation: g.Generation, Address: g.bind}
	for _, l := range g.listeners {
		s.Listeners = append(s.Listeners, l.status())
		if g.refused != nil {
			continue
		}
		if c := t.chain(l); c != nil {
			x := &translate.Listener{
				Family: translate.GatewayAPI, Gateway: g.Object(), Section: string(l.spec.Name), Order: g.Rank,
				Bind: g.bind, Port: uint16(l.spec.Port), TLS: l.tls, Chain: c,
			}
			if !l.accepted() && !l.keepsTrust() {
				x.Refused = l.refused.Message
			}
			t.fragment.Listeners = append(t.fragment.Listeners, x)
		}
	}
	s.Conditions = g.conditions()
	t.status.Gateways = append(t.status.Gateways, s)
}

// conditions returns the Gateway's own conditions.
func (g *gateway) conditions() []Condition {
	valid, unresolved := 0, ""
	for _, l := range g.listeners {
		if l.accepted() {
			valid++
		}
		if l.unresolvedRef != nil && unresolved == "" {
			unresolved = fmt.Sprintf("listener %s: %s", l.spec.Name, l.unresolvedRef.Message)
		}
	}
	accepted := good(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonAccepted, "")
	switch {
	case g.refused != nil:
		accepted = *g.refused
	case valid == 0:
		accepted = bad(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonListenersNotValid, diag.NoUsableListener, "no listener is valid")
	case valid < len(g.listeners):
		accepted = good(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonListenersNotValid, "not valid: "+g.invalidListeners())
	}
	resolved := good(gatewayv1.GatewayConditionResolvedRefs, gatewayv1.GatewayReasonResolvedRefs, "")
	if unresolved != "" {
		resolved = bad(gatewayv1.GatewayConditionResolvedRefs, gatewayv1.GatewayReasonListenersNotResolved, 0, unresolved)
	}
	out := []Condition{accepted, resolved}
	if g.insecure {
		c := good(gatewayv1.GatewayConditionInsecureFrontendValidationMode, gatewayv1.GatewayReasonConfigurationChanged, "clients without a valid certificate are let pass")
		c.Code = diag.InsecureValidation
		out = append(out, c)
	}
	return out
}

func (g *gateway) invalidListeners() string {
	text := ""
	for _, l := range g.listeners {
		if !l.accepted() {
			if text != "" {
				text += ", "
			}
			text += string(l.spec.Name)
		}
	}
	return text
}
