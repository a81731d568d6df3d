package proxy

import (
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Bounds of reading on after the last answer, so that it arrives before the connection ends.
const (
	lingerBytes = 1 << 20
	lingerTime  = 2 * time.Second
)

// conn is one downstream connection. What idles keeps no buffer: they come with an exchange.
type conn struct {
	// Fixed after construction.
	p     *Proxy
	d     Downstream
	rw    net.Conn // d.TLS, else d.Raw
	state *atomic.Pointer[State]

	// Read by the sweeper.
	number    atomic.Uint64                 // of the exchange
	up        atomic.Pointer[upstream.Conn] // that the exchange uses
	uploading atomic.Bool                   // a body is being read on another goroutine
	active    atomic.Int64                  // last byte on a tunnel, milliseconds since base
	wake      chan struct{}                 // ends a wait for a filter; has room for one
	admitted  atomic.Pointer[State]         // the last that admits the connection

	watch watch

	// Owned by the connection's goroutine.
	parser  http1.RequestParser
	current *State // of the last request
	close   closing
	one     [1]byte
	plain   *plainReader // nil until used
}

// closing is how a connection ends.
type closing uint8

const (
	closeClean  closing = iota // everything was sent and read
	closeLinger                // the peer may still be sending
	closeAbrupt                // what was sent is not complete: no close_notify
	closeReset                 // the same, and the end of the connection would look like the end of the answer
)

func newConn(p *Proxy, d Downstream, state *atomic.Pointer[State]) *conn {
	c := &conn{p: p, d: d, rw: d.Raw, state: state, wake: make(chan struct{}, 1)}
	c.parser.Limits = p.limits.Request
	c.parser.Scheme = "http"
	if d.TLS != nil {
		c.rw, c.parser.Scheme = d.TLS, "https"
	}
	c.watch.conn = c
	return c
}

// serve runs the connection: a request after the other, and the buffers given back between.
func (c *conn) serve() {
	defer c.end()
	defer c.rescue()
	var x *exchange
	for {
		if x == nil {
			if x = c.awaitRequest(); x == nil {
				return
			}
		}
		if !c.turn(x) {
			c.p.spare.put(x)
			return
		}
		if x.filled == 0 {
			c.p.spare.put(x)
			x = nil
		}
	}
}

// rescue keeps a fault in the handling of one request from ending the process. Its buffers are left to
// the garbage collector, as nobody knows who still uses them.
func (c *conn) rescue() {
	fault := recover()
	if fault == nil {
		return
	}
	c.p.log.Error("request handling failed", "listener", c.d.Raw.Spec().Name, "peer", c.d.Peer.Remote, "err", fault,
		"stack", string(debug.Stack()))
	c.close = closeAbrupt
	if up := c.up.Swap(nil); up != nil {
		up.Close()
	}
}

// awaitRequest blocks until there is a byte of a request and returns an exchange that begins with it,
// or nil at the connection's end. With TLS readability of the socket would not do: a whole record may
// already sit inside crypto/tls.
func (c *conn) awaitRequest() *exchange {
	if !c.watch.arm(waitIdle, c.p.limits.KeepAliveIdle, 0) {
		return nil
	}
	if c.p.draining.Load() && c.number.Load() > 0 {
		return nil
	}
	if x, ok := c.readPlain(); ok {
		return x
	}
	n, err := c.rw.Read(c.one[:])
	if n == 1 {
		x := c.p.spare.exchange()
		x.in[0], x.filled, x.begun = c.one[0], 1, true
		return x
	}
	if err != nil && c.number.Load() == 0 && c.d.Closed != nil && c.watch.why() == 0 {
		c.p.sink.Handshake(c.d.Closed(err))
	}
	return nil
}

// present returns the listener's present state, or nil if it does not admit the connection any more:
// the listener or the chain is gone, or asks other things of clients.
func (c *conn) present() *State {
	s := c.state.Load()
	if s == nil || c.d.Chain == "" || s == c.admitted.Load() {
		return s
	}
	if !s.admits(&c.d) {
		return nil
	}
	c.admitted.Store(s)
	return s
}

// orphaned reports whether the connection should end.
func (c *conn) orphaned() bool { return c.present() == nil }

// interrupt wakes the goroutine that is blocked in what. It is called once per ended wait.
func (c *conn) interrupt(what wait) {
	past := time.Unix(1, 0)
	switch what {
	case waitIdle, waitClientRead:
		_ = c.d.Raw.SetReadDeadline(past)
	case waitClientWrite:
		_ = c.d.Raw.SetWriteDeadline(past)
	case waitUpstreamRead:
		if up := c.up.Load(); up != nil {
			_ = up.SetReadDeadline(past)
		}
	case waitUpstreamWrite:
		if up := c.up.Load(); up != nil {
			_ = up.SetWriteDeadline(past)
		}
	case waitFilter:
		select {
		case c.wake <- struct{}{}:
		default:
		}
	case waitTunnel:
		_ = c.d.Raw.SetDeadline(past)
		if up := c.up.Load(); up != nil {
			_ = up.SetDeadline(past)
		}
	}
}

// hungUp reports whether the client is gone, as far as can be told without reading.
func (c *conn) hungUp() bool { return !c.uploading.Load() && hungUp(c.d.Raw.TCP()) }

// kill cuts the connection from outside.
func (c *conn) kill() {
	c.d.Raw.Close()
	if up := c.up.Load(); up != nil {
		_ = up.SetDeadline(time.Unix(1, 0))
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends b to the client; what of it is not sent within the write timeout is not sent at all.
func (c *conn) write(b []byte, until int64) error {
	if !c.watch.arm(waitClientWrite, c.p.limits.WriteTimeout, until) {
		return errInterrupted
	}
	_, err := c.rw.Write(b)
	return err
}

// end closes the connection in the way that the last exchange asked for.
func (c *conn) end() {
	c.watch.disarm()
	switch c.close {
	case closeLinger:
		if c.d.TLS != nil {
			_ = c.d.Raw.SetWriteDeadline(time.Now().Add(lingerTime))
			_ = c.d.TLS.CloseWrite()
		}
		_ = c.d.Raw.CloseLinger(lingerBytes, lingerTime)
	case closeReset:
		_ = c.d.Raw.TCP().SetLinger(0)
		c.d.Raw.Close()
	case closeAbrupt:
		c.d.Raw.Close()
	default:
		if c.d.TLS != nil {
			c.d.TLS.Close()
		}
		c.d.Raw.Close()
	}
}

// tlsOnPlain records and answers a ClientHello on a port that speaks no TLS.
func (c *conn) tlsOnPlain() {
	raw := c.d.Raw
	c.p.sink.Handshake(&telemetry.Handshake{
		Time: raw.Accepted(), Duration: time.Since(raw.Accepted()), Conn: raw.ID(), Side: telemetry.Downstream,
		Listener: raw.Spec().Name, Remote: raw.Remote(), Local: raw.Local(), Code: diag.TLSOnPlaintextPort,
		Detail: "the client began a TLS handshake on listener " + raw.Spec().Name + ", which speaks plain HTTP",
	})
	_ = c.write(listen.TLSOnPlaintextAnswer(), 0)
	c.close = closeLinger
}
