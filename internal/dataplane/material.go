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
	p.proxies(snap, next)
	for name, u := range held {
		if u.Settings.Resolve == nil {
			u.SetEndpoints(snap.Endpoints.ByUpstream[name])
		}
		if u.Settings.TLS != nil {
			next[name] = p.originate(name, u.Settings, snap, p.originators[name])
			u.SetTLS(next[name])
		}
	}
	for _, s := range snap.Config.Upstreams {
		u := held[s.Name]
		if u == nil || !u.Steered() {
			continue
		}
		t := monitorTLS(s)
		if t == nil {
			u.SetMonitorTLS(nil)
			continue
		}
		name := s.Name + " monitor"
		checks := *s
		checks.TLS = t
		next[name] = p.originate(name, &checks, snap, p.originators[name])
		u.SetMonitorTLS(next[name])
	}
	p.originators = next
	p.upstreams.Settle(snap.Config.Upstreams, held)
}

// monitorTLS returns how TLS is spoken in health checks of a pool where that differs from requests: nil if it does
// not. Checks over TLS of origins that are spoken to in plain HTTP verify against the system's roots.
func monitorTLS(s *ir.Upstream) *ir.UpstreamTLS {
	if s.Origins == nil || s.Origins.Monitor == nil || s.Origins.Monitor.Type != "https" {
		return nil
	}
	insecure := s.Origins.Monitor.AllowInsecure
	if s.TLS != nil && !insecure {
		return nil
	}
	t := ir.UpstreamTLS{HostSNI: true}
	if s.TLS != nil {
		t = *s.TLS
	}
	t.InsecureSkipVerify = t.InsecureSkipVerify || insecure
	return &t
}

// Pools tells how origin pools are.
func (p *Plane) Pools() []upstream.PoolStatus { return p.upstreams.Pools() }

// Checks returns how many health checks of origins passed and failed.
func (p *Plane) Checks() (passed, failed int64) { return p.upstreams.Checks() }

// UpstreamStats returns the counters of every endpoint.
func (p *Plane) UpstreamStats() []upstream.Stats { return p.upstreams.Stats() }
