package mux

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// onHeaders takes HEADERS (RFC 9113 section 6.2). A block in one piece is decoded where it lies.
func (c *Conn) onHeaders(h http2.Header, payload []byte) error {
	fragment, err := http2.ParseHeaders(h, payload)
	if err != nil && streamOf(err) == 0 {
		return err
	}
	end := h.Flags.Has(http2.FlagEndStream)
	if h.Flags.Has(http2.FlagEndHeaders) {
		return c.onBlock(http2.Block{Data: fragment, Stream: h.Stream, End: end}, err)
	}
	c.block, c.blockFrames = c.block[:0], 1
	c.blockStream, c.blockEnd, c.blockFault = h.Stream, end, err
	c.blockSince = c.now()
	if err := c.checkFragment(len(fragment)); err != nil {
		return err
	}
	c.block = append(c.block, fragment...)
	return nil
}

// onContinuation takes CONTINUATION (RFC 9113 section 6.10).
func (c *Conn) onContinuation(h http2.Header, fragment []byte) error {
	if c.blockStream == 0 {
		return protocolError(0, "CONTINUATION without HEADERS")
	}
	c.blockFrames++
	if h.Flags.Has(http2.FlagEndHeaders) && len(fragment) > 0 {
		if len(c.block)+len(fragment) > 2*c.lim.Head.HeadBytes {
			return c.checkFragment(len(fragment))
		}
	} else if err := c.checkFragment(len(fragment)); err != nil {
		return err
	}
	c.block = append(c.block, fragment...)
	if !h.Flags.Has(http2.FlagEndHeaders) {
		return nil
	}
	b, fault := http2.Block{Data: c.block, Stream: c.blockStream, End: c.blockEnd}, c.blockFault
	c.block, c.blockStream, c.blockFault = nil, 0, nil
	return c.onBlock(b, fault)
}

// onBlock takes a complete header block. fault is what is wrong with its stream already. Every block is
// decoded, whatever becomes of it: the tables have to stay in step.
func (c *Conn) onBlock(b http2.Block, fault error) error {
	place, wrong := c.placeBlock(b)
	switch {
	case place == blockRequest:
		return c.onRequest(b, fault)
	case streamOf(wrong) == 0 && wrong != nil:
		return wrong
	case fault == nil || place == blockLate:
		fault = wrong
	}
	switch {
	case fault != nil || place == blockLate:
		if err := c.decoder.Discard(b.Data); err != nil {
			return err
		}
		return fault
	case place == blockResponse:
		return c.onResponse(b)
	}
	return c.onTrailers(b)
}

// blockPlace is what a header block is, by where it came.
type blockPlace uint8

const (
	blockRequest blockPlace = iota
	blockResponse
	blockTrailers
	blockLate // its stream is over
)

// placeBlock tells what a block is, and what is wrong with its place.
func (c *Conn) placeBlock(b http2.Block) (blockPlace, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[b.Stream]
	switch {
	case s == nil && !c.isIdle(b.Stream):
		return blockLate, c.lateHead(b.Stream, b.End)
	case s == nil && !c.client && b.Stream%2 == 1:
		return blockRequest, nil
	case s == nil:
		return blockLate, protocolError(0, "HEADERS on a stream that cannot be opened")
	case s.recvEnded:
		return blockTrailers, closedError(b.Stream, "HEADERS behind END_STREAM")
	case c.client && !s.headDone:
		return blockResponse, nil
	case !b.End:
		return blockTrailers, protocolError(b.Stream, "HEADERS inside a body without END_STREAM")
	}
	return blockTrailers, nil
}

// onRequest takes the head of a new stream; server role.
func (c *Conn) onRequest(b http2.Block, fault error) error {
	refuse := c.admit(b.Stream)
	if refuse != nil || fault != nil {
		if err := c.decoder.Discard(b.Data); err != nil {
			return err
		}
	}
	switch {
	case refuse != nil:
		return refuse()
	case fault != nil:
		return fault
	}
	s := newStream(c, b.Stream)
	if err := c.decoder.Request(b, &s.req, c.lim.Head); err != nil {
		return c.refuseRequest(s, b.End, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.sendWindow = int64(c.peer.InitialWindow)
	s.recvEnded = b.End
	s.headIn = int64(len(b.Data)) + http2.FrameHeaderSize
	if s.req.Body.Kind == message.Sized {
		s.recvLeft = s.req.Body.Length
	}
	c.streams[s.id] = s
	c.pending = append(c.pending, s)
	return nil
}

// admit notes that the client opened a stream, and returns how to refuse it if it cannot be taken.
func (c *Conn) admit(id uint32) (refuse func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drain == drainLast { // RFC 9113 section 6.8: not processed, the client knows
		c.ignored = id
		c.rememberRefused(id)
		return func() error { return c.charge("HEADERS behind GOAWAY") }
	}
	c.lastID = id
	switch {
	case len(c.streams) >= c.lim.MaxStreams:
		return func() error {
			return c.refuseStream(id, "more streams than SETTINGS_MAX_CONCURRENT_STREAMS", c.chargeStream)
		}
	case c.zombies >= c.lim.MaxStreams:
		return func() error {
			return c.refuseStream(id, "as many streams as SETTINGS_MAX_CONCURRENT_STREAMS were cancelled and still run", c.chargeRunning)
		}
	}
	return nil
}

func (c *Conn) chargeStream() error {
	return c.chargeReset(diag.HTTP2StreamLimit, "streams beyond SETTINGS_MAX_CONCURRENT_STREAMS, over and over")
}

// chargeRunning charges for a stream that the client may open by what it can know of.
func (c *Conn) chargeRunning() error {
	return c.charge("streams while too many that were cancelled still run")
}

// refuseStream refuses a stream that cannot be served now; the client may repeat it.
func (c *Conn) refuseStream(id uint32, why string, charge func() error) error {
	e := &http2.Error{Code: diag.HTTP2StreamLimit, HTTP2: http2.RefusedStream, Stream: id, Detail: why}
	if c.refused != nil {
		c.refused(Refusal{Stream: id, Request: &message.Request{}, Err: e})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rememberRefused(id)
	if err := charge(); err != nil {
		return err
	}
	return c.provoke(func(dst []byte) []byte { return http2.AppendRSTStream(dst, id, http2.RefusedStream) })
}

// refuseRequest refuses a head that could not be taken: what is malformed is reset, what is only too
// large is answered.
func (c *Conn) refuseRequest(s *Stream, end bool, err error) error {
	defer putStream(s)
	e, ok := err.(*http2.Error)
	if !ok || e.Stream == 0 {
		return err
	}
	r := Refusal{Stream: s.id, Request: &s.req, Err: e}
	if status := e.Status(); status != 400 {
		r.Status = status
	}
	if c.refused != nil {
		c.refused(r)
	}
	if r.Status == 0 {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.chargeReset(diag.HTTP2RapidReset, "requests that had to be refused"); err != nil {
		return err
	}
	c.rememberRefused(s.id)
	return c.provoke(func(dst []byte) []byte {
		o := &buffer{b: dst}
		mark := beginHead(o)
		o.b = c.encoder.AppendResponse(o.b, &message.Response{Status: r.Status}, message.Body{Declared: true})
		c.finishHead(o, mark, s.id, true)
		if !end {
			o.b = http2.AppendRSTStream(o.b, s.id, http2.NoError)
		}
		return o.b
	})
}

// interimQueue is how many interim heads may wait for ReadResponse; others are passed over, as a client
// may (RFC 9110 section 15.2).
const interimQueue = 8

// onResponse takes the head of an answer; client role.
func (c *Conn) onResponse(b http2.Block) error {
	h := responses.Get().(*message.Response)
	if err := c.decoder.Response(b, h, c.methodAsked(b.Stream), c.lim.Head); err != nil {
		putResponse(h)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[b.Stream]
	interim := h.Status < 200
	if s == nil || interim && len(s.heads) >= interimQueue {
		putResponse(h)
	} else {
		s.heads = append(s.heads, h)
	}
	switch {
	case s == nil:
		return nil
	case interim:
		s.recvWake.Signal()
		return c.spend("interim answers")
	}
	s.headDone = true
	switch h.Body.Kind {
	case message.NoBody:
		s.recvLeft = 0
	case message.Sized:
		s.recvLeft = h.Body.Length
	}
	if b.End {
		c.recvEnd(s)
	}
	s.recvWake.Signal()
	return nil
}

// methodAsked returns the method of a stream's request, nil if the stream is over.
func (c *Conn) methodAsked(id uint32) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[id]
	if s == nil {
		return nil
	}
	c.methodOf = append(c.methodOf[:0], s.method...)
	return c.methodOf
}

// onTrailers takes trailers, which end the stream.
func (c *Conn) onTrailers(b http2.Block) error {
	if err := c.decoder.Trailers(b, &c.trailers, c.lim.Head); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[b.Stream]
	if s == nil {
		return nil
	}
	if s.recvLeft > 0 {
		return protocolError(b.Stream, "body shorter than Content-Length")
	}
	s.trailers, c.trailers = c.trailers, s.trailers
	c.recvEnd(s)
	s.recvWake.Signal()
	return nil
}
