package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Conn is what a request is lent. In HTTP/1.1 that is one connection to an endpoint, as long as the
// request lasts: Read, Write and the deadlines are those of the plain or TLS connection. In HTTP/2 it is
// a slot for one stream of H2, a connection that others use at the same time: Read, Write and the
// deadlines fail.
type Conn struct {
	net.Conn

	// Fixed after construction.
	Endpoint *Endpoint
	TLS      *tls.Conn // nil: plain
	H2       *mux.Conn // nil: HTTP/1.1
	Version  uint16    // of TLS; 0: plain
	Suite    uint16
	Via      *Way // nil: a direct connection
	up       *Upstream
	trunk    *trunk // that the slot is of
	http2    bool   // HTTP/2 is spoken; of a connection that was just made
	wire     *wire
	plain    *proxyState // of the proxy that takes absolute URLs on it; nil: no proxy reads the requests
	host     string      // TLS server name, where it follows the request's host
	explain  TLS
	material uint32 // number of the TLS material that it was made with

	// Owned by whoever the connection is lent to, or by the pool.
	Reused    bool // it has served a request before: it may have died since
	shard     uint32
	requests  int
	lent      bool
	counted   bool                 // among the upstream's requests in progress
	shake     *telemetry.Handshake // of a TLS connection that has not answered a request yet
	idleSince int64                // Unix nanoseconds, coarse
	one       [1]byte
	tunnel    *proxyAddress // that counts the connection among its tunnels; nil: none
}

// wire is the TCP connection under a Conn. While probing is set a Read returns at once, whatever
// there is.
type wire struct {
	*net.TCPConn
	raw     syscall.RawConn
	probing bool
	probe   func(fd uintptr) bool // reads into into without waiting
	into    []byte
	n       int
	err     error
}

// errNothing is what a probing Read returns when there is nothing to read. It is a temporary net.Error,
// so that crypto/tls can go on afterwards.
type errNothing struct{}

func (errNothing) Error() string   { return "nothing to read" }
func (errNothing) Timeout() bool   { return true }
func (errNothing) Temporary() bool { return true }

func newWire(tcp *net.TCPConn) (*wire, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{TCPConn: tcp, raw: raw}
	w.probe = func(fd uintptr) bool {
		w.n, w.err = readNow(fd, w.into)
		return true
	}
	return w, nil
}

// Read reads what the peer sent; while probing without waiting.
func (w *wire) Read(p []byte) (int, error) {
	if w.probing {
		return w.readProbing(p)
	}
	return w.TCPConn.Read(p)
}

func (w *wire) readProbing(p []byte) (int, error) {
	w.into = p
	err := w.raw.Read(w.probe)
	w.into = nil
	if err != nil {
		return 0, err
	}
	return w.n, w.err
}

// CloseWrite ends the sending direction: close_notify where there is TLS, and a FIN.
func (c *Conn) CloseWrite() error {
	if c.trunk != nil {
		return errUndivided
	}
	if c.TLS != nil {
		return c.TLS.CloseWrite()
	}
	return closeWrite(c.Conn)
}

// SendTrailers says whether the trailers of a request may be sent to an upstream in HTTP/2, which the caller
// does then. One that has ended a connection as malformed (PROTOCOL_ERROR) after trailers gets no more, since
// others have their streams on it: servers of net/http do so if they have ended the stream meanwhile.
func (c *Conn) SendTrailers() bool {
	if c.up.untrailed.Load() {
		return false
	}
	c.trunk.trailed.Store(true)
	return true
}

// usable reports whether a kept connection may carry another request: the material is current and the
// peer has neither closed nor sent anything. Bytes that nobody asked for must not become the answer to
// the next request.
func (c *Conn) usable(t *originator) bool {
	return c.material == t.num && c.open()
}

// due reports whether it is the turn of a kept connection to be looked at; now is in Unix nanoseconds, 0 for never.
func (c *Conn) due(now int64) bool {
	ticks := (now - c.idleSince) / int64(tick)
	return ticks > 0 && ticks%lookEvery == 0
}

// open reports whether the peer of a kept connection has neither closed it nor sent anything.
func (c *Conn) open() bool {
	c.wire.probing = true
	n, err := c.Conn.Read(c.one[:])
	c.wire.probing = false
	_, nothing := err.(errNothing)
	return n == 0 && nothing
}

// lend marks the connection as in use.
func (c *Conn) lend(shard uint32, reused bool) *Conn {
	c.shard, c.Reused, c.lent = shard, reused, true
	c.requests++
	c.Endpoint.begun()
	return c
}

// Release takes the connection back for another request. Of HTTP/1.1 the caller vouches that the answer
// was complete, that nothing is left in its own buffers, that both sides want the connection to persist,
// and that no deadline is set on it; of HTTP/2, that its stream was closed and that there was an answer.
func (c *Conn) Release() {
	if !c.lent {
		return
	}
	c.giveBack()
	if c.trunk != nil {
		if !c.trunk.answered.Load() {
			c.trunk.answered.Store(true)
		}
		c.trunk.release()
		return
	}
	c.shake = nil
	c.keep()
}

// Close closes the connection instead of keeping it; of HTTP/2 it gives the slot of a closed stream, or
// of none, back. A second call does nothing.
func (c *Conn) Close() error {
	if !c.lent {
		return nil
	}
	c.giveBack()
	if c.trunk != nil {
		c.trunk.release()
		return nil
	}
	return c.discard()
}

// unused takes a loan back that was made for nothing.
func (c *Conn) unused() {
	c.giveBack()
	if c.trunk != nil {
		c.trunk.release()
		return
	}
	c.keep()
}

// giveBack ends the loan.
func (c *Conn) giveBack() {
	c.lent = false
	c.Endpoint.ended()
	if c.counted {
		c.counted = false
		c.up.active.Add(-1)
	}
}

// keep puts a connection on which nothing is outstanding where others find it, unless it must not be
// used again.
func (c *Conn) keep() {
	u := c.up
	if c.Endpoint.gone.Load() || c.material != u.tls.Load().num ||
		u.pool.MaxRequestsPerConnection > 0 && c.requests >= u.pool.MaxRequestsPerConnection {
		c.discard()
		return
	}
	if u.limit.hand(c) {
		return
	}
	c.idleSince = u.registry.now.Load()
	if !c.Endpoint.put(c.shard, c) {
		c.discard()
		return
	}
	if u.limit.pending.Load() > 0 {
		// A request began to wait after we looked: let it have the room.
		u.evict()
	}
}

// discard closes a connection that nobody uses and gives its permit back.
func (c *Conn) discard() error {
	err := c.shut()
	c.up.limit.release()
	return err
}

// shut closes the connection and keeps its permit.
func (c *Conn) shut() error {
	c.Endpoint.open.Add(-1)
	c.left()
	if c.Conn != net.Conn(c.wire) {
		// crypto/tls waits up to 5 s to send close_notify; a peer that does not read is not worth it.
		_ = c.wire.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	}
	err := c.Conn.Close()
	if c.Via != nil { // tunnels are wrapped: what is inside may keep the connection open
		c.wire.Close()
	}
	return err
}

// errUndivided is what the methods of a connection return that a request has only a stream of.
var errUndivided = errors.New("the connection is shared: use its stream")

// undivided is a connection that others use too. Only its addresses are told.
type undivided struct{ net.Conn }

func (undivided) Read([]byte) (int, error)         { return 0, errUndivided }
func (undivided) Write([]byte) (int, error)        { return 0, errUndivided }
func (undivided) Close() error                     { return errUndivided }
func (undivided) SetDeadline(time.Time) error      { return errUndivided }
func (undivided) SetReadDeadline(time.Time) error  { return errUndivided }
func (undivided) SetWriteDeadline(time.Time) error { return errUndivided }
