package proxy

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// maxInterim bounds the 1xx answers to one request.
const maxInterim = 32

// forward sends the request to an upstream and relays the answer. A kept connection that dies before
// any byte of the answer is replaced once by a fresh one, if the request may be repeated.
func (c *conn) forward(x *exchange, u *upstream.Upstream) {
	req := &x.req
	x.access.Upstream = u.Name
	if len(req.Authority) == 0 { // HTTP/1.0 without Host
		req.Authority = c.d.Peer.Local.AppendTo(req.Fields.Reserve(56))
	}
	if !req.Continue {
		req.Fields.DelID(message.Expect)
	}
	if err := c.compose(x); err != nil {
		c.refuseError(x, err)
		return
	}
	total := x.until
	for fresh := false; ; fresh = true {
		x.until = total
		if t := x.route.IR.BackendTimeout; t > 0 {
			try := int64((time.Since(c.p.base) + t) / time.Millisecond)
			if x.until == 0 || try < x.until {
				x.until = try
			}
		}
		if !c.connect(x, u, fresh) {
			return
		}
		err := c.send(x)
		if err == nil || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			// An upstream that refuses early closes after its answer, which may be there already.
			n, got, e := c.awaitAnswer(x)
			if n > 0 {
				c.relay(x, n, got)
				return
			}
			err = e
		}
		if err == nil {
			return // ended by an upgrade
		}
		if !fresh && !x.answered && c.repeatable(x, err) {
			c.dropUpstream(x)
			continue
		}
		c.upstreamFailed(x, err)
		return
	}
}

// compose puts the request's head and what is there of its body into x.out.
func (c *conn) compose(x *exchange) error {
	req := &x.req
	x.out = http1.AppendRequestHead(x.out[:0], req, req.Body)
	chunked := req.Body.Kind == message.Chunked
	for !x.body.Done() && x.used < x.filled {
		payload, n, _, err := x.body.Next(x.in[x.used:x.filled])
		if err != nil {
			return err
		}
		x.used += n
		x.access.BytesReceived += int64(len(payload))
		x.out = appendPayload(x.out, payload, chunked)
	}
	if chunked && x.body.Done() {
		x.out = http1.AppendLastChunk(x.out, x.body.Trailers())
	}
	return c.bounded(x)
}

// bounded checks a body that has no declared length against the bound.
func (c *conn) bounded(x *exchange) error {
	if limit := c.p.limits.MaxRequestBody; limit > 0 && x.access.BytesReceived > limit {
		return &http1.Error{Code: diag.RequestBodyTooLarge, Detail: "the body is over the bound"}
	}
	return nil
}

// refuseError answers with the reason of a malformed body.
func (c *conn) refuseError(x *exchange, err error) {
	var e *http1.Error
	if errors.As(err, &e) {
		x.req.KeepAlive = false
		c.refuse(x, e.Code, e.Detail)
		return
	}
	c.refuse(x, diag.RequestMalformed, err.Error())
}

// connect gives the exchange a connection, or answers.
func (c *conn) connect(x *exchange, u *upstream.Upstream, fresh bool) bool {
	q := upstream.Query{Shard: uint32(c.d.Raw.ID()), Fresh: fresh}
	if u.NeedsHost() {
		q.Host = string(x.req.Host)
	}
	if x.until != 0 {
		q.Until = c.p.base.Add(time.Duration(x.until) * time.Millisecond)
	}
	if !c.watch.disarm() {
		c.interrupted(x)
		return false
	}
	up, err := u.Get(q)
	if err != nil {
		var e *upstream.Error
		errors.As(err, &e)
		if e.Endpoint.IsValid() {
			x.access.Endpoint = e.Endpoint.String()
		}
		detail := e.Error()
		if x.until != 0 && time.Since(c.p.base).Milliseconds() >= x.until {
			c.refuse(x, diag.UpstreamTimeout, "the route's timeout ran out: "+detail)
			return false
		}
		c.refuse(x, e.Code, detail)
		return false
	}
	x.up = up
	x.access.Endpoint = up.Endpoint.Text
	c.up.Store(up)
	return true
}

// send writes x.out and, if the body has not all arrived, begins to pass on the rest of it.
func (c *conn) send(x *exchange) error {
	if !c.watch.arm(waitUpstreamWrite, c.p.limits.UpstreamIdle, x.until) {
		return errInterrupted
	}
	x.sent = time.Since(c.p.base)
	if _, err := x.up.Write(x.out); err != nil {
		return err
	}
	if !x.body.Done() {
		c.startUpload(x)
	}
	return nil
}

// awaitAnswer reads until the head of the final answer is parsed. n is its length, got what is in
// x.reply. Interim answers are passed on. Without error n is 0 if the answer was a switch of protocols
// and the tunnel is over.
func (c *conn) awaitAnswer(x *exchange) (n, got int, err error) {
	x.answers.Limits = c.p.limits.Response
	x.answers.Reset()
	for interim := 0; ; {
		if got > 0 {
			if n, err = x.answers.Parse(x.reply[:got], x.req.Method, &x.resp); err != nil {
				return 0, got, err
			}
			switch {
			case n == 0:
			case x.resp.Status == 101:
				x.access.UpstreamTime = time.Since(c.p.base) - x.sent
				return 0, got, c.tunnel(x, n, got)
			case x.resp.Status >= 200:
				x.access.UpstreamTime = time.Since(c.p.base) - x.sent
				return n, got, nil
			default:
				if interim++; interim > maxInterim {
					return 0, got, &http1.Error{Code: diag.UpstreamProtocolError, Detail: "more interim answers than the bound"}
				}
				if err := c.interim(x); err != nil {
					return 0, got, err
				}
				got = copy(x.reply, x.reply[n:got])
				continue
			}
		}
		if got == len(x.reply) {
			grown := make([]byte, 2*len(x.reply))
			copy(grown, x.reply)
			x.reply = grown
		}
		m, err := c.readUpstream(x, x.reply[got:])
		x.answered = x.answered || m > 0
		got += m
		if m == 0 && err != nil {
			return 0, got, err
		}
	}
}

// readUpstream reads from the upstream. As long as the client's body moves there is no haste.
func (c *conn) readUpstream(x *exchange, buf []byte) (int, error) {
	for {
		if !c.watch.arm(waitUpstreamRead, c.p.limits.UpstreamIdle, x.until) {
			return 0, errInterrupted
		}
		n, err := x.up.Read(buf)
		if n > 0 || err == nil {
			return n, nil
		}
		if x.upload == nil || c.watch.why() != endTime || !x.upload.moved() ||
			x.until != 0 && c.p.now() >= x.until {
			return 0, err
		}
		c.watch.recover()
		_ = x.up.SetReadDeadline(time.Time{})
	}
}

// interim passes a 1xx answer on to clients that understand it. 100 goes only to those who wait.
func (c *conn) interim(x *exchange) error {
	x.invited = x.invited || x.resp.Status == 100
	if x.req.Proto == message.HTTP10 || x.resp.Status == 100 && !x.req.Continue {
		return nil
	}
	http1.RemoveHopByHop(&x.resp.Fields)
	x.out = http1.AppendResponseHead(x.out[:0], &x.resp, message.Body{}, true, false)
	if err := c.write(x.out, x.until); err != nil {
		return &clientError{err}
	}
	return nil
}

// clientError is a failure on the client's side of the relay.
type clientError struct{ error }

// repeatable reports whether the request may be sent again: the kept connection died under it before
// any byte of an answer, nothing of the body is gone from x.out, and doing it twice does no harm
// (RFC 9110 section 9.2.2).
func (c *conn) repeatable(x *exchange, err error) bool {
	if !x.up.Reused || x.upload != nil || c.watch.why() != 0 {
		return false
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return false
	}
	switch string(x.req.Method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// dropUpstream closes the upstream connection.
func (c *conn) dropUpstream(x *exchange) {
	if x.up == nil {
		return
	}
	c.up.Store(nil)
	x.up.Close()
	x.up = nil
}

// upstreamFailed ends an exchange whose answer cannot be had, or not to its end: with an answer of our
// own, or by cutting the one at hand.
func (c *conn) upstreamFailed(x *exchange, err error) {
	var client *clientError
	var refused *http1.Error
	switch {
	case errors.As(err, &client):
		c.dropUpstream(x)
		c.writeFailed(x)
	case c.watch.why() != 0:
		c.interrupted(x)
	case x.upload != nil && x.upload.failed() != nil:
		c.uploadFailed(x)
	case errors.As(err, &refused):
		c.dropUpstream(x)
		c.refuse(x, refused.Code, refused.Detail)
	default:
		e := x.up.Explain(err)
		if x.headed && e.Code == diag.UpstreamClosedEarly {
			e.Code = diag.UpstreamBodyTruncated
		}
		detail := e.Error()
		c.dropUpstream(x)
		c.refuse(x, e.Code, detail)
	}
	c.stopUpload(x)
}

// interrupted ends an exchange whose wait was ended from outside.
func (c *conn) interrupted(x *exchange) {
	why := c.watch.why()
	c.watch.recover()
	c.dropUpstream(x)
	switch {
	case why == endGone:
		c.clientGone(x)
	case x.until != 0 && c.p.now() >= x.until:
		c.refuse(x, diag.UpstreamTimeout, "the route's timeout ran out")
	default:
		c.refuse(x, diag.UpstreamTimeout, "no byte of an answer came for "+c.p.limits.UpstreamIdle.String())
	}
}
