package listen

import (
	"net"
	"sync"
	"time"
)

// Sizes of corked writing: corkBuffer bytes are gathered per turn; what exceeds them goes out together
// with what was gathered, in one vectored write.
const corkBuffer = 16 << 10

// corkPool holds *[]byte of corkBuffer capacity. A pool is no state: it only saves allocations.
var corkPool = sync.Pool{New: func() any { b := make([]byte, 0, corkBuffer); return &b }}

// corkState is the part of a Conn that gathers writes.
type corkState struct {
	depth int
	buf   *[]byte // from corkPool while something is gathered
	err   error   // of a write that belonged to an earlier call
	vec   [2][]byte
}

// Cork makes Write gather bytes until Uncork, so that the records of one turn (an answer's head and
// body, say) leave in one system call. Calls nest. Gathering is bounded: when more than 16 KiB come
// together they are written out. Whoever corks must uncork before it waits for the peer.
func (c *Conn) Cork() {
	c.wmu.Lock()
	c.cork.depth++
	c.wmu.Unlock()
}

// Uncork ends the innermost Cork; the outermost one writes what was gathered and returns the error of
// that write or of an earlier one in this turn.
func (c *Conn) Uncork() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.cork.depth > 0 {
		c.cork.depth--
	}
	if c.cork.depth > 0 {
		return c.cork.err
	}
	return c.flushLocked()
}

// Flush writes what was gathered and stays corked.
func (c *Conn) Flush() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.flushLocked()
}

// Write writes p, or gathers it while corked. The result of gathering is always len(p); an error then
// shows in a later Write, Flush or Uncork.
func (c *Conn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.cork.err != nil {
		return 0, c.cork.err
	}
	if c.cork.depth == 0 && c.cork.buf == nil {
		n, err := c.wire.Write(p)
		c.written.Add(int64(n))
		return n, err
	}
	return c.gather(p)
}

// gather keeps p, or sends it with everything kept before it.
func (c *Conn) gather(p []byte) (int, error) {
	held := 0
	if c.cork.buf != nil {
		held = len(*c.cork.buf)
	}
	if held+len(p) <= corkBuffer {
		if c.cork.buf == nil {
			c.cork.buf = corkPool.Get().(*[]byte)
		}
		*c.cork.buf = append(*c.cork.buf, p...)
		return len(p), nil
	}
	if held == 0 {
		n, err := c.wire.Write(p)
		c.written.Add(int64(n))
		return n, err
	}
	c.cork.vec = [2][]byte{*c.cork.buf, p}
	vec := net.Buffers(c.cork.vec[:])
	n, err := vec.WriteTo(c.wire)
	c.written.Add(n)
	c.cork.vec = [2][]byte{}
	c.dropLocked()
	if err != nil {
		c.cork.err = err
		return max(0, int(n)-held), err
	}
	return len(p), nil
}

// flushLocked sends what is gathered. wmu is held.
func (c *Conn) flushLocked() error {
	if c.cork.err != nil || c.cork.buf == nil {
		return c.cork.err
	}
	n, err := c.wire.Write(*c.cork.buf)
	c.written.Add(int64(n))
	c.dropLocked()
	c.cork.err = err
	return err
}

// dropLocked gives the gathering buffer back. wmu is held.
func (c *Conn) dropLocked() {
	*c.cork.buf = (*c.cork.buf)[:0]
	corkPool.Put(c.cork.buf)
	c.cork.buf = nil
}

// flushForClose sends gathered bytes before the connection goes away, unless another goroutine is
// writing. crypto/tls has set a write deadline in the past by then, so it needs a new one.
func (c *Conn) flushForClose() {
	if !c.wmu.TryLock() {
		return
	}
	defer c.wmu.Unlock()
	if c.cork.buf == nil {
		return
	}
	if c.wire.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		c.cork.err = c.flushLocked()
	}
}
