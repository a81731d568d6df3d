package tcpproxy

import (
	"context"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Limits are the bounds of connections that are not HTTP. Zero values mean the defaults named here, a
// negative duration none.
type Limits struct {
	Idle  time.Duration // without a byte either way; HK4551; default an hour. A route's own goes first.
	Write time.Duration // for a side to take something; HK4554, HK4555; default a minute

	// Peek is how long a plain TCP connection is looked at for a server name where routes ask for one; default
	// 3 s. Protocols in which the server speaks first begin after it.
	Peek time.Duration

	Pipes int // at most; default DefaultPipes
}

// Settings are the dependencies and settings of a Proxy.
type Settings struct {
	Limits Limits
	Sink   telemetry.Sink
	Logger *slog.Logger
	Bounds *overload.Bounds // of the process; nil: none

}

// Proxy serves connections that are not HTTP. Create it with New; Run drives it. Safe for concurrent use.
type Proxy struct {
	// Fixed after construction.
	opts  Settings
	pipes *Pipes

	ctx    context.Context // of connecting; ends when a drain's time is over
	cancel context.CancelFunc

	faults atomic.Int64

	mu      sync.Mutex // guards running and idle
	running map[*session]struct{}
	empty   chan struct{} // closed and replaced when running becomes empty
}

// New returns a Proxy.
func New(opts Settings) *Proxy {
	if opts.Limits.Peek == 0 {
		opts.Limits.Peek = 3 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{opts: opts, pipes: NewPipes(opts.Limits.Pipes), running: map[*session]struct{}{}, empty: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Pipes returns the pipes of the process, for other relays.
func (p *Proxy) Pipes() *Pipes { return p.pipes }

// Faults returns how many faults of ours have ended a connection.
func (p *Proxy) Faults() int64 { return p.faults.Load() }

// Run sheds connections while memory is short, until ctx ends, and ends those that remain.
func (p *Proxy) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			p.cut()
			p.pipes.Close()
			return nil
		case <-t.C:
			p.relieve()
		}
	}
}

// shedPart is which part of the connections is closed in one second while new requests are refused: the
// longest idle ones.
const shedPart = 10

// relieve closes connections on which nothing has moved for longest.
func (p *Proxy) relieve() {
	if p.opts.Bounds.Level() < overload.Refusing {
		return
	}
	list := p.sessions()
	for _, s := range longestIdle(list, max(1, len(list)/shedPart)) {
		p.opts.Bounds.Shed(p.opts.Bounds.Short())
		s.shed(p.opts.Bounds.Short())
	}
}

// Drain waits until every connection has ended, and ends those that remain when ctx does: there is no point at
// which a relay could end by itself. It returns ctx's error if some were cut. Close the listening sockets
// before.
func (p *Proxy) Drain(ctx context.Context) error {
	for {
		p.mu.Lock()
		n, empty := len(p.running), p.empty
		p.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-empty:
		case <-ctx.Done():
			p.cut()
			select {
			case <-empty:
			case <-time.After(time.Second):
			}
			return ctx.Err()
		}
	}
}

// cut ends connecting and relaying.
func (p *Proxy) cut() {
	p.cancel()
	for _, s := range p.sessions() {
		if r := s.relay.Load(); r != nil {
			r.end(diag.Draining, false)
		}
	}
}

// sessions returns those that run.
func (p *Proxy) sessions() []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*session, 0, len(p.running))
	for s := range p.running {
		list = append(list, s)
	}
	return list
}

func (p *Proxy) add(s *session) {
	p.mu.Lock()
	p.running[s] = struct{}{}
	p.mu.Unlock()
}

func (p *Proxy) remove(s *session) {
	p.mu.Lock()
	delete(p.running, s)
	if len(p.running) == 0 {
		close(p.empty)
		p.empty = make(chan struct{})
	}
	p.mu.Unlock()
}

// Downstream is a client's connection, of which the chain is known.
type Downstream struct {
	Raw       *listen.Conn
	Stream    net.Conn             // over Raw, where TLS was terminated; nil: Raw
	Handshake *telemetry.Handshake // of the same, or with the hello of what is passed through; nil for plain TCP

	// Withdrawn says that the client would not be let in any more; nil: never.
	Withdrawn func() (diag.Code, string)
}

// Serve chooses a route, connects, relays to the end and closes the connection. Of several tables, which are
// asked in order, the first that has a route is the connection's. It blocks.
func (p *Proxy) Serve(d Downstream, tables ...*Table) {
	s := &session{p: p, d: d, tables: tables, table: tables[0]}
	p.add(s)
	defer p.remove(s)
	defer func() {
		if fault := recover(); fault != nil {
			p.faults.Add(1)
			p.opts.Logger.Error("serving a connection failed", "listener", d.Raw.Spec().Name, "peer", d.Raw.Remote(), "err", fault, "stack", string(debug.Stack()))
			d.Raw.Close()
		}
	}()
	s.serve()
}

// Passthrough reports whether a chain of a TLS listener takes connections without ending their TLS.
func Passthrough(c *ir.Chain) bool { return c.TCP != nil && c.TLS == nil }
