package proxy

import (
	"errors"
	"io"

	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
)

// relay passes the final answer on. Its head is the first n of the got bytes in x.reply.
func (c *conn) relay(x *exchange, n, got int) {
	resp := &x.resp
	http10 := x.req.Proto == message.HTTP10
	x.replyBody.Reset(resp.Body, c.p.limits.Response)
	http1.RemoveHopByHop(&resp.Fields)
	if !resp.Fields.Names().Has(message.Date) {
		resp.Fields.Append(message.Date, dateName, *c.p.date.Load())
	}
	// An upstream that was asked to expect a body and answers without having said 100 may have passed
	// the body over, or wait for it still: then it would read the body as the next request.
	reusable := resp.KeepAlive && (!x.req.Continue || x.invited)
	c.responseFilters(x)
	framing := resp.Body
	if framing.Kind == message.UntilClose && !http10 {
		framing.Kind = message.Chunked
	}
	x.keep = c.mayKeep(x) && framing.Kind != message.UntilClose && !(http10 && framing.Kind == message.Chunked)
	if x.upload != nil && !x.upload.finished() && (resp.Status >= 400 || x.req.Continue && !x.upload.begun()) {
		// The body is not wanted, or may never come: what follows cannot be told from a request.
		x.keep = false
	}
	x.access.Status = resp.Status
	x.out = http1.AppendResponseHead(x.out[:0], resp, framing, x.keep, http10)
	if err := c.relayBody(x, x.reply[n:got], framing.Kind == message.Chunked && !http10, reusable); err != nil {
		c.upstreamFailed(x, err)
		return
	}
	if !x.keep {
		c.close = closeLinger
	}
}

// dateName is only read.
var dateName = []byte("Date")

// relayBody passes on the body, whose first bytes are rest, and the head that is in x.out. The
// upstream's connection is given back before the last bytes are written to the client.
func (c *conn) relayBody(x *exchange, rest []byte, chunked, reusable bool) error {
	defer c.dropLarge(x)
	for {
		done, left, err := c.takePayload(x, rest, chunked)
		if err != nil {
			return err
		}
		if done {
			c.finish(x, reusable && left == 0)
			if chunked {
				x.out = http1.AppendLastChunk(x.out, x.replyBody.Trailers())
			}
			return c.flush(x)
		}
		if err := c.flush(x); err != nil {
			return err
		}
		buf := x.reply
		if left := x.replyBody.Remaining(); x.large == nil && (left < 0 || left > int64(len(buf))) {
			x.large = c.p.spare.larges.Get().(*[]byte)
		}
		if x.large != nil {
			buf = *x.large
		}
		n, err := c.readUpstream(x, buf)
		if n == 0 && err != nil {
			if !errors.Is(err, io.EOF) {
				return err
			}
			if err := x.replyBody.End(); err != nil {
				return err
			}
			c.finish(x, false)
			if chunked {
				x.out = http1.AppendLastChunk(x.out, nil)
			}
			return c.flush(x)
		}
		rest = buf[:n]
	}
}

// takePayload moves the payload among rest to x.out, or straight to the client where that saves a copy.
// left is what followed the end of the body.
func (c *conn) takePayload(x *exchange, rest []byte, chunked bool) (done bool, left int, err error) {
	for !x.replyBody.Done() {
		if len(rest) == 0 {
			return false, 0, nil
		}
		payload, n, _, err := x.replyBody.Next(rest)
		if err != nil {
			return false, 0, err
		}
		rest = rest[n:]
		x.access.BytesSent += int64(len(payload))
		if chunked || len(x.out)+len(payload) <= outSize {
			x.out = appendPayload(x.out, payload, chunked)
			continue
		}
		if err := c.flush(x); err != nil {
			return false, 0, err
		}
		if err := c.write(payload, x.until); err != nil {
			return false, 0, &clientError{err}
		}
	}
	return true, len(rest), nil
}

// flush sends x.out to the client. Until the first flush the answer can still be replaced.
func (c *conn) flush(x *exchange) error {
	if len(x.out) == 0 {
		return nil
	}
	x.headed = true
	err := c.write(x.out, x.until)
	x.out = x.out[:0]
	if err != nil {
		return &clientError{err}
	}
	return nil
}

// finish gives the upstream's connection back, or closes it if it is in doubt: after an answer that
// came before the request had been sent, nobody knows what the upstream has read.
func (c *conn) finish(x *exchange, reusable bool) {
	if x.upload != nil && !c.joinUpload(x) {
		x.keep, reusable = false, false
	}
	if x.up == nil {
		return
	}
	sound := c.watch.disarm()
	if !sound {
		c.watch.recover()
	}
	c.up.Store(nil)
	if reusable && sound {
		x.up.Release()
	} else {
		x.up.Close()
	}
	x.up = nil
}

func (c *conn) dropLarge(x *exchange) {
	if x.large != nil {
		c.p.spare.larges.Put(x.large)
		x.large = nil
	}
}
