package istio

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
)

// tcpRule is one match of one tcp or tls rule, with the conditions that depend on the server.
type tcpRule struct {
	route    *ir.TCPRoute
	tls      bool // of spec.tls: for TLS that is passed through
	port     uint32
	gateways []objectName
}

// l4Match is what L4MatchAttributes and TLSMatchAttributes have in common.
type l4Match interface {
	GetDestinationSubnets() []string
	GetPort() uint32
	GetGateways() []string
	GetSourceLabels() map[string]string
	GetSourceNamespace() string
}

// tcpRules translates the tls and then the tcp rules of a VirtualService. asMesh takes those for
// sidecars, else those for gateways.
func (t *translator) tcpRules(v *resource.VirtualService, asMesh bool) []tcpRule {
	var out []tcpRule
	for i, r := range v.Spec.GetTls() {
		from, name := at(&v.Meta, "spec.tls[%d]", i), fmt.Sprintf("%s/%s/tls-%d", v.Namespace, v.Name, i)
		if len(r.GetMatch()) == 0 {
			t.report(diag.TCPMatchInvalid, below(from, "match"), "a tls rule without match says for which SNI it is; it is left out", "Add match with sniHosts, or use tcp.")
			continue
		}
		if !asMesh && meshMatches(r.GetMatch()) {
			continue
		}
		forward, fault := t.tcpDestinations(v, r.GetRoute(), from)
		for j, m := range r.GetMatch() {
			mf := below(from, "match[%d]", j)
			hosts := t.sniHosts(v, m, mf)
			if len(hosts) == 0 || !asMesh && onlyMesh(m.GetGateways()) {
				continue
			}
			out = t.tcpMatch(out, v, m, tcpParts{ir.TCPRoute{Name: fmt.Sprintf("%s/match-%d", name, j), Origin: mf, Hosts: hosts, Forward: forward, Fault: fault}, true, ""})
		}
	}
	for i, r := range v.Spec.GetTcp() {
		from, name := at(&v.Meta, "spec.tcp[%d]", i), fmt.Sprintf("%s/%s/tcp-%d", v.Namespace, v.Name, i)
		if !asMesh && meshMatches(r.GetMatch()) {
			continue
		}
		forward, fault := t.tcpDestinations(v, r.GetRoute(), from)
		if len(r.GetMatch()) == 0 {
			out = append(out, tcpRule{route: &ir.TCPRoute{Name: name, Origin: from, Forward: forward, Fault: fault}})
		}
		for j, m := range r.GetMatch() {
			if !asMesh && onlyMesh(m.GetGateways()) {
				continue
			}
			out = t.tcpMatch(out, v, m, tcpParts{ir.TCPRoute{Name: fmt.Sprintf("%s/match-%d", name, j), Origin: below(from, "match[%d]", j), Forward: forward, Fault: fault}, false, m.GetSourceSubnet()})
		}
	}
	return out
}

// onlyMesh reports whether a match is for sidecars alone.
func onlyMesh(gateways []string) bool {
	return len(gateways) > 0 && !slices.ContainsFunc(gateways, func(g string) bool { return g != mesh })
}

// meshMatches reports whether all matches of a rule are for sidecars alone.
func meshMatches[M interface{ GetGateways() []string }](list []M) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(m M) bool { return !onlyMesh(m.GetGateways()) })
}

// tcpParts is a route before the common part of its match.
type tcpParts struct {
	route  ir.TCPRoute
	tls    bool
	source string
}

// tcpMatch adds the routes of one match: one a host, so that they can be ordered by it.
func (t *translator) tcpMatch(out []tcpRule, v *resource.VirtualService, m l4Match, p tcpParts) []tcpRule {
	from := p.route.Origin
	if !t.sourceIsUs(m.GetSourceLabels(), m.GetSourceNamespace(), from) {
		return out
	}
	subnets := func(field string, list []string) (nets []string) {
		for i, s := range list {
			at := below(from, "%s", field)
			if field != "sourceSubnet" {
				at = below(from, "%s[%d]", field, i)
			}
			if n, ok := prefix(s); ok {
				nets = append(nets, n.String())
				continue
			}
			message := fmt.Sprintf("%q is neither an IP address nor a network", s)
			t.report(diag.TCPMatchInvalid, at, message+"; the route refuses its connections", "Write 192.0.2.1 or 192.0.2.0/24.")
			p.route.Forward, p.route.Fault = nil, &ir.Fault{Code: diag.TCPMatchInvalid, Detail: at.String() + ": " + message}
		}
		return nets
	}
	p.route.Subnets = subnets("destinationSubnets", m.GetDestinationSubnets())
	if p.source != "" {
		p.route.Sources = subnets("sourceSubnet", []string{p.source})
	}
	rule := tcpRule{tls: p.tls, port: m.GetPort()}
	for _, g := range m.GetGateways() {
		if onlyMesh(m.GetGateways()) {
			break // of a VirtualService that is for the mesh alone
		}
		rule.gateways = append(rule.gateways, gatewayName(g, v.Namespace))
	}
	hosts := p.route.Hosts
	if len(hosts) < 2 {
		route := p.route
		rule.route = &route
		return append(out, rule)
	}
	for i, h := range hosts {
		route := p.route
		route.Hosts, route.Name = []hostname.Pattern{h}, fmt.Sprintf("%s/%d", p.route.Name, i)
		rule.route = &route
		out = append(out, rule)
	}
	return out
}

// prefix reads an address or a network.
func prefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// sniHosts reads sniHosts, which have to be among the VirtualService's hosts.
func (t *translator) sniHosts(v *resource.VirtualService, m *istio.TLSMatchAttributes, from ir.Origin) []hostname.Pattern {
	var out []hostname.Pattern
	if len(m.GetSniHosts()) == 0 {
		t.report(diag.TCPMatchInvalid, below(from, "sniHosts"), "the match names no SNI, so it is left out", "Add sniHosts.")
	}
	for i, s := range m.GetSniHosts() {
		at := below(from, "sniHosts[%d]", i)
		p, err := hostname.Parse(s)
		if err != nil {
			t.report(diag.TCPMatchInvalid, at, err.Error()+"; this host is left out", "Write a DNS name, \"*.\" and a DNS name, or \"*\".")
			continue
		}
		covered := slices.ContainsFunc(v.Spec.GetHosts(), func(h string) bool {
			q, err := hostname.Parse(h)
			return err == nil && q.Covers(p)
		})
		if !covered {
			t.report(diag.TCPMatchInvalid, at, fmt.Sprintf("SNI %s is none of the VirtualService's hosts, which Istio demands; it is left out", p), "Add it to hosts.")
			continue
		}
		out = append(out, p)
	}
	return out
}

// tcpDestinations reads weighted destinations of connections.
func (t *translator) tcpDestinations(v *resource.VirtualService, routes []*istio.RouteDestination, rule ir.Origin) ([]ir.Backend, *ir.Fault) {
	refuse := func(code diag.Code, from ir.Origin, message, fix string) ([]ir.Backend, *ir.Fault) {
		t.report(code, from, message, fix)
		return nil, &ir.Fault{Code: code, Detail: from.String() + ": " + message}
	}
	if len(routes) == 0 {
		return refuse(diag.RouteActionInvalid, below(rule, "route"), "the rule has no route", "Add a destination.")
	}
	var out []ir.Backend
	sum := int64(0)
	for i, r := range routes {
		from, weight := below(rule, "route[%d]", i), r.GetWeight()
		if weight < 0 {
			return refuse(diag.RouteWeights, below(from, "weight"), fmt.Sprintf("weight %d is negative", weight), "Write 0 or more.")
		}
		if len(routes) == 1 {
			weight = 100
		}
		sum += int64(weight)
		back := ir.Backend{Weight: uint32(weight), Origin: below(from, "destination")}
		l := leg{backend.Destination{Host: r.GetDestination().GetHost(), Port: r.GetDestination().GetPort().GetNumber(), Subset: r.GetDestination().GetSubset()}, v.Namespace, back.Origin}
		res := t.resolve(l, v.Spec.GetHosts(), l4Hop)
		back.Upstream, back.Fault = res.Upstream, res.Fault
		out = append(out, back)
	}
	if sum == 0 {
		return refuse(diag.RouteWeights, below(rule, "route"), "all weights are 0, so there is nothing to send to", "Set the weights.")
	}
	return out, nil
}

// addTCP gives the routes that hold on this server to its chain, and reports whether there are any.
func (s *server) addTCP(t *translator, p hostname.Pattern, rules []tcpRule) (any bool) {
	own := objectName{s.gateway.Namespace, s.gateway.Name}
	for _, r := range rules {
		if r.tls != s.sni || r.port != 0 && r.port != s.port || len(r.gateways) > 0 && !slices.Contains(r.gateways, own) {
			continue
		}
		s.attached, any = true, true
		route := *r.route
		if r.tls {
			h, ok := hostname.Intersect(route.Hosts[0], p)
			if !ok {
				continue
			}
			route.Hosts = []hostname.Pattern{h}
			t.tlsInside(&route)
		}
		if slices.ContainsFunc(s.tcp, func(x *ir.TCPRoute) bool { return x.Name == route.Name && slices.Equal(x.Hosts, route.Hosts) }) {
			continue
		}
		s.tcp = append(s.tcp, &route)
	}
	return any
}

// tlsInside tells of TLS that would be originated around the client's.
func (t *translator) tlsInside(route *ir.TCPRoute) {
	for _, b := range route.Forward {
		if up := t.out.Upstreams[b.Upstream]; up != nil && up.TLS != nil {
			t.report(diag.TLSInsideTLS, up.TLS.Origin, fmt.Sprintf("%s passes the client's TLS through to %s, and this begins TLS once more around it", route.Origin, up.Name),
				"Remove tls for this port, or set its mode to DISABLE; to look inside, terminate TLS at the Gateway.")
		}
	}
}

// idleTime returns the connection pool's idle timeout of the routes' destinations, the longest.
func (t *translator) idleTime(route *ir.TCPRoute) time.Duration {
	var d time.Duration
	for _, b := range route.Forward {
		if up := t.out.Upstreams[b.Upstream]; up != nil {
			d = max(d, up.Pool.IdleTimeout)
		}
	}
	return d
}

// finishTCP orders a server's connection routes: those for the most specific SNI first.
func (t *translator) finishTCP(s *server) {
	slices.SortStableFunc(s.tcp, func(a, b *ir.TCPRoute) int {
		if len(a.Hosts) == 0 || len(b.Hosts) == 0 {
			return 0
		}
		return hostname.Compare(a.Hosts[0], b.Hosts[0])
	})
	for _, r := range s.tcp {
		r.IdleTime = t.idleTime(r)
	}
	s.listener.Chain.TCP = s.tcp
}
