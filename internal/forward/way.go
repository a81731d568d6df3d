package forward

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// way is how a destination is reached.
type way struct {
	host  string
	port  uint16
	via   *ir.Via            // nil: directly
	known *upstream.Upstream // what the configuration says of it; nil: the template holds
	from  *ir.Origin         // of known
	seen  []netip.Addr       // addresses that rules were asked about; nil: none, or a proxy looks the name up
	to    netip.Addr         // where a captured connection was on its way to; invalid: where the name leads
}

// meant tells what the address that a captured connection was on its way to is for a host. The connection goes there
// where it is one of the host's (own), and where the name leads nowhere here: clients may know names that this machine
// does not. Where the name leads elsewhere, to is invalid: the connection goes where the name leads, and a client that
// names one host and means another gets to the one that it named.
func (p *Policy) meant(host string, address netip.Addr) (to netip.Addr, own bool) {
	if !address.IsValid() {
		return netip.Addr{}, false
	}
	if a, ok := literal(host); ok {
		if a != address {
			return netip.Addr{}, false
		}
		return address, true
	}
	addrs := p.lookup(host)
	if own = slices.Contains(addrs, address); own || len(addrs) == 0 {
		return address, own
	}
	return netip.Addr{}, false
}

// lookup returns the addresses of a name, as connections use them.
func (p *Policy) lookup(host string) []netip.Addr {
	if addrs, ok := p.opts.Destinations.Known(host); ok {
		return addrs
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
	defer cancel()
	addrs, err := p.opts.Destinations.LookUp(ctx, host)
	if err != nil {
		return nil
	}
	return addrs
}

// way finds out how a destination is reached, or why it is not. to is what meant says of it; it counts where the
// connection is made from here, to a host that the configuration does not place.
func (p *Policy) way(f *acl.Facts, host string, port uint16, to netip.Addr) (way, *refusal) {
	w := way{host: host, port: port}
	known := p.known(host, port)
	if known != nil && known.Upstream != "" {
		w.known, w.from = p.opts.Upstreams[known.Upstream], &known.Origin
		if w.known == nil {
			return w, refuse(diag.ForwardUnavailable, "the snapshot has no upstream "+known.Upstream)
		}
		if fault := w.known.Settings.Fault; fault != nil {
			return w, refuse(fault.Code, fault.Detail)
		}
		w.via = w.known.Settings.Via
		return w, nil
	}
	var served bool
	w.via, served = p.parents(f, host)
	if p.ir.KnownOnly && known == nil && !served {
		return w, refuse(diag.ForwardNotRegistered, host+" is not in the registry, and outboundTrafficPolicy is RegistryOnly")
	}
	if d := p.direct.Decide(f); w.via == nil && d.Action == "deny" && d.Index >= 0 {
		return w, refuse(diag.ForwardNeverDirect, d.Text+", and no proxy serves "+host)
	}
	if w.via == nil {
		w.to = to
	}
	if addrs, asked := f.Found(host); asked && w.via == nil && !w.to.IsValid() {
		if len(addrs) == 0 { // a rule that cannot be decided must not be got around by a slow answer
			return w, refuse(diag.ForwardNameUnknown, "the name "+host+" does not resolve, and rules are about its addresses")
		}
		w.seen = addrs
	}
	return w, p.local(host, port, w.via != nil, w.to)
}

// wayMeant is way for captured connections, whose address the access rules were asked about: where the connection does
// not go there, and the name did not lead there, they are asked again about the name alone.
func (p *Policy) wayMeant(f *acl.Facts, host string, port uint16, to netip.Addr, own bool) (way, *refusal) {
	w, no := p.way(f, host, port, to)
	if no != nil || own || !to.IsValid() || w.to.IsValid() {
		return w, no
	}
	f.Dest = netip.Addr{}
	if d := p.access.Decide(f); d.Action == "deny" {
		return w, refuse(diag.ForwardDenied, d.Text)
	}
	return w, nil
}

// addressAlone returns facts for a connection to an address whose name is the client's word alone: what rules about the
// address by itself are asked.
func addressAlone(f *acl.Facts, to netip.Addr) *acl.Facts {
	bare := *f
	bare.Host, bare.ClientName = to.String(), ""
	bare.URL = hostname.WithPort(bare.Host, f.Port)
	if f.Scheme != "" {
		bare.URL = f.Scheme + "://" + bare.URL + f.Path
	}
	return &bare
}

// unproven refuses a connection to an address whose name is the client's word alone, where the access rules let nobody
// get to the address by itself: a made-up name under a domain that is let through would open every address.
func (p *Policy) unproven(f *acl.Facts, host string, to netip.Addr) *refusal {
	d := p.access.Decide(addressAlone(f, to))
	if d.Action != "deny" {
		return nil
	}
	return refuse(diag.ForwardDenied, host+" leads nowhere here, so that the address "+to.String()+" counts alone: "+d.Text)
}

// known returns the entry of a host that the configuration names.
func (p *Policy) known(host string, port uint16) *ir.KnownHost { return p.registry.find(host, port) }

// parents returns the proxies that a destination goes through; nil for none. served says that an UpstreamProxy
// names the host itself. Names are not looked up for it, networks of Except or not: where there is another proxy, DNS
// of the outside is often nobody's, and a slow answer must not lead around the proxy. Direct with dst rules asks.
func (p *Policy) parents(f *acl.Facts, host string) (via *ir.Via, served bool) {
	if d := p.direct.Decide(f); d.Action == "allow" && d.Index >= 0 {
		return nil, false
	}
	for i := range p.ir.Proxies {
		if v := &p.ir.Proxies[i]; p.acls.Match(v.ACLs, f) {
			return &ir.Via{Proxies: v.Proxies}, false
		}
	}
	x := ir.ProxyFor(p.opts.Proxies, host)
	if x == nil {
		return nil, false
	}
	return &ir.Via{Proxies: []string{x.Name}}, true
}

// local refuses destinations that are this machine, link-local, or this process. Names are looked at where the
// connection is direct: another proxy looks them up itself. That what is connected to is no such address either,
// whatever DNS says then, package upstream sees to. to is the address that the connection goes to, if that is known.
func (p *Policy) local(host string, port uint16, behind bool, to netip.Addr) *refusal {
	var addrs []netip.Addr
	if to.IsValid() {
		addrs = []netip.Addr{to}
	} else if a, ok := literal(host); ok {
		addrs = []netip.Addr{a}
	} else if behind {
		if host == "localhost" || strings.HasSuffix(host, ".localhost") {
			addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
		}
	} else {
		if addrs = p.lookup(host); len(addrs) == 0 {
			return refuse(diag.ForwardNameUnknown, "the name "+host+" does not resolve")
		}
	}
	for _, a := range addrs {
		if p.opts.Own[port] && !behind && p.opts.State.isOwn(a) {
			return refuse(diag.ForwardLoop, hostname.WithPort(a.String(), port)+" is a listener of this process")
		}
	}
	if p.ir.Loopback || len(addrs) == 0 {
		return nil
	}
	for _, a := range addrs {
		if !upstream.IsLocal(a) {
			return nil
		}
	}
	return refuse(diag.ForwardLocal, host+" is "+addrs[0].String()+", which clients of a proxy do not get to")
}

// upstream returns what requests go to.
func (p *Policy) upstream(w *way, tls bool) (*upstream.Upstream, func()) {
	if w.known != nil && (w.known.Settings.TLS != nil || !tls) { // what came in TLS never goes on in the clear
		return w.known, nil
	}
	if w.to.IsValid() {
		return p.opts.Destinations.GetTo(w.to, w.host, w.port, tls)
	}
	if w.known == nil {
		return p.opts.Destinations.GetSeen(w.seen, w.host, w.port, tls, w.via)
	}
	return p.opts.Destinations.GetAt(w.known, w.host, w.port, tls, w.via)
}

// originateAsKnown turns a plain request of a Gateway listener to the port that its client named, 0 for none, where the
// configuration knows that port to be reached in TLS: a ServiceEntry whose port 80 is a target port 443, for
// example, or a rule for the mesh.
func (t *Port) originateAsKnown(q *asked, port uint16) {
	if port == 0 {
		port = 80
	}
	k := t.known(q.Host, port)
	if k == nil || k.Port == 0 || k.Upstream == "" {
		return
	}
	if u := t.opts.Upstreams[k.Upstream]; u != nil && u.Settings.TLS != nil {
		q.Port, q.tls = port, true
	}
}

// raw returns what bytes go to: without TLS of ours.
func (p *Policy) raw(w *way) (*upstream.Upstream, func()) {
	if w.known != nil && w.known.Settings.TLS == nil {
		return w.known, nil
	}
	if w.to.IsValid() {
		return p.opts.Destinations.GetTo(w.to, w.host, w.port, false)
	}
	return p.opts.Destinations.GetSeen(w.seen, w.host, w.port, false, w.via)
}

// keepTo keeps requests whose host is not the tunnel's own name to the addresses that rules were asked about when it was
// asked for: those about the request have seen others.
func (n *Tunnel) keepTo(w *way) {
	if w.seen == nil && w.via == nil && w.host == n.way.host {
		w.seen = n.way.seen
	}
}

// send is where a request goes that may go on.
func (t *Port) send(q *asked, tunnel *Tunnel) proxy.ForwardChoice {
	host, port := q.Host, q.Port
	if tunnel != nil && tunnel.host != "" && (tunnel.explicit || tunnel.tls) {
		host = tunnel.host // captured plain requests go where Host says: rules were asked about that
	}
	w, no := t.wayMeant(&q.Facts, host, port, q.to, q.own)
	if no != nil {
		return t.deny(q, no)
	}
	if tunnel != nil {
		tunnel.keepTo(&w)
	}
	if w.to.IsValid() && !q.own && (tunnel == nil || !tunnel.tls || tunnel.tolerated) { // else TLS proves the name
		if no = t.unproven(&q.Facts, host, w.to); no != nil {
			return t.deny(q, no)
		}
	}
	c := proxy.ForwardChoice{Route: t.route, Originates: t.further}
	if t.ir.Cache != nil && (q.own || q.tls || !w.to.IsValid()) { // else whose answer it is nobody knows but the client
		if d := t.caching.Decide(&q.Facts); d.Action != "deny" {
			c.Cache = t.ir.Cache
		}
	}
	if tunnel != nil && tunnel.tolerated && w.known == nil {
		c.Upstream, c.Release = t.opts.Destinations.Tolerate(w.to, w.host, w.port, w.via, tunnel.facts)
	} else {
		c.Upstream, c.Release = t.upstream(&w, q.tls)
	}
	return c
}

// originates reports whether plain requests for a host reach it in TLS by this listener, which originates TLS.
func (t *Port) originates(host string) bool {
	return !t.ir.KnownOnly || t.known(host, t.spec.OriginatePort) != nil
}

// connectTimeout bounds what a client waits for a tunnel's other end, whatever proxies are on the way.
const connectTimeout = 2 * time.Minute
