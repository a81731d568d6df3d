package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Bounds of the peek. A post-quantum hello takes about 1.8 KiB and exceeds a packet; maxHello is what
// crypto/tls reads, too, and raw bytes may exceed it by the headers of the records.
const (
	peekBuffer = 4 << 10
	maxHello   = 64 << 10
	maxRaw     = maxHello + 16<<10
	maxRecord  = 16 << 10 // RFC 8446 section 5.1
	headerLen  = 5
)

// peekPool holds *[]byte of peekBuffer length. A pool is no state: it only saves allocations.
var peekPool = sync.Pool{New: func() any { b := make([]byte, peekBuffer); return &b }}

func getPeekBuffer() *[]byte { return peekPool.Get().(*[]byte) }

// putPeekBuffer keeps buffers of the usual size and leaves grown ones to the collector.
func putPeekBuffer(b *[]byte) {
	if cap(*b) == peekBuffer {
		*b = (*b)[:peekBuffer]
		peekPool.Put(b)
	}
}

// PeekError says why there is no ClientHello. Protocol is what the first bytes look like.
type PeekError struct {
	Code     diag.Code // NotTLS, PlaintextOnTLSPort, ClosedBeforeHello, ClosedInHandshake, HandshakeTimeout, HelloMalformed, HelloTooLarge, PeerAlert, TLSVersionTooLow (SSL 2), ProxyHeaderUnwanted; of ReadProxyHeader: see there
	Protocol Protocol
	Detail   string // one sentence for the log
	Head     []byte // the first bytes, at most 64; for answers, not for logs
	Err      error  // of reading; may be nil
}

// Error implements error with the sentence for the log.
func (e *PeekError) Error() string { return e.Detail }

// Unwrap returns the error of reading.
func (e *PeekError) Unwrap() error { return e.Err }

// PeekHello reads until the ClientHello is complete, over as many segments and records as it takes,
// and parses it. The bytes remain to be read. It waits as long as the connection's read deadline
// allows; set one. The error is always a *PeekError. It must come before any Read; calling it again says
// the same.
func (c *Conn) PeekHello() (*Hello, error) {
	p := c.peeker()
	hello, err := p.run()
	c.pending, c.pooled = p.buf[:p.n], p.pooled
	if p.n == 0 {
		c.release()
	}
	if err != nil {
		return nil, err
	}
	c.frame.on = true
	return hello, nil
}

// peeker returns a peek that begins with what is pending.
func (c *Conn) peeker() peeker {
	if c.pooled != nil && cap(*c.pooled) == cap(c.pending) { // of an earlier peek, from its first byte
		return peeker{conn: c, buf: (*c.pooled)[:cap(*c.pooled)], pooled: c.pooled, n: len(c.pending)}
	}
	if len(c.pending) > peekBuffer {
		return peeker{conn: c, buf: c.pending, n: len(c.pending)}
	}
	buf := getPeekBuffer()
	return peeker{conn: c, buf: *buf, pooled: buf, n: copy(*buf, c.pending)}
}

// peeker is the state of one peek: raw bytes in buf[:n], of which records up to next have been
// looked at; the handshake message, if it spans records, in msg.
type peeker struct {
	conn    *Conn
	buf     []byte
	pooled  *[]byte // nil once buf has outgrown it
	n       int
	next    int    // where the next record begins
	records int    // complete ones so far
	msg     []byte // fragments of all complete records
}

// run reads and looks until the message is complete.
func (p *peeker) run() (*Hello, error) {
	for {
		done, err := p.look()
		if err != nil {
			return nil, err
		}
		if done {
			break
		}
		if err := p.fill(); err != nil {
			return nil, err
		}
	}
	size := 4 + int(p.msg[1])<<16 + int(p.msg[2])<<8 + int(p.msg[3])
	hello, err := ParseHello(p.msg[:size])
	if err != nil {
		return nil, p.fail(diag.HelloMalformed, ProtocolTLS, err.Error(), nil)
	}
	hello.Records = p.records
	return hello, nil
}

// look examines what has arrived; done says that the handshake message is complete.
func (p *peeker) look() (done bool, err error) {
	if p.n == 0 {
		return false, nil
	}
	if p.records == 0 {
		proto, more := Sniff(p.buf[:p.n])
		if more {
			return false, nil
		}
		if proto != ProtocolTLS {
			return false, p.refuse(proto)
		}
	}
	for p.n-p.next >= headerLen {
		head := p.buf[p.next : p.next+headerLen]
		size := int(head[3])<<8 | int(head[4])
		switch {
		case head[0] == recordAlert && p.records == 0:
			return false, p.fail(diag.PeerAlert, ProtocolTLS, "the client sent a TLS alert instead of a ClientHello", nil)
		case head[0] != recordHandshake || head[1] != 3:
			return false, p.fail(diag.HelloMalformed, ProtocolTLS, "another record interrupts the ClientHello", nil)
		case size == 0 || size > maxRecord:
			return false, p.fail(diag.HelloMalformed, ProtocolTLS, "a record of the ClientHello has a length outside 1–16384", nil)
		}
		if p.n-p.next < headerLen+size {
			return false, nil
		}
		done, err := p.add(p.buf[p.next+headerLen : p.next+headerLen+size])
		p.next += headerLen + size
		if done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// add takes the fragment of a complete record.
func (p *peeker) add(fragment []byte) (done bool, err error) {
	p.records++
	if p.records == 1 {
		p.msg = fragment // no copy in the usual case; later appends must not write into buf
		p.msg = p.msg[:len(p.msg):len(p.msg)]
	} else {
		p.msg = append(p.msg, fragment...)
	}
	if p.msg[0] != typeClientHello {
		return false, p.fail(diag.HelloMalformed, ProtocolTLS, "the first handshake message is no ClientHello", nil)
	}
	if len(p.msg) < 4 {
		return false, nil
	}
	size := 4 + int(p.msg[1])<<16 + int(p.msg[2])<<8 + int(p.msg[3])
	if size > maxHello {
		return false, p.fail(diag.HelloTooLarge, ProtocolTLS, "the ClientHello is larger than 64 KiB", nil)
	}
	return len(p.msg) >= size, nil
}

// fill reads once, growing the buffer when it is full.
func (p *peeker) fill() error {
	if p.n == len(p.buf) {
		if p.n >= maxRaw {
			return p.fail(diag.HelloTooLarge, ProtocolTLS, "the ClientHello's records are larger than 80 KiB together", nil)
		}
		grown := make([]byte, min(4*len(p.buf), maxRaw))
		copy(grown, p.buf)
		if p.records == 1 { // msg lies in the buffer that is given back
			p.msg = append([]byte(nil), p.msg...)
		}
		if p.pooled != nil {
			putPeekBuffer(p.pooled)
			p.pooled = nil
		}
		p.buf = grown
	}
	n, err := p.conn.wire.Read(p.buf[p.n:])
	p.n += n
	p.conn.read.Add(int64(n))
	if n > 0 || err == nil {
		return nil
	}
	return p.ended(err)
}

// ended makes the reason from a failed read.
func (p *peeker) ended(err error) error {
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case p.n == 0 && timeout:
		return p.fail(diag.ClosedBeforeHello, ProtocolNone, "the peer sent nothing within the handshake timeout", err)
	case p.n == 0:
		return p.fail(diag.ClosedBeforeHello, ProtocolNone, "the peer closed without sending anything", err)
	}
	if p.buf[0] != recordHandshake {
		proto, _ := Sniff(p.buf[:p.n])
		return p.refuse(proto)
	}
	if timeout {
		return p.fail(diag.HandshakeTimeout, ProtocolTLS, "the ClientHello was not complete within the handshake timeout", err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || isReset(err) {
		return p.fail(diag.ClosedInHandshake, ProtocolTLS, "the peer closed in the middle of its ClientHello", err)
	}
	return p.fail(diag.ClosedInHandshake, ProtocolTLS, "reading the ClientHello failed", err)
}

// refuse makes the reason for another protocol than TLS.
func (p *peeker) refuse(proto Protocol) error {
	switch proto {
	case ProtocolHTTP, ProtocolHTTP2:
		return p.fail(diag.PlaintextOnTLSPort, proto, "the client spoke "+string(proto)+" without TLS", nil)
	case ProtocolSSL2:
		return p.fail(diag.TLSVersionTooLow, proto, "the client sent an SSL 2 hello; no version of TLS is in it", nil)
	case ProtocolPROXY:
		return p.fail(diag.ProxyHeaderUnwanted, proto, "the connection began with a PROXY header, which this port does not take", nil)
	case ProtocolUnknown, ProtocolNone:
		return p.fail(diag.NotTLS, ProtocolUnknown, "the first bytes are no TLS record and of no protocol known here", nil)
	}
	return p.fail(diag.NotTLS, proto, "the client spoke "+string(proto)+" instead of TLS", nil)
}

func (p *peeker) fail(code diag.Code, proto Protocol, detail string, err error) *PeekError {
	head := append([]byte(nil), p.buf[:min(p.n, 64)]...)
	return &PeekError{Code: code, Protocol: proto, Detail: detail, Head: head, Err: err}
}
