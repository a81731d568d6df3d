package overload

import (
	"net/netip"
	"sync"
)

// addresses counts connections by address. An entry lives as long as a connection of the address.
type addresses struct {
	shards [32]addressShard
}

type addressShard struct {
	mu   sync.Mutex
	open map[netip.Addr]int
	_    [40]byte
}

func (a *addresses) init() {
	for i := range a.shards {
		a.shards[i].open = map[netip.Addr]int{}
	}
}

// network returns what counts as one address: an IPv4 address, or the first of an IPv6 /64, which is
// the least that one customer gets.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil { // not with these bits
		return a
	}
	return p.Addr()
}

// Party returns what shares a bound on connections with a, as one address, or false if a has none: then its
// connections have nothing to do with each other.
func (b *Bounds) Party(a netip.Addr) (netip.Addr, bool) {
	if b == nil || !b.bounded(a) {
		return netip.Addr{}, false
	}
	return network(a), true
}

// shard spreads addresses by their changing bytes.
func (a *addresses) shard(key netip.Addr) *addressShard {
	b := key.As16()
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return &a.shards[h%uint32(len(a.shards))]
}

// add counts one more and reports whether the bound allows it.
func (a *addresses) add(key netip.Addr, bound int) bool {
	s := a.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key] >= bound {
		return false
	}
	s.open[key]++
	return true
}

func (a *addresses) remove(key netip.Addr) {
	s := a.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key]--; s.open[key] <= 0 {
		delete(s.open, key)
	}
}
