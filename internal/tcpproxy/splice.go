package tcpproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Defaults of Options.
const (
	DefaultIdle  = time.Hour
	DefaultWrite = time.Minute
)

// Options are how Splice relays. Zero values mean the defaults named here.
type Options struct {
	Pending  []byte // received from a before; goes to b first
	PendingB []byte // received from b before; goes to a first

	Idle  time.Duration // ends the relay when no byte has moved for so long; default an hour, negative: never
	Write time.Duration // for a side to take something of what waits for it; default a minute, negative: for ever

	Pipes *Pipes // nil: pipes are made for this relay alone

	// Withdrawn is asked about once a second whether the connection may go on; a code ends it. Nil: it may.
	Withdrawn func() diag.Code

	// Sent and Received, if not nil, are kept up to date while the relay runs, to be looked at by others.
	Sent, Received *atomic.Int64
}

// Splice relays between a, by custom the client, and b, by custom the upstream, until both have ended, one
// fails, nothing moves for too long, or ctx ends, and closes both. sent are the bytes that went from a to b,
// received those from b to a. reason is zero at an orderly end, else one of TCPIdle, TCPClientReset (a),
// TCPUpstreamReset (b), TCPClientSlow, TCPUpstreamSlow, TCPFailed, Draining (ctx ended) or what Withdrawn says.
//
// Bytes stay in the kernel (splice(2)) in the direction in which both sides are TCP connections: *net.TCPConn,
// *upstream.Stream and *listen.Conn with nothing between. What such a listen.Conn has received and not
// read is passed on by itself. Others, TLS for example, are copied. The end of one direction (FIN,
// close_notify) is passed on and the other goes on; a reset is passed on as a reset. Splice blocks; it uses one
// more goroutine.
func Splice(ctx context.Context, a, b net.Conn, opts Options) (sent, received int64, reason diag.Code) {
	r := newRelay(a, b, opts)
	r.run(ctx)
	return r.up.count.Load(), r.down.count.Load(), diag.Code(r.reason.Load())
}

// relay is one Splice.
type relay struct {
	// Fixed after construction.
	a, b     *end
	up, down flow // from a to b, from b to a
	idle     time.Duration
	write    time.Duration
	opts     Options
	base     time.Time

	moved   atomic.Int64          // when something moved last, nanoseconds since base
	reason  atomic.Uint32         // diag.Code of the first cause
	abrupt  atomic.Bool           // the end is a reset
	ends    atomic.Int32          // directions that have ended in order
	orderly atomic.Bool           // both directions are made to end, without a reason
	err     atomic.Pointer[error] // behind reason; nil where a bound ended the relay

	mu    sync.Mutex  // guards timer and over
	timer *time.Timer // of check
	over  bool
}

// end is one side.
type end struct {
	conn   net.Conn
	tcp    *net.TCPConn    // nil: bytes go through conn
	raw    syscall.RawConn // of tcp
	isA    bool
	closes func() error // ends the sending direction; nil if conn cannot
}

// newEnd looks how bytes can go.
func newEnd(c net.Conn, isA bool) *end {
	e := &end{conn: c, isA: isA}
	if e.tcp = Direct(c); e.tcp != nil {
		if raw, err := e.tcp.SyscallConn(); err == nil && canSplice {
			e.raw = raw
		} else {
			e.tcp = nil
		}
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		e.closes = half.CloseWrite
	}
	return e
}

func newRelay(a, b net.Conn, opts Options) *relay {
	r := &relay{a: newEnd(a, true), b: newEnd(b, false), opts: opts, idle: opts.Idle, write: opts.Write, base: time.Now()}
	if r.idle == 0 {
		r.idle = DefaultIdle
	}
	if r.write == 0 {
		r.write = DefaultWrite
	}
	r.up.init(r, r.a, r.b, opts.Sent, opts.Pending)
	r.down.init(r, r.b, r.a, opts.Received, opts.PendingB)
	return r
}

// buffered takes out what a connection of package listen has received and not read.
func (e *end) buffered() []byte {
	if c, ok := e.conn.(interface{ Buffered() []byte }); ok && e.tcp != nil {
		return c.Buffered()
	}
	return nil
}

// run relays and closes.
func (r *relay) run(ctx context.Context) {
	defer r.close()
	r.arm(r.next(0))
	defer r.disarm()
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { r.end(diag.Draining, false) })()
	}
	var other sync.WaitGroup
	other.Add(1)
	go func() {
		defer other.Done()
		r.down.run()
	}()
	r.up.run()
	other.Wait()
}

// now returns nanoseconds since base.
func (r *relay) now() int64 { return int64(time.Since(r.base)) }

// past is a deadline that is over.
func past() time.Time { return time.Unix(1, 0) }

// note keeps a reason; the first one counts.
func (r *relay) note(code diag.Code, abrupt bool, err error) {
	if !r.reason.CompareAndSwap(0, uint32(code)) {
		return
	}
	r.abrupt.Store(abrupt)
	if err != nil {
		r.err.Store(&err)
	}
}

// end ends both directions for a reason.
func (r *relay) end(code diag.Code, abrupt bool) {
	r.note(code, abrupt, nil)
	_ = r.a.conn.SetDeadline(past()) // of a connection that is closed nothing waits
	_ = r.b.conn.SetDeadline(past())
}

// close closes both sides, as a reset where one is to be passed on.
func (r *relay) close() {
	if r.reason.Load() != 0 && r.abrupt.Load() {
		reset(r.a.conn)
		reset(r.b.conn)
		return
	}
	_ = r.a.conn.Close()
	_ = r.b.conn.Close()
}

// reset closes a connection with RST once what was sent has left, or after a short while; TLS without
// close_notify, so that the other side does not take it for the end of the stream.
func reset(c net.Conn) {
	below := c
	if s, ok := c.(*upstream.Stream); ok && s.TCP == nil {
		below = s.Conn
	}
	for {
		over, ok := below.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		below = over.NetConn()
	}
	if tcp := Direct(below); tcp != nil {
		awaitSent(tcp, 200*time.Millisecond)
		_ = tcp.SetLinger(0)
	}
	_ = below.Close()
	_ = c.Close() // whoever counts it is told
}

// period is the longest time between looks at a relay that can be withdrawn.
const period = time.Second

// next returns when to look again, idle being how long nothing has moved.
func (r *relay) next(idle time.Duration) time.Duration {
	wait := time.Hour
	if r.idle > 0 {
		wait = max(r.idle-idle, time.Millisecond)
	}
	if r.write > 0 {
		wait = min(wait, r.write)
	}
	if r.opts.Withdrawn != nil {
		wait = min(wait, period)
	}
	return wait
}

func (r *relay) arm(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
	case r.timer == nil:
		r.timer = time.AfterFunc(d, r.check)
	default:
		r.timer.Reset(d)
	}
}

func (r *relay) disarm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	r.timer.Stop()
}

// check looks whether a bound is exceeded.
func (r *relay) check() {
	now := r.now()
	idle := time.Duration(now - r.moved.Load())
	switch {
	case r.idle > 0 && idle >= r.idle:
		r.end(diag.TCPIdle, false)
		return
	case r.write > 0 && r.up.blockedFor(now) >= r.write:
		r.end(diag.TCPUpstreamSlow, true)
		return
	case r.write > 0 && r.down.blockedFor(now) >= r.write:
		r.end(diag.TCPClientSlow, true)
		return
	}
	if r.opts.Withdrawn != nil {
		if code := r.opts.Withdrawn(); code != 0 {
			r.end(code, false)
			return
		}
	}
	r.arm(r.next(idle))
}

// failed ends the relay because reading from e failed.
func (r *relay) failed(e *end, err error) {
	if r.orderly.Load() {
		return
	}
	r.note(r.cause(e, err), true, err)
	_ = r.a.conn.SetDeadline(past())
	_ = r.b.conn.SetDeadline(past())
}

// broken ends the direction towards e, because writing to it failed. What e has sent before may still wait to
// be read, an answer that says why, so the other direction ends by itself: the connection is gone.
func (r *relay) broken(e *end, err error) {
	if r.orderly.Load() {
		return
	}
	r.note(r.cause(e, err), true, err)
}

// cause is the code of a failed read or write.
func (r *relay) cause(e *end, err error) diag.Code {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EHOSTUNREACH):
		return r.resetBy(e)
	}
	return diag.TCPFailed // where a deadline has ended it, there is a reason already
}

func (r *relay) resetBy(e *end) diag.Code {
	if e.isA {
		return diag.TCPClientReset
	}
	return diag.TCPUpstreamReset
}

// Direct returns the socket of c if bytes may go past c; nil for TLS and other layers.
func Direct(c net.Conn) *net.TCPConn {
	switch v := c.(type) {
	case *net.TCPConn:
		return v
	case *upstream.Stream:
		return v.TCP
	case interface{ Direct() *net.TCPConn }: // *listen.Conn
		return v.Direct()
	}
	return nil
}
