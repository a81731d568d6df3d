package mux

import (
	"os"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// sendOp is what a stream wants to send.
type sendOp uint8

const (
	opNone sendOp = iota
	opHead
	opData
	opTrailers
)

// WriteHead sends the head of an answer, interim or final; end says that nothing follows. Its body's
// length goes into the head as resp.Body says. It waits while too much is unsent. Errors: *ResetError,
// os.ErrDeadlineExceeded, ErrOver, or why the connection ended. Server role.
func (s *Stream) WriteHead(resp *message.Response, end bool) error {
	s.c.mu.Lock()
	s.op, s.resp, s.opEnd = opHead, resp, end
	return s.send()
}

// Write sends bytes of the body; end says that they are the last, and p may be empty then. It waits for
// the peer's windows and while too much is unsent; p is the caller's again when it returns. After an
// error part of p may have been sent. Errors are those of WriteHead.
func (s *Stream) Write(p []byte, end bool) error {
	if len(p) == 0 && !end {
		return nil
	}
	s.c.mu.Lock()
	s.op, s.data, s.opEnd = opData, p, end
	return s.send()
}

// WriteTrailers ends our half of the stream with trailers; none if f is empty. Errors are those of
// WriteHead.
func (s *Stream) WriteTrailers(f *message.Fields) error {
	if f == nil || f.Len() == 0 {
		return s.Write(nil, true)
	}
	s.c.mu.Lock()
	s.op, s.fields, s.opEnd = opTrailers, f, true
	return s.send()
}

// send does s.op, and waits as long as there is no room for it. The caller holds mu, which is released.
func (s *Stream) send() error {
	c := s.c
	defer c.mu.Unlock()
	switch {
	case s.fault != nil:
		s.op, s.opErr = opNone, s.fault
	case s.sendEnded:
		s.op, s.opErr = opNone, ErrOver
	default:
		c.enqueue(s)
		c.pump()
	}
	for s.op != opNone {
		if s.writeExpired {
			if s.queue != nil {
				s.queue.remove(s)
			}
			s.op, s.opErr = opNone, os.ErrDeadlineExceeded
			break
		}
		s.sendWake.Wait()
	}
	err := s.opErr
	s.opErr, s.data, s.resp, s.fields = nil, nil, nil, nil
	return err
}

// enqueue puts a stream with something to send where it waits its turn: nowhere if its own window is
// empty. The caller holds mu.
func (c *Conn) enqueue(s *Stream) {
	switch {
	case s.queue != nil || s.op == opNone:
	case s.op != opData || len(s.data) == 0:
		c.headQueue.push(s)
	case s.sendWindow > 0:
		if s.waitSince == 0 {
			s.waitSince = c.now()
		}
		c.bodyQueue.push(s)
	default:
		s.waitSince = 0
	}
}

// minTurn is the room in bytes for which a DATA frame is begun, unless the buffer is empty.
const minTurn = 1024

// pump lets waiting streams send as long as there is room: heads first, since they need no window, then
// bodies in turns of one frame. The caller holds mu.
func (c *Conn) pump() {
	sent := false
	for c.err == nil {
		room := c.lim.OutBytes - c.unsent()
		if s := c.headQueue.first; s != nil && room > 0 {
			c.headQueue.remove(s)
			c.sendHead(s)
			sent = true
			continue
		}
		s := c.bodyQueue.first
		if room -= http2.FrameHeaderSize; s == nil || c.sendWindow <= 0 || room < minTurn && c.unsent() > 0 {
			break
		}
		c.bodyQueue.remove(s)
		c.sendData(s, max(room, 1))
		sent = true
	}
	if sent {
		c.kick()
	}
}

// sendHead sends what needs no window: a head, trailers, or an empty DATA frame that ends the stream.
func (c *Conn) sendHead(s *Stream) {
	o := c.outgoing()
	switch s.op {
	case opHead:
		mark := beginHead(o)
		o.b = c.encoder.AppendResponse(o.b, s.resp, s.resp.Body)
		c.finishHead(o, mark, s.id, s.opEnd)
		s.headOut += int64(len(o.b) - mark)
	case opTrailers:
		mark := beginHead(o)
		o.b = c.encoder.AppendTrailers(o.b, s.fields)
		c.finishHead(o, mark, s.id, true)
		s.headOut += int64(len(o.b) - mark)
	default:
		o.b = http2.AppendData(o.b, s.id, 0, true)
	}
	c.sent(s)
}

// sendData sends one frame of at most room bytes.
func (c *Conn) sendData(s *Stream, room int) {
	window := min(s.sendWindow, c.sendWindow)
	n := int(min(int64(min(len(s.data), http2.DefaultMaxFrame, room)), window))
	rest := s.data[n:]
	last := len(rest) == 0 && s.opEnd
	o := c.outgoing()
	o.b = http2.AppendData(o.b, s.id, n, last)
	o.b = append(o.b, s.data[:n]...)
	s.data = rest
	s.sendWindow -= int64(n)
	c.sendWindow -= int64(n)
	if n >= tinyFrame || len(rest) == 0 { // a tiny frame is no turn
		s.waitSince = 0
	}
	c.earn(n)
	if n >= goodFrame && c.goodFrames < goodFrames {
		c.goodFrames++
	}
	if len(rest) == 0 {
		c.sent(s)
		return
	}
	c.enqueue(s) // behind the others
	if n < tinyFrame && int64(n) == window {
		c.chargeTiny()
	}
}

// sent ends the call that s waits in.
func (c *Conn) sent(s *Stream) {
	s.op = opNone
	if s.opEnd {
		c.sendEnd(s)
	}
	s.sendWake.Signal()
}

// sendEnd notes that END_STREAM is on its way.
func (c *Conn) sendEnd(s *Stream) {
	s.sendEnded = true
	if s.recvEnded {
		c.retireStream(s)
	}
}
