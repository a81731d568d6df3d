package proxy

import (
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// A connection that was given away keeps its watch, so that it counts as open, is found when the process ends or
// its client is withdrawn, and is closed then; its buffers and everything else of the engine are let go of.

// givenAway is who takes a connection, and what of it.
type givenAway struct {
	take func(*Takeover)
	what *Takeover
}

// connectReason is the phrase that clients know.
var connectReason = []byte("Connection established")

// takeAway answers CONNECT and gives the connection away.
func (x *exchange) takeAway(take func(*Takeover)) {
	resp := &x.resp
	resp.Reset()
	resp.Proto, resp.Status, resp.Reason = message.HTTP11, 200, connectReason
	x.own = true
	x.responseFilters()
	x.access.Status = 200
	t := &Takeover{Raw: x.client.d.Raw, Stream: x.client.rw, Peer: x.Peer, Ended: x.client.ended}
	if err := x.down.accept(resp, t); err != nil {
		x.writeFailed()
		return
	}
	x.access.ID = x.id()
	x.client.describe(&x.access, x.Request, x.started)
	t.Access = cloneAccess(&x.access)
	t.ID = t.Access.ID
	x.fwd.given = true
	x.down.giveAway(take, t)
}

// ended returns why a connection that was given away was closed from here; 0 if it was not.
func (c *client) ended() (diag.Code, string) {
	switch {
	case c.cutOff.Load():
		return c.withdrawn()
	case c.p.cut.Load():
		return diag.Draining, drainCut
	}
	return 0, ""
}

// cloneAccess copies a record with the bytes that it shares with the request.
func cloneAccess(a *telemetry.Access) *telemetry.Access {
	c := *a
	for _, p := range []*[]byte{&c.ID, &c.Method, &c.Protocol, &c.Authority, &c.Target, &c.Path, &c.UserAgent, &c.Referer, &c.XFF, &c.ContentType, &c.URL} {
		*p = slices.Clone(*p)
	}
	return &c
}

// refused implements downstream.
func (h *http1Client) refused(again bool) {
	if !again || h.used < h.filled {
		h.req.KeepAlive = false
	}
}

// last implements downstream.
func (h *http1Client) last() { h.req.KeepAlive = false }

// accept implements downstream.
func (h *http1Client) accept(resp *message.Response, t *Takeover) error {
	h.out = http1.AppendResponseHead(h.out[:0], resp, message.Body{}, true, false)
	h.headLen = len(h.out)
	h.keep = false
	h.c.close = closeAbrupt
	if err := h.flush(); err != nil {
		return err
	}
	t.Pending = slices.Clone(h.in[h.used:h.filled])
	h.used = h.filled
	return nil
}

// giveAway implements downstream.
func (h *http1Client) giveAway(take func(*Takeover), t *Takeover) { h.c.away = &givenAway{take, t} }

// giveAway lets whoever has taken the connection use it to its end. The buffers of the request have been given
// back.
func (c *conn) giveAway() {
	away := c.away
	if !c.watch.arm(waitTaken, 0, 0) { // withdrawn meanwhile: the receiver finds it closed, and records that
		c.d.Raw.Close()
	}
	away.take(away.what)
}

// refused implements downstream.
func (h *http2Client) refused(bool) {}

// last implements downstream.
func (h *http2Client) last() { h.c.leave() }

// accept implements downstream.
func (h *http2Client) accept(resp *message.Response, t *Takeover) error {
	resp.Reason = nil
	h.head(resp, message.Body{Kind: message.Chunked})
	if err := h.send(nil, nil, false); err != nil {
		return err
	}
	t.Stream = &streamConn{streamPipe: streamPipe{s: h.s}, of: t.Stream}
	return nil
}

// giveAway implements downstream (RFC 9113 section 8.5). The stream is the worker's for as long as it lasts.
func (h *http2Client) giveAway(take func(*Takeover), t *Takeover) {
	w := &h.task.watch
	if !w.arm(waitTaken, 0, 0) {
		h.s.Reset(http2.Cancel)
	}
	take(t)
	if !w.disarm() {
		w.recover()
	}
	if c, ok := t.Stream.(*streamConn); ok {
		c.release()
	}
	_ = h.s.Write(nil, true) // does nothing where the stream is over
}

// streamConn is a stream of a client as a connection. Reading and writing are one goroutine's each; the rest
// may be used from any. It is dead once its worker has called release.
type streamConn struct {
	streamPipe
	of net.Conn // the client's connection

	mu          sync.Mutex
	released    bool
	read, write *time.Timer
}

// CloseWrite ends the direction towards the client.
func (c *streamConn) CloseWrite() error { return c.s.Write(nil, true) }

// Close ends what waits on the stream. The stream itself is closed by its worker.
func (c *streamConn) Close() error { return c.SetDeadline(time.Unix(1, 0)) }

func (c *streamConn) LocalAddr() net.Addr  { return c.of.LocalAddr() }
func (c *streamConn) RemoteAddr() net.Addr { return c.of.RemoteAddr() }

func (c *streamConn) SetReadDeadline(t time.Time) error {
	return c.set(&c.read, t, (*mux.Stream).SetReadDeadline)
}

func (c *streamConn) SetWriteDeadline(t time.Time) error {
	return c.set(&c.write, t, (*mux.Stream).SetWriteDeadline)
}

func (c *streamConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// set gives a direction its deadline, which streams have no timers for.
func (c *streamConn) set(timer **time.Timer, t time.Time, expire func(*mux.Stream, time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.released {
		return net.ErrClosed
	}
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if left := time.Until(t); !t.IsZero() && left > 0 {
		var own *time.Timer
		own = time.AfterFunc(left, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if *timer == own && !c.released {
				_ = expire(c.s, time.Unix(1, 0))
			}
		})
		*timer = own
	}
	return expire(c.s, t)
}

// release stops the timers: the stream is about to be another's.
func (c *streamConn) release() {
	_ = c.SetDeadline(time.Time{})
	c.mu.Lock()
	c.released = true
	c.mu.Unlock()
}
