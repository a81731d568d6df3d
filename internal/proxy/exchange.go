package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/requestid"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Sizes of buffers, in bytes. Those that grew beyond kept are not pooled.
const (
	headSize  = 4 << 10  // request heads, grows
	reply     = 16 << 10 // answers' heads and bodies
	outSize   = 20 << 10 // what is composed for an HTTP/1 client, grows
	largeSize = 64 << 10 // bodies
	kept      = 64 << 10
)

// exchange is one request with its answer, between a client's end and an upstream's. It belongs to its
// task's goroutine; the buffers of either side belong to the ends.
type exchange struct {
	filter.Exchange
	resp message.Response

	client *client
	task   *task
	down   downstream
	up     origin       // nil: none
	plain  *http1Origin // to speak HTTP/1 with; nil until needed
	muxed  http2Origin  // to speak HTTP/2 with
	call   call
	sent   replay // of the body
	upload *upload
	choice upstream.Choice // of requests for an origin pool

	ran     []filter.Filter // whose Request has run
	route   *route.Route
	started time.Duration // since base: first byte of the request
	asked   time.Duration // since base: request written
	total   int64         // deadline of the route, milliseconds since base; 0: none
	until   int64         // the same, or the earlier one of the try

	state   *State
	own     bool // the answer is ours
	headed  bool // the answer's head has been sent: it cannot be replaced
	access  telemetry.Access
	failing sync.Mutex // guards Code and Detail of access while a body is passed on
	idSpace [36]byte

	typeSpace [96]byte

	fwd      *forwarding // of a forward proxy's request; nil: the listener is none
	fwdSpace *forwarding // for fwd, kept from request to request

	cache      *caching // of a request whose route has a cache; nil: it has none
	cacheSpace *caching // for cache, kept from request to request
	reads      *watch   // of the goroutine that reads the answer; nil: the task's

	decision authz.Decision // of the policies on client certificates
	cookie   []byte         // Set-Cookie line for a client that they let in; nil: none

	wsKey    []byte      // the client's Sec-WebSocket-Key
	lasting  bool        // either side may be silent as long as its connection lives
	invited  bool        // the upstream has said 100: it reads the body
	flowing  atomic.Bool // the final head is on its way to the client
	reset    bool        // the upstream reset its stream, with fate
	fate     http2.ErrorCode
	answered bool // a byte of an answer has come, interim ones included
}

// spares are pools of buffers: no state, they only save allocations.
type spares struct {
	clients sync.Pool // *http1Client
	streams sync.Pool // *http2Client
	origins sync.Pool // *http1Origin
	larges  sync.Pool // *[]byte
}

// init tells bounds of every buffer that is really allocated, so that a burst of bodies is noticed before the
// next look at memory.
func (s *spares) init(bounds *overload.Bounds) {
	s.clients.New = func() any { bounds.Reserve(headSize + outSize); return newHTTP1Client() }
	s.streams.New = func() any { return newHTTP2Client() }
	s.origins.New = func() any { bounds.Reserve(reply); return newHTTP1Origin() }
	s.larges.New = func() any { bounds.Reserve(largeSize); b := make([]byte, largeSize); return &b }
}

// begin prepares for a request of a connection.
func (x *exchange) begin(c *client, t *task, req *message.Request) {
	x.client, x.task = c, t
	x.Exchange = filter.Exchange{Peer: c.d.Peer, Request: req}
	clear(x.ran)
	x.ran, x.route, x.up, x.upload = x.ran[:0], nil, nil, nil
	x.asked, x.total, x.until, x.own, x.headed, x.invited, x.answered = 0, 0, 0, false, false, false, false
	x.wsKey, x.reset, x.fwd, x.cache = nil, false, nil, nil
	x.decision, x.cookie = authz.Decision{}, nil
	x.flowing.Store(false)
	x.access = telemetry.Access{}
}

// quiet returns how long either side of a stream may be silent: d, or without end (0) for a body of unknown
// length in HTTP/2, such as that of a call of gRPC, whose peers PING proves to be alive.
func (x *exchange) quiet(d time.Duration) time.Duration {
	if x.lasting {
		return 0
	}
	return d
}

// settle gives buffers back that only this request needed.
func (x *exchange) settle() {
	x.sent.release(x.task)
	x.muxed.close()
	x.endForward()
	if x.plain != nil {
		x.plain.forget()
	}
}

// dropOrigin gives the end back that speaks HTTP/1.
func (x *exchange) dropOrigin() {
	if x.plain != nil {
		x.plain.x = nil
		x.client.p.spare.origins.Put(x.plain)
		x.plain = nil
	}
}

// release lets go of everything that does not belong to a pooled exchange.
func (x *exchange) release() {
	x.resp.Reset()
	x.Exchange = filter.Exchange{}
	clear(x.ran)
	x.ran, x.route, x.up, x.upload, x.state, x.client, x.task = x.ran[:0], nil, nil, nil, nil, nil, nil
	x.access = telemetry.Access{}
	x.decision, x.cookie = authz.Decision{}, nil
}

// id returns the request's ID. If no filter has seen to it, that is the believed peer's or a new one.
func (x *exchange) id() []byte {
	if len(x.ID) == 0 && x.state != nil {
		x.ID = requestid.Given(&x.Exchange, x.state.trust)
	}
	if len(x.ID) == 0 {
		x.ID = requestid.Append(x.idSpace[:0])
	}
	return x.ID
}

// fail notes why the exchange did not go as asked. The first reason stands, and is returned; what fails on a
// connection that was cut off fails because of that. The goroutine that passes the body on may call it, too.
func (x *exchange) fail(code diag.Code, detail string) diag.Code {
	if code == diag.ClientClosed && x.client.p.cut.Load() {
		code, detail = diag.Draining, drainCut
	}
	if x.client.cutOff.Load() {
		if c, d := x.client.withdrawn(); c != 0 {
			code, detail = c, d
		}
	}
	x.failing.Lock()
	defer x.failing.Unlock()
	if x.access.Code == 0 {
		x.access.Code, x.access.Detail = code, detail
	}
	return x.access.Code
}

// replay is what has been received of a request's body: it is sent in one write with the head, and
// again if the request is repeated. It is bounded by largeSize.
type replay struct {
	buf  *[]byte // from task.large; nil: empty
	n    int
	held []byte      // a piece that did not fit and has not been sent; valid until the next is asked for
	lost atomic.Bool // there was more than is kept
}

// take keeps a piece, and returns false if it does not fit.
func (r *replay) take(t *task, p []byte) bool {
	switch {
	case len(p) == 0:
		return true
	case r.lost.Load():
		return false
	case r.buf == nil:
		r.buf = t.large()
	}
	if r.n+len(p) > len(*r.buf) {
		r.lost.Store(true)
		return false
	}
	r.n += copy((*r.buf)[r.n:], p)
	return true
}

// kept returns what there is, in order.
func (r *replay) kept() []byte {
	if r.n == 0 {
		return nil
	}
	return (*r.buf)[:r.n]
}

// release empties it.
func (r *replay) release(t *task) {
	if r.buf != nil {
		t.putLarge(r.buf)
	}
	r.buf, r.n, r.held = nil, 0, nil
	r.lost.Store(false)
}
