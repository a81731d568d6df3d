package compile

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// collectEgress takes over what fragments say of proxies, forward proxies and caches.
func (c *compiler) collectEgress(f *translate.Fragment, s *ir.Snapshot) {
	maps.Copy(c.proxies, f.Proxies)
	maps.Copy(c.proxyAges, f.ProxyAges)
	c.forwards = append(c.forwards, f.Forwards...)
	c.caches = append(c.caches, f.Caches...)
	c.known = append(c.known, f.Known...)
	c.outbound = append(c.outbound, f.Outbound...)
	maps.Copy(s.Secrets.Logins, f.Logins)
	maps.Copy(s.Secrets.Passwords, f.Passwords)
}

// egress gives upstreams their way through proxies, forward proxies the hosts that they know, and everything
// that originates TLS the CAs of proxies that intercept.
func (c *compiler) egress(s *ir.Snapshot, upstreams map[string]*ir.Upstream) {
	if len(c.proxies)+len(c.forwards) == 0 {
		return
	}
	s.Config.Proxies = slices.SortedFunc(maps.Values(c.proxies), func(a, b *ir.Proxy) int { return strings.Compare(a.Name, b.Name) })
	c.dropClaims(s.Config.Proxies)
	for _, name := range slices.Sorted(maps.Keys(upstreams)) {
		c.route(s, upstreams[name])
	}
	slices.SortStableFunc(c.forwards, func(a, b translate.Forward) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Name, b.Name))
	})
	known := c.knownHosts(s.Config.Proxies)
	for i := range c.forwards {
		c.forward(&c.forwards[i], known)
		s.Config.Forwards = append(s.Config.Forwards, c.forwards[i].Forward)
	}
	slices.SortFunc(s.Config.Forwards, func(a, b *ir.Forward) int { return strings.Compare(a.Name, b.Name) })
	interceptors := interceptorsOf(s.Config.Proxies)
	for _, u := range upstreams {
		withInterceptors(&u.TLS, interceptors)
	}
	for _, f := range s.Config.Forwards {
		withInterceptors(&f.Template.TLS, interceptors)
		f.Revision = ""
		f.Revision = ir.HashOf(f)
	}
}

// dropClaims leaves every host to the oldest proxy that claims it.
func (c *compiler) dropClaims(proxies []*ir.Proxy) {
	byAge := slices.Clone(proxies)
	slices.SortStableFunc(byAge, func(a, b *ir.Proxy) int { return cmp.Compare(c.proxyAges[a.Name], c.proxyAges[b.Name]) })
	first := map[hostname.Pattern]*ir.Proxy{}
	for _, p := range byAge {
		p.Hosts = slices.DeleteFunc(slices.Clone(p.Hosts), func(h hostname.Pattern) bool {
			if older := first[h]; older != nil && older != p {
				c.report(diag.UpstreamProxyConflict, p.Origin.Object, "spec.hosts", fmt.Sprintf("names host %q like %s, which is older and serves it", h, older.Origin.Object), "Remove the host from one of the two.")
				return true
			}
			first[h] = p
			return false
		})
		if len(p.Hosts) == 0 {
			p.Hosts = nil
		}
	}
}

// route sends an upstream through the proxy that serves its destination. What a translator has sent through
// one stays.
func (c *compiler) route(s *ir.Snapshot, u *ir.Upstream) {
	if u.Via != nil || len(s.Config.Proxies) == 0 || u.Destination == "" {
		return
	}
	if u.Origins == nil {
		if p := ir.ProxyFor(s.Config.Proxies, u.Destination); p != nil {
			u.Via = &ir.Via{Proxies: []string{p.Name}}
		}
		return
	}
	// The servers of a pool have a destination each, and the pool has one way out.
	ways := map[*ir.Proxy]string{}
	for _, e := range s.Endpoints.ByUpstream[u.Name] {
		p := ir.ProxyFor(s.Config.Proxies, e.Host)
		if ways[p] == "" {
			ways[p] = e.Host
		}
	}
	var through []*ir.Proxy
	for p := range ways {
		if p != nil {
			through = append(through, p)
		}
	}
	if len(through) == 0 {
		return
	}
	slices.SortFunc(through, func(a, b *ir.Proxy) int {
		return cmp.Or(cmp.Compare(c.proxyAges[a.Name], c.proxyAges[b.Name]), strings.Compare(a.Name, b.Name))
	})
	u.Via = &ir.Via{Proxies: []string{through[0].Name}}
	if len(ways) == 1 || c.split[u.Origins.Name] {
		return
	}
	c.split[u.Origins.Name] = true
	other := ways[nil]
	if other == "" {
		other = ways[through[1]]
	}
	c.report(diag.UpstreamProxySplit, u.Origin.Object, "spec.origins",
		fmt.Sprintf("%s is a destination of %s and %s is not; the whole pool goes through it", ways[through[0]], through[0].Origin.Object, other), "Make two pools, or correct hosts and except of the UpstreamProxy.")
}

// interceptorsOf returns the CAs that proxies intercept with, ordered.
func interceptorsOf(proxies []*ir.Proxy) []ir.TrustRef {
	var out []ir.TrustRef
	for _, p := range proxies {
		if p.Interception != "" && p.Fault == nil {
			out = append(out, p.Interception)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// withInterceptors sets the interceptors of TLS settings that may be shared with other upstreams.
func withInterceptors(t **ir.UpstreamTLS, refs []ir.TrustRef) {
	if *t == nil || len(refs) == 0 {
		return
	}
	settings := **t
	settings.Interceptors = refs
	*t = &settings
}

// knownHosts returns what is known to forward proxies, the most specific first: hosts of the registry, and
// those that proxies serve.
func (c *compiler) knownHosts(proxies []*ir.Proxy) []ir.KnownHost {
	if len(c.forwards) == 0 {
		return nil
	}
	out := slices.Clone(c.known)
	for _, p := range proxies {
		for _, h := range p.Hosts {
			out = append(out, ir.KnownHost{Host: h, Origin: p.Origin})
		}
	}
	slices.SortStableFunc(out, func(a, b ir.KnownHost) int {
		return cmp.Or(hostname.Compare(a.Host, b.Host), cmp.Compare(b.Port, a.Port), strings.Compare(a.Upstream, b.Upstream), strings.Compare(a.Origin.String(), b.Origin.String()))
	})
	return slices.CompactFunc(out, func(a, b ir.KnownHost) bool { return a == b })
}

// forward completes one forward proxy.
func (c *compiler) forward(f *translate.Forward, known []ir.KnownHost) {
	f.Known = known
	if f.Silent {
		ns := f.Origin.Object.Namespace
		if i := slices.IndexFunc(c.outbound, func(o translate.Outbound) bool { return o.Namespace == "" || o.Namespace == ns }); i >= 0 {
			f.KnownOnly = c.outbound[i].RegistryOnly
		}
	}
	if f.KnownOnly && len(known) > 0 && known[len(known)-1].Host.IsAny() {
		c.report(diag.FieldWithoutEffect, f.Origin.Object, "spec.outboundTrafficPolicy", fmt.Sprintf("RegistryOnly bounds nothing, because %s names every host", known[len(known)-1].Origin.Object), "Name hosts there, or use rules in spec.access.")
	}
	if f.Interception == nil {
		return
	}
	t := &f.Interception.TLS
	base := settings{min: c.minVersion, max: tls.VersionTLS13}
	for i := range slices.Backward(c.policies) { // the oldest has the last word
		if p := &c.policies[i]; scopeOf(p) == global {
			base.apply(settings{p.MinVersion, p.MaxVersion, p.CipherSuites, p.Groups})
		}
	}
	base.apply(settings{t.MinVersion, t.MaxVersion, t.CipherSuites, nil})
	c.set(t, base, &translate.Listener{Gateway: f.Origin.Object})
	t.Class = ir.HashOf([]any{t.Class, f.Name}) // tickets of destinations are nobody else's
}

// usesOfEgress marks what proxies and forward proxies refer to.
func (r *references) usesOfEgress(s *ir.Snapshot) {
	for _, p := range s.Config.Proxies {
		r.trusts[p.Interception] = true
		r.logins[p.Login] = true
		if p.TLS != nil {
			r.secrets[p.TLS.Certificate], r.trusts[p.TLS.Trust] = true, true
		}
	}
	for _, f := range s.Config.Forwards {
		for _, k := range f.Known {
			r.use(k.Upstream)
		}
		if t := f.Template.TLS; t != nil {
			r.secrets[t.Certificate], r.trusts[t.Trust] = true, true
		}
		if f.Interception != nil {
			r.secrets[f.Interception.CA] = true
		}
		r.passwords[f.Passwords] = true
	}
}

// reportIdleProxies tells of UpstreamProxies that nothing goes through.
func (c *compiler) reportIdleProxies(config *ir.Config) {
	used := map[string]bool{}
	for _, u := range config.Upstreams {
		if u.Via != nil {
			for _, name := range u.Via.Proxies {
				used[name] = true
			}
		}
	}
	for _, f := range config.Forwards {
		for _, v := range f.Proxies {
			for _, name := range v.Proxies {
				used[name] = true
			}
		}
	}
	for _, p := range config.Proxies {
		if _, ours := c.proxyAges[p.Name]; ours && !used[p.Name] && len(p.Hosts) == 0 && p.Fault == nil {
			c.report(diag.UpstreamProxyUnused, p.Origin.Object, "", "nothing goes through the proxy: it names no hosts, and no rule names it", "Give it hosts, or name it in a ForwardProxy's proxies.")
		}
	}
}
