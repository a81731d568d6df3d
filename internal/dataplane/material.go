package dataplane

import (
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// material gives upstreams the endpoints and TLS material of a snapshot. What is equal to what they
// have changes nothing.
func (p *Plane) material(held map[string]*upstream.Upstream, snap *ir.Snapshot) {
	next := make(map[string]*tlsconf.Originator, len(p.originators))
	for name, u := range held {
		if u.Settings.Resolve == nil {
			u.SetEndpoints(snap.Endpoints.ByUpstream[name])
		}
		if u.Settings.TLS == nil {
			continue
		}
		o := tlsconf.Originate(name, u.Settings.TLS, snap.Secrets, snap.Trust, p.tls, p.originators[name])
		next[name] = o
		u.SetTLS(o)
	}
	p.originators = next
}

// UpstreamStats returns the counters of every endpoint.
func (p *Plane) UpstreamStats() []upstream.Stats { return p.upstreams.Stats() }
