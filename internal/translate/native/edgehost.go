package native

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/semantics"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Sections of an EdgeHost: the listener for TLS and that for plain HTTP.
const (
	sectionHTTPS = "https"
	sectionHTTP  = "http"
)

// edgeHost makes the one or two listeners of an EdgeHost. One that cannot be served as written is
// refused, so that no broader host of its port takes its clients.
func (t *translator) edgeHost(e *resource.EdgeHost) {
	hosts := t.edgeHosts(e)
	if len(hosts) == 0 {
		return
	}
	spec := e.Spec
	port, plain := uint16(cmp.Or(spec.Port, 443)), uint16(cmp.Or(spec.HTTPPort, 80))
	secure := t.edgeListener(e, sectionHTTPS, port, hosts)
	secure.TLS = true
	t.out.Listeners = append(t.out.Listeners, secure)
	var routes []*ir.Route
	if len(spec.CertificateRefs) == 0 {
		t.report(&e.Meta, diag.EdgeHostInvalid, "spec.certificateRefs", "the host names no certificate, so it cannot be served over HTTPS", "Name the Secret with certificate and key.")
		secure.Refused = "it names no certificate"
	} else {
		secure.Chain.TLS = t.edgeTLS(e)
		routes = t.edgeRoutes(e)
		secure.Chain.VirtualHosts = []*ir.VirtualHost{{Hosts: hosts, Routes: routes}}
	}
	switch {
	case spec.HTTP == "off":
		if spec.HTTPPort != 0 {
			t.report(&e.Meta, diag.OriginSettingIdle, "spec.httpPort", "http is off, so nothing is served on httpPort", "Remove httpPort, or set http to redirect or serve.")
		}
		return
	case plain == port:
		t.report(&e.Meta, diag.EdgeHostInvalid, "spec.httpPort", fmt.Sprintf("port %d is that of HTTPS already; plain HTTP is not served", port), "Give httpPort another number, or set http: \"off\".")
		return
	}
	l := t.edgeListener(e, sectionHTTP, plain, hosts)
	t.out.Listeners = append(t.out.Listeners, l)
	switch {
	case secure.Refused != "":
		l.Refused = "its HTTPS cannot be served"
		return
	case spec.HTTP == "serve":
		l.Chain.VirtualHosts = []*ir.VirtualHost{{Hosts: hosts, Routes: routes}}
	default:
		l.Chain.VirtualHosts = []*ir.VirtualHost{{Hosts: hosts, Routes: toHTTPS(e, port)}}
	}
}

func (t *translator) edgeListener(e *resource.EdgeHost, section string, port uint16, hosts []hostname.Pattern) *translate.Listener {
	return &translate.Listener{
		Family: translate.Native, Gateway: e.Object(), Section: section, Order: e.Rank, Port: port,
		Chain: &ir.Chain{Name: e.Namespace + "/" + e.Name + "/" + section, Display: e.Spec.DisplayName, Origin: ir.Origin{Object: e.Object(), Field: "spec"}, Hosts: slices.Clone(hosts)},
	}
}

// edgeHosts reads the hosts, the most specific first. Those that cannot be used are left out.
func (t *translator) edgeHosts(e *resource.EdgeHost) []hostname.Pattern {
	var out []hostname.Pattern
	for i, h := range e.Spec.Hosts {
		p, err := hostname.Parse(h)
		fault := ""
		switch _, notIP := netip.ParseAddr(h); {
		case err != nil:
			fault = err.Error()
		case p.IsAny():
			fault = `host "*" is every host`
		case notIP == nil:
			fault = fmt.Sprintf("%s is an address, which clients name in no handshake", h)
		}
		if fault != "" {
			t.report(&e.Meta, diag.ListenerHostInvalid, fmt.Sprintf("spec.hosts[%d]", i), fault+"; this host is left out", `Write a DNS name, or "*." and a DNS name.`)
			continue
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		t.report(&e.Meta, diag.EdgeHostInvalid, "spec.hosts", "there is no host to serve", "Name the hosts.")
	}
	slices.SortFunc(out, hostname.Compare)
	return slices.Compact(out)
}

// edgeTLS says how the host terminates TLS. Certificates that cannot be had keep their place: the hosts
// refuse handshakes then.
func (t *translator) edgeTLS(e *resource.EdgeHost) *ir.TLS {
	from := ir.Origin{Object: e.Object(), Field: "spec.certificateRefs"}
	out := &ir.TLS{Origin: from, ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone, Origin: from}}
	refs := e.Spec.CertificateRefs
	if len(refs) > 2 {
		t.report(&e.Meta, diag.BadValue, "spec.certificateRefs", fmt.Sprintf("%d certificates are named; the first two are used", len(refs)), "Name one, or one RSA and one ECDSA.")
		refs = refs[:2]
	}
	for i := range refs {
		out.Certificates = append(out.Certificates, t.certificate(&e.Meta, &refs[i], fmt.Sprintf("spec.certificateRefs[%d]", i)))
	}
	if len(out.Certificates) == 2 {
		a, b := t.out.Secrets[out.Certificates[0]], t.out.Secrets[out.Certificates[1]]
		if a.Pair != nil && b.Pair != nil && a.Pair.IsECDSA() == b.Pair.IsECDSA() {
			t.report(&e.Meta, diag.TLSSettingIneffective, "spec.certificateRefs", fmt.Sprintf("both certificates have keys of the same kind (%s, %s), so clients are only ever shown the first", a.Pair.KeyType(), b.Pair.KeyType()),
				"Name one RSA and one ECDSA certificate.")
		}
	}
	return out
}

// edgeRoutes makes a route of each path, the longest first, and one of what is left.
func (t *translator) edgeRoutes(e *resource.EdgeHost) []*ir.Route {
	var out []*ir.Route
	seen := map[string]int{}
	for i, r := range e.Spec.Routes {
		field := fmt.Sprintf("spec.routes[%d]", i)
		path, fault := semantics.CanonicalPath(r.Path)
		if fault != "" {
			t.report(&e.Meta, diag.EdgeHostInvalid, field+".path", fmt.Sprintf("no request can have the path %q (%s); the route is left out", r.Path, fault), "Write a path such as /api.")
			continue
		}
		path = plainPath(path)
		if first, twice := seen[path]; twice {
			t.report(&e.Meta, diag.EdgeHostInvalid, field+".path", fmt.Sprintf("path %s is routes[%d]'s already, which wins", r.Path, first), "Remove one of the two.")
			continue
		}
		seen[path] = i
		out = append(out, t.edgeRoute(e, "route-"+strconv.Itoa(i), field, path, r.PoolRef.Name))
	}
	slices.SortStableFunc(out, func(a, b *ir.Route) int { return cmp.Compare(len(b.Match.Path.Value), len(a.Match.Path.Value)) })
	_, all := seen["/"]
	switch ref := e.Spec.PoolRef; {
	case ref != nil && all:
		t.report(&e.Meta, diag.OriginSettingIdle, "spec.poolRef", "a route for / takes everything, and nothing is left for poolRef", "Remove one of the two.")
	case ref != nil:
		out = append(out, t.edgeRoute(e, "default", "spec", "/", ref.Name))
	case len(out) == 0:
		const message = "the host leads to no pool"
		t.report(&e.Meta, diag.EdgeHostInvalid, "spec.poolRef", message+", so every request is refused", "Name an OriginPool in poolRef, or in routes.")
		out = append(out, &ir.Route{Name: e.Namespace + "/" + e.Name + "/default", Origin: ir.Origin{Object: e.Object(), Field: "spec"}, Fault: &ir.Fault{Code: diag.EdgeHostInvalid, Detail: message}})
	}
	return out
}

// plainPath removes what a prefix by segments does not look at.
func plainPath(p string) string {
	if len(p) > 1 {
		return strings.TrimSuffix(p, "/")
	}
	return p
}

func (t *translator) edgeRoute(e *resource.EdgeHost, name, field, path, pool string) *ir.Route {
	backend := ir.Backend{Weight: 1, Origin: ir.Origin{Object: e.Object(), Field: field + ".poolRef"}}
	if t.set.OriginPool(e.Namespace, pool) != nil {
		backend.Upstream = translate.PoolUpstream(e.Namespace, pool, false)
	} else {
		message, fix := translate.AbsentPool(t.set, e.Namespace, pool)
		t.report(&e.Meta, diag.OriginPoolNotFound, field+".poolRef.name", message+"; requests to it are refused", fix)
		backend.Fault = &ir.Fault{Code: diag.OriginPoolNotFound, Detail: message}
	}
	return &ir.Route{Name: e.Namespace + "/" + e.Name + "/" + name, Origin: ir.Origin{Object: e.Object(), Field: field},
		Match: ir.Match{Path: ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: path}}, Forward: []ir.Backend{backend}}
}

// toHTTPS sends clients of the plain port to HTTPS: 301 for what has no body, which every client knows,
// and 308 for the rest, so that a POST stays one.
func toHTTPS(e *resource.EdgeHost, port uint16) []*ir.Route {
	from := ir.Origin{Object: e.Object(), Field: "spec.http"}
	if port == 443 {
		port = 0 // the scheme's own
	}
	route := func(name, method string, status int) *ir.Route {
		r := &ir.Route{Name: e.Namespace + "/" + e.Name + "/" + name, Origin: from, Redirect: &ir.Redirect{Scheme: "https", Port: port, Status: status}}
		if method != "" {
			r.Match.Method = ir.StringMatch{Kind: ir.MatchExact, Value: method}
		}
		return r
	}
	return []*ir.Route{route("https-redirect-get", "GET", 301), route("https-redirect-head", "HEAD", 301), route("https-redirect", "", 308)}
}
