package upstream

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// originPool is what the upstreams of one OriginPool share: health, passive health, affinity and counters. It
// lives from the first Acquire of one of them to the last Release.
type originPool struct {
	// Fixed after construction.
	name     string
	tag      uint64 // of the name, in cookies
	registry *Registry

	settings atomic.Pointer[ir.OriginPool] // of the snapshot that serves

	users int // guarded by registry.mu

	origins sync.Map // originKey → *origin
	turns   turns    // of checks

	mu       sync.Mutex
	front    *Upstream // one of the upstreams in the snapshot that serves; nil: it has none
	order    []*origin // those of the snapshot that serves, in its order
	monitors map[*origin]*monitor
	low      bool // below the minimum, and that was logged
}

// originKey tells origins of one pool apart.
type originKey struct{ name, address string }

// origin is what is known of one server of a pool.
type origin struct {
	// Fixed after construction.
	pool *originPool
	key  originKey
	tag  uint64 // in cookies, and for hashing

	server   atomic.Pointer[ir.Server] // of the snapshot that serves
	verdict  atomic.Pointer[verdict]   // of checks; nil: none yet
	disabled atomic.Int64              // since when, Unix nanoseconds; 0: it is enabled, or was disabled when it appeared

	active   atomic.Int32
	requests atomic.Int64
	failures atomic.Int64

	row       atomic.Int32             // failures in a row
	out       atomic.Int64             // ejected until then, Unix nanoseconds; 0: it is not
	ejections atomic.Int64             // since the start
	turns     atomic.Int32             // ejections in a row
	cause     atomic.Pointer[ejection] // of the last ejection
}

// verdict is what checks have found out about an origin. It is frozen.
type verdict struct {
	up      bool
	code    diag.Code // why not
	detail  string
	since   time.Time // of up
	checked time.Time // the last check
	rtt     time.Duration
	last    diag.Code // of the last check, whether or not it has changed the verdict
	words   string
}

// join returns the pool of that name and counts one more user of it; registry.mu is held.
func (r *Registry) join(settings *ir.OriginPool) *originPool {
	p := r.pools[settings.Name]
	if p == nil {
		p = &originPool{name: settings.Name, tag: tagOf(settings.Name), registry: r, turns: newTurns(), monitors: make(map[*origin]*monitor)}
		p.settings.Store(settings)
		r.pools[settings.Name] = p
	}
	p.users++
	return p
}

// leave gives up one use; registry.mu is held. It returns the pool if that was the last.
func (r *Registry) leave(p *originPool) *originPool {
	if p == nil {
		return nil
	}
	if p.users--; p.users > 0 {
		return nil
	}
	if r.pools[p.name] == p {
		delete(r.pools, p.name)
	}
	return p
}

// tagOf is a number for a name that is the same in every process.
func tagOf(parts ...string) uint64 {
	h := fnv.New64a()
	for _, s := range parts {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return mix(h.Sum64())
}

// origin returns the state of one server, making it.
func (p *originPool) origin(t *ir.Endpoint) *origin {
	key := originKey{t.Server.Name, hostname.WithPort(t.Host, t.Port)}
	if o, ok := p.origins.Load(key); ok {
		return o.(*origin)
	}
	fresh := &origin{pool: p, key: key, tag: tagOf(p.name, key.name, key.address)}
	fresh.server.Store(t.Server)
	o, _ := p.origins.LoadOrStore(key, fresh)
	return o.(*origin)
}

// Settle makes the upstreams of a snapshot those that serve: pools take its settings, upstreams know their
// fallbacks, monitors of pools and origins that are new begin, and those of others end. The caller has given
// the upstreams their endpoints and TLS material. held are the upstreams by name.
func (r *Registry) Settle(settings []*ir.Upstream, held map[string]*Upstream) {
	current := make(map[*originPool][]*Upstream)
	for _, s := range settings {
		u := held[s.Name]
		if u == nil || u.origins == nil || s.Origins == nil {
			continue
		}
		fallback := held[s.Origins.Fallback]
		if fallback == u {
			fallback = nil
		}
		u.fallback.Store(fallback)
		u.origins.settings.Store(s.Origins)
		current[u.origins] = append(current[u.origins], u)
	}
	for _, p := range r.listPools() {
		p.settle(current[p])
	}
}

// settle takes the origins and monitors of a snapshot. variants are the pool's upstreams in it, ordered by
// name; none if it has none.
func (p *originPool) settle(variants []*Upstream) {
	now := time.Now()
	plans := make(map[*origin]*plan)
	var order []*origin
	settings := p.settings.Load()
	var by *Upstream
	if len(variants) > 0 {
		by = checker(variants)
		for _, t := range by.named() {
			o := p.origin(&t)
			o.take(t.Server, now)
			order = append(order, o)
			if m := settings.Monitor; m != nil && !t.Server.Disabled && !settings.Disabled {
				plans[o] = &plan{monitor: m, by: by, target: t}
			}
		}
	}
	p.origins.Range(func(key, o any) bool {
		if !slices.Contains(order, o.(*origin)) {
			p.origins.Delete(key)
		}
		return true
	})
	for _, m := range p.replan(by, order, plans) {
		m.begin()
	}
}

// replan changes what is asked of whom, and returns the monitors that are new.
func (p *originPool) replan(by *Upstream, order []*origin, plans map[*origin]*plan) (fresh []*monitor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.front, p.order = by, order
	for o, m := range p.monitors {
		if next := plans[o]; next != nil && m.plan.Load().same(next) {
			m.plan.Store(next)
			delete(plans, o)
			continue
		}
		m.cancel()
		delete(p.monitors, o)
	}
	for _, o := range order {
		switch next := plans[o]; {
		case next != nil:
			m := newMonitor(o, next)
			p.monitors[o] = m
			fresh = append(fresh, m)
		case p.monitors[o] == nil:
			o.verdict.Store(nil) // nobody asks any more
		}
	}
	return fresh
}

// checker is the upstream by whose settings origins are asked: rather one that presents a client certificate, as
// origins that want one refuse all others, and rather one that does not insist on HTTP/2, as those for gRPC do.
func checker(variants []*Upstream) *Upstream {
	score := func(u *Upstream) (n int) {
		if u.Settings.TLS != nil && u.Settings.TLS.Certificate != "" {
			n += 2
		}
		if u.Settings.Protocol != ir.UpstreamHTTP2 {
			n++
		}
		return n
	}
	best := variants[0]
	for _, u := range variants {
		if score(u) > score(best) {
			best = u
		}
	}
	return best
}

// named returns the endpoints as given that are origins.
func (u *Upstream) named() []ir.Endpoint {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(u.targets), func(t ir.Endpoint) bool { return t.Server == nil })
}

// take is given the settings of the snapshot that serves.
func (o *origin) take(s *ir.Server, now time.Time) {
	old := o.server.Swap(s)
	switch {
	case !s.Disabled:
		o.disabled.Store(0)
	case old != nil && !old.Disabled:
		o.disabled.Store(now.UnixNano())
	}
}

// healthy reports whether the origin can be sent to, as far as is known at now, in Unix nanoseconds.
func (o *origin) healthy(now int64) bool {
	if v := o.verdict.Load(); v != nil && !v.up {
		return false
	}
	return !o.ejected(now)
}

// draining reports whether clients that have a session with a disabled origin stay with it.
func (o *origin) draining(now int64) bool {
	since, a := o.disabled.Load(), o.pool.settings.Load().Affinity
	return since != 0 && a != nil && a.Drain > 0 && now < since+int64(a.Drain)
}

// why says in words why an origin is not healthy, "" if it is.
func (o *origin) why(now int64) (diag.Code, string) {
	if v := o.verdict.Load(); v != nil && !v.up {
		return v.code, v.detail
	}
	if c := o.cause.Load(); c != nil && o.ejected(now) {
		return c.code, c.detail
	}
	return 0, ""
}

// most bounds the origins that a sentence names.
const most = 4

// words lists why the origins of an upstream are out.
func (l *lineup) words(now int64) string {
	var b strings.Builder
	for i := range l.members {
		m := &l.members[i]
		if i == most {
			fmt.Fprintf(&b, ", and %d more", len(l.members)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(m.server.Name + ": ")
		code, detail := m.origin.why(now)
		switch {
		case m.server.Disabled:
			b.WriteString("disabled")
		case m.server.Share <= 0:
			b.WriteString("weight 0")
		case len(m.endpoints) == 0:
			b.WriteString("no address")
		case code != 0:
			b.WriteString(code.String() + " " + detail)
		default:
			b.WriteString("healthy")
		}
	}
	if len(l.members) == 0 {
		return "it has none"
	}
	return b.String()
}
