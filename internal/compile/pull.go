package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// pullSetting is the origin pull of one host or zone.
type pullSetting struct {
	host hostname.Pattern
	pull int // index of compiler.pulls
}

// applyPulls gives every backend that leads to an OriginPool with TLS the variants of its upstream that
// present the certificates of OriginPulls, by the hosts that can come to it.
func (c *compiler) applyPulls(s *ir.Snapshot, upstreams map[string]*ir.Upstream) {
	if len(c.pulls) == 0 {
		return
	}
	settings := c.pullSettings()
	p := &puller{compiler: c, upstreams: upstreams, endpoints: s.Endpoints.ByUpstream, settings: settings,
		used: make([]bool, len(c.pulls)), plain: make([]string, len(c.pulls))}
	hosts := map[*ir.Backend][]hostname.Pattern{} // routes may be shared by virtual hosts
	for _, l := range s.Config.Listeners {
		for _, chain := range l.Chains {
			for _, vh := range chain.VirtualHosts {
				for _, r := range vh.Routes {
					for i := range r.Forward {
						if u := upstreams[r.Forward[i].Upstream]; u != nil && u.Origins != nil {
							hosts[&r.Forward[i]] = append(hosts[&r.Forward[i]], reachable(vh.Hosts, chain.Hosts)...)
						}
					}
				}
			}
		}
	}
	for b, list := range hosts {
		slices.SortFunc(list, hostname.Compare)
		b.Pull = p.variants(upstreams[b.Upstream], slices.Compact(list))
	}
	p.reportUnused()
}

// reachable returns the parts of a virtual host's patterns of which requests come to its chain.
func reachable(hosts, chain []hostname.Pattern) []hostname.Pattern {
	var out []hostname.Pattern
	for _, h := range hosts {
		for _, c := range chain {
			if p, ok := hostname.Intersect(h, c); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

// pullSettings gives every host and zone to the oldest OriginPull that names it, the most specific
// first. A zone holds for the name that it is called after too, unless that name has one of its own.
func (c *compiler) pullSettings() []pullSetting {
	slices.SortStableFunc(c.pulls, func(a, b translate.Pull) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Origin.String(), b.Origin.String()))
	})
	first := map[hostname.Pattern]int{}
	for i, p := range c.pulls {
		for _, h := range p.Hosts {
			if j, taken := first[h]; taken && j != i {
				c.report(diag.OriginPullConflict, p.Origin.Object, "spec.hosts", fmt.Sprintf("names host %q like %s, which is older and wins", h, c.pulls[j].Origin.Object), "Remove the host from one of the two.")
				continue
			}
			first[h] = i
		}
	}
	for h, i := range maps.Clone(first) {
		if !h.IsWildcard() {
			continue
		}
		if apex, err := hostname.Parse(strings.TrimPrefix(h.Suffix(), ".")); err == nil {
			if _, taken := first[apex]; !taken {
				first[apex] = i
			}
		}
	}
	var out []pullSetting
	for h, i := range first {
		out = append(out, pullSetting{h, i})
	}
	slices.SortFunc(out, func(a, b pullSetting) int { return hostname.Compare(a.host, b.host) })
	return out
}

// puller makes variants of upstreams.
type puller struct {
	*compiler
	upstreams map[string]*ir.Upstream
	endpoints map[string][]ir.Endpoint
	settings  []pullSetting
	used      []bool   // of compiler.pulls: presents a certificate, or withholds one
	plain     []string // of compiler.pulls: a pool without TLS to which its hosts lead
}

// variants returns what is used instead of u for hosts, the most specific first.
func (p *puller) variants(u *ir.Upstream, hosts []hostname.Pattern) []ir.PullVariant {
	var out []ir.PullVariant
	for _, s := range p.settings {
		touches, covers := false, true
		for _, h := range hosts {
			_, meet := hostname.Intersect(s.host, h)
			touches, covers = touches || meet, covers && s.host.Covers(h)
		}
		if !touches {
			continue
		}
		if name := p.variant(u, s.pull); name != "" {
			out = append(out, ir.PullVariant{Host: s.host, Upstream: name})
		}
		if covers {
			break // nothing is left for wider ones
		}
	}
	return out
}

// variant returns the name of u with the certificate of a pull, made if it is not there yet; "" if u
// speaks no TLS, and neither does what it falls back to.
func (p *puller) variant(u *ir.Upstream, pull int) string {
	ref := p.pulls[pull].Certificate
	name := u.Name + "|pull=" + cmp.Or(string(ref), "none")
	if p.upstreams[name] != nil {
		p.used[pull] = true
		return name
	}
	v, origins := *u, *u.Origins
	v.Name, v.Origins = name, &origins
	switch {
	case u.TLS != nil:
		settings := *u.TLS
		settings.Certificate = ref
		v.TLS = &settings
		p.used[pull] = true
	case !p.fallsToTLS(u):
		if p.plain[pull] == "" || u.Origins.Name < p.plain[pull] {
			p.plain[pull] = u.Origins.Name
		}
		return ""
	}
	// Translation has seen to it that fallbacks end.
	if next := p.upstreams[origins.Fallback]; next != nil && next.Origins != nil {
		origins.Fallback = cmp.Or(p.variant(next, pull), origins.Fallback)
	}
	p.upstreams[name], p.endpoints[name] = &v, p.endpoints[u.Name]
	return name
}

// fallsToTLS reports whether a pool in u's chain of fallbacks speaks TLS.
func (p *puller) fallsToTLS(u *ir.Upstream) bool {
	for n := 0; u != nil && u.Origins != nil && n <= len(p.upstreams); n++ {
		if u.TLS != nil {
			return true
		}
		u = p.upstreams[u.Origins.Fallback]
	}
	return false
}

// reportIdlePools tells of OriginPools to which nothing leads; all are those that there are.
func (c *compiler) reportIdlePools(all map[string]*ir.Upstream, kept []*ir.Upstream) {
	used := map[string]bool{}
	for _, u := range kept {
		if u.Origins != nil {
			used[u.Origins.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if u := all[name]; u.Origins != nil && !used[u.Origins.Name] {
			used[u.Origins.Name] = true
			c.report(diag.OriginPoolUnused, u.Origin.Object, "", "nothing leads to the pool", "Name it in an EdgeHost, HTTPRoute, GRPCRoute or VirtualService.")
		}
	}
}

// reportUnused tells of OriginPulls that change nothing.
func (p *puller) reportUnused() {
	for i, used := range p.used {
		if used {
			continue
		}
		message, fix := "none of its hosts leads to an OriginPool", "Send the host to an OriginPool that has tls, or correct the host."
		if p.plain[i] != "" {
			message, fix = fmt.Sprintf("its hosts lead to OriginPool %s, which has no tls, so no certificate can be presented", p.plain[i]), "Add spec.tls to the pool."
		}
		p.report(diag.OriginPullUnused, p.pulls[i].Origin.Object, "spec.hosts", message, fix)
	}
}
