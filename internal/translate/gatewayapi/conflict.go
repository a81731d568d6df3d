package gatewayapi

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
)

// conflicts finds listeners of one Gateway that are not distinct (GatewaySpec.listeners): HTTP and
// HTTPS on one port, or one protocol, port and hostname. None of them serves. Listeners of protocols
// that are not served take no part. Two Gateways on one address are for package compile.
func (t *translator) conflicts(g *gateway) {
	type portProtocol struct {
		port int32
		tls  bool
	}
	type portHost struct {
		port int32
		host hostname.Pattern
	}
	ports, hosts := map[portProtocol][]string{}, map[portHost][]*listener{}
	for _, l := range g.listeners {
		if !l.served || !l.host.IsValid() {
			continue
		}
		protocol, host := portProtocol{l.spec.Port, l.tls}, portHost{l.spec.Port, l.host}
		ports[protocol] = append(ports[protocol], string(l.spec.Name))
		hosts[host] = append(hosts[host], l)
	}
	for _, l := range g.listeners {
		if !l.served || !l.host.IsValid() {
			continue
		}
		if rivals := ports[portProtocol{l.spec.Port, !l.tls}]; len(rivals) > 0 {
			t.conflict(l, gatewayv1.ListenerReasonProtocolConflict, diag.ProtocolConflict,
				fmt.Sprintf("port %d is HTTP and HTTPS at once (also listener %s)", l.spec.Port, strings.Join(rivals, ", ")), "Move one of them to another port.")
			continue
		}
		rivals := others(hosts[portHost{l.spec.Port, l.host}], l)
		if len(rivals) > 0 {
			t.conflict(l, gatewayv1.ListenerReasonHostnameConflict, diag.ListenerConflict,
				fmt.Sprintf("port %d and host %q are claimed by listener %s too", l.spec.Port, l.host, strings.Join(rivals, ", ")), "Give them different hosts or ports.")
		}
	}
}

// others returns the names of the listeners beside l.
func others(list []*listener, l *listener) []string {
	var names []string
	for _, o := range list {
		if o != l {
			names = append(names, string(o.spec.Name))
		}
	}
	return names
}

func (t *translator) conflict(l *listener, reason gatewayv1.ListenerConditionReason, code diag.Code, message, fix string) {
	t.report(&l.gateway.Meta, code, l.field, message+"; none of them serves", fix)
	c := good(gatewayv1.ListenerConditionConflicted, reason, message)
	c.Code = code
	l.conflicted = &c
	l.refused = nil
	l.refuse(reason, code, message)
}

// overlaps finds HTTPS listeners on one port of which one's hosts lie within the other's: an HTTP/2
// client may then reuse a connection for the other, which is answered 421.
func (t *translator) overlaps(g *gateway) {
	type portHost struct {
		port int32
		host hostname.Pattern
	}
	byHost := map[portHost]*listener{}
	for _, l := range g.listeners {
		if l.tls && l.accepted() {
			byHost[portHost{l.spec.Port, l.host}] = l
		}
	}
	mark := func(l, other *listener) {
		if l.overlapping == nil {
			c := good(gatewayv1.ListenerConditionOverlappingTLSConfig, gatewayv1.ListenerReasonOverlappingHostnames,
				fmt.Sprintf("hosts overlap with those of listener %s; requests on the other's connection are answered 421", other.spec.Name))
			c.Code = diag.OverlappingTLS
			l.overlapping = &c
		}
	}
	for _, l := range g.listeners {
		if !l.tls || !l.accepted() {
			continue
		}
		for _, p := range ancestors(l.host) {
			other := byHost[portHost{l.spec.Port, p}]
			if other == nil {
				continue
			}
			mark(l, other)
			mark(other, l)
			t.reportAs(diag.Info, &l.gateway.Meta, diag.OverlappingTLS, l.field+".hostname",
				fmt.Sprintf("%q lies within %q of listener %s on port %d", l.host, p, other.spec.Name, l.spec.Port), "Nothing to do if that is meant.")
			break
		}
	}
}

// ancestors returns the patterns that cover p, other than p itself, from the most specific to "*".
func ancestors(p hostname.Pattern) []hostname.Pattern {
	if !p.IsValid() || p.IsAny() {
		return nil
	}
	var out []hostname.Pattern
	rest := strings.TrimPrefix(p.String(), "*.")
	for {
		_, parent, more := strings.Cut(rest, ".")
		if !more {
			return append(out, hostname.Any())
		}
		if q, err := hostname.Parse("*." + parent); err == nil {
			out = append(out, q)
		}
		rest = parent
	}
}
