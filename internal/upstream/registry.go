package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Resolver looks up addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are the dependencies and defaults of a Registry. The zero value works.
type Options struct {
	Logger   *slog.Logger   // nil: discarded
	Sink     telemetry.Sink // takes the record of every TLS handshake; nil: none
	Resolver Resolver       // nil: net.DefaultResolver

	// Egress is told what connections to destinations outside met; nil: nobody.
	Egress telemetry.EgressSink

	// Defaults apply where an upstream's Pool has zero.
	Defaults ir.Pool

	// HTTP2 bounds what an HTTP/2 connection may cost, and sets its keep-alive; zero fields mean the
	// defaults of mux.
	HTTP2 mux.Limits

	// Locate finds the place of an address, for pools that steer by it; nil: no place is known.
	Locate func(netip.Addr) Place

	// Mark is what proxies are told in CDN-Loop (RFC 8586) with CONNECT, so that one that leads back here is found out;
	// "": nothing.
	Mark string

	// Dial makes the TCP connection; nil: net.Dialer with TCP_NODELAY and keep-alive probes.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// locate returns the place of an address.
func (o *Options) locate(a netip.Addr) Place {
	if o.Locate == nil || !a.IsValid() {
		return Place{}
	}
	return o.Locate(a)
}

// defaults of Pool: connections and waiting requests per upstream, and times.
const (
	defaultMaxConnections     = 16384
	defaultMaxPendingRequests = 4096
	defaultMaxStreams         = 1024
	defaultConnectTimeout     = 10 * time.Second
	defaultIdleTimeout        = 50 * time.Second
)

// tick is how often idle connections are looked at, and the granularity of idle timeouts.
const tick = time.Second

// Registry holds every Upstream of the process. Safe for concurrent use.
type Registry struct {
	opt   Options
	cores int
	began time.Time
	now   atomic.Int64 // Unix nanoseconds, at most one tick old
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	faults atomic.Int64

	sealer         *sealer       // of affinity
	checks         chan struct{} // one for each check in progress
	passed, missed atomic.Int64  // checks

	proxies atomic.Pointer[map[string]*forwardProxy] // of SetProxies, by name; frozen

	mu     sync.Mutex
	closed bool
	byKey  map[string]*Upstream
	pools  map[string]*originPool // by name
	trunks map[*trunk]struct{}    // whose Serve runs, also of upstreams that were released
}

// NewRegistry returns an empty registry. Its background work begins with Run; DNS lookups of an
// upstream run from its first Acquire on.
func NewRegistry(opt Options) *Registry {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Resolver == nil {
		opt.Resolver = net.DefaultResolver
	}
	if opt.Dial == nil {
		d := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 4}}
		opt.Dial = d.DialContext
	}
	r := &Registry{opt: opt, cores: runtime.GOMAXPROCS(0), began: time.Now(), byKey: make(map[string]*Upstream), pools: make(map[string]*originPool),
		sealer: newSealer(), checks: make(chan struct{}, maxChecks), trunks: make(map[*trunk]struct{})}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.now.Store(r.began.UnixNano())
	return r
}

// millis is the clock of HTTP/2 connections, which take 0 for no time.
func (r *Registry) millis() int64 { return time.Since(r.began).Milliseconds() + 1 }

// spawn runs f on a goroutine that Close waits for. It returns false after Close.
func (r *Registry) spawn(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.wg.Go(func() {
			defer r.rescue("work on an upstream failed")
			f()
		})
	}
	return !r.closed
}

// serve runs t on a goroutine that Close ends. It returns false after Close.
func (r *Registry) serve(t *trunk) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.trunks[t] = struct{}{}
	r.wg.Go(func() {
		t.run()
		r.mu.Lock()
		delete(r.trunks, t)
		r.mu.Unlock()
	})
	return true
}

// serving returns the HTTP/2 connections that there are.
func (r *Registry) serving() []*trunk {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.trunks))
}

// Run closes idle connections when their time is over and keeps HTTP/2 connections alive. It returns
// when ctx is done.
func (r *Registry) Run(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			r.now.Store(now.UnixNano())
			r.sweep(now.UnixNano())
		}
	}
}

func (r *Registry) sweep(now int64) {
	millis := r.millis()
	for _, t := range r.serving() {
		r.guarded(func() {
			t.mux.Tick(millis)
			if t.adopted.Load() {
				t.refresh()
				t.observe(millis)
			}
		})
	}
	for _, u := range r.list() {
		r.guarded(u.review)
		for _, e := range u.known() {
			r.guarded(func() { e.sweep(now-int64(u.pool.IdleTimeout), now) })
		}
	}
	r.guarded(r.tellPools)
}

// Close stops all lookups and HTTP/2 connections, waits for them and closes every idle connection.
// Connections in HTTP/1.1 that are in use are closed when they are given back; requests on HTTP/2
// connections end now.
func (r *Registry) Close() {
	r.stop()
	r.mu.Lock()
	r.closed = true
	all := r.byKey
	r.byKey = make(map[string]*Upstream)
	r.mu.Unlock()
	for _, u := range all {
		u.shut()
	}
	for _, t := range r.serving() {
		t.mux.Abort(http2.NoError)
	}
	r.wg.Wait()
}

// Acquire returns the upstream for settings, making it or counting one more user of it. Two settings
// of one name and equal content but for their origins share connections. Each Acquire is answered by
// one Release. Endpoints and TLS material are given separately: see SetEndpoints and SetTLS.
func (r *Registry) Acquire(settings *ir.Upstream) *Upstream {
	key := settings.Name + "\x00" + fingerprint(settings)
	r.mu.Lock()
	u := r.byKey[key]
	fresh := u == nil
	if fresh {
		u = newUpstream(r, key, settings)
		if settings.Origins != nil {
			u.origins = r.join(settings.Origins)
		}
		r.byKey[key] = u
	}
	u.users++
	r.mu.Unlock()
	if d := settings.Resolve; fresh && d != nil {
		u.SetEndpoints([]ir.Endpoint{{Host: d.Host, Port: d.Port}})
	}
	return u
}

// Release gives up one use. With the last, idle connections are closed and lookups end; connections
// in use finish what they are doing.
func (r *Registry) Release(u *Upstream) {
	r.mu.Lock()
	u.users--
	last := u.users == 0
	if last && r.byKey[u.key] == u {
		delete(r.byKey, u.key)
	}
	var ended *originPool
	if last {
		ended = r.leave(u.origins)
	}
	r.mu.Unlock()
	if last {
		u.shut()
	}
	if ended != nil {
		ended.settle(nil)
	}
}

func (r *Registry) list() []*Upstream {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Upstream, 0, len(r.byKey))
	for _, u := range r.byKey {
		all = append(all, u)
	}
	return all
}

// Stats returns the counters of every endpoint, ordered by upstream and address, for metrics and
// dumps.
func (r *Registry) Stats() []Stats {
	var out []Stats
	for _, u := range r.list() {
		if u.dest != nil {
			continue // there are as many as clients ask for: see Destinations.Len
		}
		for _, e := range u.known() {
			out = append(out, e.stats(u))
		}
	}
	slices.SortFunc(out, func(a, b Stats) int {
		if c := strings.Compare(a.Upstream, b.Upstream); c != 0 {
			return c
		}
		return a.Address.Compare(b.Address)
	})
	return out
}

// fingerprint covers everything but origins and what Settle sets in place.
func fingerprint(settings *ir.Upstream) string {
	s := *settings
	s.Origin = ir.Origin{}
	if s.Origins != nil {
		s.Origins = &ir.OriginPool{Name: s.Origins.Name}
	}
	if s.TLS != nil {
		t := *s.TLS
		t.Origin = ir.Origin{}
		s.TLS = &t
	}
	b, err := json.Marshal(s)
	if err != nil { // no field can fail to marshal; a distinct key is the safe answer all the same
		b = fmt.Appendf(nil, "%p", settings)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
