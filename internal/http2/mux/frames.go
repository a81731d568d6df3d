package mux

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
)

func protocolError(stream uint32, detail string) error {
	return &http2.Error{Code: diag.HTTP2ProtocolError, HTTP2: http2.ProtocolError, Stream: stream, Detail: detail}
}

func closedError(stream uint32, detail string) error {
	return &http2.Error{Code: diag.HTTP2ProtocolError, HTTP2: http2.StreamClosed, Stream: stream, Detail: detail}
}

func flowError(stream uint32, detail string) error {
	return &http2.Error{Code: diag.HTTP2FlowControl, HTTP2: http2.FlowControlError, Stream: stream, Detail: detail}
}

// order judges whether a frame may come now, by its header alone.
func (c *Conn) order(h http2.Header) error {
	if c.blockStream != 0 && (h.Type != http2.FrameContinuation || h.Stream != c.blockStream) {
		return protocolError(0, "frame inside a header block")
	}
	if !c.gotSettings {
		if h.Type != http2.FrameSettings || h.Flags.Has(http2.FlagAck) {
			return protocolError(0, "first frame is not SETTINGS")
		}
		c.gotSettings = true
	}
	return nil
}

// frame handles one frame, which passed order and Header.Check. Errors with a stream are the stream's.
func (c *Conn) frame(h http2.Header, payload []byte) error {
	switch h.Type {
	case http2.FrameData:
		return c.onData(h, payload)
	case http2.FrameHeaders:
		return c.onHeaders(h, payload)
	case http2.FrameContinuation:
		return c.onContinuation(h, payload)
	case http2.FramePriority:
		if err := http2.ParsePriority(h, payload); err != nil {
			return err
		}
		return c.charge("PRIORITY frames")
	case http2.FrameRSTStream:
		return c.onReset(h, payload)
	case http2.FrameSettings:
		return c.tellChanged(c.onSettings(h, payload))
	case http2.FramePing:
		return c.onPing(h, payload)
	case http2.FrameGoAway:
		return c.tellChanged(c.onGoAway(payload))
	case http2.FrameWindowUpdate:
		return c.onWindowUpdate(h, payload)
	}
	return c.charge("frames of unknown types")
}

// tellChanged tells the owner that MaxStreams may have changed, and returns err.
func (c *Conn) tellChanged(err error) error {
	if c.changed != nil && err == nil {
		c.changed()
	}
	return err
}

// onData takes DATA (RFC 9113 section 6.1). All of it counts against the windows, padding and what is
// passed over as well.
func (c *Conn) onData(h http2.Header, payload []byte) error {
	data, err := http2.ParseData(h, payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recvWindow -= int64(h.Length)
	if c.recvWindow < 0 {
		return flowError(0, "DATA beyond the window of the connection")
	}
	s, end := c.streams[h.Stream], h.Flags.Has(http2.FlagEndStream)
	switch {
	case s == nil && c.isIdle(h.Stream):
		return protocolError(0, "DATA on an idle stream")
	case s == nil:
		c.creditConn()
		return c.lateData(h, len(data))
	case s.recvEnded:
		c.creditConn()
		return closedError(h.Stream, "DATA behind END_STREAM")
	case c.client && !s.headDone:
		c.creditConn()
		return protocolError(h.Stream, "DATA before the head")
	}
	if s.recvWindow -= int64(h.Length); s.recvWindow < 0 {
		c.creditConn()
		return flowError(h.Stream, "DATA beyond the window of the stream")
	}
	if s.recvLeft >= 0 {
		if s.recvLeft -= int64(len(data)); s.recvLeft < 0 || end && s.recvLeft > 0 {
			c.creditConn()
			return protocolError(h.Stream, "DATA does not match Content-Length")
		}
	}
	s.store(data)
	if end {
		c.recvEnd(s)
	} else {
		c.creditStream(s)
	}
	c.creditConn()
	s.recvWake.Signal()
	return c.weigh(len(data), end)
}

// recvEnd notes that END_STREAM has come. The caller holds mu.
func (c *Conn) recvEnd(s *Stream) {
	s.recvEnded = true
	if s.sendEnded {
		c.retireStream(s)
	}
}

// onReset takes RST_STREAM (RFC 9113 section 6.4).
func (c *Conn) onReset(h http2.Header, payload []byte) error {
	code := http2.ParseRSTStream(payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[h.Stream]
	if s == nil {
		if c.isIdle(h.Stream) {
			return protocolError(0, "RST_STREAM on an idle stream")
		}
		return c.lateReset(h.Stream)
	}
	answered := s.sendEnded
	c.closed.addEnded(h.Stream)
	c.end(s, &ResetError{Code: code, Remote: true}, true)
	if c.client || answered {
		return c.spend("RST_STREAM frames")
	}
	return c.chargeReset(diag.HTTP2RapidReset, "RST_STREAM before the answer")
}

// onWindowUpdate takes WINDOW_UPDATE (RFC 9113 section 6.9).
func (c *Conn) onWindowUpdate(h http2.Header, payload []byte) error {
	n, err := http2.ParseWindowUpdate(h, payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.Stream != 0 && c.isIdle(h.Stream) {
		return protocolError(0, "WINDOW_UPDATE on an idle stream")
	}
	if err != nil {
		return err
	}
	if h.Stream == 0 {
		if c.sendWindow += int64(n); c.sendWindow > http2.MaxWindow {
			return flowError(0, "WINDOW_UPDATE makes the connection's window too large")
		}
	} else if s := c.streams[h.Stream]; s != nil {
		if s.sendWindow += int64(n); s.sendWindow > http2.MaxWindow {
			return flowError(h.Stream, "WINDOW_UPDATE makes the stream's window too large")
		}
		c.enqueue(s)
	} else {
		return c.lateUpdate(h.Stream)
	}
	c.pump()
	return c.spend("WINDOW_UPDATE frames")
}

// onSettings takes SETTINGS and the acknowledgement of ours (RFC 9113 section 6.5).
func (c *Conn) onSettings(h http2.Header, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.Flags.Has(http2.FlagAck) {
		if c.acked {
			return c.charge("acknowledgements of nothing")
		}
		c.acked = true
		c.shrink()
		c.decoder.SetMaxTable(uint32(c.lim.HeaderTable))
		return nil
	}
	before := c.peer
	if err := c.peer.Update(payload, c.client); err != nil {
		return err
	}
	if c.peer.HeaderTable != before.HeaderTable {
		c.encoder.SetMaxTable(c.peer.HeaderTable)
	}
	if delta := int64(c.peer.InitialWindow) - int64(before.InitialWindow); delta != 0 {
		for _, s := range c.streams {
			if s.sendWindow += delta; s.sendWindow > http2.MaxWindow {
				return flowError(0, "SETTINGS_INITIAL_WINDOW_SIZE makes a stream's window too large")
			}
			if s.sendWindow <= 0 && s.queue == &c.bodyQueue {
				s.queue.remove(s)
			}
			c.enqueue(s)
		}
	}
	if !c.peerReady {
		c.peerReady = true
		close(c.ready)
	}
	if err := c.provoke(http2.AppendSettingsAck); err != nil {
		return err
	}
	c.pump() // behind the acknowledgement that allows it
	return c.charge("SETTINGS frames")
}

// shrink takes back what streams were granted beyond our window before the peer knew it (RFC 9113 section
// 6.9.2): from now on it reckons with less, perhaps with less than nothing. The caller holds mu.
func (c *Conn) shrink() {
	over := int64(http2.DefaultWindow - c.lim.StreamWindow)
	if over <= 0 {
		return
	}
	for _, s := range c.streams {
		if s.recvWindow -= over; !s.recvEnded {
			c.creditStream(s)
		}
	}
}

// Data of our PINGs, by which their answers are known.
var (
	pingAlive = [8]byte{'a', 'l', 'i', 'v', 'e'}
	pingDrain = [8]byte{'d', 'r', 'a', 'i', 'n'}
)

// onPing answers PING and takes answers to ours (RFC 9113 section 6.7).
func (c *Conn) onPing(h http2.Header, payload []byte) error {
	data := http2.ParsePing(payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !h.Flags.Has(http2.FlagAck) {
		if err := c.provoke(func(dst []byte) []byte { return http2.AppendPing(dst, data, true) }); err != nil {
			return err
		}
		return c.spend("PING frames")
	}
	switch {
	case data == pingAlive && c.pingSent != 0:
		c.pingSent = 0
		return nil
	case data == pingDrain && c.drain == drainFirst:
		c.drainLast()
		return nil
	}
	return c.charge("answers to PINGs that were not sent")
}

// onGoAway takes GOAWAY (RFC 9113 section 6.8). A client hears by it which of its streams will not be
// answered; from a client it means nothing, since we open no streams.
func (c *Conn) onGoAway(payload []byte) error {
	last, code, debug := http2.ParseGoAway(payload)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client {
		c.drain = drainLast
		if code != http2.NoError {
			c.parting = newGoAwayError(code, debug)
		}
		for id, s := range c.streams {
			if id > last {
				c.end(s, &ResetError{Code: http2.RefusedStream, Remote: true}, true)
			}
		}
		c.finish()
	}
	return c.charge("GOAWAY frames")
}
