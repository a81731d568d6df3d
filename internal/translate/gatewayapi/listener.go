package gatewayapi

import (
	"fmt"
	"net/netip"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// listener is one listener of a Gateway of ours while it is translated.
type listener struct {
	gateway   *gateway
	spec      *gatewayv1.Listener
	field     string           // "spec.listeners[0]"
	host      hostname.Pattern // the zero Pattern if the hostname cannot be used
	served    bool             // its protocol is HTTP or HTTPS
	tls       bool             // HTTPS
	admission admission
	terminate *ir.TLS // of HTTPS; nil if it cannot be told how to terminate
	usable    bool    // of HTTPS: a certificate is there, and trust where it is needed

	refused       *Condition // Accepted, if it is not
	unresolvedRef *Condition // ResolvedRefs, if they are not: the first reason
	conflicted    *Condition
	overlapping   *Condition

	attached []*route // in the order of the Set
	counted  int32    // routes attached whose Accepted is true
	claims   claims
}

// name returns the listener's name within the process.
func (l *listener) name() string {
	return l.gateway.Namespace + "/" + l.gateway.Name + "/" + string(l.spec.Name)
}

func (l *listener) origin() ir.Origin {
	return ir.Origin{Object: l.gateway.Object(), Field: l.field}
}

// refuse sets Accepted to false, unless it is already.
func (l *listener) refuse(reason gatewayv1.ListenerConditionReason, code diag.Code, message string) {
	if l.refused == nil {
		c := bad(gatewayv1.ListenerConditionAccepted, reason, code, message)
		l.refused = &c
	}
}

// unresolved sets ResolvedRefs to false, unless it is already.
func (l *listener) unresolved(reason gatewayv1.ListenerConditionReason, code diag.Code, message string) {
	if l.unresolvedRef == nil {
		c := bad(gatewayv1.ListenerConditionResolvedRefs, reason, code, message)
		l.unresolvedRef = &c
	}
}

// accepted reports whether the listener is valid. Conflicted listeners are not.
func (l *listener) accepted() bool { return l.refused == nil }

// serves reports whether the listener has all it needs.
func (l *listener) serves() bool {
	return l.accepted() && l.gateway.refused == nil && (!l.tls || l.terminate != nil && l.usable)
}

// listener translates what a listener says by itself: everything but routes and conflicts.
func (t *translator) listener(g *gateway, spec *gatewayv1.Listener, field string) *listener {
	l := &listener{gateway: g, spec: spec, field: field}
	switch spec.Protocol {
	case gatewayv1.HTTPProtocolType:
		l.served = true
	case gatewayv1.HTTPSProtocolType:
		l.served, l.tls = true, true
	default:
		message := fmt.Sprintf("protocol %s is not served by this version", spec.Protocol)
		t.report(&g.Meta, diag.ListenerUnsupported, field+".protocol", message+"; the listener is left out", "Use HTTP or HTTPS.")
		l.refuse(gatewayv1.ListenerReasonUnsupportedProtocol, diag.ListenerUnsupported, message)
		l.admission.kinds = []string{}
		if spec.Protocol == gatewayv1.TLSProtocolType { // no HTTPS listener of the port is to take its host
			l.tls = true
			t.listenerHost(l)
		}
		return l
	}
	if spec.Port < 1 || spec.Port > 65535 {
		message := fmt.Sprintf("port %d is not between 1 and 65535", spec.Port)
		t.report(&g.Meta, diag.BadValue, field+".port", message, "Correct the port.")
		l.refuse(gatewayv1.ListenerReasonUnsupportedValue, diag.BadValue, message)
	}
	t.listenerHost(l)
	t.admission(l, []string{resource.KindHTTPRoute, resource.KindGRPCRoute})
	switch {
	case l.tls:
		t.listenerTLS(l)
	case spec.TLS != nil:
		message := "protocol HTTP cannot have tls"
		t.report(&g.Meta, diag.ListenerTLSInvalid, field+".tls", message+"; it is not served, lest someone believe it to be encrypted", "Use protocol HTTPS, or remove tls.")
		l.refuse(gatewayv1.ListenerReasonUnsupportedValue, diag.ListenerTLSInvalid, message)
	}
	return l
}

// listenerHost reads hostname: a DNS name, "*." and one, or nothing for every name. Unlike Istio the
// API has no "*" and no addresses.
func (t *translator) listenerHost(l *listener) {
	l.host = hostname.Any()
	if l.spec.Hostname == nil || *l.spec.Hostname == "" {
		return
	}
	p, problem := parseHost(string(*l.spec.Hostname))
	l.host = p
	if problem != "" {
		t.report(&l.gateway.Meta, diag.ListenerHostInvalid, l.field+".hostname", problem, "Write a DNS name or *.NAME; leave hostname out to match every name.")
		l.refuse(gatewayv1.ListenerReasonUnsupportedValue, diag.ListenerHostInvalid, problem)
	}
}

// parseHost reads a Hostname of the API, or says what is wrong with it.
func parseHost(s string) (hostname.Pattern, string) {
	p, err := hostname.Parse(s)
	switch {
	case err != nil:
		return hostname.Pattern{}, err.Error()
	case p.IsAny():
		return hostname.Pattern{}, `host name "*": the API has no such name`
	case p.HasUnderscore():
		return hostname.Pattern{}, fmt.Sprintf("host name %q: the Gateway API allows no underscores; an EdgeHost (hakone.dev/v1alpha1) serves such names", s)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return hostname.Pattern{}, fmt.Sprintf("host name %q: addresses are not allowed", s)
	}
	return p, ""
}

// chain returns what the listener contributes to its socket, or nil. A listener whose certificate or
// trust is missing keeps its chain, so that its hosts refuse handshakes with their own reason; that of
// one that is not accepted only keeps its host from broader listeners.
func (t *translator) chain(l *listener) *ir.Chain {
	if !l.host.IsValid() || l.spec.Port < 1 || l.spec.Port > 65535 {
		return nil
	}
	c := &ir.Chain{Name: l.name(), Origin: l.origin(), Hosts: []hostname.Pattern{l.host}}
	if !l.accepted() && !l.keepsTrust() {
		return c
	}
	c.TLS = l.terminate
	c.VirtualHosts = t.virtualHosts(l.host, l.attached)
	if l.serves() && len(l.attached) == 0 {
		t.report(&l.gateway.Meta, diag.NoRoutesAttached, l.field, fmt.Sprintf("no route is attached to listener %s, so it answers 404 to everything", l.spec.Name), "Name this Gateway in the parentRefs of an HTTPRoute or GRPCRoute.")
	}
	return c
}

// keepsTrust reports whether the listener is refused only for its client CA, in which case its chain
// stays and refuses every client.
func (l *listener) keepsTrust() bool {
	return l.refused != nil && l.refused.Reason == string(gatewayv1.ListenerReasonNoValidCACertificate) && l.conflicted == nil && l.terminate != nil
}

// status returns the listener's conditions.
func (l *listener) status() ListenerStatus {
	accepted := good(gatewayv1.ListenerConditionAccepted, gatewayv1.ListenerReasonAccepted, "")
	if l.refused != nil {
		accepted = *l.refused
	}
	resolved := good(gatewayv1.ListenerConditionResolvedRefs, gatewayv1.ListenerReasonResolvedRefs, "")
	if l.unresolvedRef != nil {
		resolved = *l.unresolvedRef
	}
	s := ListenerStatus{
		Name: string(l.spec.Name), Chain: l.name(), SupportedKinds: slices.Clone(l.admission.kinds),
		AttachedRoutes: l.counted, Serves: l.serves(), Conditions: []Condition{accepted, resolved},
	}
	for _, c := range []*Condition{l.conflicted, l.overlapping} {
		if c != nil {
			s.Conditions = append(s.Conditions, *c)
		}
	}
	return s
}
