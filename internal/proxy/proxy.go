package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/httpcache"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Limits are the bounds and deadlines of downstream connections and requests. A zero field means its
// default, a negative duration none. Deadlines are kept to about 100 ms, those of a second and more
// to about one second.
type Limits struct {
	Request  http1.Limits // of request heads and trailers
	Response http1.Limits // of response heads and trailers

	// HTTP2 bounds HTTP/2 connections of clients. Its Head, HeaderTimeout and WriteTimeout follow from the
	// fields here unless they are set.
	HTTP2 mux.Limits

	HeaderTimeout time.Duration // from a head's first byte to its last; HK4201; default 10 s
	BodyIdle      time.Duration // between bytes of a request body; HK4202; default 60 s
	WriteTimeout  time.Duration // for the client to take a write of at most 64 KiB; HK4204; default 60 s
	KeepAliveIdle time.Duration // between requests; HK4206; default 60 s
	UpstreamIdle  time.Duration // between bytes of an answer; HK4208; default 5 min
	UpgradeIdle   time.Duration // without a byte either way on a tunnel; HK4207; default 1 h

	// WithdrawnGrace is how long what is in progress may go on when its connection was withdrawn; HK2304;
	// default 30 s, a negative one cuts at once.
	WithdrawnGrace time.Duration

	MaxRequests    int   // per connection; default 0: unbounded
	MaxRequestBody int64 // bytes; HK4010; default 0: unbounded
}

func (l Limits) withDefaults() Limits {
	d := func(v *time.Duration, def time.Duration) {
		switch {
		case *v == 0:
			*v = def
		case *v < 0:
			*v = 0
		}
	}
	d(&l.HeaderTimeout, 10*time.Second)
	d(&l.BodyIdle, time.Minute)
	d(&l.WriteTimeout, time.Minute)
	d(&l.KeepAliveIdle, time.Minute)
	d(&l.UpstreamIdle, 5*time.Minute)
	d(&l.UpgradeIdle, time.Hour)
	d(&l.WithdrawnGrace, 30*time.Second)
	if l.Request.HeadBytes == 0 {
		l.Request.HeadBytes = http1.DefaultHeadBytes
	}
	if l.Response.HeadBytes == 0 {
		l.Response.HeadBytes = http1.DefaultHeadBytes
	}
	if h := &l.HTTP2; h.Head == (http2.Limits{}) {
		h.Head = http2.Limits{HeadBytes: l.Request.HeadBytes, Fields: l.Request.Fields, TargetBytes: l.Request.TargetBytes}
	}
	follow := func(v *time.Duration, from time.Duration) {
		if *v != 0 {
			return
		}
		if *v = from; from == 0 {
			*v = -1
		}
	}
	follow(&l.HTTP2.HeaderTimeout, l.HeaderTimeout)
	follow(&l.HTTP2.WriteTimeout, l.WriteTimeout)
	return l
}

// Options are the dependencies and settings of a Proxy.
type Options struct {
	Limits Limits
	Sink   telemetry.Sink   // nil: records are dropped
	Logger *slog.Logger     // nil: discarded
	Bounds *overload.Bounds // of the process; nil: none
	Caches *httpcache.Set   // answers that are kept, of routes that ask for it; nil: the Proxy has its own
}

// Proxy serves downstream connections of all listeners. Safe for concurrent use.
type Proxy struct {
	// Fixed after construction.
	limits Limits
	sink   telemetry.Sink
	log    *slog.Logger
	bounds *overload.Bounds
	base   time.Time // what the clock counts from

	clock    atomic.Int64 // milliseconds since base, at most one tick old
	date     atomic.Pointer[[]byte]
	dated    int64 // Unix seconds of date; owned by whoever sweeps
	draining atomic.Bool
	cut      atomic.Bool // the time for draining is over
	faults   atomic.Int64
	watches  watches
	workers  workers
	spare    spares
	caches   *httpcache.Set
	renewals atomic.Int64 // refreshes in the background
}

// New returns a Proxy. Deadlines hold once Run runs.
func New(opt Options) *Proxy {
	p := &Proxy{limits: opt.Limits.withDefaults(), sink: opt.Sink, log: opt.Logger, bounds: opt.Bounds, base: time.Now()}
	if p.sink == nil {
		p.sink = noSink{}
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.caches = opt.Caches; p.caches == nil {
		p.caches = httpcache.NewSet(httpcache.Options{Reserve: func(n int64) { p.bounds.Reserve(uint64(n)) }})
	}
	p.setDate(p.base)
	p.spare.init(p.bounds)
	return p
}

// Run keeps deadlines until ctx is done.
func (p *Proxy) Run(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	defer p.workers.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			p.sweep(time.Now())
		}
	}
}

// Downstream is one accepted connection after its handshake.
type Downstream struct {
	Raw       *listen.Conn
	TLS       *tls.Conn            // over Raw; nil for plain HTTP
	Stream    net.Conn             // what is read and written; nil: TLS, else Raw
	Tunnel    any                  // ForwardRequest.Tunnel; nil but for connections that a forward proxy has taken
	Peer      *filter.Peer         // complete: clientcert.Prepare has run
	Chain     string               // name of the chain that TLS was terminated for; "" for plain HTTP
	Handshake *telemetry.Handshake // frozen; nil for plain HTTP

	// Admission says whether the connection may go on; nil for plain HTTP, which always may.
	Admission Admission

	// Closed makes the record of a client that ended the connection, with the error given, before its
	// first request. It may be nil.
	Closed func(error) *telemetry.Handshake
}

// Serve serves a connection to its end and closes it. It blocks, also where nothing happens; run it
// on a goroutine whose stack has not grown in a handshake.
func (p *Proxy) Serve(d Downstream, state *atomic.Pointer[State]) {
	defer func() {
		if fault := recover(); fault != nil {
			p.fault("serving a connection failed", fault, "listener", d.Raw.Spec().Name, "peer", d.Raw.Remote())
			d.Raw.Close()
		}
	}()
	if d.TLS != nil && d.TLS.ConnectionState().NegotiatedProtocol == "h2" {
		newHTTP2Conn(p, d, state, nil).serve()
		return
	}
	c := newConn(p, d, state)
	if c.serve(); c.preface != nil {
		newHTTP2Conn(p, d, state, c.preface).serve()
	}
}

// Caches returns the stores of answers.
func (p *Proxy) Caches() *httpcache.Set { return p.caches }

// Connections returns how many connections are being served.
func (p *Proxy) Connections() int { return p.watches.count() }

// Drain ends all connections: idle ones at once, others after the answer at hand, which says
// "Connection: close". When ctx is done those that wait for an upstream are told so, which takes partingTime,
// and those that remain are cut. It returns when there is none left,
// or a second after cutting (one may still be waiting for a connect to time out), with ctx's error if
// some had to be cut. Close the listening sockets before.
func (p *Proxy) Drain(ctx context.Context) error {
	p.draining.Store(true)
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	var cut error
	var since time.Time
	for {
		p.watches.each(func(w *watch) {
			switch v := w.at.Load(); {
			case cut == nil:
				w.of.drain()
			case time.Since(since) >= partingTime:
				w.of.kill()
				w.expire(w.at.Load(), endGone)
			case waitOf(v) == waitUpstreamRead, waitOf(v) == waitConnect:
				w.expire(v, endDrain)
			}
		})
		if p.watches.count() == 0 || cut != nil && time.Since(since) > time.Second {
			return cut
		}
		if cut != nil {
			<-t.C
			continue
		}
		select {
		case <-ctx.Done():
			cut, since = ctx.Err(), time.Now()
			p.cut.Store(true)
		case <-t.C:
		}
	}
}

// partingTime is how long those may take who are told that the time for draining is over.
const partingTime = 100 * time.Millisecond

// drainCut is the detail of what was ended then.
const drainCut = "cut at the end of --drain-timeout"

// noSink drops records.
type noSink struct{}

func (noSink) Handshake(*telemetry.Handshake) {}
func (noSink) Access(*telemetry.Access)       {}
