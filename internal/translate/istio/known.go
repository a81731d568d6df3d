package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
)

// meshServices gives VirtualServices that are for the mesh alone to those servers of egress Gateways that
// share a host with them and that nothing else has routes for: traffic that is sent to the egress gateway
// is as if a sidecar had taken it.
func (t *translator) meshServices() {
	free := map[*server]bool{}
	for _, g := range t.set.IstioGateways() {
		for _, s := range t.gateways[objectName{g.Namespace, g.Name}].servers {
			free[s] = t.gateways[objectName{g.Namespace, g.Name}].egress && !s.attached
		}
	}
	for _, v := range t.meshOnly {
		if exported(v.Spec.GetExportTo(), v.Namespace, t.ctx.Namespace) && t.attachMesh(v, free) || len(t.set.ForwardProxies()) > 0 {
			continue
		}
		if t.egress {
			t.report(diag.MeshRuleUncaptured, at(&v.Meta, "spec.gateways"), fmt.Sprintf("the VirtualService is for the mesh's sidecars, and nothing here takes their traffic to %s: no server of an egress Gateway has one of these hosts, and there is no ForwardProxy", strings.Join(v.Spec.GetHosts(), ", ")),
				"Add a ForwardProxy, or a server for the hosts to the egress Gateway (docs/istio-egress.md).")
			continue
		}
		t.info(diag.FieldWithoutEffect, at(&v.Meta, "spec.gateways"), "the VirtualService is for the mesh's sidecars only (no gateway is named), so it does nothing here", "Name a gateway, if a gateway is meant.")
	}
}

// attachMesh reports whether a server took the rules.
func (t *translator) attachMesh(v *resource.VirtualService, free map[*server]bool) bool {
	var rules []rule
	var tcp []tcpRule
	read, taken := false, false
	for _, h := range v.Spec.GetHosts() {
		q, err := hostname.Parse(h)
		if err != nil {
			continue
		}
		for _, g := range t.set.IstioGateways() {
			for _, s := range t.gateways[objectName{g.Namespace, g.Name}].byHost.candidates(q) {
				if !free[s] {
					continue
				}
				for _, sh := range s.hosts {
					p, ok := hostname.Intersect(sh.pattern, q)
					if !ok || sh.namespace != "" && sh.namespace != v.Namespace {
						continue
					}
					if !read {
						rules, tcp, read = t.rules(v, true), t.tcpRules(v, true), true
					}
					switch {
					case s.l4:
						taken = s.addTCP(t, p, tcp) || taken
					case len(rules) > 0:
						s.add(p, q, rules)
						taken = true
					}
				}
			}
		}
	}
	return taken
}

// hostPort is a host and port that clients ask for.
type hostPort struct {
	host hostname.Pattern
	port uint16
}

// known says what ForwardProxies are to know: the hosts of ServiceEntries and Services, and where rules
// for the mesh lead for them. Without a ForwardProxy it only tells what is not taken by anybody.
func (t *translator) known() {
	if len(t.set.ForwardProxies()) == 0 {
		t.uncaptured()
		return
	}
	places := map[hostPort]bool{}
	add := func(host hostname.Pattern, port uint32, upstream string, from ir.Origin) {
		at := hostPort{host, uint16(port)}
		if port > 65535 || places[at] {
			return
		}
		places[at] = true
		t.out.Known = append(t.out.Known, ir.KnownHost{Host: host, Port: at.port, Upstream: upstream, Origin: from})
	}
	for _, v := range t.set.VirtualServices() {
		if forMesh(v, nil) && exported(v.Spec.GetExportTo(), v.Namespace, t.ctx.Namespace) {
			t.knownRules(v, add)
		}
	}
	for _, e := range t.set.ServiceEntries() {
		if exported(e.Spec.GetExportTo(), e.Namespace, t.ctx.Namespace) {
			t.knownEntry(e, add)
		}
	}
	for _, s := range t.set.Services() {
		name := s.Name + "." + s.Namespace
		for _, h := range []string{name, name + ".svc", name + ".svc." + cmp.Or(t.ctx.ClusterDomain, "cluster.local")} {
			p, err := hostname.Parse(h)
			for _, port := range s.Spec.Ports {
				if err == nil && port.Port > 0 {
					add(p, uint32(port.Port), "", at(&s.Meta, "spec.ports"))
				}
			}
		}
	}
	slices.SortStableFunc(t.out.Known, func(a, b ir.KnownHost) int {
		return cmp.Or(hostname.Compare(a.Host, b.Host), cmp.Compare(b.Port, a.Port))
	})
}

// adder takes a destination that is known.
type adder func(host hostname.Pattern, port uint32, upstream string, from ir.Origin)

// knownEntry adds the hosts and addresses of a ServiceEntry. Where TLS comes from the client and neither a
// DestinationRule nor endpoints say otherwise, the ForwardProxy speaks as to any host.
func (t *translator) knownEntry(e *resource.ServiceEntry, add adder) {
	for i, h := range e.Spec.GetHosts() {
		p, err := hostname.Parse(h)
		if err != nil || p.IsAny() {
			continue
		}
		from := at(&e.Meta, "spec.hosts[%d]", i)
		for _, port := range e.Spec.GetPorts() {
			upstream := ""
			if p.IsExact() && port.GetNumber() > 0 {
				upstream = t.entryUpstream(p.String(), e, port, from)
			}
			add(p, port.GetNumber(), upstream, from)
			for _, a := range e.Spec.GetAddresses() {
				if n, ok := prefix(a); ok && n.IsSingleIP() {
					if q, err := hostname.Parse(n.Addr().String()); err == nil {
						add(q, port.GetNumber(), upstream, from)
					}
				}
			}
		}
	}
}

// entryUpstream returns how a port of a ServiceEntry is spoken to, or "" where it is spoken to as any.
func (t *translator) entryUpstream(host string, e *resource.ServiceEntry, port *istio.ServicePort, from ir.Origin) string {
	d := backend.Destination{Host: host, Port: port.GetNumber()}
	var res backend.Result
	originates, tunnels := t.backends.Originates(d, e.Namespace)
	protocol := strings.ToUpper(port.GetProtocol())
	if tunnels {
		protocol = "TCP"
	}
	switch protocol {
	case "HTTPS", "TLS":
		if !originates && len(e.Spec.GetEndpoints()) == 0 {
			return ""
		}
		res = t.backends.Destination(d, e.Namespace, from) // without TLS of its own it says where the host is
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		res = t.backends.Destination(d, e.Namespace, from)
	default:
		res = t.backends.TCPDestination(d, e.Namespace, from)
	}
	return res.Upstream
}

// knownRules adds where the rules for the mesh of a VirtualService lead.
func (t *translator) knownRules(v *resource.VirtualService, add adder) {
	reduced := func(from ir.Origin, what string) {
		t.report(diag.MeshRuleReduced, from, what, "Bind the rule to an egress Gateway, where all of it holds.")
	}
	lead := func(hosts []string, ports []uint32, d *istio.Destination, kind hopKind, from ir.Origin) {
		var res backend.Result
		for i, h := range hosts {
			p, err := hostname.Parse(h)
			if err != nil {
				continue
			}
			if i == 0 {
				res = t.resolve(legOf(d, v, below(from, "route[0].destination")), v.Spec.GetHosts(), kind)
			}
			for _, port := range ports {
				add(p, port, res.Upstream, from)
			}
		}
	}
	for i, r := range v.Spec.GetHttp() {
		from := at(&v.Meta, "spec.http[%d]", i)
		ports, plain := t.meshPorts(v, r)
		switch {
		case len(ports) == 0 && plain:
		case !plain:
			reduced(from, "the rule has conditions besides port and gateways, or does more than lead somewhere: a ForwardProxy does not look at it")
		default:
			if len(r.GetRoute()) > 1 || r.GetTimeout() != nil || r.GetRetries() != nil || r.GetHeaders() != nil {
				reduced(from, "a ForwardProxy takes the rule's first destination, and nothing of weights, timeout, retries and headers")
			}
			lead(v.Spec.GetHosts(), ports, r.GetRoute()[0].GetDestination(), httpHop, from)
		}
	}
	for i, r := range v.Spec.GetTls() {
		for _, m := range r.GetMatch() {
			if forMesh(v, m.GetGateways()) && len(r.GetRoute()) > 0 {
				lead(m.GetSniHosts(), portsOf(m.GetPort(), 443), r.GetRoute()[0].GetDestination(), tlsHop, at(&v.Meta, "spec.tls[%d]", i))
			}
		}
	}
	for i, r := range v.Spec.GetTcp() {
		for _, m := range r.GetMatch() {
			if !forMesh(v, m.GetGateways()) || len(r.GetRoute()) == 0 {
				continue
			}
			from, hosts := at(&v.Meta, "spec.tcp[%d]", i), v.Spec.GetHosts()
			if len(m.GetDestinationSubnets()) > 0 {
				hosts = nil
			}
			for _, s := range m.GetDestinationSubnets() {
				if n, ok := prefix(s); ok && n.IsSingleIP() {
					hosts = append(hosts, n.Addr().String())
				} else if ok {
					reduced(from, fmt.Sprintf("a ForwardProxy takes rules for single addresses, and not for the network %s", n))
				}
			}
			lead(hosts, portsOf(m.GetPort(), 0), r.GetRoute()[0].GetDestination(), l4Hop, from)
		}
	}
}

func portsOf(port, otherwise uint32) []uint32 {
	if port == 0 {
		port = otherwise
	}
	return []uint32{port}
}

// meshPorts returns the ports for which an http rule holds for sidecars without further conditions; plain
// says that it does nothing but lead somewhere.
func (t *translator) meshPorts(v *resource.VirtualService, r *istio.HTTPRoute) (ports []uint32, plain bool) {
	plain = true
	if len(r.GetMatch()) == 0 && forMesh(v, nil) {
		ports = append(ports, 80)
	}
	for _, m := range r.GetMatch() {
		if !forMesh(v, m.GetGateways()) {
			continue
		}
		if m.GetUri() != nil && m.GetUri().GetPrefix() != "/" || m.GetMethod() != nil || m.GetAuthority() != nil || m.GetScheme() != nil ||
			len(m.GetHeaders())+len(m.GetWithoutHeaders())+len(m.GetQueryParams())+len(m.GetSourceLabels()) > 0 {
			plain = false
			continue
		}
		ports = append(ports, portsOf(m.GetPort(), 80)...)
	}
	if len(ports) > 0 && (len(r.GetRoute()) == 0 || r.GetRewrite() != nil) {
		return nil, false
	}
	return ports, plain || len(ports) > 0
}

// uncaptured tells of ServiceEntries of external hosts that nothing here leads to.
func (t *translator) uncaptured() {
	if len(t.set.IstioGateways())+len(t.set.Gateways())+len(t.set.EdgeHosts()) > 0 && !t.egress {
		return // a gateway for what comes in, whose ServiceEntries may be about anything
	}
	used := map[diag.Object]bool{}
	for _, u := range t.out.Upstreams {
		used[u.Origin.Object] = true
	}
	for _, e := range t.set.ServiceEntries() {
		if used[e.Object()] || e.Spec.GetLocation() != istio.ServiceEntry_MESH_EXTERNAL || t.backends.NamesProxy(e) {
			continue
		}
		t.report(diag.ServiceEntryUncaptured, ir.Origin{Object: e.Object(), Field: "spec.hosts"}, "nothing here takes traffic for the hosts: no route leads to them, and there is no ForwardProxy", "Write:\n"+backend.PlainForwardProxy(e.Namespace))
	}
}
