package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// A request is sent again as long as nothing of an answer was passed on, its body is at hand as far as it
// was taken, and one of these holds:
//   - the upstream has proved not to have looked at it: no stream could be opened, REFUSED_STREAM, or
//     GOAWAY before it (RFC 9113 section 8.7);
//   - a kept connection died before any byte of an answer, and doing it twice does no harm (RFC 9110
//     section 9.2.2);
//   - the route says so (ir.Retry).
//
// Where the pool's settings bound the retries in progress (ir.Pool.MaxRetries), whatever was sent once counts
// until the head of the last answer is there; beyond the bound the failure at hand is the answer.

// Bounds of repetitions that no route asked for.
const (
	maxUnopened    = 3
	maxUnprocessed = 2
)

// defaultBackoff is the pause before the first repetition that a route asked for.
const defaultBackoff = 25 * time.Millisecond

// tries is what is known of the tries of one request so far.
type tries struct {
	of          *upstream.Upstream
	retry       *ir.Retry
	made        int // repetitions that retry allowed
	unopened    int
	unprocessed int
	fresh       bool
	notConn     *mux.Conn
	notEndpoint *upstream.Endpoint
	counted     bool // among the upstream's retries in progress
}

// begin counts the request among the upstream's retries in progress. It returns false if they are too many.
func (t *tries) begin() bool {
	t.counted = t.counted || t.of.BeginRetry()
	return t.counted
}

// end is called when no further repetition can follow.
func (t *tries) end() {
	if t.counted {
		t.of.EndRetry()
	}
}

// replayable says whether it is worth keeping what is sent of a long body.
func (x *exchange) replayable() bool {
	return x.route.IR.Retry != nil || x.up.lent().H2 != nil
}

// verdict is what becomes of a request after a try.
type verdict uint8

const (
	enough   verdict = iota // the try's result stands
	repeat                  // it is sent again
	answered                // neither: the client was answered, or is gone
)

// again says whether the request is sent once more, after err or, where that is nil, an answer with which
// the route is not satisfied, and prepares for it.
func (x *exchange) again(t *tries, err error) verdict {
	var client *clientError
	if x.headed || x.sent.lost.Load() || len(x.Request.Upgrade) > 0 || errors.As(err, &client) ||
		x.task.watch.why() == endGone || x.task.watch.why() == endDrain ||
		x.total != 0 && x.client.p.now() >= x.total || x.upload != nil && x.upload.failed() != nil {
		return enough
	}
	var pause time.Duration
	var never *unopened
	switch {
	case errors.As(err, &never):
		if t.unopened++; t.unopened > maxUnopened {
			return enough
		}
		t.notConn = x.up.lent().H2
	case x.up != nil && errors.Is(err, mux.ErrRefused) && (t.retry == nil || !t.allows(ir.RetryRefusedStream)):
		if t.unprocessed++; t.unprocessed > maxUnprocessed {
			return enough
		}
		t.notConn, t.notEndpoint = x.up.lent().H2, x.up.lent().Endpoint
	case x.staleConnection(t, err):
		t.fresh = true
	case t.retry != nil && t.made < t.retry.Attempts && x.wanted(t, err):
		pause = t.backoff()
		t.made++
		if x.up != nil {
			t.notEndpoint = x.up.lent().Endpoint
		}
		t.fresh = err != nil
	default:
		return enough
	}
	if never == nil && !t.begin() {
		return enough
	}
	switch {
	case !x.withdraw(err == nil):
		x.clientGone()
	case x.sent.lost.Load():
		x.refuse(diag.UpstreamReset, "the upstream failed, and more of the body came meanwhile than is kept for repeating")
	case !x.pause(pause):
		x.interrupted()
	default:
		return repeat
	}
	return answered
}

// staleConnection reports whether a kept connection died under a request that may be repeated.
func (x *exchange) staleConnection(t *tries, err error) bool {
	if t.fresh || x.up == nil || !x.up.lent().Reused || x.up.lent().H2 != nil || x.answered || x.upload != nil || x.task.watch.why() != 0 {
		return false
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		return false
	}
	switch string(x.Request.Method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

func (t *tries) allows(c ir.RetryCondition) bool { return slices.Contains(t.retry.On, c) }

func (t *tries) allowsAny(list ...ir.RetryCondition) bool {
	return slices.ContainsFunc(list, t.allows)
}

// wanted reports whether the route asks for a repetition after err; an answer (err nil) has been judged.
func (x *exchange) wanted(t *tries, err error) bool {
	if err == nil {
		return true
	}
	if t.allowsAny(ir.RetryServerError, ir.RetryGatewayError, ir.RetryReset) {
		return true
	}
	var unreachable *upstream.Error
	switch {
	case errors.As(err, &unreachable):
		return t.allows(ir.RetryResetBefore) ||
			t.allows(ir.RetryConnectFailure) && unreachable.Code != diag.UpstreamPoolOverflow && unreachable.Code != diag.UpstreamRequestLimit
	case errors.Is(err, mux.ErrRefused):
		return t.allowsAny(ir.RetryRefusedStream, ir.RetryResetBefore)
	case x.task.watch.why() == endTime:
		return t.allows(ir.RetryTryTimeout) && x.until != x.total
	}
	return false
}

// dissatisfied reports whether the route asks for a repetition because of the answer's head.
func (x *exchange) dissatisfied(t *tries) bool {
	if t.retry == nil || t.made >= t.retry.Attempts {
		return false
	}
	status := x.resp.Status
	switch {
	case status >= 500 && t.allows(ir.RetryServerError), status >= 502 && status <= 504 && t.allows(ir.RetryGatewayError),
		status == 409 && t.allows(ir.RetryRetriable4xx):
		return true
	case t.allows(ir.RetryStatuses) && slices.Contains(t.retry.Statuses, status):
		return true
	}
	value, ok := x.resp.Fields.Get(message.GRPCStatus)
	if !ok {
		return false
	}
	switch string(value) {
	case "1":
		return t.allows(ir.RetryCancelled)
	case "4":
		return t.allows(ir.RetryDeadlineExceeded)
	case "8":
		return t.allows(ir.RetryExhausted)
	case "13":
		return t.allows(ir.RetryInternal)
	case "14":
		return t.allows(ir.RetryUnavailable)
	}
	return false
}

// withdraw ends the use of the present upstream, keeping the client's body where it is. It returns false
// if the client has failed meanwhile.
func (x *exchange) withdraw(answered bool) bool {
	if x.up != nil && answered && x.upload == nil && x.up.over() {
		x.up.giveBack(true)
		x.up = nil
	}
	x.dropUpstream()
	if !x.pauseUpload() {
		return false
	}
	x.muxed.close()
	if x.task.watch.why() != 0 {
		x.task.watch.recover()
	}
	x.resp.Reset()
	return true
}

// backoff returns the pause before the next repetition: random, up to a bound that doubles each time, but
// not beyond tenfold.
func (t *tries) backoff() time.Duration {
	base := t.retry.Backoff
	if base <= 0 {
		base = defaultBackoff
	}
	bound := min(base<<min(t.made, 10), 10*base)
	return time.Duration(rand.Int64N(int64(bound) + 1))
}

// pause waits. It returns false if the client went away meanwhile, or the route's time ran out.
func (x *exchange) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-x.task.wake: // of an earlier exchange
	default:
	}
	if !x.task.watch.arm(waitFilter, 0, x.total) {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-x.task.wake:
	}
	return x.task.watch.disarm()
}
