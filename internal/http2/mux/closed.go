package mux

import "github.com/hakone-gateway/hakone/internal/http2"

// Bounds of what is remembered of streams that are over.
const (
	rememberedEnds   = 64   // streams that the peer has ended
	rememberedResets = 1024 // streams that we reset or refused
)

// Frames that a stream which we reset may still have on its way, besides DATA within its window.
const (
	lateHead    = 3  // an interim head, the head and trailers; client role
	lateUpdates = 16 // WINDOW_UPDATE
)

// closedStreams remembers the streams that ended last: those that the peer ended, on which frames are its
// fault, and those that we reset, on which frames may have been on their way (RFC 9113 section 5.1).
type closedStreams struct {
	ended     [rememberedEnds]uint32
	next      uint8
	reset     []resetStream // a ring when it is full; its newest is before resetNext
	resetNext int
	forgotten uint32 // the highest stream that is remembered no more
}

// resetStream is what may still come on a stream that we reset.
type resetStream struct {
	id      uint32
	window  int32 // bytes of DATA; -1: none, not even an empty frame
	heads   uint8
	updates uint8
	resets  uint8
}

// finished notes that nothing but PRIORITY may come any more.
func (r *resetStream) finished() { r.window, r.heads, r.updates, r.resets = -1, 0, 0, 0 }

// addEnded remembers a stream that the peer ended.
func (c *closedStreams) addEnded(id uint32) {
	slot := &c.ended[c.next%rememberedEnds]
	c.forgotten = max(c.forgotten, *slot)
	*slot = id
	c.next++
}

// addReset remembers a stream that we reset.
func (c *closedStreams) addReset(r resetStream) {
	if len(c.reset) < rememberedResets {
		c.reset = append(c.reset, r)
	} else {
		slot := &c.reset[c.resetNext%rememberedResets]
		c.forgotten = max(c.forgotten, slot.id)
		*slot = r
	}
	c.resetNext = (c.resetNext + 1) % rememberedResets
}

// findReset returns what is remembered of a stream that we reset, or nil.
func (c *closedStreams) findReset(id uint32) *resetStream {
	for i := range len(c.reset) { // the newest first: most late frames are of these
		if r := &c.reset[(c.resetNext-1-i+2*rememberedResets)%rememberedResets]; r.id == id {
			return r
		}
	}
	return nil
}

// findEnded reports whether the peer is known to have ended a stream.
func (c *closedStreams) findEnded(id uint32) bool {
	for _, e := range c.ended {
		if e == id {
			return true
		}
	}
	return false
}

// rememberReset notes that we reset s and what may still come on it. The caller holds mu.
func (c *Conn) rememberReset(s *Stream) {
	r := resetStream{id: s.id, window: -1, updates: lateUpdates, resets: 1}
	if !s.recvEnded {
		r.window, r.heads = int32(max(s.recvWindow, 0)), 1
		if c.client && !s.headDone {
			r.heads = lateHead
		}
	}
	c.closed.addReset(r)
}

// rememberRefused notes that we did not take a stream that its client has just opened. The caller holds mu.
func (c *Conn) rememberRefused(id uint32) {
	c.closed.addReset(resetStream{id: id, window: int32(c.streamWindow()), heads: 1, updates: lateUpdates, resets: 1})
}

// neverOpened reports whether a stream that is neither idle nor open nor remembered was passed over by its
// peer, which opens streams in order. The caller holds mu.
func (c *Conn) neverOpened(id uint32) bool {
	return !c.client && id <= c.lastID && id > c.closed.forgotten
}

// lateData judges DATA of n bytes on a stream that is over. What may have been on its way when we reset the stream
// costs nothing but what all small frames cost. The caller holds mu.
func (c *Conn) lateData(h http2.Header, n int) error {
	end := h.Flags.Has(http2.FlagEndStream)
	c.parted(h.Stream, end)
	if r := c.closed.findReset(h.Stream); r != nil {
		if int64(h.Length) > int64(r.window) {
			return c.charge("DATA on closed streams")
		}
		if r.window -= int32(h.Length); end {
			r.window, r.heads = -1, 0
		}
		return c.weigh(n, end)
	}
	if c.closed.findEnded(h.Stream) && !c.client || c.neverOpened(h.Stream) {
		return closedError(h.Stream, "DATA on a closed stream")
	}
	return c.charge("DATA on closed streams")
}

// lateHead judges a header block on a stream that is over. The caller holds mu.
func (c *Conn) lateHead(id uint32, end bool) error {
	c.parted(id, end)
	if r := c.closed.findReset(id); r != nil {
		if r.heads == 0 {
			return c.charge("HEADERS on closed streams")
		}
		if r.heads--; end {
			r.window, r.heads = -1, 0
		}
		return nil
	}
	switch {
	case c.client:
	case c.closed.findEnded(id):
		return closedError(0, "HEADERS on a closed stream")
	case c.neverOpened(id):
		return protocolError(0, "HEADERS on a stream below the last one")
	}
	return c.charge("HEADERS on closed streams")
}

// lateReset judges RST_STREAM on a stream that is over. The caller holds mu.
func (c *Conn) lateReset(id uint32) error {
	c.parted(id, true)
	if r := c.closed.findReset(id); r != nil && r.resets > 0 {
		r.finished()
		return nil
	}
	return c.spend("RST_STREAM on closed streams")
}

// lateUpdate judges WINDOW_UPDATE on a stream that is over. The caller holds mu.
func (c *Conn) lateUpdate(id uint32) error {
	if r := c.closed.findReset(id); r != nil && r.updates > 0 {
		r.updates--
		return nil
	}
	return c.spend("WINDOW_UPDATE frames")
}
