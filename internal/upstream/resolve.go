package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Times of DNS lookups: the interval after an answer (±20 %), the first interval after a failure,
// which doubles up to the former, and the bound of one lookup.
const (
	refreshEvery  = 30 * time.Second
	retryFirst    = time.Second
	lookupTimeout = 5 * time.Second
)

// maxEndpoints bounds one upstream's endpoints.
const maxEndpoints = 1 << 16

// lookup is the resolution of one host name. Fields but cancel are guarded by the upstream's mu.
type lookup struct {
	cancel context.CancelFunc
	addrs  []netip.Addr // last good answer, in order
	done   bool         // answered at least once, well or badly
	err    error        // of the last try
}

// SetEndpoints replaces the addresses. Endpoints that stay keep their connections and counters; those
// that went are closed when idle. Hosts that are names are resolved by DNS, and again every 30 s or
// so; the last good answer stays while lookups fail. For an upstream with Resolve set the registry
// has already called it.
func (u *Upstream) SetEndpoints(list []ir.Endpoint) {
	gone := u.setTargets(list)
	for _, e := range gone {
		e.retire()
	}
}

// setTargets returns the endpoints that are no longer named.
func (u *Upstream) setTargets(list []ir.Endpoint) (gone []*Endpoint) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	u.targets = list
	named := make(map[string]bool)
	for _, t := range list {
		if _, err := netip.ParseAddr(t.Host); err != nil && u.via == nil {
			named[t.Host] = true
		}
	}
	for host, l := range u.lookups {
		if !named[host] {
			l.cancel()
			delete(u.lookups, host)
		}
	}
	for host := range named {
		if u.lookups[host] == nil {
			u.startLookup(host)
		}
	}
	return u.rebuild()
}

// startLookup begins the resolution of host; mu is held.
func (u *Upstream) startLookup(host string) {
	ctx, cancel := context.WithCancel(u.registry.ctx)
	l := &lookup{cancel: cancel}
	u.lookups[host] = l
	select {
	case <-u.resolved: // closed for an earlier set of targets
		u.resolved = make(chan struct{})
	default:
	}
	u.registry.wg.Go(func() {
		defer u.registry.rescue("resolving an upstream's name failed")
		u.keepResolving(ctx, host, l)
	})
}

// keepResolving looks host up until ctx ends.
func (u *Upstream) keepResolving(ctx context.Context, host string, l *lookup) {
	retry := retryFirst
	for {
		addrs, err := u.lookUp(ctx, host)
		if ctx.Err() != nil {
			return
		}
		kept, failing := u.answer(l, addrs, err)
		wait := refreshEvery - refreshEvery/5 + rand.N(refreshEvery*2/5)
		if err != nil {
			if !failing {
				u.registry.opt.Logger.Warn("upstream name does not resolve", "upstream", u.Name, "host", host,
					"code", diag.UpstreamDNS, "kept", kept, "err", err)
			}
			wait, retry = retry, min(2*retry, refreshEvery)
		} else {
			retry = retryFirst
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// answer takes the result of a lookup. It returns how many addresses there are now, and whether the
// lookup before had failed.
func (u *Upstream) answer(l *lookup, addrs []netip.Addr, err error) (kept int, failing bool) {
	u.mu.Lock()
	var gone []*Endpoint
	changed := !l.done
	if err == nil {
		changed = changed || !slices.Equal(addrs, l.addrs)
		l.addrs = addrs
	}
	failing = l.err != nil
	l.err, l.done = err, true
	if changed && !u.closed {
		gone = u.rebuild()
	}
	kept = len(l.addrs)
	u.mu.Unlock()
	for _, e := range gone {
		e.retire()
	}
	return kept, failing
}

// resolve looks host up as an absolute name, then as given, which lets search domains apply. The
// answer is sorted and without repeats.
func (r *Registry) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := r.ask(ctx, host)
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), err
}

// lookUp is resolve, or the first address of the answer alone where the settings say so.
func (u *Upstream) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	if d := u.Settings.Resolve; d == nil || !d.First {
		return u.registry.resolve(ctx, host)
	}
	addrs, err := u.registry.ask(ctx, host)
	return addrs[:min(1, len(addrs))], err
}

// ask is resolve with the answer as DNS gave it.
func (r *Registry) ask(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	names := []string{host}
	if !strings.HasSuffix(host, ".") {
		names = []string{host + ".", host}
	}
	var firstErr error
	for _, name := range names {
		addrs, err := r.opt.Resolver.LookupNetIP(ctx, "ip", name)
		if err == nil && len(addrs) > 0 {
			for i := range addrs {
				addrs[i] = addrs[i].Unmap()
			}
			return addrs, nil
		}
		if firstErr == nil {
			firstErr = err
		}
	}
	if firstErr == nil {
		firstErr = fmt.Errorf("look up %q: the answer has no address", host)
	}
	return nil, firstErr
}

// rebuild publishes the endpoints of targets and answers and returns those that went; mu is held.
func (u *Upstream) rebuild() (gone []*Endpoint) {
	switch {
	case u.origins != nil:
		return u.rebuildPool()
	case u.via != nil:
		return u.rebuildVia()
	}
	var endpoints []*Endpoint
	var weights []uint32
	at := make(map[netip.AddrPort]int)
	pending := false
	add := func(addr netip.AddrPort, weight uint32) {
		if i, ok := at[addr]; ok {
			weights[i] += weight
			return
		}
		if len(endpoints) == maxEndpoints {
			return
		}
		key := addr.String()
		e := u.byAddr[key]
		if e == nil {
			e = newEndpoint(addr)
			u.byAddr[key] = e
		}
		at[addr] = len(endpoints)
		endpoints, weights = append(endpoints, e), append(weights, weight)
	}
	for _, t := range u.targets {
		weight := max(t.Weight, 1)
		if ip, err := netip.ParseAddr(t.Host); err == nil {
			add(netip.AddrPortFrom(ip.Unmap(), t.Port), weight)
			continue
		}
		l := u.lookups[t.Host]
		if l == nil {
			continue
		}
		pending = pending || !l.done
		for _, ip := range l.addrs {
			add(netip.AddrPortFrom(ip, t.Port), weight)
		}
	}
	u.set.Store(newSet(endpoints, weights))
	for key, e := range u.byAddr {
		if _, ok := at[e.Address]; !ok {
			delete(u.byAddr, key)
			gone = append(gone, e)
		}
	}
	if !pending {
		u.settled()
	}
	return gone
}

// settled says that DNS has answered for every target; mu is held.
func (u *Upstream) settled() {
	select {
	case <-u.resolved:
	default:
		close(u.resolved)
	}
}

// rebuildPool is rebuild for an OriginPool: an endpoint belongs to an origin, and what connections to it depend
// on is in its key. Targets that are no origins are passed over; mu is held.
func (u *Upstream) rebuildPool() (gone []*Endpoint) {
	next := &set{lineup: &lineup{}}
	old := u.set.Load().lineup
	named := make(map[string]bool)
	pending := false
	for i := range u.targets {
		t := &u.targets[i]
		if t.Server == nil {
			continue
		}
		m := member{server: t.Server, origin: u.origins.origin(t), next: new(atomic.Uint32)}
		if o := old.find(m.origin); o != nil {
			m.next = o.next
		}
		var addrs []netip.Addr
		if ip, err := netip.ParseAddr(t.Host); err == nil {
			addrs = []netip.Addr{ip.Unmap()}
		} else if l := u.lookups[t.Host]; l != nil {
			addrs, m.pending = l.addrs, !l.done
			pending = pending || m.pending
		}
		if u.via != nil {
			if e := u.originTarget(t.Host, t.Port, &m); !named[e.key] && len(next.endpoints) < maxEndpoints {
				named[e.key] = true
				next.endpoints, m.endpoints = append(next.endpoints, e), append(m.endpoints, e)
			}
			addrs = nil
		}
		for _, ip := range addrs {
			e := u.originEndpoint(netip.AddrPortFrom(ip, t.Port), &m)
			if named[e.key] || len(next.endpoints) == maxEndpoints {
				continue
			}
			named[e.key] = true
			next.endpoints, m.endpoints = append(next.endpoints, e), append(m.endpoints, e)
		}
		next.lineup.members = append(next.lineup.members, m)
	}
	u.set.Store(next)
	for key, e := range u.byAddr {
		if !named[key] {
			delete(u.byAddr, key)
			gone = append(gone, e)
		}
	}
	if !pending {
		u.settled()
	}
	return gone
}

// rebuildVia is rebuild for destinations that a proxy resolves; mu is held.
func (u *Upstream) rebuildVia() (gone []*Endpoint) {
	targets := u.targets
	if len(targets) == 0 && u.via.Host != "" {
		targets = []ir.Endpoint{{Host: u.via.Host, Port: u.via.Port}}
	}
	var endpoints []*Endpoint
	var weights []uint32
	at := make(map[string]int)
	for _, t := range targets {
		key := hostname.WithPort(t.Host, t.Port)
		if i, ok := at[key]; ok {
			weights[i] += max(t.Weight, 1)
			continue
		}
		if len(endpoints) == maxEndpoints {
			break
		}
		e := u.byAddr[key]
		if e == nil {
			e = newTarget(t.Host, t.Port)
			u.byAddr[key] = e
		}
		at[key] = len(endpoints)
		endpoints, weights = append(endpoints, e), append(weights, max(t.Weight, 1))
	}
	u.set.Store(newSet(endpoints, weights))
	for key, e := range u.byAddr {
		if _, ok := at[key]; !ok {
			delete(u.byAddr, key)
			gone = append(gone, e)
		}
	}
	u.settled()
	return gone
}

// originTarget is originEndpoint for an origin that a proxy resolves; mu is held.
func (u *Upstream) originTarget(host string, port uint16, m *member) *Endpoint {
	key := strings.Join([]string{hostname.WithPort(host, port), m.origin.key.address, m.server.Name, m.server.VerifyName, m.server.HostHeader}, "\x00")
	e := u.byAddr[key]
	if e == nil {
		e = newTarget(host, port)
		e.of(key, m)
		u.byAddr[key] = e
	}
	return e
}

// of makes e an endpoint of an origin.
func (e *Endpoint) of(key string, m *member) {
	e.key, e.server, e.origin = key, m.server, m.origin
	if h := m.server.HostHeader; h != "" {
		e.hostHeader = []byte(h)
	}
}

// originEndpoint returns the endpoint of an origin at an address, making it; mu is held.
func (u *Upstream) originEndpoint(addr netip.AddrPort, m *member) *Endpoint {
	key := strings.Join([]string{addr.String(), m.origin.key.address, m.server.Name, m.server.VerifyName, m.server.HostHeader}, "\x00")
	e := u.byAddr[key]
	if e == nil {
		e = newEndpoint(addr)
		e.of(key, m)
		u.byAddr[key] = e
	}
	return e
}

// find returns the member of an origin, or nil.
func (l *lineup) find(o *origin) *member {
	if l == nil {
		return nil
	}
	for i := range l.members {
		if l.members[i].origin == o {
			return &l.members[i]
		}
	}
	return nil
}

// awaitEndpoints waits until there is an endpoint, at most for the first answer of DNS.
func (u *Upstream) awaitEndpoints(ctx context.Context) error {
	u.mu.Lock()
	resolved := u.resolved
	u.mu.Unlock()
	t := time.NewTimer(u.pool.ConnectTimeout)
	defer t.Stop()
	var late error
	select {
	case <-resolved:
	case <-ctx.Done():
		late = ctx.Err()
	case <-t.C:
		late = context.DeadlineExceeded
	}
	if len(u.set.Load().endpoints) > 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for host, l := range u.lookups {
		if err := l.err; err != nil || !l.done {
			if err == nil {
				err = late
			}
			return &Error{Code: diag.UpstreamDNS, Detail: fmt.Sprintf("the name %q of upstream %s does not resolve", host, u.Name), Err: err}
		}
	}
	if u.origins != nil {
		return nil // choosing says why
	}
	return &Error{Code: diag.UpstreamNoEndpoints, Detail: "upstream " + u.Name + " has no endpoint"}
}
