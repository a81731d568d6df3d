package listen

import (
	"net"
	"time"
)

// wire is what a Conn reads and writes: a TCP connection, or a stream in one.
type wire interface {
	net.Conn
	CloseWrite() error
}

// Nested returns a connection for what runs inside another one: TLS after CONNECT, say. stream carries its
// bytes: raw itself where those are in the clear, the TLS connection over raw, or one stream of HTTP/2 in it.
// pending are bytes of it that were received already; they are given away. raw's own pending bytes are
// those of stream, if that is raw.
//
// It has the number, specification and addresses of raw and is a connection in every other way: it peeks,
// corks, counts and has hooks by itself, and its time begins now. Deadlines are stream's. Closing it closes
// stream, and with that raw unless stream is one of several; closing raw closes it. If stream has no
// CloseWrite, ending the sending direction ends both.
func Nested(raw *Conn, stream net.Conn, pending []byte) *Conn {
	c := &Conn{id: raw.id, tcp: raw.tcp, parent: raw, spec: raw.spec, remote: raw.remote, local: raw.local,
		accepted: time.Now(), watching: true, pending: pending}
	c.read.Store(int64(len(pending)))
	if half, ok := stream.(wire); ok {
		c.wire = half
	} else {
		c.wire = whole{stream}
	}
	raw.hookMu.Lock()
	open := !raw.closed.Load()
	if open {
		if raw.inner == nil {
			raw.inner = map[*Conn]struct{}{}
		}
		raw.inner[c] = struct{}{}
	}
	raw.hookMu.Unlock()
	if !open {
		_ = c.Close() // of a connection that is gone there is nothing to tell
		return c
	}
	c.OnClose(func() {
		raw.hookMu.Lock()
		delete(raw.inner, c)
		raw.hookMu.Unlock()
	})
	return c
}

// whole is a stream that cannot end one direction alone.
type whole struct{ net.Conn }

// CloseWrite closes both directions.
func (w whole) CloseWrite() error { return w.Conn.Close() }

// Parent returns what c is nested in; nil for accepted connections.
func (c *Conn) Parent() *Conn { return c.parent }

// Direct returns the TCP connection if c's bytes are that one's, for splicing: what Buffered returned goes
// first, nothing may be corked, and the counters stand still from then on. Nil if anything lies between.
func (c *Conn) Direct() *net.TCPConn {
	switch w := c.wire.(type) {
	case *net.TCPConn:
		return w
	case *Conn:
		return w.Direct()
	}
	return nil
}

// Buffered takes the bytes out that were received and not yet read, also those that wait in a plain
// connection below. It belongs to the goroutine that reads. What it returns is the caller's.
func (c *Conn) Buffered() []byte {
	out := append([]byte(nil), c.pending...)
	c.release()
	c.frame = framer{}
	if below, ok := c.wire.(*Conn); ok {
		out = append(out, below.Buffered()...)
	}
	return out
}

// closeNested closes the connections inside one that is closed.
func (c *Conn) closeNested(inner map[*Conn]struct{}) {
	for n := range inner {
		_ = n.Close() // their streams are gone
	}
}
