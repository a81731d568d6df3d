package mux

import (
	"io"
	"os"
	"sync"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// ReadResponse waits for the next head, interim or final, and puts it into resp; client role. The
// final one is the last; after it, the body comes by Next. Errors: *ResetError, os.ErrDeadlineExceeded,
// ErrOver after the final head, or why the connection ended.
func (s *Stream) ReadResponse(resp *message.Response) error {
	c := s.c
	c.mu.Lock()
	for len(s.heads) == 0 {
		err := s.fault
		switch {
		case err != nil:
		case s.headDone:
			err = ErrOver
		case s.readExpired:
			err = os.ErrDeadlineExceeded
		default:
			s.recvWake.Wait()
			continue
		}
		c.mu.Unlock()
		return err
	}
	h := s.heads[0]
	n := copy(s.heads, s.heads[1:])
	s.heads[n] = nil
	s.heads = s.heads[:n]
	c.mu.Unlock()
	*resp, *h = *h, *resp
	putResponse(h)
	return nil
}

// responses is the pool of heads that wait for ReadResponse.
var responses = sync.Pool{New: func() any { return new(message.Response) }}

func putResponse(r *message.Response) {
	r.Reset()
	responses.Put(r)
}

// Next waits for bytes of the body and returns them; they are valid until the next call or Close. By
// calling again the reader says that it is done with them, and the peer may send more. io.EOF means
// that the body and the trailers are complete; other errors are those of ReadResponse.
func (s *Stream) Next() ([]byte, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.consume()
	for {
		switch k := s.first; {
		case k != nil:
			s.lent = k.w - k.r
			return k.b[k.r:k.w:k.w], nil
		case s.recvEnded:
			return nil, io.EOF
		case s.fault != nil:
			return nil, s.fault
		case s.readExpired:
			return nil, os.ErrDeadlineExceeded
		}
		s.recvWake.Wait()
	}
}

// Buffered returns how many bytes Next would return without waiting, over all calls, and whether these
// are the rest of the body.
func (s *Stream) Buffered() (n int, ended bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.held - s.lent, s.recvEnded
}

// Held returns how many received bytes wait to be read. Unlike the other methods it may be called when the
// stream is closed, and tells then of the one that it has become, or 0.
func (s *Stream) Held() int { return int(s.holds.Load()) }

// consume takes what the last Next returned as read, and lets the peer send as much again. The caller
// holds mu.
func (s *Stream) consume() {
	if s.lent == 0 {
		return
	}
	c, k := s.c, s.first
	k.r += s.lent
	s.hold(-s.lent)
	s.lent = 0
	if k.r == k.w {
		if s.first = k.next; s.first == nil {
			s.last = nil
		}
		putChunk(k)
	}
	if !s.recvEnded && !s.over {
		c.creditStream(s)
	}
	c.creditConn()
}

// store keeps received bytes until Next. The caller holds mu.
func (s *Stream) store(p []byte) {
	s.hold(len(p))
	for len(p) > 0 {
		k := s.last
		if k == nil || k.w == len(k.b) {
			k = newChunk(len(p))
			if s.last == nil {
				s.first = k
			} else {
				s.last.next = k
			}
			s.last = k
		}
		n := copy(k.b[k.w:], p)
		k.w += n
		p = p[n:]
	}
}

// dropChunks forgets what is held, but for a chunk that the reader is looking at. The caller holds mu.
func (s *Stream) dropChunks() {
	k := s.first
	if k == nil {
		return
	}
	left := 0
	if s.lent > 0 {
		k.w = k.r + s.lent
		k, k.next, left = k.next, nil, s.lent
		s.last = s.first
	} else {
		s.first, s.last = nil, nil
	}
	for k != nil {
		next := k.next
		putChunk(k)
		k = next
	}
	s.hold(left - s.held)
}

// hold counts n more received bytes. The caller holds mu.
func (s *Stream) hold(n int) {
	s.held += n
	s.c.held += n
	s.holds.Store(int64(s.held))
}

// creditStream lets the peer send again what has been consumed, in steps of half a window. The caller
// holds mu.
func (c *Conn) creditStream(s *Stream) {
	window := int64(c.lim.StreamWindow)
	if more := window - int64(s.held) - s.recvWindow; more > 0 && more >= window/2 {
		s.recvWindow += more
		o := c.outgoing()
		o.b = http2.AppendWindowUpdate(o.b, s.id, uint32(more))
		c.kick()
	}
}

// creditConn does the same for the connection. Of a client's streams, what they hold counts only beyond
// HoldBytes, so a few slow readers are not felt by the others. Of a server's it never counts: its answers are for
// clients that know nothing of each other, and each is bounded by its own window. The caller holds mu.
func (c *Conn) creditConn() {
	window, frame := int64(c.lim.ConnWindow), int64(c.lim.MaxFrame)
	more := window - c.recvWindow
	if !c.client {
		more -= max(int64(c.held-c.lim.HoldBytes), 0)
	}
	if c.err == nil && more > 0 && (more >= window/2 || c.recvWindow < frame && more >= frame) {
		c.recvWindow += more
		o := c.outgoing()
		o.b = http2.AppendWindowUpdate(o.b, 0, uint32(more))
		c.kick()
	}
}
