package proxy

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/http2"
)

// conn is a downstream connection that speaks HTTP/1. What idles keeps no buffer: they come with an
// http1Client.
type conn struct {
	client
	task

	// Owned by the connection's goroutine.
	parser http1.RequestParser
	close  closing
	one    [1]byte

	away    *givenAway   // to whom the connection goes when the request at hand is over; nil: to nobody
	preface []byte       // what was read of an HTTP/2 connection: it is served as such
	plain   *plainReader // nil until used
}

// closing is how a connection ends.
type closing uint8

const (
	closeClean  closing = iota // everything was sent and read
	closeLinger                // the peer may still be sending
	closeAbrupt                // what was sent is not complete: no close_notify
	closeReset                 // the same, and the end of the connection would look like the end of the answer
	closeNot                   // it goes on as HTTP/2
)

func newConn(p *Proxy, d Downstream, state *atomic.Pointer[State]) *conn {
	c := &conn{}
	c.client.init(p, d, state)
	c.task.init(p)
	c.raw = d.Raw
	c.watch.init(p, c)
	c.parser.Limits = p.limits.Request
	c.parser.Scheme = c.scheme()
	return c
}

// serve runs the connection: a request after the other, and the buffers given back between.
func (c *conn) serve() {
	p := c.client.p
	p.watches.add(&c.watch)
	defer p.watches.remove(&c.watch)
	defer c.end()
	var h *http1Client
	defer func() { c.rescue(recover(), h) }()
	for {
		if h == nil {
			if h = c.awaitRequest(); h == nil {
				return
			}
		}
		if !c.turn(h) {
			p.spare.putClient(h)
			if h = nil; c.away != nil {
				c.giveAway()
			}
			return
		}
		if h.filled == 0 {
			p.spare.putClient(h)
			h = nil
		}
	}
}

// rescue keeps a fault in the handling of one request from ending the process. Its buffers are left to
// the garbage collector, as nobody knows who still uses them.
func (c *conn) rescue(fault any, h *http1Client) {
	if fault == nil {
		return
	}
	c.client.fault("request handling failed", fault)
	if h != nil && h.task != nil {
		h.dropUpstream()
		h.stopUpload()
		h.muxed.close()
		h.endForward()
	}
	c.close = closeAbrupt
}

// awaitRequest blocks until there is a byte of a request and returns an end that begins with it, or nil
// at the connection's end. With TLS readability of the socket would not do: a whole record may already
// sit inside crypto/tls.
func (c *conn) awaitRequest() *http1Client {
	p := c.client.p
	if !c.watch.arm(waitIdle, p.limits.KeepAliveIdle, 0) {
		return nil
	}
	if p.draining.Load() && c.number.Load() > 0 {
		return nil
	}
	if h, ok := c.readPlain(); ok {
		return h
	}
	n, err := c.rw.Read(c.one[:])
	if n == 1 {
		h := p.spare.client()
		h.in[0], h.filled, h.begun = c.one[0], 1, true
		return h
	}
	if err != nil && c.number.Load() == 0 && c.d.Closed != nil && c.watch.why() == 0 {
		p.sink.Handshake(c.d.Closed(err))
	}
	return nil
}

// turn serves one request, of which h.filled bytes are there, and says whether the connection goes on.
// What was received beyond the request is then at the front of h.in.
func (c *conn) turn(h *http1Client) bool {
	h.begin(c)
	x := &h.exchange
	x.started = time.Since(c.client.p.base)
	n, err := c.readHead(h)
	if n == 0 {
		if err != nil {
			c.refuseHead(h, err)
		}
		return false
	}
	h.used = n
	x.access.HeadReceived = int64(n)
	c.number.Add(1)
	x.state = c.latest()
	h.body.Reset(h.req.Body, c.client.p.limits.Request)
	x.handle()
	if !c.watch.disarm() {
		h.keep = false
	}
	x.record()
	x.settle()
	h.rewind()
	return h.keep
}

// readHead reads and parses a request head. It returns 0 without error if the client closed before
// the first byte of it, or went away in the middle.
func (c *conn) readHead(h *http1Client) (int, error) {
	p := c.client.p
	until := p.now() + p.limits.HeaderTimeout.Milliseconds()
	if p.limits.HeaderTimeout == 0 {
		until = 0
	}
	c.parser.Reset()
	s := c.client.state.Load()
	c.parser.Proxy = s != nil && s.forward != nil
	parsed := !h.begun // then more is there
	h.begun = false
	for {
		if parsed && c.d.TLS == nil && c.number.Load() == 0 {
			switch known, whole := prefaceOf(h.in[:h.filled]); {
			case whole:
				c.preface, c.close = append([]byte(nil), h.in[:h.filled]...), closeNot
				return 0, nil
			case known:
				parsed = false
			}
		}
		if parsed {
			n, err := c.parser.Parse(h.in[:h.filled], &h.req)
			if n > 0 || err != nil {
				return n, err
			}
		}
		parsed = true
		if h.filled == len(h.in) {
			h.growIn()
		}
		if !c.watch.arm(waitClientRead, 0, until) {
			return 0, c.headEnded()
		}
		n, err := c.rw.Read(h.in[h.filled:])
		h.filled += n
		if n == 0 && err != nil {
			return 0, c.headEnded()
		}
	}
}

// prefaceOf reports whether b begins like HTTP/2's preface with prior knowledge (RFC 9113 section 3.4),
// and whether there is enough of it to tell it from HTTP/1.
func prefaceOf(b []byte) (known, whole bool) {
	const line = len("PRI * HTTP/2.0\r\n\r\n")
	n := min(len(b), line)
	known = string(b[:n]) == http2.Preface[:n]
	return known, known && n == line
}

// headEnded returns the reason for a head that will not be completed, nil if the client just went.
func (c *conn) headEnded() error {
	if c.watch.why() != endTime {
		return nil
	}
	c.watch.recover()
	return &http1.Error{Code: diag.RequestHeadTimeout, Detail: "the head was not complete in time"}
}

// refuseHead answers what is no request.
func (c *conn) refuseHead(h *http1Client, err error) {
	if h.filled > 0 && c.otherProtocol(h.in[:h.filled]) {
		return
	}
	c.number.Add(1)
	var refused *http1.Error
	if !errors.As(err, &refused) {
		refused = &http1.Error{Code: diag.RequestMalformed, Detail: err.Error()}
	}
	h.used = h.filled
	h.state = c.latest()
	h.req.KeepAlive = false
	h.refuse(refused.Code, refused.Detail)
	c.close = closeLinger
	h.record()
	h.settle()
}

// look is the sweeper's look at the connection.
func (c *conn) look(v int64) {
	switch {
	case waitOf(v) == waitIdle && c.orphaned():
		c.watch.expire(v, endDrain)
	case c.overdue():
		c.watch.expire(v, endGone)
	default:
		c.task.look(v)
	}
}

// left is true once nothing may go on.
func (c *conn) left() bool { return c.cutOff.Load() || c.gone.Load() }

// drain ends the wait for a request.
func (c *conn) drain() {
	if v := c.watch.at.Load(); v > 0 && waitOf(v) == waitIdle {
		c.watch.expire(v, endDrain)
	}
}

// kill cuts the connection from outside.
func (c *conn) kill() {
	c.d.Raw.Close()
	c.task.kill()
}

// write sends b to the client; what of it is not sent within the write timeout is not sent at all.
func (c *conn) write(b []byte, until int64) error {
	if !c.watch.arm(waitClientWrite, c.client.p.limits.WriteTimeout, until) {
		return errInterrupted
	}
	_, err := c.rw.Write(b)
	return err
}

// closeWrite ends the direction towards the client.
func (c *conn) closeWrite() error {
	if c.d.TLS != nil {
		if err := c.d.TLS.CloseWrite(); err != nil {
			return err
		}
	}
	return c.d.Raw.CloseWrite()
}

// end closes the connection in the way that the last exchange asked for.
func (c *conn) end() {
	c.watch.disarm()
	switch c.close {
	case closeLinger:
		c.lingering()
	case closeNot:
	case closeReset:
		if tcp := c.d.Raw.TCP(); c.d.Raw.Parent() == nil || c.d.Raw.Direct() == tcp {
			_ = tcp.SetLinger(0) // else others may use the connection
		}
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
