// Package listen owns sockets and the bytes of a connection before and under TLS: binding, accepting,
// bounds on open connections, the patient look at a ClientHello, and the words for what is no TLS.
//
// It refuses to know certificates, policies and HTTP beyond its first line; what a hello means is
// decided by package tlsconf. Begin reading at Set (sockets), Conn (one connection) and Hello (the
// facts of a ClientHello).
package listen

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// alertLen is the length of a plaintext alert record: five bytes of header, level, description.
const alertLen = 7

// Conn is an accepted TCP connection as crypto/tls and the plain driver see it. It replays what was
// peeked, remembers the last bytes of the handshake, counts, and corks writes.
//
// Read belongs to one goroutine at a time and Write to one goroutine at a time; Close, the deadlines
// and the counters may be used from any.
type Conn struct {
	// Fixed after construction.
	id       uint64
	tcp      *net.TCPConn // at the bottom
	wire     wire         // what bytes come from and go to: tcp, or the stream that this one is nested in
	parent   *Conn        // of a nested one
	spec     *Spec
	peer     netip.AddrPort // of the socket
	remote   netip.AddrPort // the client's: peer, or as a PROXY header tells it
	local    netip.AddrPort
	accepted time.Time

	// Owned by the goroutine that reads.
	pending  []byte  // bytes received that Read has not yet returned
	pooled   *[]byte // what pending lies in; given back when pending is used up
	frame    framer  // follows the records once a ClientHello was peeked
	idle     idleRecords
	attached any           // see Attach
	waits    func()        // see OnWait
	excused  time.Duration // see Excuse
	watching bool          // the handshake is in progress: keep the last bytes read
	tail     [alertLen]byte
	tailLen  int

	read    atomic.Int64
	written atomic.Int64
	closed  atomic.Bool

	wmu    sync.Mutex // guards cork
	cork   corkState
	hookMu sync.Mutex // guards hooks and inner
	hooks  []func()
	inner  map[*Conn]struct{} // nested connections that are open
}

// NewConn wraps an accepted connection. The Set does it by itself; tests and other acceptors pass the
// number and spec that records shall carry.
func NewConn(tcp *net.TCPConn, id uint64, spec *Spec) *Conn {
	c := &Conn{id: id, tcp: tcp, wire: tcp, spec: spec, accepted: time.Now(), watching: true}
	c.peer = addrPort(tcp.RemoteAddr())
	c.remote = c.peer
	c.local = addrPort(tcp.LocalAddr())
	return c
}

// addrPort returns a's address without the IPv4-in-IPv6 form, so that logs show what people know.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// ID returns the connection's number, unique within the process and never 0 for accepted ones.
func (c *Conn) ID() uint64 { return c.id }

// Spec returns the socket's specification; it is shared and frozen.
func (c *Conn) Spec() *Spec { return c.spec }

// Remote returns the client's address: the peer's, or what a PROXY header that was believed says.
func (c *Conn) Remote() netip.AddrPort { return c.remote }

// Peer returns the address of the other end of the socket, which is a load balancer's where PROXY headers
// are taken.
func (c *Conn) Peer() netip.AddrPort {
	if c.parent != nil {
		return c.parent.Peer()
	}
	return c.peer
}

// Local returns the address that the peer connected to.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Accepted returns when the connection was accepted.
func (c *Conn) Accepted() time.Time { return c.accepted }

// Excuse says that the client was kept waiting for d, for which its time for the handshake is not counted. It
// belongs to the goroutine that reads.
func (c *Conn) Excuse(d time.Duration) { c.excused += d }

// Excused returns how long the client was kept waiting.
func (c *Conn) Excused() time.Duration { return c.excused }

// TCP returns the connection at the bottom, for socket options; what may be read from it or written to it
// instead of here tells Direct.
func (c *Conn) TCP() *net.TCPConn { return c.tcp }

// Attach keeps a value of the layer above, which finds it again where crypto/tls only hands it the
// connection. It belongs to the goroutine that reads.
func (c *Conn) Attach(v any) { c.attached = v }

// Attached returns what Attach kept.
func (c *Conn) Attached() any { return c.attached }

// Pending returns how many received bytes Read has not yet returned.
func (c *Conn) Pending() int { return len(c.pending) }

// BytesRead returns the bytes received so far, as they came from the wire.
func (c *Conn) BytesRead() int64 { return c.read.Load() }

// BytesWritten returns the bytes handed to the kernel so far.
func (c *Conn) BytesWritten() int64 { return c.written.Load() }

// Read returns peeked bytes first, then reads from the connection. Of a TLS connection it returns at
// most the rest of one record.
func (c *Conn) Read(p []byte) (int, error) {
	p = c.frame.limit(p)
	if len(c.pending) > 0 {
		n := c.frame.cut(p[:copy(p, c.pending)])
		c.pending = c.pending[n:]
		c.watch(p[:n])
		if len(c.pending) == 0 {
			c.release()
		}
		return n, nil
	}
	if err := c.idle.check(c.frame.seen); err != nil {
		return 0, err
	}
	if c.waits != nil {
		c.waits()
	}
	n, err := c.wire.Read(p)
	if n > 0 {
		c.read.Add(int64(n))
		own := c.frame.cut(p[:n])
		c.stash(p[own:n])
		c.watch(p[:own])
		n = own
	}
	return n, err
}

// watch keeps the last bytes read while the handshake is in progress.
func (c *Conn) watch(p []byte) {
	if !c.watching || len(p) == 0 {
		return
	}
	if len(p) >= alertLen {
		copy(c.tail[:], p[len(p)-alertLen:])
		c.tailLen = alertLen
		return
	}
	keep := min(c.tailLen, alertLen-len(p))
	copy(c.tail[:], c.tail[c.tailLen-keep:c.tailLen])
	copy(c.tail[keep:], p)
	c.tailLen = keep + len(p)
}

// OnWait has f called, on the goroutine that reads, before each Read that goes to the network, until
// HandshakeDone.
func (c *Conn) OnWait(f func()) { c.waits = f }

// HandshakeDone ends the watch over the last bytes. Whoever ran the handshake calls it from the
// goroutine that reads.
func (c *Conn) HandshakeDone() { c.watching, c.waits = false, nil }

// PlaintextAlert returns the description of an unencrypted fatal alert if that is what was read last
// during the handshake. OpenSSL 3 clients that refuse a server's certificate under TLS 1.3 send one,
// and crypto/tls, which expects encrypted records there, reports it as a bad record MAC.
func (c *Conn) PlaintextAlert() (uint8, bool) {
	t := c.tail
	if c.tailLen != alertLen || t[0] != recordAlert || t[1] != 3 || t[2] > 4 || t[3] != 0 || t[4] != 2 || t[5] != 2 {
		return 0, false
	}
	return t[6], true
}

// release gives the peek buffer back.
func (c *Conn) release() {
	c.pending = nil
	if c.pooled != nil {
		putPeekBuffer(c.pooled)
		c.pooled = nil
	}
}

// OnClose registers f to run once when the connection is closed, at once if it already is. f must not
// block and must not call back into the connection.
func (c *Conn) OnClose(f func()) {
	c.hookMu.Lock()
	if !c.closed.Load() {
		c.hooks = append(c.hooks, f)
		c.hookMu.Unlock()
		return
	}
	c.hookMu.Unlock()
	f()
}

// Close closes the connection and runs what OnClose registered. Corked bytes are sent first if that
// is possible without waiting for another goroutine's write. Later calls do nothing and return nil.
func (c *Conn) Close() error {
	c.hookMu.Lock()
	if c.closed.Swap(true) {
		c.hookMu.Unlock()
		return nil
	}
	hooks, inner := c.hooks, c.inner
	c.hooks, c.inner = nil, nil
	c.hookMu.Unlock()
	c.flushForClose()
	err := c.wire.Close()
	for _, f := range hooks {
		f()
	}
	c.closeNested(inner)
	return err
}

// CloseWrite ends the sending direction with a FIN.
func (c *Conn) CloseWrite() error { return c.wire.CloseWrite() }

// lingerPause is the pause between reads from a peer that has sent more than its bound.
const lingerPause = 50 * time.Millisecond

// CloseLinger sends FIN, reads and discards what the peer still sends until it closes or d is over,
// and closes. Without it, unread bytes would make the kernel send RST, which can destroy an answer
// that is still on its way to the peer. Beyond bound bytes it reads slowly: a peer in the middle of a
// large upload is then held up, looks about and finds the answer. It blocks.
func (c *Conn) CloseLinger(bound int, d time.Duration) error {
	if c.CloseWrite() == nil && c.wire.SetReadDeadline(time.Now().Add(d)) == nil {
		buf := getPeekBuffer()
		for {
			n, err := c.wire.Read(*buf)
			if err != nil {
				break
			}
			if bound -= n; bound <= 0 {
				time.Sleep(lingerPause)
			}
		}
		putPeekBuffer(buf)
	}
	return c.Close()
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.tcp.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.tcp.RemoteAddr() }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.wire.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.wire.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.wire.SetWriteDeadline(t) }
