package dataplane

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// proxies gives the registry the upstream proxies of a snapshot: logins, TLS of the hop, and TLS with what probes
// ask for. next takes the material.
func (p *Plane) proxies(snap *ir.Snapshot, next map[string]*tlsconf.Originator) {
	list := make([]upstream.ProxyMaterial, 0, len(snap.Config.Proxies))
	for _, s := range snap.Config.Proxies {
		m := upstream.ProxyMaterial{Settings: s}
		if s.Login != "" {
			if m.Login = snap.Secrets.Logins[s.Login]; m.Login == nil {
				m.Login = missingLogin(s)
			}
		}
		if t := hopTLS(s); t != nil {
			name := "proxy " + s.Name
			next[name] = tlsconf.Originate(name, t, snap.Secrets, snap.Trust, p.tls, p.originators[name])
			m.Hop = next[name]
		}
		if s.Probe != nil && s.Interception != "" {
			name := "proxy " + s.Name + " probe"
			t := &ir.UpstreamTLS{Origin: s.Origin, HostSNI: true}
			next[name] = tlsconf.OriginateVia(name, t, []tlsconf.Tunnel{tunnelOf(s)}, snap.Secrets, snap.Trust, p.tls, p.originators[name])
			m.Probe = next[name]
		}
		list = append(list, m)
	}
	p.upstreams.SetProxies(list)
}

// hopTLS returns how TLS is spoken to a proxy itself, nil if it is not.
func hopTLS(s *ir.Proxy) *ir.UpstreamTLS {
	for _, a := range s.Addresses {
		if !a.TLS {
			continue
		}
		if s.TLS != nil {
			return s.TLS
		}
		return &ir.UpstreamTLS{Origin: s.Origin, HostSNI: true}
	}
	return nil
}

func tunnelOf(s *ir.Proxy) tlsconf.Tunnel {
	return tlsconf.Tunnel{Proxy: s.Name, Interception: s.Interception, Either: s.Either}
}

// originate prepares TLS towards an upstream, with what holds behind each of its proxies. prev may be nil; it is
// returned itself if nothing has changed.
func (p *Plane) originate(name string, u *ir.Upstream, snap *ir.Snapshot, prev *tlsconf.Originator) *tlsconf.Originator {
	if u.Via == nil {
		return tlsconf.Originate(name, u.TLS, snap.Secrets, snap.Trust, p.tls, prev)
	}
	var tunnels []tlsconf.Tunnel
	for _, via := range u.Via.Proxies {
		for _, s := range snap.Config.Proxies {
			if s.Name == via {
				tunnels = append(tunnels, tunnelOf(s))
			}
		}
	}
	return tlsconf.OriginateVia(name, u.TLS, tunnels, snap.Secrets, snap.Trust, p.tls, prev)
}

// missingLogin stands for a login that the snapshot does not hold: nothing goes through the proxy without it.
func missingLogin(s *ir.Proxy) *ir.Login {
	return &ir.Login{Origin: s.Origin, Fault: &ir.Fault{Code: diag.UpstreamCredentialMissing, Detail: "the Secret " + string(s.Login) + " is missing"}}
}

// Proxies tells how the upstream proxies are.
func (p *Plane) Proxies() []upstream.ProxyStatus { return p.upstreams.Proxies() }
