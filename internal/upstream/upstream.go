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
// one downstream connection. Host is the request's host in lower case, for TLS settings that follow
// it. Fresh asks for a new connection, after a kept one has died.
type Query struct {
	Shard uint32
	Host  string
	Fresh bool
}

// Get returns a connection on which nothing is outstanding: a kept one that is still open, else a new
// one. It waits at most for the connect timeout, for DNS, and for a free connection at the pool's
// bound; ctx ends the waiting. An endpoint that refuses is avoided for a while and another one is
// tried once, as nothing has been sent. The error is an *Error.
func (u *Upstream) Get(ctx context.Context, q Query) (*Conn, error) {
	t := u.tls.Load()
	var host string
	if u.Settings.TLS != nil {
		if t.tls == nil {
			return nil, &Error{Code: diag.UpstreamCredentialMissing, Detail: "the TLS settings of upstream " + u.Name + " have no usable material"}
		}
		if u.Settings.TLS.HostSNI {
			host = q.Host
		}
	}
	var not *Endpoint
	var failed error
	for {
		e := u.set.Load().pick(u.Settings.Balancing, &u.next, not)
		if e == nil {
			if failed != nil {
				return nil, failed
			}
			if err := u.awaitEndpoints(ctx); err != nil {
				return nil, err
			}
			continue
		}
		c, err := u.from(ctx, e, t, host, q)
		if err == nil {
			return c, nil
		}
		if failed != nil || err.Code == diag.UpstreamPoolOverflow || ctx.Err() != nil {
			return nil, err
		}
		not, failed = e, err
	}
}

// from returns a connection to e.
func (u *Upstream) from(ctx context.Context, e *Endpoint, t *originator, host string, q Query) (*Conn, *Error) {
	if !q.Fresh {
		for {
			c := e.take(q.Shard, host)
			if c == nil {
				break
			}
			if c.usable(t) {
				return c.lend(q.Shard, true), nil
			}
			c.discard()
		}
	}
	handed, err := u.limit.acquire(ctx, u)
	if err != nil {
		return nil, err
	}
	if handed != nil {
		if handed.usable(t) && (host == "" || handed.host == host) {
			return handed.lend(q.Shard, true), nil
		}
		handed.shut() // its permit is ours now
	}
	c, err := u.connect(ctx, e, t, host)
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
