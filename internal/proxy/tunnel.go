package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
)

// tunnelIdle is the buffer of a tunnel's direction while little goes over it, in bytes.
const tunnelIdle = 4 << 10

// tunnel passes on a switch of protocols (RFC 9110 section 7.8) and then bytes both ways, until both
// sides have closed, one fails, or nothing has moved for the idle bound. The answer's head is the
// first n of the got bytes in x.reply. It returns an error only if the switch was not passed on.
func (c *conn) tunnel(x *exchange, n, got int) error {
	resp := &x.resp
	if x.req.Upgrade == nil || x.req.Proto == message.HTTP10 {
		return &http1.Error{Code: diag.UpstreamProtocolError, Detail: "the upstream switches protocols without having been asked"}
	}
	http1.RemoveHopByHop(&resp.Fields)
	c.responseFilters(x)
	x.access.Status = resp.Status
	x.out = http1.AppendResponseHead(x.out[:0], resp, message.Body{}, true, false)
	x.out = append(x.out, x.reply[n:got]...)
	x.access.BytesSent = int64(got - n)
	x.headed = true
	if err := c.write(x.out, x.until); err != nil {
		return &clientError{err}
	}
	// From here on both sides speak another protocol: whatever happens, nothing is reused.
	x.keep = false
	early := append([]byte(nil), x.in[x.used:x.filled]...)
	x.used = x.filled
	c.active.Store(c.p.now())
	if !c.watch.arm(waitTunnel, c.p.limits.UpgradeIdle, 0) {
		c.dropUpstream(x)
		return nil
	}
	var up, down atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { c.pump(x.up, c.rw, early, x.up.CloseWrite, &up) })
	c.pump(c.rw, x.up, nil, c.closeWrite, &down)
	wg.Wait()
	x.access.BytesReceived, x.access.BytesSent = up.Load(), x.access.BytesSent+down.Load()
	if c.watch.why() == endTime {
		x.fail(diag.UpgradeIdle, "nothing moved on the upgraded connection for "+c.p.limits.UpgradeIdle.String())
	}
	c.watch.recover()
	c.dropUpstream(x)
	return nil
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

// pump copies one direction of a tunnel. The orderly end of src is passed on as such; an error ends
// both directions.
func (c *conn) pump(dst io.Writer, src net.Conn, early []byte, closeWrite func() error, count *atomic.Int64) {
	if len(early) > 0 {
		if _, err := dst.Write(early); err != nil {
			c.endTunnel()
			return
		}
		count.Add(int64(len(early)))
	}
	buf := make([]byte, tunnelIdle)
	var large *[]byte
	defer func() {
		if large != nil {
			c.p.spare.larges.Put(large)
		}
	}()
	for {
		b := buf
		if large != nil {
			b = *large
		}
		n, err := src.Read(b)
		if n > 0 {
			c.active.Store(c.p.now())
			count.Add(int64(n))
			if _, err := dst.Write(b[:n]); err != nil {
				c.endTunnel()
				return
			}
			switch { // a busy direction gets a large buffer, for as long as it is busy
			case large == nil && n == len(buf):
				large = c.p.spare.larges.Get().(*[]byte)
			case large != nil && n < len(buf):
				c.p.spare.larges.Put(large)
				large = nil
			}
			continue
		}
		if errors.Is(err, io.EOF) && closeWrite() == nil {
			return
		}
		if err != nil {
			c.endTunnel()
			return
		}
	}
}

// endTunnel wakes both directions.
func (c *conn) endTunnel() {
	past := time.Unix(1, 0)
	_ = c.d.Raw.SetDeadline(past)
	if up := c.up.Load(); up != nil {
		_ = up.SetDeadline(past)
	}
}
