package listen

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// ReadProxyHeader takes the PROXY header from the beginning of a connection; Remote is the client's address
// from then on. It must come before anything else is read, and before others know the connection. It waits
// at most for d. believed says whose header is taken; nil: everybody's.
//
// The error is always a *PeekError: ProxyHeaderMissing, ProxyHeaderMalformed, ProxyHeaderUntrusted or
// ClosedBeforeHello. Of a connection that begins with something else nothing has been read.
func (c *Conn) ReadProxyHeader(d time.Duration, believed func(netip.Addr) bool) (ProxyHeader, error) {
	if believed != nil && !believed(c.peer.Addr()) {
		return ProxyHeader{}, &PeekError{Code: diag.ProxyHeaderUntrusted, Detail: c.peer.Addr().String() + " is not among those whose PROXY header is believed"}
	}
	if err := c.tcp.SetReadDeadline(time.Now().Add(d)); err != nil {
		return ProxyHeader{}, &PeekError{Code: diag.ClosedBeforeHello, Detail: "the connection ended before its PROXY header", Err: err}
	}
	h, err := c.takeProxyHeader()
	if err != nil {
		return ProxyHeader{}, err
	}
	if err := c.tcp.SetReadDeadline(time.Time{}); err != nil {
		return ProxyHeader{}, &PeekError{Code: diag.ClosedBeforeHello, Detail: "the connection ended after its PROXY header", Err: err}
	}
	if !h.Local {
		c.remote = h.Source
	}
	return h, nil
}

// takeProxyHeader looks at the first bytes until they are a header, and reads exactly those.
func (c *Conn) takeProxyHeader() (ProxyHeader, error) {
	buf := getPeekBuffer()
	defer putPeekBuffer(buf)
	b := *buf
	for have := 0; ; {
		n, err := peekBytes(c.tcp, b, have)
		if err != nil {
			return ProxyHeader{}, proxyEnded(b[:have], err)
		}
		have = n
		h, size, err := ParseProxyHeader(b[:have])
		switch {
		case errors.Is(err, ErrNoProxyHeader):
			proto, _ := Sniff(b[:have])
			what := string(proto)
			if proto == ProtocolUnknown || proto == ProtocolNone {
				what = "something unknown"
			}
			return ProxyHeader{}, &PeekError{Code: diag.ProxyHeaderMissing, Protocol: proto, Detail: "the connection began with " + what + " instead of a PROXY header", Head: head(b[:have])}
		case err != nil:
			return ProxyHeader{}, &PeekError{Code: diag.ProxyHeaderMalformed, Protocol: ProtocolPROXY, Detail: err.Error(), Head: head(b[:have])}
		case size > 0:
			if err := c.skip(b[:size]); err != nil {
				return ProxyHeader{}, proxyEnded(b[:have], err)
			}
			return h, nil
		case have == len(b): // maxProxyV2 is a little more than the buffer
			b = make([]byte, maxProxyV2)
		}
	}
}

// skip reads the bytes of the header, which are all there.
func (c *Conn) skip(b []byte) error {
	for len(b) > 0 {
		n, err := c.tcp.Read(b)
		if err != nil {
			return err
		}
		c.read.Add(int64(n))
		b = b[n:]
	}
	return nil
}

// proxyEnded makes the reason from a failed read.
func proxyEnded(have []byte, err error) *PeekError {
	switch timeout := errors.Is(err, os.ErrDeadlineExceeded); {
	case len(have) == 0 && !timeout:
		return &PeekError{Code: diag.ClosedBeforeHello, Detail: "the peer closed without sending anything", Err: err}
	case timeout:
		return &PeekError{Code: diag.ProxyHeaderMissing, Protocol: ProtocolPROXY, Detail: fmt.Sprintf("no complete PROXY header came in time, %d bytes of it did", len(have)), Head: head(have), Err: err}
	}
	return &PeekError{Code: diag.ProxyHeaderMalformed, Protocol: ProtocolPROXY, Detail: "the peer closed in the middle of its PROXY header", Head: head(have), Err: err}
}

// head returns a copy of the first bytes, as PeekError keeps them.
func head(b []byte) []byte { return append([]byte(nil), b[:min(len(b), 64)]...) }

// Refuse sends answer, if there is one, and closes the connection in a way that lets it arrive. It blocks for
// at most a second.
func (c *Conn) Refuse(answer []byte) {
	if len(answer) == 0 {
		_ = c.Close() // the peer has nothing to wait for
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(refuseTime))
	if _, err := c.Write(answer); err != nil {
		_ = c.Close()
		return
	}
	_ = c.CloseLinger(refuseBytes, refuseTime)
}

// Bounds of Refuse.
const (
	refuseBytes = 64 << 10
	refuseTime  = 500 * time.Millisecond
)
