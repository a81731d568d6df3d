package proxy

import (
	"slices"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Sizes of buffers, in bytes. Those that grew beyond kept are not pooled.
const (
	headSize  = 4 << 10  // request heads, grows
	reply     = 16 << 10 // answers' heads and bodies
	outSize   = 20 << 10 // what is composed for either side, grows
	largeSize = 64 << 10 // bodies
	kept      = 64 << 10
)

// exchange is one request with its answer and the buffers for both. It belongs to the connection's
// goroutine and comes from a pool.
type exchange struct {
	filter.Exchange
	req  message.Request
	resp message.Response

	in     []byte  // received from the client
	filled int     // bytes in in
	used   int     // bytes of in that belong to this request
	begun  bool    // in holds the one byte that was waited for
	reply  []byte  // received from the upstream
	large  *[]byte // takes the place of reply for long bodies; from spares
	out    []byte  // composed for whoever is written to next

	answers   http1.ResponseParser
	body      http1.BodyReader // of the request
	replyBody http1.BodyReader
	upload    *upload

	ran     []filter.Filter // whose Request has run
	route   *route.Route
	up      *upstream.Conn
	started time.Duration // since base: first byte of the request
	sent    time.Duration // request written
	until   int64         // deadline of the route, milliseconds since base; 0: none

	state   *State
	keep    bool // the client's connection goes on
	headed  bool // the answer's head has been sent: it cannot be replaced
	access  telemetry.Access
	idSpace [36]byte

	invited  bool // the upstream has said 100: it reads the body
	answered bool // a byte of an answer has come, interim ones included
}

// spares are pools of buffers: no state, they only save allocations.
type spares struct {
	exchanges sync.Pool
	larges    sync.Pool
}

func (s *spares) init() {
	s.exchanges.New = func() any {
		x := &exchange{in: make([]byte, headSize), reply: make([]byte, reply), out: make([]byte, 0, outSize)}
		x.replyBody.Response = true
		return x
	}
	s.larges.New = func() any { b := make([]byte, largeSize); return &b }
}

func (s *spares) exchange() *exchange { return s.exchanges.Get().(*exchange) }

func (s *spares) put(x *exchange) {
	x.filled, x.used, x.begun = 0, 0, false
	x.req.Reset()
	x.resp.Reset()
	x.Exchange = filter.Exchange{}
	clear(x.ran)
	x.ran, x.route, x.up, x.upload, x.state = x.ran[:0], nil, nil, nil, nil
	x.access = telemetry.Access{}
	if len(x.in) > kept {
		x.in = make([]byte, headSize)
	}
	if len(x.reply) > kept {
		x.reply = make([]byte, reply)
	}
	if cap(x.out) > kept+outSize {
		x.out = make([]byte, 0, outSize)
	}
	s.exchanges.Put(x)
}

// begin prepares for the next request on a connection.
func (x *exchange) begin(c *conn) {
	x.Exchange = filter.Exchange{Peer: c.d.Peer, Request: &x.req}
	clear(x.ran)
	x.ran, x.route, x.up, x.upload = x.ran[:0], nil, nil, nil
	x.sent, x.until, x.keep, x.headed, x.invited, x.answered = 0, 0, false, false, false, false
	x.access = telemetry.Access{}
}

// next moves what was received beyond the request to the front.
func (x *exchange) next() {
	x.filled = copy(x.in, x.in[x.used:x.filled])
	x.used = 0
}

// growIn makes room for more of a request head.
func (x *exchange) growIn() {
	in := make([]byte, 2*len(x.in))
	copy(in, x.in[:x.filled])
	x.in = in
}

// id returns the request's ID, making one if no filter has.
func (x *exchange) id(fresh func([]byte) []byte) []byte {
	if len(x.ID) == 0 {
		x.ID = fresh(x.idSpace[:0])
	}
	return x.ID
}

// fail notes why the exchange did not go as asked. The first reason stands.
func (x *exchange) fail(code diag.Code, detail string) {
	if x.access.Code == 0 {
		x.access.Code, x.access.Detail = code, detail
	}
}

// appendPayload appends bytes of a body in the framing that kind asks for.
func appendPayload(dst, payload []byte, chunked bool) []byte {
	if len(payload) == 0 {
		return dst
	}
	if !chunked {
		return append(dst, payload...)
	}
	dst = slices.Grow(dst, len(payload)+http1.MaxChunkHead+len(http1.ChunkEnd))
	dst = http1.AppendChunkHead(dst, len(payload))
	dst = append(dst, payload...)
	return append(dst, http1.ChunkEnd...)
}
