package istio

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/noeffect"
)

// mesh is the name that means sidecars instead of a Gateway.
const mesh = "mesh"

func virtualServicePaths() noeffect.Handled {
	return noeffect.Paths("{hosts,gateways,exportTo}",
		"{tcp,tls}", "http.{name,route,redirect,directResponse,delegate,rewrite,timeout,headers}", "http.retries.{attempts,perTryTimeout,retryOn,backoff}",
		"http.match.{name,uri,scheme,method,authority,headers,port,sourceLabels,gateways,queryParams,ignoreUriCase,withoutHeaders,sourceNamespace}")
}

// virtualService translates the rules of one VirtualService once and hands them to every server that
// it is bound to and shares a host with.
func (t *translator) virtualService(v *resource.VirtualService) {
	noeffect.Report(t.out, v.Object(), v.Spec, virtualServicePaths())
	hosts := t.routeHosts(v)
	bound := t.bindings(v)
	if len(hosts) == 0 || len(bound) == 0 {
		return
	}
	if e := v.Spec.GetExportTo(); !exported(e, v.Namespace, t.ctx.Namespace) {
		t.report(diag.DestinationHidden, at(&v.Meta, "spec.exportTo"), fmt.Sprintf("exportTo hides this VirtualService from the gateway's namespace %s, so it serves nothing here", t.ctx.Namespace),
			fmt.Sprintf("Add %q, or \"*\", to exportTo.", t.ctx.Namespace))
		return
	}
	rules, tcp := t.rules(v, false), t.tcpRules(v, false)
	if len(v.Spec.GetHttp())+len(v.Spec.GetTcp())+len(v.Spec.GetTls()) == 0 {
		t.report(diag.RouteActionInvalid, at(&v.Meta, "spec.http"), "the VirtualService has no http rules, so it serves nothing", "Add a rule with a route, redirect or directResponse.")
	}
	for _, g := range bound {
		t.attach(v, g, hosts, rules, tcp)
	}
}

// exported applies exportTo for a client namespace.
func exported(exportTo []string, own, client string) bool {
	return len(exportTo) == 0 || slices.ContainsFunc(exportTo, func(e string) bool { return e == "*" || e == client || e == "." && own == client })
}

func (t *translator) routeHosts(v *resource.VirtualService) []hostname.Pattern {
	var hosts []hostname.Pattern
	if len(v.Spec.GetHosts()) == 0 {
		t.report(diag.FieldWithoutEffect, at(&v.Meta, "spec.hosts"), "a VirtualService without hosts only serves as the target of a delegate, which does nothing in this version",
			"Give it hosts and gateways, or move its rules into the VirtualService that delegates.")
	}
	for i, h := range v.Spec.GetHosts() {
		p, err := hostname.Parse(h)
		if err != nil {
			t.report(diag.RouteHostInvalid, at(&v.Meta, "spec.hosts[%d]", i), err.Error()+"; this host is left out", "Write a DNS name, \"*.\" and a DNS name, or \"*\".")
			continue
		}
		t.underscore(p, at(&v.Meta, "spec.hosts[%d]", i))
		if !slices.Contains(hosts, p) {
			hosts = append(hosts, p)
		}
	}
	return hosts
}

// bindings returns the gateways that the VirtualService names and that are ours.
func (t *translator) bindings(v *resource.VirtualService) []*gateway {
	names := v.Spec.GetGateways()
	if len(names) == 0 || slices.Equal(names, []string{mesh}) {
		t.meshOnly = append(t.meshOnly, v)
		return nil
	}
	var bound []*gateway
	for i, name := range names {
		if name == mesh {
			continue
		}
		key := gatewayName(name, v.Namespace)
		g := t.gateways[key]
		switch {
		case g == nil && t.unaccepted(key) != "":
			t.report(diag.GatewayNotFound, at(&v.Meta, "spec.gateways[%d]", i), fmt.Sprintf("Gateway %s/%s %s", key.namespace, key.name, t.unaccepted(key)), "Mend what is reported there.")
		case g == nil:
			t.report(diag.GatewayNotFound, at(&v.Meta, "spec.gateways[%d]", i), fmt.Sprintf("Gateway %s/%s does not exist%s", key.namespace, key.name, t.nearGateway(key)), "Create the Gateway, or correct the name (name, or namespace/name).")
		case g.selected && !slices.Contains(bound, g):
			bound = append(bound, g)
		}
	}
	return bound
}

// unaccepted says where a Gateway stands that was not accepted; "" if there is none.
func (t *translator) unaccepted(name objectName) string {
	return t.set.Unaccepted(resource.Key{Group: resource.GroupIstio, Kind: resource.KindGateway, Namespace: name.namespace, Name: name.name})
}

// gatewayName reads name, namespace/name, and the old form name.namespace.svc.cluster.local.
func gatewayName(name, own string) objectName {
	if ns, n, ok := strings.Cut(name, "/"); ok {
		if ns == "." {
			ns = own
		}
		return objectName{ns, n}
	}
	if parts := strings.Split(name, "."); len(parts) > 1 {
		return objectName{parts[1], parts[0]}
	}
	return objectName{own, name}
}

// nearGateway names a Gateway that may have been meant.
func (t *translator) nearGateway(key objectName) string {
	var elsewhere, here []string
	for _, g := range t.set.IstioGateways() {
		if g.Name == key.name {
			elsewhere = append(elsewhere, g.Namespace+"/"+g.Name)
		} else if g.Namespace == key.namespace {
			here = append(here, g.Name)
		}
	}
	if len(elsewhere) > 0 {
		return "; there is " + strings.Join(elsewhere, ", ")
	}
	if n, ok := nearest(key.name, here); ok {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	if t.set.Gateway(key.namespace, key.name) != nil {
		return "; the one of that name is a Gateway of the Gateway API, to which an HTTPRoute is bound"
	}
	return ""
}

// attach puts the routes into the servers of one gateway that share a host with the VirtualService.
func (t *translator) attach(v *resource.VirtualService, g *gateway, hosts []hostname.Pattern, rules []rule, tcp []tcpRule) {
	matched, refused := false, false
	for _, h := range hosts {
		done := map[*server]bool{}
		for _, s := range g.byHost.candidates(h) {
			if done[s] {
				continue
			}
			done[s] = true
			for _, sh := range s.hosts {
				p, ok := hostname.Intersect(sh.pattern, h)
				switch {
				case !ok:
				case sh.namespace != "" && sh.namespace != v.Namespace:
					refused = true
				default:
					matched = true
					if s.l4 {
						s.addTCP(t, p, tcp)
					} else {
						s.add(p, h, rules)
					}
				}
			}
		}
	}
	switch {
	case matched || len(g.servers) == 0:
	case refused:
		t.report(diag.RouteNotAllowed, at(&v.Meta, "spec.gateways"), fmt.Sprintf("the servers of Gateway %s/%s admit these hosts from other namespaces only, not from %s", g.Namespace, g.Name, v.Namespace),
			fmt.Sprintf("Write %s/HOST or */HOST into the server's hosts, or move the VirtualService.", v.Namespace))
	default:
		var served []hostname.Pattern
		for _, s := range g.servers {
			served = append(served, s.listener.Chain.Hosts...)
		}
		t.report(diag.RouteHostMismatch, at(&v.Meta, "spec.hosts"), fmt.Sprintf("none of %s is a host of Gateway %s/%s, which has %s", hostList(hosts), g.Namespace, g.Name, hostList(served)),
			"Make the hosts of Gateway and VirtualService overlap.")
	}
}

// add gives the routes that hold on this server to one of its hosts, which the VirtualService names by
// the pattern source. Of two VirtualServices with the same pattern the older one's come first; a more
// specific one has the host for itself, as Istio does: there is no falling through to "*".
func (s *server) add(p, source hostname.Pattern, rules []rule) {
	s.attached = true
	if s.redirect {
		return
	}
	h := s.routes[p]
	if h == nil || hostname.Compare(source, h.source) < 0 {
		h = &hostRoutes{source: source}
		s.routes[p] = h
	}
	if h.source != source {
		return
	}
	own := objectName{s.gateway.Namespace, s.gateway.Name}
	for _, r := range rules {
		if r.port != 0 && r.port != s.port || len(r.gateways) > 0 && !slices.Contains(r.gateways, own) {
			continue
		}
		// A server may have the same host twice, for two namespaces.
		if len(h.routes) > 0 && h.routes[len(h.routes)-1] == r.route || slices.Contains(h.routes, r.route) {
			continue
		}
		h.routes = append(h.routes, r.route)
	}
}
