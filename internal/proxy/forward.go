package proxy

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// maxInterim bounds the 1xx answers to one request.
const maxInterim = 32

// forward sends the request to an upstream and relays the answer, repeating it where that is allowed: see
// retry.go.
func (x *exchange) forward(u *upstream.Upstream) {
	req := x.Request
	if u.Steered() {
		u = x.steered(u)
	}
	x.access.Upstream = u.Name
	if len(req.Authority) == 0 { // HTTP/1.0 without Host
		req.Authority = x.Peer.Local.AppendTo(req.Fields.Reserve(56))
	}
	if !req.Continue {
		req.Fields.DelID(message.Expect)
	}
	if len(req.Upgrade) > 0 {
		x.wsKey, _ = req.Fields.Get(message.SecWebSocketKey)
	}
	if !x.translate(u) {
		return
	}
	if err := x.gather(); err != nil {
		x.refuseError(err)
		return
	}
	if x.exert(u) && x.up != nil { // else it was a tunnel
		x.relay()
	}
}

// exert sends the request, repeatedly where that is allowed, until the head of an answer is there. It returns
// false if there is none; then the client has been answered.
func (x *exchange) exert(u *upstream.Upstream) bool {
	tries := tries{retry: x.route.IR.Retry, of: u}
	defer tries.end()
	for {
		x.limitTry()
		err := x.connect(u, &tries)
		if err == nil {
			err = x.try()
			x.noteOutcome(&tries, err)
			if err == nil && (x.up == nil || !x.dissatisfied(&tries)) {
				return true
			}
		}
		switch x.again(&tries, err) {
		case repeat:
			continue
		case answered:
			return false
		}
		if err != nil {
			x.upstreamFailed(err)
		}
		return err == nil
	}
}

// limitTry sets the deadline of a try.
func (x *exchange) limitTry() {
	x.until = x.total
	if t := x.route.IR.BackendTimeout; t > 0 {
		try := int64((time.Since(x.client.p.base) + t) / time.Millisecond)
		if x.until == 0 || try < x.until {
			x.until = try
		}
	}
}

// try sends the request and waits for the answer.
func (x *exchange) try() error {
	err := x.send()
	if err == nil || refusedEarly(err) {
		err = x.awaitAnswer()
	}
	return err
}

// refusedEarly reports whether err is what sending meets when the upstream has ended. Who refuses early ends
// after the answer, which may be there already.
func refusedEarly(err error) bool {
	var reset *mux.ResetError
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.As(err, &reset) && reset.Remote
}

// gather takes what is there of the body, so that it leaves with the head, and a malformed one never.
func (x *exchange) gather() error {
	for {
		piece, err := x.down.arrived()
		if err != nil {
			return err
		}
		if piece == nil {
			return nil
		}
		x.access.BytesReceived += int64(len(piece))
		if err := x.bounded(); err != nil {
			return err
		}
		if piece, err = x.inbound(piece, x.down.whole()); err != nil {
			return err
		}
		if !x.sent.take(x.task, piece) {
			x.sent.held = piece
			return nil
		}
	}
}

// bounded checks a body that has no declared length against the bound.
func (x *exchange) bounded() error {
	if limit := x.client.p.limits.MaxRequestBody; limit > 0 && x.access.BytesReceived > limit {
		return &http1.Error{Code: diag.RequestBodyTooLarge, Detail: "the body is over the bound"}
	}
	return nil
}

func malformedBody(detail string) error {
	return &http1.Error{Code: diag.RequestMalformed, Detail: detail}
}

// refuseError answers with the reason of a malformed body.
func (x *exchange) refuseError(err error) {
	if code, detail, ok := refusal(err); ok {
		x.refuse(code, detail)
		return
	}
	x.refuse(diag.RequestMalformed, err.Error())
}

// refusal returns the reason that a codec gave.
func refusal(err error) (code diag.Code, detail string, ok bool) {
	var one *http1.Error
	if errors.As(err, &one) {
		return one.Code, one.Detail, true
	}
	var two *http2.Error
	if errors.As(err, &two) {
		return two.Code, two.Detail, true
	}
	return 0, "", false
}

// connect gives the exchange an upstream. The error is errInterrupted or an *upstream.Error.
func (x *exchange) connect(u *upstream.Upstream, t *tries) error {
	p := x.client.p
	q := upstream.Query{Shard: uint32(x.client.d.Raw.ID()), Fresh: t.fresh, NotConn: t.notConn, NotEndpoint: t.notEndpoint, Into: &x.muxed.space, For: x.task,
		HTTP2: x.Request.Proto == message.HTTP2, HTTP1: len(x.Request.Upgrade) > 0}
	q.Body = x.sent.n > 0 || x.sent.held != nil || !x.down.whole() || len(x.Request.Upgrade) > 0
	if u.NeedsHost() {
		q.Host = string(x.Request.Host)
	}
	if u.Steered() {
		q.Choice = &x.choice
	}
	if x.until != 0 {
		q.Until = p.base.Add(time.Duration(x.until) * time.Millisecond)
	}
	if !x.task.watch.arm(waitConnect, 0, 0) { // q.Until bounds it
		return errInterrupted
	}
	up, err := u.Get(q)
	if err != nil {
		if !x.task.watch.disarm() {
			return errInterrupted
		}
		return err
	}
	x.noteConn(up)
	if up.H2 != nil {
		x.access.UpstreamProto = message.HTTP2.String()
		x.speakHTTP2(up)
	} else {
		x.access.UpstreamProto = message.HTTP11.String()
		x.speakHTTP1(up)
	}
	return nil
}

// send sends the head with what is there of the body and, if that is not all, begins to pass on the
// rest.
func (x *exchange) send() error {
	x.asked = time.Since(x.client.p.base)
	x.answered = false
	w := &x.task.watch
	whole := x.down.whole() && x.sent.held == nil
	body := x.sent.kept()
	err := x.sendHead(whole && len(body) == 0 && x.down.trailers().Len() == 0)
	if err != nil {
		return err
	}
	x.access.Attempts++
	if whole {
		return x.up.end(w, body, x.down.trailers())
	}
	if err := x.up.write(w, body, false); err != nil {
		return err
	}
	x.startUpload()
	return nil
}

// awaitAnswer waits for the head of the final answer. Interim answers are passed on. If the answer was
// a switch of protocols the tunnel is over, and the exchange has no upstream any more.
func (x *exchange) awaitAnswer() error {
	for interim := 0; ; interim++ {
		if err := x.up.answer(); err != nil {
			return err
		}
		switch {
		case x.resp.Status == 101:
			x.noteHead()
			return x.tunnel()
		case x.resp.Status >= 200:
			x.noteHead()
			if x.resp.Status == 407 && x.up.lent().Absolute() { // asked of us, and nothing the client could give
				x.access.ConnectStatus = 407
				return &http1.Error{Code: diag.ProxyAuthRequired, Detail: "the proxy " + x.access.Proxy + " at " + x.access.ProxyAddress + " answered the request with 407"}
			}
			if x.opens(x.resp.Status) {
				return &http1.Error{Code: diag.UpstreamNoWebSocket, Detail: fmt.Sprintf("%s answered the WebSocket's upgrade with %d and without switching protocols",
					x.up.lent().Endpoint.Text, x.resp.Status)}
			}
			return nil
		case interim == maxInterim:
			return &http1.Error{Code: diag.UpstreamProtocolError, Detail: "more interim answers than the bound"}
		}
		x.invited = x.invited || x.resp.Status == 100
		if x.resp.Status == 100 && !x.Request.Continue {
			continue
		}
		http1.RemoveHopByHop(&x.resp.Fields)
		if err := x.down.interim(&x.resp); err != nil {
			return err
		}
	}
}

// patient says whether a wait for the upstream whose time is over goes on, since the client's body moves.
func (x *exchange) patient() bool {
	return x.upload != nil && x.task.watch.why() == endTime && x.upload.moved() &&
		!(x.until != 0 && x.client.p.now() >= x.until)
}

// dropUpstream ends the use of the upstream before its answer was complete.
func (x *exchange) dropUpstream() {
	if x.up != nil && x.reads == nil { // else it is the pump's: see cachefill.go
		x.up.cancel()
		x.up = nil
	}
}

// upstreamFailed ends an exchange whose answer cannot be had, or not to its end: with an answer of our
// own, or by cutting the one at hand.
func (x *exchange) upstreamFailed(err error) {
	var client *clientError
	var refused *http1.Error
	var unreachable *upstream.Error
	switch {
	case errors.As(err, &client):
		x.dropUpstream()
		x.writeFailed()
	case x.task.watch.why() != 0:
		x.interrupted()
	case x.upload != nil && x.upload.failed() != nil:
		x.uploadFailed()
	case errors.As(err, &unreachable):
		x.unreachable(unreachable)
	case errors.As(err, &refused):
		x.dropUpstream()
		x.refuse(refused.Code, refused.Detail)
	default:
		e := x.up.explain(err)
		if x.headed && e.Code == diag.UpstreamClosedEarly {
			e.Code = diag.UpstreamBodyTruncated
		}
		detail := e.Error()
		var reset *mux.ResetError
		if errors.As(err, &reset) && reset.Remote {
			x.reset, x.fate = true, reset.Code
		}
		if x.reset && x.fate == http2.Cancel && x.overdue() { // the same deadline has passed there
			e.Code, detail = diag.UpstreamTimeout, x.call.ranOut()
		}
		x.dropUpstream()
		x.refuse(e.Code, detail)
	}
	x.stopUpload()
}

// unreachable answers a request for which there is no connection.
func (x *exchange) unreachable(e *upstream.Error) {
	if e.Endpoint.IsValid() {
		x.access.Endpoint, x.access.Server = e.Endpoint.String(), e.Server
	}
	x.noteWay(e.Via)
	detail := e.Error()
	if x.until != 0 && time.Since(x.client.p.base).Milliseconds() >= x.until {
		x.refuse(diag.UpstreamTimeout, x.timeUp()+": "+detail)
		return
	}
	x.refuse(e.Code, detail)
}

// interrupted ends an exchange whose wait was ended from outside.
func (x *exchange) interrupted() {
	why := x.task.watch.why()
	x.task.watch.recover()
	x.dropUpstream()
	switch {
	case why == endGone:
		x.clientGone()
	case x.until != 0 && x.client.p.now() >= x.until:
		x.refuse(diag.UpstreamTimeout, x.timeUp())
	case why == endDrain:
		x.refuse(diag.Draining, drainCut)
	default:
		x.refuse(diag.UpstreamSilent, "nothing came from the upstream for "+x.client.p.limits.UpstreamIdle.String())
	}
}
