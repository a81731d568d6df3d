package upstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Upstream is one group of endpoints with its connections. Safe for concurrent use.
type Upstream struct {
	// Fixed after construction.
	Name     string
	Settings *ir.Upstream
	registry *Registry
	key      string
	pool     ir.Pool      // with defaults filled in
	dest     *destination // of Destinations; else nil
	via      *ir.Via      // nil: endpoints are connected to directly
	only1    bool         // HTTP/1.1 is spoken whatever the client speaks
	limit    limiter
	active   atomic.Int32 // requests in progress, where Pool.MaxRequests bounds them
	retries  atomic.Int32 // retries in progress, where Pool.MaxRetries bounds them

	retryOverflows atomic.Int64 // retries refused at that bound

	toward   atomic.Pointer[Destinations] // of a Dynamic upstream, from the first on
	origins  *originPool                  // of an OriginPool; else nil
	fallback atomic.Pointer[Upstream]

	untrailed atomic.Bool // trailers of requests have ended a connection: none are sent any more

	users int // guarded by registry.mu

	next atomic.Uint32 // turn of round robin
	set  atomic.Pointer[set]
	tls  atomic.Pointer[originator]

	monitorTLS atomic.Pointer[TLS] // of checks, where it is not tls

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
	p.MaxRequests = min(first(p.MaxRequests, r.opt.Defaults.MaxRequests), math.MaxInt32/2)
	p.MaxRetries = min(first(p.MaxRetries, r.opt.Defaults.MaxRetries), math.MaxInt32/2)
	p.MaxStreams = min(first(p.MaxStreams, r.opt.Defaults.MaxStreams, defaultMaxStreams), slotMask)
	p.ConnectTimeout = first(p.ConnectTimeout, r.opt.Defaults.ConnectTimeout, defaultConnectTimeout)
	p.IdleTimeout = first(p.IdleTimeout, r.opt.Defaults.IdleTimeout, defaultIdleTimeout)
	u := &Upstream{
		Name: settings.Name, Settings: settings, registry: r, key: key, pool: p, via: settings.Via,
		byAddr: make(map[string]*Endpoint), lookups: make(map[string]*lookup), resolved: make(chan struct{}),
	}
	switch settings.Protocol {
	case ir.UpstreamHTTP2, ir.UpstreamSame:
	case ir.UpstreamAuto:
		u.only1 = settings.TLS == nil
	default:
		u.only1 = true
	}
	u.limit.max, u.limit.maxPending = int32(min(p.MaxConnections, math.MaxInt32/2)), p.MaxPendingRequests
	u.set.Store(&set{})
	u.tls.Store(&originator{})
	if settings.Resolve == nil || settings.Via != nil {
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
// not used again. Of an upstream without TLS it is never called; before it is called for one with TLS,
// Get refuses.
func (u *Upstream) SetTLS(t TLS) {
	for {
		if old := u.tls.Load(); old.tls == t || u.renew(old, t) {
			break
		}
	}
	if d := u.toward.Load(); d != nil {
		d.Update(u.template(), u.ownTLS)
	}
}

// review lets requests have new connections if the certificate of a peer was revoked: their handshakes say
// whose it was.
func (u *Upstream) review() {
	old := u.tls.Load()
	if r, ok := old.tls.(reviewer); ok && r.Revoked() {
		u.renew(old, old.tls) // whoever was faster has renewed them too
	}
}

// renew puts t in the place of old, if that is still there, and withdraws the connections made with old.
func (u *Upstream) renew(old *originator, t TLS) bool {
	if !u.tls.CompareAndSwap(old, &originator{tls: t, num: old.num + 1}) {
		return false
	}
	for _, e := range u.known() {
		e.closeIdle(1<<63-1, 0)
		e.retireTrunks(old.num + 1)
	}
	return true
}

// Query is what a request needs to be given a connection.
type Query struct {
	Shard uint32 // a number that stays the same for one downstream connection
	Host  string // the request's host in lower case; looked at only where NeedsHost says so

	HTTP2 bool // the client speaks HTTP/2; looked at where the upstream is spoken to as the client speaks
	HTTP1 bool // asks for HTTP/1.1, for an upgrade, where the upstream's protocol is not declared

	Body bool // more than a head will be sent: a connection in HTTP/2 on which others wait for that is not lent

	Fresh       bool      // no kept connection in HTTP/1.1, after one has died
	NotConn     *mux.Conn // not this one, which took no stream or has ended, unless it has room again while there is no other
	NotEndpoint *Endpoint // another endpoint if there is one

	Until time.Time // unless zero, ends all waiting
	For   Caller    // is told how to end all waiting; may be nil
	Into  *Conn     // where to put the lease of an HTTP/2 connection; nil: in a new one

	Choice *Choice // of an upstream that is Steered; may be nil

	// Of steered upstreams.
	asked   string    // Host as given
	only    *Endpoint // the one that was chosen: no connection to another will do
	refused *Error    // why there is none
}

// Caller is who waits in Get.
type Caller interface {
	// Waits is told, before Get begins to wait, what ends that, and nil afterwards. It is called on the
	// goroutine of Get, and not at all if there is nothing to wait for. cancel does not block and may be
	// called from anywhere, also when Get has returned.
	Waits(cancel func())
}

// NeedsHost says whether connections depend on the host of the request.
func (u *Upstream) NeedsHost() bool {
	t := u.Settings.TLS
	return u.Settings.Dynamic != nil || t != nil && (t.HostSNI || u.origins != nil && follows(t))
}

// follows reports whether the server name follows the request where an origin of a pool has none of its own.
func follows(t *ir.UpstreamTLS) bool { return t.HostSNI || t.SNI == "" && t.VerifyName == "" }

// aim narrows a query to the endpoint that was chosen for it. At origins that have a name of their own,
// connections do not depend on the request's host.
func (u *Upstream) aim(q *Query, e *Endpoint) {
	if e == nil || e.server == nil {
		return
	}
	if q.only, q.Host = e, q.asked; e.server.VerifyName != "" {
		q.Host = ""
	}
}

// Get lends a connection. In HTTP/1.1 nothing is outstanding on it: a kept one that is still open, else
// a new one. In HTTP/2, where Conn.H2 is not nil, there is a slot for one stream, which the caller opens;
// if Open says that it cannot be, nothing was sent: give the lease back and ask again with NotConn.
//
// Get waits at most for the connect timeout, for DNS, and for a free connection or slot at the pool's
// bound; Query.Until and Query.For end that earlier. An endpoint that refuses is avoided for a while and another one is tried once, as nothing has
// been sent. The error is an *Error.
func (u *Upstream) Get(q Query) (*Conn, error) {
	if u.Settings.Dynamic != nil {
		return u.getToward(q)
	}
	if u.pool.MaxRequests == 0 {
		return u.get(&q)
	}
	if u.active.Load() >= int32(u.pool.MaxRequests) {
		return nil, u.tooMany()
	}
	c, err := u.get(&q)
	if err != nil {
		return nil, err
	}
	if u.active.Add(1) > int32(u.pool.MaxRequests) {
		u.active.Add(-1)
		c.unused()
		return nil, u.tooMany()
	}
	c.counted = true
	return c, nil
}

func (u *Upstream) tooMany() *Error {
	u.limit.overflows.Add(1)
	return &Error{Code: diag.UpstreamRequestLimit, Detail: fmt.Sprintf("upstream %s has %d requests in progress, its maximum", u.Name, u.pool.MaxRequests)}
}

func (u *Upstream) get(q *Query) (*Conn, error) {
	t := u.tls.Load()
	if u.Settings.TLS != nil && t.tls == nil {
		return nil, &Error{Code: diag.UpstreamCredentialMissing, Detail: "the TLS settings of upstream " + u.Name + " have no usable material"}
	}
	if !u.NeedsHost() {
		q.Host = ""
	}
	if u.origins != nil {
		return u.getSteered(t, q)
	}
	speak := u.speak(q)
	e := u.choose(q, q.NotEndpoint)
	if e != nil {
		if c := u.kept(e, t, q, speak); c != nil {
			return c, nil
		}
	}
	return u.getSlowly(e, t, q, speak)
}

// getSteered is get for origin pools.
func (u *Upstream) getSteered(t *originator, q *Query) (*Conn, error) {
	q.asked = q.Host
	speak := u.speak(q)
	e := u.choose(q, q.NotEndpoint)
	if e != nil {
		if c := u.kept(e, t, q, speak); c != nil {
			return c, nil
		}
	} else if q.refused != nil {
		return nil, q.refused
	}
	c, err := u.getSlowly(e, t, q, speak)
	var failure *Error
	if errors.As(err, &failure) {
		return nil, u.despite(failure)
	}
	return c, err
}

// choose returns an endpoint, other than not if there is one, or nil.
func (u *Upstream) choose(q *Query, not *Endpoint) *Endpoint {
	e := u.pick(q, not)
	if e == nil && not != nil && q.refused == nil {
		e = u.pick(q, nil)
	}
	return e
}

// pick returns an endpoint other than not, or nil.
func (u *Upstream) pick(q *Query, not *Endpoint) *Endpoint {
	s := u.set.Load()
	if s.lineup == nil {
		return s.pick(u.Settings.Balancing, &u.next, not)
	}
	e := u.steer(s.lineup, q, not)
	u.aim(q, e)
	return e
}

// kept lends a slot or a kept connection of e, or returns nil.
func (u *Upstream) kept(e *Endpoint, t *originator, q *Query, speak ir.UpstreamProtocol) *Conn {
	if speak != ir.UpstreamHTTP1 {
		if c := u.slot(e, t, q); c != nil || speak == ir.UpstreamHTTP2 {
			return c
		}
	}
	if q.Fresh {
		return nil
	}
	return u.idle(e, t, q)
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
func (u *Upstream) getSlowly(e *Endpoint, t *originator, q *Query, speak ir.UpstreamProtocol) (*Conn, error) {
	ctx := u.registry.ctx
	if !q.Until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, q.Until)
		defer cancel()
	}
	if q.For != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		q.For.Waits(cancel)
		defer q.For.Waits(nil)
	}
	if e == nil {
		if err := u.awaitEndpoints(ctx); err != nil {
			return nil, err
		}
		switch e = u.choose(q, q.NotEndpoint); {
		case e != nil:
		case q.refused != nil:
			return nil, q.refused
		case u.origins != nil:
			return nil, u.unavailable()
		default:
			return nil, &Error{Code: diag.UpstreamNoEndpoints, Detail: "the endpoints of upstream " + u.Name + " went away"}
		}
	}
	c, err := u.make(ctx, e, t, q, speak)
	if err == nil {
		return c, nil
	}
	if err.Code == diag.UpstreamPoolOverflow || ctx.Err() != nil {
		return nil, err
	}
	other := u.pick(q, e)
	if other == nil {
		return nil, err
	}
	if c := u.kept(other, t, q, speak); c != nil {
		return c, nil
	}
	if c, err = u.make(ctx, other, t, q, speak); err != nil {
		return nil, err
	}
	return c, nil
}

// make makes a connection to e, or waits for one.
func (u *Upstream) make(ctx context.Context, e *Endpoint, t *originator, q *Query, speak ir.UpstreamProtocol) (*Conn, *Error) {
	if speak != ir.UpstreamHTTP1 {
		return u.shared(ctx, e, t, q, speak)
	}
	return u.from(ctx, e, t, q, speak)
}

// from makes a connection to e for one request, or is handed one at the pool's bound. If it turns out to
// speak HTTP/2, others may share it.
func (u *Upstream) from(ctx context.Context, e *Endpoint, t *originator, q *Query, speak ir.UpstreamProtocol) (*Conn, *Error) {
	if c, err := u.permit(ctx, t, q, speak); c != nil || err != nil {
		return c, err
	}
	c, tr, err := u.open(ctx, e, t, q.Host, speak)
	switch {
	case err != nil:
		return nil, err
	case c != nil:
		return c.lend(q.Shard, false), nil
	}
	_, ok := tr.reserve()
	u.publish(e, tr)
	if !ok { // it has ended already
		return nil, tr.conn.Explain(tr.err)
	}
	return tr.lease(q, false), nil
}

// permit takes a permit for a new connection. At the pool's bound it may be given a connection or a slot
// instead.
func (u *Upstream) permit(ctx context.Context, t *originator, q *Query, speak ir.UpstreamProtocol) (*Conn, *Error) {
	look := func() (h handed) {
		if speak != ir.UpstreamHTTP1 {
			h.trunk, h.used = u.anySlot(u.tls.Load(), q)
		}
		return h
	}
	for {
		if u.limit.full() {
			if h := look(); h.trunk != nil {
				return h.trunk.lease(q, h.used), nil
			}
		}
		h, err := u.limit.acquire(ctx, u, &waiter{shared: speak != ir.UpstreamHTTP1, host: q.Host, only: q.only}, look)
		switch {
		case err != nil:
			return nil, err
		case h.trunk != nil:
			if h.trunk.conn.material == u.tls.Load().num { // handSlot has looked at the rest
				return h.trunk.lease(q, h.used), nil
			}
			h.trunk.release()
			continue
		case h.conn != nil:
			if speak != ir.UpstreamHTTP2 && !q.Fresh && h.conn.usable(t) && (q.only == nil || q.only == h.conn.Endpoint) && (q.Host == "" || h.conn.host == q.Host) {
				return h.conn.lend(q.Shard, true), nil
			}
			h.conn.shut() // its permit is ours now
		}
		return nil, nil
	}
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

// evict closes one idle connection of any endpoint, of either protocol, to make room under the bound.
func (u *Upstream) evict() bool {
	for _, e := range u.set.Load().endpoints {
		if c := e.take(0, ""); c != nil {
			c.discard()
			return true
		}
		if e.evictTrunk() {
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
	toward := u.toward.Load()
	u.mu.Unlock()
	if toward != nil {
		toward.Close()
	}
	for _, e := range u.known() {
		e.retire()
	}
}

// SetMonitorTLS gives the material of health checks over TLS, where it is not that of requests: the monitor
// asks over TLS and requests are plain, or it is told to verify nothing. nil: that of requests.
func (u *Upstream) SetMonitorTLS(t TLS) {
	if t == nil {
		u.monitorTLS.Store(nil)
		return
	}
	u.monitorTLS.Store(&t)
}

// checkTLS returns the material of health checks, nil for none.
func (u *Upstream) checkTLS() TLS {
	if t := u.monitorTLS.Load(); t != nil {
		return *t
	}
	return u.tls.Load().tls
}
