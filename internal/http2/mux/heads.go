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
	c.mu.Lock()
	s, idle := c.streams[b.Stream], c.isIdle(b.Stream)
	known, byUs := false, false
	var late error
	switch {
	case s == nil && !idle:
		known, byUs = c.closed.find(b.Stream)
		byUs = c.parted(b.Stream, b.End) || byUs
	case s == nil:
	case s.recvEnded:
		late = closedError(b.Stream, "HEADERS behind END_STREAM")
	case (s.headDone || !c.client) && !b.End:
		late = protocolError(b.Stream, "HEADERS inside a body without END_STREAM")
	}
	head := s != nil && c.client && !s.headDone
	c.mu.Unlock()

	switch {
	case s == nil && idle && !c.client && b.Stream%2 == 1:
		return c.onRequest(b, fault)
	case s == nil && idle:
		return protocolError(0, "HEADERS on a stream that cannot be opened")
	case s == nil && !byUs && !c.client && known:
		return closedError(0, "HEADERS on a closed stream")
	case s == nil && !byUs && !c.client:
		return protocolError(0, "HEADERS on a stream below the last one")
	case s == nil:
		if err := c.decoder.Discard(b.Data); err != nil {
			return err
		}
		return c.charge("HEADERS on closed streams")
	}
	if fault == nil {
		fault = late
	}
	switch {
	case fault != nil:
		if err := c.decoder.Discard(b.Data); err != nil {
			return err
		}
		return fault
	case head:
		return c.onResponse(b)
	}
	return c.onTrailers(b)
}

// onRequest takes the head of a new stream; server role.
func (c *Conn) onRequest(b http2.Block, fault error) error {
	c.mu.Lock()
	ignored := c.drain == drainLast // RFC 9113 section 6.8: not processed, the client knows
	if !ignored {
		c.lastID = b.Stream
	}
	full := len(c.streams)+c.zombies >= c.lim.MaxStreams
	c.mu.Unlock()
	if ignored || fault != nil || full {
		if err := c.decoder.Discard(b.Data); err != nil {
			return err
		}
	}
	switch {
	case ignored:
		return c.charge("HEADERS behind GOAWAY")
	case fault != nil:
		return fault
	case full:
		return c.refuseStream(b.Stream)
	}
	s := newStream(c, b.Stream)
	if err := c.decoder.Request(b, &s.req, c.lim.Head); err != nil {
		return c.refuseRequest(s, b.End, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.sendWindow = int64(c.peer.InitialWindow)
	s.recvEnded = b.End
	if s.req.Body.Kind == message.Sized {
		s.recvLeft = s.req.Body.Length
	}
	c.streams[s.id] = s
	c.pending = append(c.pending, s)
	return nil
}

// refuseStream refuses a stream beyond MaxStreams; the client may repeat it.
func (c *Conn) refuseStream(id uint32) error {
	e := &http2.Error{Code: diag.HTTP2StreamLimit, HTTP2: http2.RefusedStream, Stream: id, Detail: "more streams than SETTINGS_MAX_CONCURRENT_STREAMS"}
	if c.refused != nil {
		c.refused(Refusal{Stream: id, Request: &message.Request{}, Err: e})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed.add(id, true)
	if err := c.chargeReset(diag.HTTP2StreamLimit, "streams beyond SETTINGS_MAX_CONCURRENT_STREAMS, over and over"); err != nil {
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
	c.closed.add(s.id, true)
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
	c.mu.Lock()
	var method []byte
	if s := c.streams[b.Stream]; s != nil {
		method = append(c.methodOf[:0], s.method...)
		c.methodOf = method
	}
	c.mu.Unlock()
	h := responses.Get().(*message.Response)
	if err := c.decoder.Response(b, h, method, c.lim.Head); err != nil {
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
