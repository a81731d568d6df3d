// Package dataplane turns generations into what serves: it prepares (binds, builds; may fail, invisible),
// commits (swaps pointers; quick, cannot fail) and retires (lets go of what nobody uses).
//
// What must outlive a snapshot is kept here: sockets, upstream pools, ticket keys. Certificates and
// endpoints have revisions of their own, so their rotation rebuilds no route. It knows nothing of any
// API. Begin reading at Plane.Prepare and Staged.Commit, then serve.go for a connection's way.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/build"
	"github.com/hakone-gateway/hakone/internal/filter/forwarded"
	"github.com/hakone-gateway/hakone/internal/forward"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/revocation"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/tcpproxy"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Options are a Plane's settings.
type Options struct {
	Address          string            // IP address bound by listeners that name none; "" is all
	PortMap          map[uint16]uint16 // declared port → bound port
	MaxConnections   int
	HandshakeTimeout time.Duration
	Limits           proxy.Limits
	TCP              tcpproxy.Limits // of connections that are not HTTP
	ProxyProtocol    []uint16        // declared ports whose connections begin with a PROXY header
	UpstreamHTTP2    mux.Limits      // of HTTP/2 connections to upstreams
	Trust            filter.Trust    // hops whose word about the client is believed
	Forward          ir.ForwardMode  // where a listener names none
	Sink             telemetry.Sink
	Egress           telemetry.EgressSink                      // told of destinations outside; nil: nobody
	Metrics          func(listener string, r *route.Route) any // handle of a route; may be nil
	Logger           *slog.Logger
	Bounds           *overload.Bounds   // of the process; nil: none
	IdleRecords      listen.IdleRecords // of clients' TLS connections

	Revocation *revocation.Service  // finds out about peers; nil: nothing is fetched
	Stapling   *revocation.Stapling // nil: only what secrets hold is stapled

	// Access is what policies on client certificates are carried out with. Without a cache or keyring the
	// plane has its own.
	Access authz.Settings

	// Locate finds the place of a client, for origin pools that steer by it; nil: no place is known.
	Locate func(netip.Addr) upstream.Place

	// RetireAfter is how long requests that began under an old generation may go on with upstreams that
	// the new one no longer names; default one minute.
	RetireAfter time.Duration
}

// Plane is the data side of one process. Create it with New; Run drives it.
type Plane struct {
	// Fixed after construction.
	opts      Options
	proxy     *proxy.Proxy
	tcp       *tcpproxy.Proxy
	sockets   *listen.Set
	upstreams *upstream.Registry
	tls       *tlsconf.State
	standard  []filter.Filter
	ended     chan struct{} // closed when Run ends

	retiring sync.WaitGroup // upstreams that wait for their last requests

	review withdrawals

	forwards *forwards

	// Read by connections without a lock; replaced by Commit.
	listeners atomic.Pointer[map[string]*listener]

	// Owned by the one caller of Prepare and Commit.
	current     *ir.Snapshot
	held        map[string]*upstream.Upstream
	originators map[string]*tlsconf.Originator
	access      *authz.Set
}

// listener is one socket's runtime. It lives as long as its name is declared.
type listener struct {
	name  string
	state atomic.Pointer[proxy.State]
	term  atomic.Pointer[tlsconf.Terminator] // nil for plain HTTP
	tcp   atomic.Pointer[tables]             // nil if every chain is HTTP

	forward forward.Live // of a forward proxy's listener; empty for others
}

// New returns a Plane that serves nothing yet.
func New(opts Options) *Plane {
	if opts.RetireAfter == 0 {
		opts.RetireAfter = time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Access.Keys == nil {
		opts.Access.Keys = authz.NewKeyring()
	}
	p := &Plane{opts: opts, tls: tlsconf.NewState(nil), held: map[string]*upstream.Upstream{}, ended: make(chan struct{})}
	if p.opts.Access.Cache == nil {
		p.opts.Access.Cache = p.tls.Verdicts()
	}
	if opts.Revocation != nil {
		p.tls.UseOnline(opts.Revocation)
	}
	if p.opts.Access.Online == nil {
		p.opts.Access.Online = p.tls.Online()
	}
	if opts.Stapling != nil {
		p.tls.UseStapler(opts.Stapling)
	}
	p.proxy = proxy.New(proxy.Options{Limits: opts.Limits, Sink: opts.Sink, Logger: opts.Logger, Bounds: opts.Bounds})
	p.tcp = tcpproxy.New(tcpproxy.Settings{Limits: opts.TCP, Sink: opts.Sink, Logger: opts.Logger, Bounds: opts.Bounds})
	p.forwards = newForwards(&p.opts, p.tcp.Pipes())
	p.upstreams = upstream.NewRegistry(upstream.Options{Logger: opts.Logger, Sink: opts.Sink, Egress: opts.Egress, HTTP2: opts.UpstreamHTTP2, Locate: opts.Locate,
		Mark: p.forwards.state.Mark()})
	p.sockets = listen.NewSet(listen.Options{Handle: p.handle, Refused: p.refused, Admission: opts.Bounds, MaxConnections: opts.MaxConnections, Log: opts.Logger})
	p.standard = build.Standard(forwarded.Settings{Trust: opts.Trust})
	p.listeners.Store(&map[string]*listener{})
	p.review.init()
	return p
}

// Run keeps deadlines and pools until ctx ends, and lets go of everything then. Drain first to end
// politely.
func (p *Plane) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.proxy.Run(ctx) })
	wg.Go(func() { _ = p.tcp.Run(ctx) })
	wg.Go(func() { _ = p.upstreams.Run(ctx) })
	wg.Go(func() { p.runReviews(ctx) })
	<-ctx.Done()
	wg.Wait()
	p.sockets.Close()
	close(p.ended)
	p.retiring.Wait()
	p.upstreams.Close()
	p.forwards.state.Close()
	return nil
}

// Drain stops accepting and ends connections: idle ones at once, others after the answer at hand, all
// when ctx ends. It returns ctx's error if some were cut.
func (p *Plane) Drain(ctx context.Context) error {
	p.sockets.Close()
	relays := make(chan error, 2)
	go func() { relays <- p.tcp.Drain(ctx) }()
	go func() { relays <- p.forwards.state.Drain(ctx) }()
	err := p.proxy.Drain(ctx)
	return errors.Join(err, <-relays, <-relays)
}

// Staged is a prepared generation: exactly one of Commit and Discard must be called.
type Staged struct {
	plane   *Plane
	gen     *ir.Generation
	sockets *listen.Plan
	results []ir.ListenerResult
	next    map[string]*listener
	states  map[string]*proxy.State
	terms   map[string]*tlsconf.Terminator
	tcp     map[string]*tables
	held    map[string]*upstream.Upstream
	access  *authz.Set

	forwards *stagedForwards
}

// Prepare binds new sockets and builds what changed, without touching what serves. A listener that
// cannot be bound shows in the results and does not hold the others.
func (p *Plane) Prepare(ctx context.Context, gen *ir.Generation) (*Staged, error) {
	s := &Staged{plane: p, gen: gen, next: map[string]*listener{}, states: map[string]*proxy.State{}, terms: map[string]*tlsconf.Terminator{}, tcp: map[string]*tables{}}
	snap := gen.Snapshot
	s.sockets = p.sockets.Prepare(ctx, p.specs(snap.Config))
	s.access = p.compileAccess(snap)
	sameConfig := p.current != nil && p.current.Config == snap.Config
	if sameConfig {
		s.held = p.held
	} else {
		s.held = map[string]*upstream.Upstream{}
		for _, u := range snap.Config.Upstreams {
			s.held[u.Name] = p.upstreams.Acquire(u)
		}
	}
	p.prepareForwards(s, sameConfig)
	old := *p.listeners.Load()
	for i, l := range snap.Config.Listeners {
		s.results = append(s.results, p.result(l, s.sockets.Results[i], s.sockets.Results))
		runtime := old[l.Name]
		if runtime == nil {
			runtime = &listener{name: l.Name}
		}
		s.next[l.Name] = runtime
		if sameConfig && runtime.state.Load() != nil && l.Forward == nil {
			s.states[l.Name], s.tcp[l.Name] = runtime.state.Load().WithAccess(s.access), runtime.tcp.Load()
		} else {
			s.tcp[l.Name] = compileTCP(l, s.held)
			s.states[l.Name] = p.proxy.Compile(l, p.wiring(l, s, runtime))
		}
		if l.TLS {
			s.terms[l.Name] = tlsconf.Build(l, snap.Secrets, snap.Trust, p.tls, runtime.term.Load(), tlsconf.Options{Timeout: p.opts.HandshakeTimeout, Bounds: p.opts.Bounds, IdleRecords: p.opts.IdleRecords, Access: s.access})
		}
	}
	return s, nil
}

func (p *Plane) wiring(l *ir.Listener, s *Staged, runtime *listener) proxy.Wiring {
	w := proxy.Wiring{Build: build.Route, Standard: p.standard, Trust: p.opts.Trust, Upstreams: s.held, Policies: s.gen.Snapshot.Config.AccessPolicies, Access: s.access}
	if port := s.forwardPort(l, runtime); port != nil {
		w.Forwarder, w.Forward = port, port.IR()
	}
	if p.opts.Metrics != nil {
		w.Metrics = func(r *route.Route) any { return p.opts.Metrics(l.Name, r) }
	}
	return w
}

// Commit makes the generation serve: pointers first, so that no connection meets a listener without
// state, then sockets.
func (s *Staged) Commit() *ir.Applied {
	p, snap := s.plane, s.gen.Snapshot
	p.material(s.held, snap)
	p.commitForwards(s)
	p.commitCaches(snap.Config)
	for name, l := range s.next {
		l.tcp.Store(s.tcp[name])
		l.term.Store(s.terms[name])
		l.state.Store(s.states[name])
	}
	old := *p.listeners.Load()
	p.listeners.Store(&s.next)
	for name, l := range old {
		if s.next[name] == nil {
			l.state.Store(nil) // its connections end after the answer at hand
			l.forward.Port.Store(nil)
		}
	}
	s.access.Serve(p.opts.Access.Keys)
	p.review.ask()
	s.sockets.Commit()
	if p.current == nil || p.current.Config != snap.Config {
		p.retire(p.held)
	}
	p.held, p.current, p.access = s.held, snap, s.access
	if p.opts.Stapling != nil {
		p.opts.Stapling.Follow(revocation.Served(snap))
	}
	return &ir.Applied{Epoch: s.gen.Epoch, Hash: s.gen.Hash, Listeners: s.results}
}

// Discard undoes Prepare.
func (s *Staged) Discard() {
	s.sockets.Abort()
	s.discardForwards()
	if s.plane.current == nil || s.plane.current.Config != s.gen.Snapshot.Config {
		for _, u := range s.held {
			s.plane.upstreams.Release(u)
		}
	}
}

// retire lets go of upstreams when requests of their generation have had time to end.
func (p *Plane) retire(held map[string]*upstream.Upstream) {
	if len(held) == 0 {
		return
	}
	p.retiring.Go(func() {
		wait := time.NewTimer(p.opts.RetireAfter)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-p.ended:
		}
		for _, u := range held {
			p.upstreams.Release(u)
		}
	})
}

// specs says which sockets a configuration wants.
func (p *Plane) specs(c *ir.Config) []listen.Spec {
	var out []listen.Spec
	for _, l := range c.Listeners {
		out = append(out, listen.Spec{Name: l.Name, Address: p.address(l), Port: l.Port, Transparent: transparent(l), ProxyProtocol: p.takesProxyHeader(l)})
	}
	return out
}

func (p *Plane) address(l *ir.Listener) string {
	host := l.Bind
	if host == "" {
		host = p.opts.Address
	}
	port := l.Port
	if mapped, ok := p.opts.PortMap[port]; ok {
		port = mapped
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// result says what became of a listener's socket; a refused bind names the flag that helps.
func (p *Plane) result(l *ir.Listener, b listen.Bound, all []listen.Bound) ir.ListenerResult {
	r := ir.ListenerResult{Name: l.Name, Address: b.Spec.Address}
	if b.Err == nil {
		r.Address = b.Addr.String()
		return r
	}
	r.Code, r.Detail = diag.BindRefused, b.Err.Error()
	_, port, _ := net.SplitHostPort(b.Spec.Address)
	n, _ := strconv.Atoi(port)
	switch {
	case b.Spec.Transparent && errors.Is(b.Err, syscall.EPERM):
		r.Fix = transparentFix(l)
	case errors.Is(b.Err, syscall.EACCES):
		r.Fix = fmt.Sprintf("ports below 1024 need a privilege: start with --port-map %d=%d, or grant CAP_NET_BIND_SERVICE", l.Port, suggest(l.Port))
	case errors.Is(b.Err, syscall.EADDRINUSE) && rival(b, all) != "":
		r.Fix = fmt.Sprintf("listener %s of this configuration has that address: give them different ports or bind addresses, or start with --port-map %d=%d", rival(b, all), l.Port, suggest(uint16(n)))
	case errors.Is(b.Err, syscall.EADDRINUSE):
		r.Fix = fmt.Sprintf("another process has port %d: stop it, or start with --port-map %d=%d", n, l.Port, suggest(uint16(n)))
	case errors.Is(b.Err, syscall.EADDRNOTAVAIL):
		r.Fix = "this machine does not have the address: correct --address or the bind address of the Gateway"
	default:
		r.Fix = fmt.Sprintf("start with --port-map %d=%d", l.Port, suggest(l.Port))
	}
	return r
}

// rival returns the name of the listener that took the address of a refused one, or "".
func rival(refused listen.Bound, all []listen.Bound) string {
	host, port, _ := net.SplitHostPort(refused.Spec.Address)
	for _, b := range all {
		if b.Err != nil {
			continue
		}
		h, p, _ := net.SplitHostPort(b.Spec.Address)
		if p == port && port != "0" && (h == host || anyAddress(h) || anyAddress(host)) {
			return b.Spec.Name
		}
	}
	return ""
}

func anyAddress(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }

// suggest returns a port that needs no privilege and reads like the one wanted: 443 → 8443.
func suggest(port uint16) uint16 {
	if port < 1024 {
		return port + 8000
	}
	if port < 55000 {
		return port + 10000
	}
	return port - 10000
}
