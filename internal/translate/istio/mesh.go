package istio

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	istio "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
)

// hopKind is what a rule that leads to the egress gateway carries.
type hopKind uint8

const (
	httpHop hopKind = iota + 1
	l4Hop
	tlsHop
)

// hopIn is what leads to a port of the egress gateway. port is the one on which sidecars would have taken
// the traffic; 0: any.
type hopIn struct {
	known bool
	kind  hopKind
	port  uint32
}

// leg is a destination with the namespace that completes its name and the field that says it.
type leg struct {
	backend.Destination
	namespace string
	from      ir.Origin
}

// egressName is the name of Istio's own Service of the egress gateway.
const egressName = "istio-egressgateway"

// named reports whether a destination is the egress gateway by its Service's name or selector.
func (t *translator) named(host, namespace string) (*resource.Service, bool) {
	ns, name, ok := t.backends.Internal(host, namespace)
	if !ok {
		return nil, false
	}
	s := t.set.Service(ns, name)
	if s != nil && len(s.Spec.Selector) > 0 {
		return s, s.Spec.Selector["istio"] == egressLabel || name == egressName
	}
	return s, name == egressName
}

// isHop reports whether a destination is this process as the egress gateway.
func (t *translator) isHop(l leg) bool {
	if !t.egress {
		return false
	}
	_, ok := t.named(l.Host, l.namespace)
	return ok
}

// hopsTo returns what rules for the mesh lead to a port of the egress gateway, the first.
func (t *translator) hopsTo(port uint32) hopIn {
	if t.hops == nil {
		t.hops = map[uint32]hopIn{}
		for _, v := range t.set.VirtualServices() {
			t.collectHops(v)
		}
	}
	return t.hops[port]
}

func (t *translator) collectHops(v *resource.VirtualService) {
	note := func(d *istio.Destination, kind hopKind, gateways []string, port uint32) {
		if !forMesh(v, gateways) {
			return
		}
		if _, ok := t.named(d.GetHost(), v.Namespace); !ok || t.hops[d.GetPort().GetNumber()].known {
			return
		}
		t.hops[d.GetPort().GetNumber()] = hopIn{true, kind, port}
	}
	for _, r := range v.Spec.GetHttp() {
		for _, d := range r.GetRoute() {
			for _, m := range r.GetMatch() {
				note(d.GetDestination(), httpHop, m.GetGateways(), m.GetPort())
			}
			if len(r.GetMatch()) == 0 {
				note(d.GetDestination(), httpHop, nil, 0)
			}
		}
	}
	for _, r := range v.Spec.GetTls() {
		for _, d := range r.GetRoute() {
			for _, m := range r.GetMatch() {
				note(d.GetDestination(), tlsHop, m.GetGateways(), m.GetPort())
			}
		}
	}
	for _, r := range v.Spec.GetTcp() {
		for _, d := range r.GetRoute() {
			for _, m := range r.GetMatch() {
				note(d.GetDestination(), l4Hop, m.GetGateways(), m.GetPort())
			}
			if len(r.GetMatch()) == 0 {
				note(d.GetDestination(), l4Hop, nil, 0)
			}
		}
	}
}

// forMesh reports whether a match of a VirtualService holds for sidecars.
func forMesh(v *resource.VirtualService, gateways []string) bool {
	if len(gateways) > 0 {
		return slices.Contains(gateways, mesh)
	}
	return len(v.Spec.GetGateways()) == 0 || slices.Contains(v.Spec.GetGateways(), mesh)
}

// resolve finds the upstream of a destination. One that is the egress gateway, which is this process, is
// followed to where its own rules lead; TLS that a DestinationRule begins on the hop stays inside.
func (t *translator) resolve(l leg, hosts []string, kind hopKind) backend.Result {
	end, seen := l, map[uint32]bool{}
	var hops []leg
	for t.isHop(end) {
		port := end.Port
		if port == 0 {
			port = 443
			if kind == httpHop {
				port = 80
			}
		}
		if seen[port] {
			return t.lost(l, diag.EgressLoop, fmt.Sprintf("the rules lead from the egress gateway's port %d to itself", port), "Let the rule for the egress gateway lead to the external host.")
		}
		seen[port] = true
		next, ok := t.carriedOn(port, hosts, kind)
		if !ok {
			return t.lost(l, diag.DestinationInvalid, fmt.Sprintf("the destination is the egress gateway, that is this process, and no rule there takes port %d of %s on", port, strings.Join(hosts, ", ")),
				"Write a rule with match.gateways naming the egress Gateway, or lead to the external host.")
		}
		hops, end = append(hops, end), next
	}
	var res backend.Result
	if kind == httpHop {
		res = t.backends.Destination(end.Destination, end.namespace, end.from)
	} else {
		res = t.backends.TCPDestination(end.Destination, end.namespace, end.from)
	}
	for _, h := range slices.Backward(hops) {
		if res.Fault == nil {
			res.Upstream = t.backends.Inside(res.Upstream, h.Destination, h.namespace)
		}
	}
	return res
}

func (t *translator) lost(l leg, code diag.Code, message, fix string) backend.Result {
	t.report(code, below(l.from, "host"), message, fix)
	return backend.Result{Fault: &ir.Fault{Code: code, Detail: message}}
}

// carriedOn finds where the egress gateway's own rules for a port lead, the first for these hosts.
func (t *translator) carriedOn(port uint32, hosts []string, kind hopKind) (leg, bool) {
	for _, v := range t.egressServices().sharing(hosts) {
		gateways := t.egressGateways(v, port)
		if len(gateways) == 0 {
			continue
		}
		ours := func(list []string, p uint32) bool {
			return (p == 0 || p == port) && (len(list) == 0 || slices.ContainsFunc(list, func(g string) bool { return g != mesh && slices.Contains(gateways, gatewayName(g, v.Namespace)) }))
		}
		find := l4Leg
		if kind == httpHop {
			find = httpLeg
		}
		if l, ok := find(v, ours); ok {
			return l, true
		}
	}
	return leg{}, false
}

// services finds VirtualServices by their hosts.
type services struct {
	exact map[string][]*resource.VirtualService
	wide  []*resource.VirtualService // with a wildcard among their hosts
	all   []*resource.VirtualService
}

// egressServices returns the VirtualServices that name a Gateway.
func (t *translator) egressServices() *services {
	if t.services != nil {
		return t.services
	}
	x := &services{exact: map[string][]*resource.VirtualService{}}
	for _, v := range t.set.VirtualServices() {
		if len(v.Spec.GetGateways()) == 0 || onlyMesh(v.Spec.GetGateways()) {
			continue
		}
		x.all = append(x.all, v)
		wide := false
		for _, h := range v.Spec.GetHosts() {
			if p, err := hostname.Parse(h); err == nil && p.IsExact() {
				x.exact[p.String()] = append(x.exact[p.String()], v)
			} else if err == nil {
				wide = true
			}
		}
		if wide {
			x.wide = append(x.wide, v)
		}
	}
	t.services = x
	return x
}

// sharing returns those with a host in common with hosts, in order.
func (x *services) sharing(hosts []string) []*resource.VirtualService {
	var out []*resource.VirtualService
	for _, h := range hosts {
		p, err := hostname.Parse(h)
		switch {
		case err != nil:
		case !p.IsExact():
			out = append(out, x.all...)
		default:
			out = append(append(out, x.exact[p.String()]...), x.wide...)
		}
	}
	out = slices.DeleteFunc(out, func(v *resource.VirtualService) bool { return !overlap(hosts, v.Spec.GetHosts()) })
	slices.SortStableFunc(out, func(a, b *resource.VirtualService) int { return cmp.Compare(a.Rank, b.Rank) })
	return slices.Compact(out)
}

func httpLeg(v *resource.VirtualService, ours func([]string, uint32) bool) (leg, bool) {
	for i, r := range v.Spec.GetHttp() {
		matches := len(r.GetMatch()) == 0 && ours(nil, 0) || slices.ContainsFunc(r.GetMatch(), func(m *istio.HTTPMatchRequest) bool { return ours(m.GetGateways(), m.GetPort()) })
		if matches && len(r.GetRoute()) > 0 {
			return legOf(r.GetRoute()[0].GetDestination(), v, at(&v.Meta, "spec.http[%d].route[0].destination", i)), true
		}
	}
	return leg{}, false
}

func l4Leg(v *resource.VirtualService, ours func([]string, uint32) bool) (leg, bool) {
	for i, r := range v.Spec.GetTls() {
		if len(r.GetRoute()) > 0 && slices.ContainsFunc(r.GetMatch(), func(m *istio.TLSMatchAttributes) bool { return ours(m.GetGateways(), m.GetPort()) }) {
			return legOf(r.GetRoute()[0].GetDestination(), v, at(&v.Meta, "spec.tls[%d].route[0].destination", i)), true
		}
	}
	for i, r := range v.Spec.GetTcp() {
		matches := len(r.GetMatch()) == 0 && ours(nil, 0) || slices.ContainsFunc(r.GetMatch(), func(m *istio.L4MatchAttributes) bool { return ours(m.GetGateways(), m.GetPort()) })
		if matches && len(r.GetRoute()) > 0 {
			return legOf(r.GetRoute()[0].GetDestination(), v, at(&v.Meta, "spec.tcp[%d].route[0].destination", i)), true
		}
	}
	return leg{}, false
}

func legOf(d *istio.Destination, v *resource.VirtualService, from ir.Origin) leg {
	return leg{backend.Destination{Host: d.GetHost(), Port: d.GetPort().GetNumber(), Subset: d.GetSubset()}, v.Namespace, from}
}

// egressGateways returns the egress Gateways with a server on a port that a VirtualService names.
func (t *translator) egressGateways(v *resource.VirtualService, port uint32) []objectName {
	var out []objectName
	for _, name := range v.Spec.GetGateways() {
		key := gatewayName(name, v.Namespace)
		g := t.set.IstioGateway(key.namespace, key.name)
		if name == mesh || g == nil || !slices.ContainsFunc(g.Spec.GetServers(), func(s *istio.Server) bool { return s.GetPort().GetNumber() == port }) {
			continue
		}
		out = append(out, key)
	}
	return out
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool {
		p, err := hostname.Parse(x)
		return err == nil && slices.ContainsFunc(b, func(y string) bool {
			q, err := hostname.Parse(y)
			if err != nil {
				return false
			}
			_, ok := hostname.Intersect(p, q)
			return ok
		})
	})
}

// lintHops reports rules for the mesh that lead to a port which the egress gateway's Service does not have.
func (t *translator) lintHops(v *resource.VirtualService) {
	check := func(d *istio.Destination, mesh bool, from ir.Origin) {
		if !mesh {
			return
		}
		s, ok := t.named(d.GetHost(), v.Namespace)
		if number := d.GetPort().GetNumber(); ok && number != 0 && !servicePort(s, number) {
			t.unreachable(v, s, number, below(from, "port.number"))
		}
	}
	for i, r := range v.Spec.GetTcp() {
		for j, d := range r.GetRoute() {
			check(d.GetDestination(), anyForMesh(v, r.GetMatch()), at(&v.Meta, "spec.tcp[%d].route[%d].destination", i, j))
		}
	}
	for i, r := range v.Spec.GetTls() {
		for j, d := range r.GetRoute() {
			check(d.GetDestination(), anyForMesh(v, r.GetMatch()), at(&v.Meta, "spec.tls[%d].route[%d].destination", i, j))
		}
	}
	for i, r := range v.Spec.GetHttp() {
		for j, d := range r.GetRoute() {
			check(d.GetDestination(), anyForMesh(v, r.GetMatch()), at(&v.Meta, "spec.http[%d].route[%d].destination", i, j))
		}
	}
}

// anyForMesh reports whether one of a rule's matches holds for sidecars.
func anyForMesh[M interface{ GetGateways() []string }](v *resource.VirtualService, list []M) bool {
	return len(list) == 0 && forMesh(v, nil) || slices.ContainsFunc(list, func(m M) bool { return forMesh(v, m.GetGateways()) })
}

// servicePort reports whether the egress gateway's Service has a port: as declared, else as Istio installs
// it.
func servicePort(s *resource.Service, number uint32) bool {
	if s == nil {
		return slices.Contains([]uint32{80, 443, 15021, 15443}, number)
	}
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return uint32(p.Port) == number })
}

// maxSought bounds how often ServiceEntries are searched for a message.
const maxSought = 100

// unreachable reports a hop that no sidecar could make, with what to do about it.
func (t *translator) unreachable(v *resource.VirtualService, s *resource.Service, number uint32, from ir.Origin) {
	has, where := "(as Istio installs it) has ports 80 and 443 alone", egressName
	if s != nil {
		has, where = "does not have it", s.Name
	}
	message := fmt.Sprintf("nothing would reach the egress gateway: its Service %s %s, so sidecars know no way to port %d (NC in their log, and not a byte sent)", where, has, number)
	entries := t.set.ServiceEntries()
	if t.sought++; t.sought > maxSought {
		entries = nil
	}
	for _, e := range entries {
		if overlap(e.Spec.GetHosts(), v.Spec.GetHosts()) && slices.ContainsFunc(e.Spec.GetPorts(), func(p *istio.ServicePort) bool { return p.GetNumber() == number }) {
			message += fmt.Sprintf("; port %d of ServiceEntry %s/%s is one of the external host, not of the gateway", number, e.Namespace, e.Name)
			break
		}
	}
	fix := fmt.Sprintf("Here, send clients to port %d of the Gateway itself; in a cluster, add to Service %s: {name: tcp-egress, port: %d, targetPort: %d}.", number, where, number, number)
	for _, h := range v.Spec.GetHosts() {
		if url, ok := t.backends.IsProxy(h, 0, v.Namespace); ok {
			t.told[h] = true
			message += "; and had it worked, it would be the same bytes with one more hop: the certificate that the proxy shows would still be verified by the client alone"
			fix = fmt.Sprintf("Take ServiceEntry, Gateway, VirtualService and DestinationRules away: no such hop is needed. Put the proxy's CA as ConfigMap company-ca into the folder (kubectl create configmap company-ca -n %s --from-file=ca.crt=CA.pem --dry-run=client -o yaml > company-ca.yaml) and write:\n%s",
				v.Namespace, t.backends.CorrectedFor(v.Namespace, url))
			break
		}
	}
	t.report(diag.EgressHopUnreachable, from, message, fix)
}
