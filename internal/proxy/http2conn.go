package proxy

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// http2Conn is a downstream connection that speaks HTTP/2. Its goroutine is the one that reads; each
// request is served by a worker.
type http2Conn struct {
	client
	mux     *mux.Conn
	watch   watch // stands for the connection; it waits for nothing by itself
	running sync.WaitGroup

	number  atomic.Uint64 // of requests accepted
	leaving atomic.Bool   // GOAWAY is on its way
}

// newHTTP2Conn prepares a connection. early is what was read of it already.
func newHTTP2Conn(p *Proxy, d Downstream, state *atomic.Pointer[State], early []byte) *http2Conn {
	c := &http2Conn{}
	c.client.init(p, d, state)
	c.watch.init(p, c)
	if len(early) > 0 {
		c.rw = &replayed{Conn: c.rw, early: early}
	}
	s := state.Load()
	explicit := s != nil && s.forward != nil && d.Tunnel == nil
	c.mux = mux.New(mux.Config{Conn: c.rw, Scheme: c.scheme(), Proxy: explicit, Limits: p.limits.HTTP2, Now: p.muxNow, Accept: c.accept, Refused: c.refused})
	return c
}

// muxNow is the clock of HTTP/2 connections, on which 0 is no time.
func (p *Proxy) muxNow() int64 { return p.now() + 1 }

// serve runs the connection to its end.
func (c *http2Conn) serve() {
	c.watch.arm(waitMux, 0, 0)
	c.p.watches.add(&c.watch)
	err := c.mux.Serve()
	c.running.Wait()
	c.p.watches.remove(&c.watch)
	var fault *http2.Error
	var broken *mux.PanicError
	switch {
	case errors.As(err, &broken):
		c.fault("serving an HTTP/2 connection failed", broken)
	case errors.As(err, &fault):
		c.faulty(fault)
	case c.number.Load() == 0 && c.d.Closed != nil && !errors.Is(err, mux.ErrAborted) && !c.leaving.Load():
		c.p.sink.Handshake(c.d.Closed(err))
	}
	c.d.Raw.Close()
}

// accept takes a request. It runs on the goroutine of Serve and does not block.
func (c *http2Conn) accept(s *mux.Stream) {
	n := c.number.Add(1)
	if limit := c.p.limits.MaxRequests; limit > 0 && n >= uint64(limit) || c.orphaned() {
		c.leave()
	}
	c.running.Add(1)
	c.p.workers.hand(c.p, job{c, s})
}

// leave ends the connection after the requests at hand.
func (c *http2Conn) leave() {
	if !c.leaving.Swap(true) {
		c.mux.Shutdown()
	}
}

// refused records a request that never becomes an exchange.
func (c *http2Conn) refused(r mux.Refusal) {
	c.number.Add(1)
	a := telemetry.Access{Stream: r.Stream, Code: r.Err.Code, Detail: r.Err.Detail, Status: r.Status, GRPCStatus: -1}
	a.Authority, a.Path = r.Request.Authority, r.Request.Path
	c.describe(&a, r.Request, time.Since(c.p.base))
	c.p.sink.Access(&a)
}

// faulty records the end of a connection whose client broke the rules.
func (c *http2Conn) faulty(e *http2.Error) {
	a := telemetry.Access{Code: e.Code, Detail: e.HTTP2.String() + ": " + e.Detail, GRPCStatus: -1}
	c.describe(&a, &message.Request{Proto: message.HTTP2}, time.Since(c.p.base))
	c.p.sink.Access(&a)
}

// look is what is done about once a second.
func (c *http2Conn) look(int64) {
	p := c.p
	now := p.muxNow()
	switch {
	case c.overdue():
		c.kill()
		return
	case c.orphaned(), p.draining.Load():
		c.leave()
	case p.limits.KeepAliveIdle > 0:
		if since := c.mux.IdleSince(); since > 0 && now-since > p.limits.KeepAliveIdle.Milliseconds() {
			c.leave()
		}
	}
	c.mux.Tick(now)
}

func (c *http2Conn) drain() { c.leave() }
func (c *http2Conn) kill()  { c.mux.Abort(http2.NoError) }

// The connection's watch never ends a wait.
func (c *http2Conn) interrupt(wait)  {}
func (c *http2Conn) left() bool      { return false }
func (c *http2Conn) lastByte() int64 { return 0 }

// replayed is a connection of which a part was read already.
type replayed struct {
	net.Conn
	early []byte
}

// CloseWrite ends the sending side, so that what was sent last arrives.
func (r *replayed) CloseWrite() error {
	if half, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (r *replayed) Read(b []byte) (int, error) {
	if len(r.early) > 0 {
		n := copy(b, r.early)
		r.early = r.early[n:]
		return n, nil
	}
	return r.Conn.Read(b)
}
