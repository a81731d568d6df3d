package ir

import (
	"net/netip"

	"github.com/hakone-gateway/hakone/internal/hostname"
)

// ProxyFor returns the proxy that a destination goes through by itself, or nil: the one with the most
// specific of Hosts that covers it and which does not except it. Of equals the first of the list is taken;
// compile leaves none. host is a name in lower case or an address, without port.
func ProxyFor(proxies []*Proxy, host string) *Proxy {
	var best *Proxy
	var pattern hostname.Pattern
	for _, p := range proxies {
		for _, h := range p.Hosts {
			if h.Match(host) && (best == nil || hostname.Compare(h, pattern) < 0) && !p.Excepts(host) {
				best, pattern = p, h
			}
		}
	}
	return best
}

// Excepts reports whether a destination is one that does not go through the proxy by itself.
func (p *Proxy) Excepts(host string) bool {
	for _, e := range p.Except {
		if e.Match(host) {
			return true
		}
	}
	if len(p.ExceptNets) == 0 {
		return false
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, n := range p.ExceptNets {
		if prefix, err := netip.ParsePrefix(n); err == nil && prefix.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}
