package backend

import (
	"fmt"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// tunnelSuffix ends the name of an upstream that is reached through its DestinationRule's tunnel, because
// HTTP routes to the same destination are not.
const tunnelSuffix = "/tunnel"

// tunnel turns an upstream whose addresses are those of a proxy into one of the tunnel's target, reached
// through that proxy. TLS of the rule is TLS with the proxy itself, as in Istio.
func (r *Resolver) tunnel(up *ir.Upstream, rule policy) {
	s := rule.tunnel
	broken := func(field, message, fix string) {
		r.report(diag.TunnelInvalid, below(rule.tunnelFrom, field), message, fix)
		if up.Fault == nil {
			up.Fault = &ir.Fault{Code: diag.TunnelInvalid, Detail: rule.tunnelFrom.String() + ": " + message}
		}
	}
	method := strings.ToUpper(s.GetProtocol())
	switch method {
	case "":
		method = "CONNECT"
	case "CONNECT", "POST":
	default:
		broken("protocol", fmt.Sprintf("protocol %q is neither CONNECT nor POST", s.GetProtocol()), "Use CONNECT.")
	}
	host, err := hostname.Parse(s.GetTargetHost())
	if err != nil || !host.IsExact() {
		broken("targetHost", fmt.Sprintf("target host %q is neither a name nor an IP address", s.GetTargetHost()), "Write the host that the proxy is to connect to.")
	}
	if p := s.GetTargetPort(); p == 0 || p > 65535 {
		broken("targetPort", fmt.Sprintf("target port %d is no port number", p), "Use 1 to 65535.")
	}
	name := "tunnel:" + strings.TrimSuffix(up.Name, tunnelSuffix)
	proxy := &ir.Proxy{Name: name, Origin: rule.tunnelFrom, TLS: up.TLS, ConnectTimeout: up.Pool.ConnectTimeout, Fault: up.Fault}
	add := func(host string, port uint16) {
		proxy.Addresses = append(proxy.Addresses, ir.ProxyAddress{Host: host, Port: port, TLS: up.TLS != nil})
	}
	if up.Resolve != nil {
		add(up.Resolve.Host, up.Resolve.Port)
	}
	for _, e := range r.out.Endpoints[up.Name] {
		add(e.Host, e.Port)
	}
	if len(proxy.Addresses) == 0 && up.Fault == nil {
		broken("targetHost", "the destination of the rule gives no address for the proxy", "Give its ServiceEntry endpoints, or a host that DNS knows.")
		proxy.Fault = up.Fault
	}
	r.out.Proxies[name] = proxy
	delete(r.out.Endpoints, up.Name)
	up.TLS, up.Dynamic, up.IsProxy, up.Resolve, up.Destination = nil, nil, false, nil, ""
	up.Via = &ir.Via{Proxies: []string{name}, Method: method, Host: host.String(), Port: uint16(s.GetTargetPort())}
	if up.Fault != nil {
		up.Via = nil
		r.out.Endpoints[up.Name] = []ir.Endpoint{}
		delete(r.out.Proxies, name)
		return
	}
	up.Destination = host.String()
	if isAddress(host.String()) {
		r.out.Endpoints[up.Name] = []ir.Endpoint{{Host: host.String(), Port: up.Via.Port, Origin: rule.tunnelFrom}}
		return
	}
	up.Resolve = &ir.ResolveDNS{Host: host.String(), Port: up.Via.Port} // the proxy's to resolve
}

// tunnelOnHTTP tells of a tunnel that a route of requests does not take, with what would.
func (r *Resolver) tunnelOnHTTP(t target, p port, rule policy) {
	host := rule.tunnel.GetTargetHost()
	fix := Corrected{Namespace: rule.tunnelFrom.Object.Namespace, URL: proxyURL(t, p, rule), Hosts: []string{host}}
	r.report(diag.TunnelOnHTTP, rule.tunnelFrom, fmt.Sprintf("an HTTP route leads to %s, and tunnel holds for tcp and tls routes alone", t),
		fmt.Sprintf("Let the route lead to %s, and reach it through an UpstreamProxy:\n%s", host, fix.UpstreamProxy()))
}

// Internal reads a destination's host as the name of a service of the cluster.
func (r *Resolver) Internal(host, namespace string) (ns, name string, ok bool) {
	t, err := r.locate(host, namespace)
	if err != nil || !t.internal() {
		return "", "", false
	}
	return t.namespace, t.name, true
}

// hopRule finds what DestinationRules say of a hop: those of the namespace from which it is made count first,
// as for a sidecar there.
func (r *Resolver) hopRule(t target, hop Destination, namespace string) (policy, bool) {
	if rule, _, ok := pick(r.mostSpecific(r.rules.byNamespace[namespace].near(t), t), hop.Port, hop.Subset); ok && hop.Subset != "" || ok && rule.tls != nil {
		return rule, true
	}
	rule, _, ok := pick(r.lookup(t), hop.Port, hop.Subset)
	return rule, ok
}

// Inside returns the name of an upstream that is like another, with TLS as the DestinationRule of a hop
// begins it that is left out: what a sidecar would have begun, the gateway begins inside the tunnel. Where
// the rule begins none, or that of a mesh's own, it is the other itself.
func (r *Resolver) Inside(name string, hop Destination, namespace string) string {
	up := r.out.Upstreams[name]
	t, err := r.locate(hop.Host, namespace)
	if up == nil || err != nil || up.TLS != nil {
		return name
	}
	rule, ok := r.hopRule(t, hop, namespace)
	if !ok || !rule.originates() || rule.tls.GetMode() == istio.ClientTLSSettings_ISTIO_MUTUAL {
		return name
	}
	inner := *up
	inner.Name = name + "+" + strings.TrimPrefix(r.name(t, hop.Port, hop.Subset), "/")
	inner.IsProxy = false
	if r.out.Upstreams[inner.Name] != nil {
		return inner.Name
	}
	r.out.Upstreams[inner.Name] = &inner
	if e := r.out.Endpoints[name]; e != nil {
		r.out.Endpoints[inner.Name] = e
	}
	rule.applyTLS(r, &inner, t)
	return inner.Name
}
