package mux

import (
	"runtime"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
)

// outgoing returns the buffer that frames are appended to. The caller holds mu and calls kick in the end.
func (c *Conn) outgoing() *buffer {
	if c.out == nil {
		c.out = writeBuffers.Get().(*buffer)
	}
	return c.out
}

// unsent returns how many bytes wait for the writer. The caller holds mu.
func (c *Conn) unsent() int {
	if c.out == nil {
		return 0
	}
	return len(c.out.b)
}

// kick makes the writer take what was appended. The caller holds mu.
func (c *Conn) kick() {
	switch {
	case c.writerIdle:
		c.writerIdle = false
		c.writerWake.Signal()
	case !c.writing:
		c.writing = true
		go c.write()
	}
}

// write is the writer's goroutine: it begins with the first frame, stays while the connection is in use,
// and ends with the connection or when Tick finds it idle.
func (c *Conn) write() {
	retired := false
	err := guard(func() error {
		for {
			o := c.takeOut()
			if o == nil {
				retired = true
				return nil
			}
			if o.b == nil {
				return nil
			}
			if _, err := c.nc.Write(o.b); err != nil {
				return err
			}
			c.writeSince.Store(0)
			putWriteBuffer(o)
		}
	})
	if retired {
		return
	}
	if err != nil && c.writeFailed(err) {
		guard(func() error {
			_, err := c.nc.Write(c.takeOut().b)
			return err
		})
	}
	if half, ok := c.nc.(closeWriter); ok && !c.client {
		guard(half.CloseWrite)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endWriter()
}

// takeOut waits for bytes to be sent and returns them; the bytes are nil when the connection has ended and all
// is sent, and the buffer is nil when the writer has ended because the connection is idle.
//
// Before it takes the buffer it lets all goroutines run that are ready: streams whose answers came with
// the same batch of events append theirs, and one Write carries them all.
func (c *Conn) takeOut() *buffer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inWrite = 0
	for c.unsent() == 0 && c.err == nil && !c.retire {
		c.writerIdle = true
		c.writerWake.Wait()
	}
	switch {
	case c.unsent() > 0:
	case c.err != nil:
		return &buffer{}
	default:
		c.endWriter()
		return nil
	}
	c.retire = false
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	o := c.out
	c.out, c.provoked, c.inWrite = nil, 0, len(o.b)
	c.pump() // what waited for room is encoded while the kernel is busy, or goes with the next turn
	c.writeSince.Store(c.now())
	if c.gentle {
		c.nc.SetWriteDeadline(c.writeDeadline())
	}
	return o
}

// writeFailed ends the connection because of a Write or, as it reports, because of a panic before it: the peer
// can still be told by GOAWAY.
func (c *Conn) writeFailed(err error) (tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tell = c.writeSince.Swap(0) == 0 && c.err == nil
	c.dropUnsent()
	c.fail(err)
	if !tell {
		c.dropUnsent()
	}
	return tell
}

// endWriter notes that the writer sends no more. The caller holds mu.
func (c *Conn) endWriter() {
	c.retire, c.writerIdle, c.writing, c.inWrite = false, false, false, 0
	c.writerEnded.Broadcast()
}

func (c *Conn) dropUnsent() {
	if c.out != nil {
		c.out.b = c.out.b[:0]
	}
}

// provoke appends a frame that the peer made us send. A peer that does not read and goes on provoking is
// cut off. The caller holds mu.
func (c *Conn) provoke(appendFrame func(dst []byte) []byte) error {
	if c.err != nil {
		return nil
	}
	o := c.outgoing()
	before := len(o.b)
	o.b = appendFrame(o.b)
	c.provoked += len(o.b) - before
	c.kick()
	if c.lim.ControlBytes >= 0 && c.provoked > c.lim.ControlBytes {
		return &http2.Error{Code: diag.HTTP2ControlFlood, HTTP2: http2.EnhanceYourCalm, Detail: "frames to be answered, and the answers are not read"}
	}
	return nil
}

// beginHead leaves room for the header of a HEADERS frame and returns where it is.
func beginHead(o *buffer) int {
	mark := len(o.b)
	o.b = append(o.b, make([]byte, http2.FrameHeaderSize)...)
	return mark
}

// finishHead makes what was appended since mark a HEADERS frame, with CONTINUATIONs if the peer takes
// only smaller ones. The caller holds mu.
func (c *Conn) finishHead(o *buffer, mark int, stream uint32, end bool) {
	block := o.b[mark+http2.FrameHeaderSize:]
	c.earn(0)
	if len(block) > http2.DefaultMaxFrame {
		block = append([]byte(nil), block...)
		o.b = http2.AppendHeaders(o.b[:mark], stream, block, end, http2.DefaultMaxFrame)
		return
	}
	h := http2.Header{Length: uint32(len(block)), Type: http2.FrameHeaders, Flags: http2.FlagEndHeaders, Stream: stream}
	if end {
		h.Flags |= http2.FlagEndStream
	}
	http2.AppendHeader(o.b[:mark], h)
}

// queue is a list of streams in the order in which they began to wait.
type queue struct{ first, last *Stream }

func (q *queue) push(s *Stream) {
	s.queue, s.before, s.after = q, q.last, nil
	if q.last == nil {
		q.first = s
	} else {
		q.last.after = s
	}
	q.last = s
}

func (q *queue) remove(s *Stream) {
	if s.before == nil {
		q.first = s.after
	} else {
		s.before.after = s.after
	}
	if s.after == nil {
		q.last = s.before
	} else {
		s.after.before = s.before
	}
	s.queue, s.before, s.after = nil, nil, nil
}
