package upstream

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Times for which an answer of DNS holds, as net.Resolver tells no TTL: a good one, and a bad one.
const (
	nameHolds     = 30 * time.Second
	nameHoldsFail = 2 * time.Second
)

// nameCache is what DNS said of the destinations' names. A name is asked for when somebody needs it, once for all who
// ask at the same time, and never by itself.
type nameCache struct {
	r   *Registry
	max int

	mu     sync.Mutex
	byName map[string]*answerOf

	slow6 atomic.Int64 // until when IPv6 is tried second, Unix nanoseconds
}

// answerOf is one name's answer. What done guards is written before that is closed.
type answerOf struct {
	done  chan struct{}
	addrs []netip.Addr
	err   error
	until time.Time
}

func newNameCache(r *Registry, max int) *nameCache {
	return &nameCache{r: r, max: max, byName: make(map[string]*answerOf)}
}

// find returns the addresses of a name, or of an IP address itself. It waits for DNS until ctx ends. The list is
// shared and only read.
func (n *nameCache) find(ctx context.Context, host string) ([]netip.Addr, error) {
	if addrs, ok := n.known(host); ok {
		return addrs, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	n.mu.Lock()
	a := n.byName[host]
	if a != nil && a.over(time.Now()) {
		a = nil
	}
	fresh := a == nil
	if fresh {
		a = &answerOf{done: make(chan struct{}), err: context.Canceled} // which stands after a fault
		if len(n.byName) >= n.max {
			n.drop()
		}
		n.byName[host] = a
	}
	n.mu.Unlock()
	if fresh && !n.r.spawn(func() { n.ask(host, a) }) {
		close(a.done)
	}
	select {
	case <-a.done:
		return a.addrs, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// known returns the addresses of a name if there is an answer that holds, and does not wait.
func (n *nameCache) known(host string) ([]netip.Addr, bool) {
	n.mu.Lock()
	a := n.byName[host]
	n.mu.Unlock()
	if a == nil {
		return nil, false
	}
	select {
	case <-a.done:
		return a.addrs, a.err == nil && time.Now().Before(a.until)
	default:
		return nil, false
	}
}

// over reports whether an answer holds no more.
func (a *answerOf) over(now time.Time) bool {
	select {
	case <-a.done:
		return !now.Before(a.until)
	default:
		return false
	}
}

// ask asks DNS.
func (n *nameCache) ask(host string, a *answerOf) {
	defer close(a.done)
	a.addrs, a.err = n.r.resolve(n.r.ctx, host)
	a.until = time.Now().Add(nameHolds)
	if a.err != nil {
		a.until = time.Now().Add(nameHoldsFail)
	}
}

// drop makes room by forgetting any answer; mu is held.
func (n *nameCache) drop() {
	for host := range n.byName {
		delete(n.byName, host)
		return
	}
}

// sweep forgets what holds no more.
func (n *nameCache) sweep(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for host, a := range n.byName {
		if a.over(now) {
			delete(n.byName, host)
		}
	}
}

// Known is LookUp for a name whose addresses are known already; ok is false if they are not. It does not wait.
func (d *Destinations) Known(host string) (addrs []netip.Addr, ok bool) { return d.names.known(host) }

// LookUp returns the addresses of a destination's name as connections to it use them, at most half a minute old.
// The list is shared: it is only read.
func (d *Destinations) LookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	return d.names.find(ctx, host)
}
