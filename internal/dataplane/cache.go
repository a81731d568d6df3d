package dataplane

import (
	"github.com/hakone-gateway/hakone/internal/httpcache"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Caches returns the stores of answers.
func (p *Plane) Caches() *httpcache.Set { return p.proxy.Caches() }

// commitCaches opens the caches that the configuration names, so that new bounds hold, and lets go of the others.
func (p *Plane) commitCaches(c *ir.Config) {
	names := map[string]bool{}
	open := func(s *ir.Cache) {
		if s != nil && !names[s.Name] {
			names[s.Name] = true
			p.Caches().Open(s)
		}
	}
	for _, l := range c.Listeners {
		for _, chain := range l.Chains {
			for _, vh := range chain.VirtualHosts {
				for _, r := range vh.Routes {
					open(r.Cache)
				}
			}
		}
	}
	for _, f := range c.Forwards {
		open(f.Cache)
	}
	p.Caches().Keep(names)
}
