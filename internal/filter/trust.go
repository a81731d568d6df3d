package filter

import (
	"net/netip"

	"github.com/hakone-gateway/hakone/internal/message"
)

// Trust says whose word about the client is believed: X-Forwarded-* and X-Request-Id of others are
// removed. The zero value believes nobody, which is right at the edge.
type Trust struct {
	// Hops is how many proxies stand in front of this process, each appending the address of its own
	// client to X-Forwarded-For (Envoy's xff_num_trusted_hops). Above 0 every peer is believed, so the
	// port must be reachable through those proxies only.
	Hops int

	// Nets are the addresses of proxies that are believed whatever their number.
	Nets []netip.Prefix
}

// Believes reports whether the peer's word is taken.
func (t *Trust) Believes(peer netip.Addr) bool { return t.Hops > 0 || t.inNets(peer) }

func (t *Trust) inNets(a netip.Addr) bool {
	a = a.Unmap()
	for _, n := range t.Nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Client returns the address of the client on whose behalf the request came: the peer's, unless that
// is a proxy which is believed and X-Forwarded-For names another.
func (t *Trust) Client(peer netip.Addr, fields *message.Fields) netip.Addr {
	peer = peer.Unmap()
	if !t.Believes(peer) {
		return peer
	}
	client := peer
	hops := 0
	for i := fields.Len() - 1; i >= 0; i-- {
		f := fields.At(i)
		if f.ID != message.XForwardedFor {
			continue
		}
		for rest := f.Value; rest != nil; {
			var item []byte
			item, rest = lastItem(rest)
			a, ok := parseAddr(item)
			if !ok {
				return client
			}
			hops++
			switch {
			case t.Hops > 0 && hops == t.Hops:
				return a
			case t.Hops == 0 && !t.inNets(a):
				return a
			case t.Hops == 0:
				client = a
			}
		}
	}
	return client
}

// lastItem splits a comma-separated list at its last comma; rest is nil when nothing is left.
func lastItem(list []byte) (item, rest []byte) {
	from := len(list)
	for from > 0 && list[from-1] != ',' {
		from--
	}
	item = list[from:]
	if from > 0 {
		rest = list[:from-1]
	}
	for len(item) > 0 && (item[0] == ' ' || item[0] == '\t') {
		item = item[1:]
	}
	for len(item) > 0 && (item[len(item)-1] == ' ' || item[len(item)-1] == '\t') {
		item = item[:len(item)-1]
	}
	return item, rest
}

// parseAddr reads an address, with or without port. Only requests that came through a believed proxy
// pay for it.
func parseAddr(b []byte) (netip.Addr, bool) {
	if len(b) > 64 {
		return netip.Addr{}, false
	}
	s := string(b)
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}
