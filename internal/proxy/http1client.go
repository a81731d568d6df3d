package proxy

import (
	"errors"
	"io"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
)

// http1Client is the client's end of an exchange on an HTTP/1 connection, with the exchange itself: what
// a connection takes from a pool when a request begins.
type http1Client struct {
	exchange
	req message.Request
	c   *conn

	in     []byte // received
	filled int    // bytes in in
	used   int    // bytes of in that belong to this request
	begun  bool   // in holds the one byte that was waited for

	// Of the request's body.
	body  http1.BodyReader
	large *[]byte // what is received once in is used up; from spares
	rest  []byte  // of large: not yet looked at

	// Of the answer.
	out     []byte // composed
	chunked bool
	endless bool // the body lasts until the connection closes
	keep    bool // the connection goes on
	headLen int  // bytes of the head in out
}

func newHTTP1Client() *http1Client {
	h := &http1Client{in: make([]byte, headSize), out: make([]byte, 0, outSize)}
	h.down = h
	return h
}

func (s *spares) client() *http1Client { return s.clients.Get().(*http1Client) }

func (s *spares) putClient(h *http1Client) {
	h.exchange.release()
	h.req.Reset()
	h.c, h.filled, h.used, h.begun = nil, 0, 0, false
	if len(h.in) > kept {
		h.in = make([]byte, headSize)
	}
	if cap(h.out) > kept+outSize {
		h.out = make([]byte, 0, outSize)
	}
	s.clients.Put(h)
}

// begin prepares for the next request on a connection.
func (h *http1Client) begin(c *conn) {
	h.c = c
	h.exchange.begin(&c.client, &c.task, &h.req)
	h.out, h.chunked, h.endless, h.keep = h.out[:0], false, false, false
	h.headLen = 0
}

// rewind moves what was received beyond the request to the front.
func (h *http1Client) rewind() {
	if h.large != nil {
		h.used, h.filled = 0, 0
		if len(h.rest) > 0 && h.keep {
			if len(h.rest) > len(h.in) {
				h.in = make([]byte, len(h.rest))
			}
			h.filled = copy(h.in, h.rest)
		}
		h.task.putLarge(h.large)
		h.large, h.rest = nil, nil
		return
	}
	h.filled = copy(h.in, h.in[h.used:h.filled])
	h.used = 0
}

// growIn makes room for more of a request head.
func (h *http1Client) growIn() {
	in := make([]byte, 2*len(h.in))
	copy(in, h.in[:h.filled])
	h.in = in
}

// arrived implements downstream.
func (h *http1Client) arrived() ([]byte, error) {
	for !h.body.Done() {
		b := h.rest
		if h.large == nil {
			b = h.in[h.used:h.filled]
		}
		if len(b) == 0 {
			return nil, nil
		}
		piece, n, _, err := h.body.Next(b)
		if err != nil {
			h.req.KeepAlive = false
			return nil, err
		}
		if h.large == nil {
			h.used += n
		} else {
			h.rest = h.rest[n:]
		}
		if len(piece) > 0 {
			return piece, nil
		}
	}
	return nil, nil
}

// next implements downstream.
func (h *http1Client) next(w *watch) ([]byte, bool, error) {
	p := h.client.p
	for {
		piece, err := h.arrived()
		if piece != nil || err != nil {
			return piece, len(h.rest) > 0 && !h.body.Done(), err
		}
		if h.body.Done() {
			return nil, false, io.EOF
		}
		if !w.arm(waitClientRead, p.limits.BodyIdle, 0) {
			return nil, false, clientEnded(w)
		}
		if h.large == nil {
			h.large = h.task.large()
		}
		n, err := h.c.rw.Read(*h.large)
		if n == 0 && err != nil {
			return nil, false, clientEnded(w)
		}
		h.rest = (*h.large)[:n]
	}
}

// clientEnded returns why there is no more of a body.
func clientEnded(w *watch) error {
	if w.why() == endTime {
		return &http1.Error{Code: diag.RequestBodyTimeout, Detail: "no byte of the body came in time"}
	}
	return errClient
}

func (h *http1Client) whole() bool { return h.body.Done() }

func (h *http1Client) trailers() *message.Fields { return h.body.Trailers() }

// mayKeep says whether the client's connection can go on after this answer, as far as is known before
// the body.
func (h *http1Client) mayKeep() bool {
	p := h.client.p
	limit := p.limits.MaxRequests
	return h.req.KeepAlive && !p.draining.Load() && p.calm() && (limit == 0 || h.c.number.Load() < uint64(limit)) && !h.client.orphaned()
}

// skipBody consumes a body that nobody wants, if it has arrived whole.
func (h *http1Client) skipBody() bool {
	for {
		piece, err := h.arrived()
		if err != nil {
			return false
		}
		if piece == nil {
			return h.body.Done()
		}
	}
}

// interim implements downstream. 100 goes only to those who wait.
func (h *http1Client) interim(resp *message.Response) error {
	if h.req.Proto == message.HTTP10 {
		return nil
	}
	h.out = http1.AppendResponseHead(h.out[:0], resp, message.Body{}, true, false)
	err := h.c.write(h.out, h.until)
	h.access.HeadSent += int64(len(h.out))
	h.out = h.out[:0]
	if err != nil {
		return &clientError{err}
	}
	return nil
}

// head implements downstream and decides whether the connection goes on.
func (h *http1Client) head(resp *message.Response, framing message.Body) {
	http10 := h.req.Proto == message.HTTP10
	if framing.Kind == message.NoBody && !framing.Declared && resp.Proto == message.HTTP2 && resp.Status != 204 && resp.Status != 304 &&
		string(h.req.Method) != "HEAD" {
		framing.Kind = message.Sized // HTTP/1 has to be told that there is nothing
	}
	if framing.Kind == message.Sized && resp.Proto == message.HTTP2 && !http10 && resp.Fields.Has(message.Trailer) {
		framing.Kind = message.Chunked // only so can trailers follow
	}
	if framing.Kind == message.UntilClose && !http10 {
		framing.Kind = message.Chunked
	}
	h.endless = framing.Kind == message.UntilClose || http10 && framing.Kind == message.Chunked
	h.chunked = framing.Kind == message.Chunked && !http10
	h.keep = h.mayKeep() && !h.endless
	switch u := h.upload; {
	case u == nil:
		h.keep = h.keep && h.skipBody()
	case h.own, !u.finished() && (resp.Status >= 400 || h.req.Continue && !u.begun()):
		// The body is not wanted, or may never come: what follows cannot be told from a request.
		h.keep = false
	}
	h.out = http1.AppendResponseHead(h.out[:0], resp, framing, h.keep, http10)
	h.headLen = len(h.out)
}

// write implements downstream. What is too long to be gathered goes straight to the client, which saves
// a copy.
func (h *http1Client) write(p []byte, flush bool) error {
	if h.chunked || len(h.out)+len(p) <= outSize {
		h.out = appendPayload(h.out, p, h.chunked)
	} else {
		if err := h.flush(); err != nil {
			return err
		}
		if err := h.c.write(p, h.until); err != nil {
			return &clientError{err}
		}
	}
	if flush {
		return h.flush()
	}
	return nil
}

// finish implements downstream.
func (h *http1Client) finish(p []byte, trailers *message.Fields) error {
	if err := h.write(p, false); err != nil {
		return err
	}
	if h.chunked {
		before := len(h.out)
		h.out = http1.AppendLastChunk(h.out, trailers)
		h.access.HeadSent += int64(len(h.out) - before - len(bareLastChunk))
	}
	err := h.flush()
	if !h.keep && err == nil {
		h.c.close = closeLinger
	}
	return err
}

// bareLastChunk is a last chunk without trailers.
const bareLastChunk = "0\r\n\r\n"

// flush sends what is composed. Until the first flush the answer can still be replaced.
func (h *http1Client) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	if !h.headed {
		h.headed = true
		h.access.HeadSent += int64(h.headLen)
	}
	err := h.c.write(h.out, h.until)
	h.out = h.out[:0]
	if err != nil {
		return &clientError{err}
	}
	return nil
}

func (h *http1Client) persists() bool { return h.keep }

func (h *http1Client) forsake() {
	h.keep = false
	if h.c.close == closeClean {
		h.c.close = closeLinger
	}
}

func (h *http1Client) independent() bool { return false }

func (h *http1Client) cut(diag.Code) {
	h.keep = false
	h.c.close = closeAbrupt
	if h.endless {
		h.c.close = closeReset
	}
}

func (h *http1Client) gone() {
	h.keep = false
	h.c.close = closeAbrupt
}

// tunnel implements downstream.
func (h *http1Client) tunnel(resp *message.Response) (*pipe, error) {
	if resp.Proto == message.HTTP2 {
		addWebSocketAccept(resp, h.wsKey)
	}
	h.out = http1.AppendResponseHead(h.out[:0], resp, message.Body{}, true, false)
	h.headLen = len(h.out)
	if err := h.flush(); err != nil {
		return nil, err
	}
	// From here on another protocol is spoken: whatever happens, the connection is not used again.
	h.keep = false
	early := slices.Clone(h.in[h.used:h.filled])
	h.used = h.filled
	return &pipe{conn: h.c.rw, early: early, closeWrite: h.c.closeWrite}, nil
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

// errClient marks the end of a body that the client did not finish.
var errClient = errors.New("the client closed in the middle of the body")
