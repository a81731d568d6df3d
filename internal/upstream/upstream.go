package upstream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Upstream is one group of endpoints with its connections. Safe for concurrent use.
type Upstream struct {
	// Fixed after construction.
	Name     string
	Settings *ir.Upstream
	registry *Registry
	key      string
	pool     ir.Pool // with defaults filled in
	limit    limiter

	users int // guarded by registry.mu

	next atomic.Uint32 // turn of round robin
	set  atomic.Pointer[set]
	tls  atomic.Pointer[originator]

	// resolved is closed when DNS has answered, well or badly, for the first time since the targets
	// were last changed.
	mu       sync.Mutex
	closed   bool
	targets  []ir.Endpoint        // as given
	byAddr   map[string]*Endpoint // by text of the address
	lookups  map[string]*lookup   // by host name
	resolved chan struct{}
}

// originator is TLS material with its number: connections made with an older one are not kept.
type originator struct {
	tls TLS
	num uint32
}

func newUpstream(r *Registry, key string, settings *ir.Upstream) *Upstream {
	p := settings.Pool
	p.MaxConnections = first(p.MaxConnections, r.opt.Defaults.MaxConnections, defaultMaxConnections)
	p.MaxPendingRequests = first(p.MaxPendingRequests, r.opt.Defaults.MaxPendingRequests, defaultMaxPendingRequests)
	p.MaxRequestsPerConnection = first(p.MaxRequestsPerConnection, r.opt.Defaults.MaxRequestsPerConnection)
	p.ConnectTimeout = first(p.ConnectTimeout, r.opt.Defaults.ConnectTimeout, defaultConnectTimeout)
	p.IdleTimeout = first(p.IdleTimeout, r.opt.Defaults.IdleTimeout, defaultIdleTimeout)
	u := &Upstream{
		Name: settings.Name, Settings: settings, registry: r, key: key, pool: p,
		byAddr: make(map[string]*Endpoint), lookups: make(map[string]*lookup), resolved: make(chan struct{}),
	}
	u.limit.max, u.limit.maxPending = int32(p.MaxConnections), p.MaxPendingRequests
	u.set.Store(&set{})
	u.tls.Store(&originator{})
	if settings.Resolve == nil {
		close(u.resolved)
	}
	return u
}

// first returns the first argument that is above zero, else zero.
func first[T int | time.Duration](values ...T) T {
	for _, v := range values {
		if v > 0 {
			return v
		}
	}
	return 0
}

// SetTLS replaces the TLS material. Connections made with the old one finish what they do and are
// not kept. Of an upstream without TLS it is never called; before it is called for one with TLS,
// Get refuses.
func (u *Upstream) SetTLS(t TLS) {
	old := u.tls.Load()
	if old.tls == t {
		return
	}
	u.tls.Store(&originator{tls: t, num: old.num + 1})
	for _, e := range u.known() {
		e.closeIdle(1<<63 - 1)
	}
}

// Query is what a request needs to be given a connection. Shard is a number that stays the same for
// one downstream connection. Host is the request's host in lower case; it is looked at only where
// NeedsHost says so. Fresh asks for a new connection, after a kept one has died. Until, unless zero,
// ends all waiting.
type Query struct {
	Shard uint32
	Host  string
	Fresh bool
	Until time.Time
}

// NeedsHost says whether connections depend on the host of the request.
func (u *Upstream) NeedsHost() bool { return u.Settings.TLS != nil && u.Settings.TLS.HostSNI }

// Get returns a connection on which nothing is outstanding: a kept one that is still open, else a new
// one. It waits at most for the connect timeout, for DNS, and for a free connection at the pool's
// bound. An endpoint that refuses is avoided for a while and another one is tried once, as nothing has
// been sent. The error is an *Error.
func (u *Upstream) Get(q Query) (*Conn, error) {
	t := u.tls.Load()
	if u.Settings.TLS != nil && t.tls == nil {
		return nil, &Error{Code: diag.UpstreamCredentialMissing, Detail: "the TLS settings of upstream " + u.Name + " have no usable material"}
	}
	if !u.NeedsHost() {
		q.Host = ""
	}
	e := u.set.Load().pick(u.Settings.Balancing, &u.next, nil)
	if e != nil && !q.Fresh {
		if c := u.idle(e, t, &q); c != nil {
			return c, nil
		}
	}
	return u.getSlowly(e, t, &q)
}

// idle returns a kept connection of e that is still open, or nil.
func (u *Upstream) idle(e *Endpoint, t *originator, q *Query) *Conn {
	for {
		c := e.take(q.Shard, q.Host)
		if c == nil {
			return nil
		}
		if c.usable(t) {
			return c.lend(q.Shard, true)
		}
		c.discard()
	}
}

// getSlowly makes a connection to e, nil for none known yet, or to another endpoint if that fails.
func (u *Upstream) getSlowly(e *Endpoint, t *originator, q *Query) (*Conn, error) {
	ctx := u.registry.ctx
	if !q.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, q.Until)
		defer cancel()
	}
	if e == nil {
		if err := u.awaitEndpoints(ctx); err != nil {
			return nil, err
		}
		if e = u.set.Load().pick(u.Settings.Balancing, &u.next, nil); e == nil {
			return nil, &Error{Code: diag.UpstreamNoEndpoints, Detail: "the endpoints of upstream " + u.Name + " went away"}
		}
	}
	c, err := u.from(ctx, e, t, q)
	if err == nil {
		return c, nil
	}
	if err.Code == diag.UpstreamPoolOverflow || ctx.Err() != nil {
		return nil, err
	}
	other := u.set.Load().pick(u.Settings.Balancing, &u.next, e)
	if other == nil {
		return nil, err
	}
	if !q.Fresh {
		if c := u.idle(other, t, q); c != nil {
			return c, nil
		}
	}
	if c, err = u.from(ctx, other, t, q); err != nil {
		return nil, err
	}
	return c, nil
}

// from makes a connection to e, or is handed one at the pool's bound.
func (u *Upstream) from(ctx context.Context, e *Endpoint, t *originator, q *Query) (*Conn, *Error) {
	handed, err := u.limit.acquire(ctx, u)
	if err != nil {
		return nil, err
	}
	if handed != nil {
		if !q.Fresh && handed.usable(t) && (q.Host == "" || handed.host == q.Host) {
			return handed.lend(q.Shard, true), nil
		}
		handed.shut() // its permit is ours now
	}
	c, err := u.connect(ctx, e, t, q.Host)
	if err != nil {
		u.limit.release()
		if ctx.Err() == nil || err.Code != diag.UpstreamConnectTimeout {
			e.failed()
		}
		return nil, err
	}
	e.connected()
	return c.lend(q.Shard, false), nil
}

// known returns every endpoint that the upstream has now.
func (u *Upstream) known() []*Endpoint {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]*Endpoint, 0, len(u.byAddr))
	for _, e := range u.byAddr {
		all = append(all, e)
	}
	return all
}

// evict closes one idle connection of any endpoint, to make room under the bound.
func (u *Upstream) evict() bool {
	for _, e := range u.set.Load().endpoints {
		if c := e.take(0, ""); c != nil {
			c.discard()
			return true
		}
	}
	return false
}

// shut ends lookups and closes what is idle.
func (u *Upstream) shut() {
	u.mu.Lock()
	u.closed = true
	for _, l := range u.lookups {
		l.cancel()
	}
	clear(u.lookups)
	u.mu.Unlock()
	for _, e := range u.known() {
		e.retire()
	}
}
