package istio

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/noeffect"
)

// gateway is a Gateway with the servers of it that can serve.
type gateway struct {
	*resource.IstioGateway
	selected bool // by its selector; a gateway for another workload serves nothing here
	egress   bool // its selector names the egress gateway
	servers  []*server
	byHost   hostIndex
}

// server is one server of a Gateway on its way to a listener.
type server struct {
	gateway  *gateway
	origin   ir.Origin
	hosts    []serverHost
	listener *translate.Listener
	port     uint32 // as declared; rules match it
	sni      bool   // TLS is passed through, and tls rules choose by SNI
	l4       bool   // takes connections: tcp or tls rules hold, and not http
	tcp      []*ir.TCPRoute
	redirect bool // httpsRedirect: every request is sent to https
	grpcWeb  bool // protocol GRPC-WEB: gRPC-Web is translated for the upstreams of its routes
	attached bool // some VirtualService has routes here
	routes   map[hostname.Pattern]*hostRoutes
}

// hostRoutes are the routes of one host of a server, from all VirtualServices that name it by the
// pattern source. One that names it less specifically has no part in it.
type hostRoutes struct {
	source hostname.Pattern
	routes []*ir.Route
}

// serverHost is one of a server's hosts with the namespace whose VirtualServices may use it; empty
// means any.
type serverHost struct {
	namespace string
	pattern   hostname.Pattern
}

func gatewayPaths() noeffect.Handled {
	return noeffect.Paths("selector", "servers.{bind,hosts,name,tls}", "servers.port.{number,name,protocol}")
}

// gateway reads a Gateway and all of its servers.
func (t *translator) gateway(g *resource.IstioGateway) {
	out := &gateway{IstioGateway: g, selected: true}
	t.gateways[objectName{g.Namespace, g.Name}] = out
	for k, v := range g.Spec.GetSelector() {
		if !t.ctx.Is(k, v) {
			out.selected = false
		}
		out.egress = out.egress || v == egressLabel || v == "istio-"+egressLabel
	}
	if !out.selected {
		t.report(diag.SelectorMismatch, at(&g.Meta, "spec.selector"), fmt.Sprintf("selects %s, but this process has the labels %s, so the Gateway is not served here",
			labels(g.Spec.GetSelector()), t.ownLabels()), fmt.Sprintf("Correct the selector, or start with --labels %s.", labels(g.Spec.GetSelector())))
		return
	}
	if len(g.Spec.GetServers()) == 0 {
		t.report(diag.GatewayWithoutServer, at(&g.Meta, "spec.servers"), "the Gateway has no servers, so it serves nothing", "Add a server with port and hosts.")
	}
	noeffect.Report(t.out, g.Object(), g.Spec, gatewayPaths())
	for i, s := range g.Spec.GetServers() {
		if x := t.server(out, i, s); x != nil {
			out.servers = append(out.servers, x)
			out.byHost.add(x)
		}
	}
}

// egressLabel is the value of the label istio that Istio's own egress gateway has.
const egressLabel = "egressgateway"

// ownLabels names the labels of this process.
func (t *translator) ownLabels() string {
	out := labels(t.ctx.Labels)
	for _, k := range slices.Sorted(maps.Keys(t.ctx.MoreLabels)) {
		for _, v := range t.ctx.MoreLabels[k] {
			out += "," + k + "=" + v
		}
	}
	return out
}

func labels(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	if len(out) == 0 {
		return "(none)"
	}
	return strings.Join(out, ",")
}

// server reads one server; nil if it cannot serve, which has been reported.
func (t *translator) server(g *gateway, index int, spec *istio.Server) *server {
	from := at(&g.Meta, "spec.servers[%d]", index)
	port := spec.GetPort()
	if port.GetNumber() == 0 || port.GetNumber() > 65535 {
		t.report(diag.ListenerUnsupported, below(from, "port.number"), fmt.Sprintf("port %d is no port number", port.GetNumber()), "Use 1 to 65535.")
		return nil
	}
	way, ok := t.protocol(g, spec, from)
	if !ok {
		return nil
	}
	if b := spec.GetBind(); b != "" {
		if _, err := netip.ParseAddr(b); err != nil {
			t.report(diag.ListenerUnsupported, below(from, "bind"), fmt.Sprintf("bind %q is no IP address; the server is left out", b), "Write an IP address, or remove bind.")
			return nil
		}
	}
	s := &server{gateway: g, origin: from, hosts: t.serverHosts(g, spec, from), routes: map[hostname.Pattern]*hostRoutes{},
		port: port.GetNumber(), sni: way.sni, l4: way.l4, grpcWeb: strings.EqualFold(port.GetProtocol(), "GRPC-WEB")}
	if len(s.hosts) == 0 {
		return nil
	}
	chain := &ir.Chain{Origin: from}
	for _, h := range s.hosts {
		if !slices.Contains(chain.Hosts, h.pattern) {
			chain.Hosts = append(chain.Hosts, h.pattern)
		}
	}
	slices.SortFunc(chain.Hosts, hostname.Compare)
	section := spec.GetName()
	if section == "" {
		section = port.GetName()
	}
	chain.Name = g.Namespace + "/" + g.Name + "/" + section
	if section == "" {
		chain.Name += strconv.FormatUint(uint64(port.GetNumber()), 10)
	}
	s.listener = &translate.Listener{Family: translate.Istio, Gateway: g.Object(), Section: section, Order: g.Rank,
		Bind: spec.GetBind(), Port: uint16(port.GetNumber()), TLS: way.tls || way.passed, Chain: chain}
	if way.l4 {
		chain.TCP = []*ir.TCPRoute{}
	}
	if way.port != 0 {
		s.listener.Port = uint16(way.port)
	}
	switch {
	case way.refused != "":
		return t.refuse(s, way.refused)
	case way.passed, way.hop:
	case way.tls:
		if chain.TLS = t.serverTLS(g, spec.GetTls(), from); chain.TLS == nil {
			return t.refuse(s, "its tls settings cannot be used")
		}
	default:
		if s.redirect = spec.GetTls().GetHttpsRedirect(); !t.plain(spec.GetTls(), from) {
			return t.refuse(s, "it has tls settings on a plain port")
		}
	}
	return s
}

// refuse leaves a server out, and its hosts to nobody else. It returns nil.
func (t *translator) refuse(s *server, why string) *server {
	s.listener.Refused = why
	t.out.Listeners = append(t.out.Listeners, s.listener)
	return nil
}

// plain checks that a server without TLS has no TLS settings but httpsRedirect: who wrote some expects
// encryption, so such a server is left out rather than served in the clear.
func (t *translator) plain(s *istio.ServerTLSSettings, from ir.Origin) bool {
	if s == nil {
		return true
	}
	handled := noeffect.Paths("httpsRedirect")
	fields := noeffect.Unhandled(s, from.Field+".tls", handled)
	if len(fields) == 0 {
		return true
	}
	t.report(diag.ListenerTLSInvalid, ir.Origin{Object: from.Object, Field: fields[0]},
		"the port's protocol is plain HTTP, but the server has TLS settings; it is left out", "Use protocol HTTPS, or remove all of tls but httpsRedirect.")
	return false
}

// serverHosts reads hosts of the form dns, namespace/dns, ./dns and */dns.
func (t *translator) serverHosts(g *gateway, spec *istio.Server, from ir.Origin) []serverHost {
	if len(spec.GetHosts()) == 0 {
		t.report(diag.ListenerHostInvalid, below(from, "hosts"), "the server has no hosts, so it is left out", "Name the hosts, or \"*\" for all.")
	}
	var out []serverHost
	for i, h := range spec.GetHosts() {
		ns, dns, found := strings.Cut(h, "/")
		if !found {
			ns, dns = "*", h
		}
		p, err := hostname.Parse(dns)
		if err != nil {
			t.report(diag.ListenerHostInvalid, below(from, "hosts[%d]", i), err.Error()+"; this host is left out", "Write a DNS name, \"*.\" and a DNS name, or \"*\".")
			continue
		}
		t.underscore(p, below(from, "hosts[%d]", i))
		switch ns {
		case "*":
			ns = ""
		case ".":
			ns = g.Namespace
		case "":
			t.report(diag.ListenerHostInvalid, below(from, "hosts[%d]", i), fmt.Sprintf("host %q has an empty namespace; this host is left out", h), "Write namespace/name, ./name or */name.")
			continue
		}
		out = append(out, serverHost{ns, p})
	}
	return out
}

// finish orders the server's virtual hosts and adds its listener to the fragment.
func (t *translator) finish(s *server) {
	chain := s.listener.Chain
	chain.VirtualHosts = []*ir.VirtualHost{}
	if s.l4 {
		t.finishTCP(s)
	}
	t.out.Listeners = append(t.out.Listeners, s.listener)
	if s.redirect {
		chain.VirtualHosts = append(chain.VirtualHosts, &ir.VirtualHost{Hosts: chain.Hosts, Routes: []*ir.Route{s.httpsRedirect()}})
		return
	}
	for _, p := range slices.SortedFunc(maps.Keys(s.routes), hostname.Compare) {
		routes := s.routes[p].routes
		chain.VirtualHosts = append(chain.VirtualHosts, &ir.VirtualHost{Hosts: []hostname.Pattern{p}, Routes: routes})
		t.shadows.add(routes)
		if s.grpcWeb {
			t.translateGRPCWeb(s, routes)
		}
	}
	if !s.attached {
		does := "answers 404"
		if s.l4 {
			does = fmt.Sprintf("closes its connections (%s rules are what it takes)", s.kindOfRules())
		}
		t.report(diag.NoRoutesAttached, s.origin, fmt.Sprintf("no VirtualService has routes for the hosts %s of this server, so it %s", hostList(chain.Hosts), does),
			fmt.Sprintf("Name gateway %s/%s and one of these hosts in a VirtualService.", s.gateway.Namespace, s.gateway.Name))
	}
}

// translateGRPCWeb switches on the translation of gRPC-Web for what the routes of a GRPC-WEB server lead
// to. What HTTP/1.1 is spoken to cannot take gRPC, so gRPC-Web is passed to it as it is.
func (t *translator) translateGRPCWeb(s *server, routes []*ir.Route) {
	for _, r := range routes {
		for _, b := range r.Forward {
			up := t.out.Upstreams[b.Upstream]
			switch {
			case up == nil:
			case up.Protocol == ir.UpstreamHTTP2:
				up.GRPCWeb = true
			default:
				t.report(diag.ProtocolIneffective, below(s.origin, "port.protocol"), fmt.Sprintf("gRPC-Web is not translated for upstream %s, to which HTTP/2 is not spoken", up.Name),
					"Name the Service's port grpc, or set its appProtocol to grpc.")
			}
		}
	}
}

// httpsRedirect is the route of a server that only sends clients to https, as Envoy's require_tls.
func (s *server) httpsRedirect() *ir.Route {
	return &ir.Route{Name: s.listener.Chain.Name + "/https-redirect", Origin: below(s.origin, "tls.httpsRedirect"),
		Redirect: &ir.Redirect{Scheme: "https", Status: 301}}
}

func hostList(hosts []hostname.Pattern) string {
	var out []string
	for i, h := range hosts {
		if i == 5 {
			out = append(out, fmt.Sprintf("and %d more", len(hosts)-i))
			break
		}
		out = append(out, h.String())
	}
	return strings.Join(out, ", ")
}
