package httpcache

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// Sizes of the pieces that bodies lie in, in bytes.
const (
	firstChunk = 4 << 10
	maxChunk   = 64 << 10
)

// window is how far an answer that is too large to be kept may be ahead of its slowest reader, in bytes.
const window = 1 << 20

// Body is an answer's content: complete, or on its way. Bytes that were handed out never change and never move.
// Safe for one writer and many readers.
type Body struct {
	done atomic.Bool // complete, or broken: nothing below changes any more

	mu      sync.Mutex
	chunks  [][]byte
	one     [1][]byte // chunks of small bodies
	n       int64     // bytes so far
	held    int64     // bytes of chunks, with what is not filled
	dropped int       // chunks at the front that every reader has passed
	err     error     // why it is not complete
	wake    chan struct{}
	room    chan struct{}
	readers []*Cursor // while it is on its way
	passing bool      // not to be kept: what all have read is dropped
}

func (b *Body) init() { b.chunks = b.one[:0] }

// Len returns how many bytes there are so far.
func (b *Body) Len() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// append copies p. hint is how many bytes will follow in all, -1: nobody knows. It returns by how much the
// memory that is held grew.
func (b *Body) append(p []byte, hint int64) (grown int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.held
	for len(p) > 0 {
		last := len(b.chunks) - 1
		if last < 0 || len(b.chunks[last]) == cap(b.chunks[last]) {
			size := int64(firstChunk)
			switch left := hint - b.n; {
			case hint >= 0 && left > 0:
				size = min(left, maxChunk)
			case last >= 0:
				size = min(2*int64(cap(b.chunks[last])), maxChunk)
			}
			size = max(size, int64(min(len(p), maxChunk)))
			b.chunks = append(b.chunks, make([]byte, 0, size))
			b.held += rounded(size)
			last = len(b.chunks) - 1
		}
		c := b.chunks[last]
		k := copy(c[len(c):cap(c)], p)
		b.chunks[last] = c[:len(c)+k]
		b.n += int64(k)
		p = p[k:]
	}
	b.signal()
	return b.held - before
}

// rounded returns what the allocator takes for n bytes.
func rounded(n int64) int64 {
	switch {
	case n <= 1024:
		return (n + 127) &^ 127
	case n <= 32<<10:
		return n + n/16
	}
	return (n + 8191) &^ 8191
}

// finish ends the body: err nil says that it is complete. The last chunk gives back what it does not need.
func (b *Body) finish(err error) (grown int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.done.Load() {
		return 0
	}
	before := b.held
	if last := len(b.chunks) - 1; last >= 0 && err == nil && !b.passing {
		if c := b.chunks[last]; cap(c)-len(c) > len(c)/8 {
			b.held += rounded(int64(len(c))) - rounded(int64(cap(c)))
			b.chunks[last] = append(make([]byte, 0, len(c)), c...)
		}
	}
	b.err, b.readers = err, nil
	b.done.Store(true)
	b.signal()
	if b.room != nil {
		close(b.room)
		b.room = nil
	}
	return b.held - before
}

// signal wakes who waits for more. The caller holds mu.
func (b *Body) signal() {
	if b.wake != nil {
		close(b.wake)
		b.wake = nil
	}
}

// pass says that the body will not be kept.
func (b *Body) pass() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passing = true
	b.release()
}

// release drops what every reader has passed. The caller holds mu.
func (b *Body) release() (freed int64) {
	if !b.passing || b.done.Load() {
		return 0
	}
	lowest := b.dropped + len(b.chunks)
	for _, r := range b.readers {
		lowest = min(lowest, r.at)
	}
	for ; b.dropped < lowest && len(b.chunks) > 1; b.dropped++ {
		freed += rounded(int64(cap(b.chunks[0])))
		b.chunks[0] = nil
		b.chunks = b.chunks[1:]
	}
	b.held -= freed
	if b.room != nil && b.held < window {
		close(b.room)
		b.room = nil
	}
	return freed
}

// Room returns nil while the writer may go on, else what is closed when it may.
func (b *Body) Room() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.passing || b.held < window || b.done.Load() {
		return nil
	}
	if b.room == nil {
		b.room = make(chan struct{})
	}
	return b.room
}

// watched reports how many read while the body is on its way.
func (b *Body) watched() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.readers)
}

// Cursor reads a part of a Body. It belongs to one goroutine and must be closed.
type Cursor struct {
	b    *Body
	at   int   // chunk, counted from the body's beginning
	off  int   // in it
	skip int64 // bytes to be passed over first, which may not be there yet
	left int64 // bytes to be read; -1: to the end
}

// errShort is returned where a body has less than a part of it needs.
var errShort = errors.New("the stored answer is shorter than declared")

// Open begins to read at from, n bytes or, with -1, all. From then on nothing that the cursor has not passed is
// dropped. It returns false if the beginning is gone already, as the body is not kept.
func (b *Body) Open(c *Cursor, from, n int64) bool {
	*c = Cursor{b: b, skip: from, left: n}
	if !b.done.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.dropped == 0 && !b.done.Load() {
			b.readers = append(b.readers, c)
		}
	}
	if b.dropped > 0 {
		c.b = nil
		return false
	}
	return true
}

// Aim has a cursor read another part. Nothing has been read by it yet.
func (c *Cursor) Aim(from, n int64) { c.skip, c.left = from, n }

// Close ends reading.
func (c *Cursor) Close() {
	b := c.b
	if b == nil {
		return
	}
	if c.b = nil; b.done.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.readers, c); i >= 0 {
		b.readers = slices.Delete(b.readers, i, i+1)
		b.release()
	}
}

// Next returns the next piece, which stays valid. Where there is none yet it returns nil, and what is closed when
// there may be one. The error is io.EOF at the end, or why the body broke off.
func (c *Cursor) Next() (piece []byte, wait <-chan struct{}, err error) {
	if c.left == 0 {
		return nil, nil, io.EOF
	}
	if b := c.b; b.done.Load() {
		if piece = c.take(); piece != nil {
			return piece, nil, nil
		}
		return nil, nil, c.over()
	}
	return c.follow()
}

// follow is Next for bodies on their way.
func (c *Cursor) follow() (piece []byte, wait <-chan struct{}, err error) {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if piece = c.take(); piece != nil {
		b.release()
		return piece, nil, nil
	}
	if b.done.Load() {
		return nil, nil, c.over()
	}
	if b.wake == nil {
		b.wake = make(chan struct{})
	}
	return nil, b.wake, nil
}

func (c *Cursor) over() error {
	switch {
	case c.b.err != nil:
		return c.b.err
	case c.left > 0:
		return errShort
	}
	return io.EOF
}

// take returns what is there. The caller holds mu, or the body is complete.
func (c *Cursor) take() []byte {
	for {
		i := c.at - c.b.dropped
		if i >= len(c.b.chunks) {
			return nil
		}
		chunk := c.b.chunks[i]
		if k := min(c.skip, int64(len(chunk)-c.off)); k > 0 {
			c.off, c.skip = c.off+int(k), c.skip-k
		}
		p := chunk[c.off:]
		if len(p) == 0 {
			if i+1 < len(c.b.chunks) {
				c.at, c.off = c.at+1, 0
				continue
			}
			return nil
		}
		if c.left >= 0 && int64(len(p)) > c.left {
			p = p[:c.left]
		}
		if c.off += len(p); c.left > 0 {
			c.left -= int64(len(p))
		}
		return p
	}
}

// Ended reports whether nothing follows what Next returned last. Of bodies that are read to their end that is not
// known.
func (c *Cursor) Ended() bool { return c.left == 0 }

// ToEnd reports whether the cursor reads to the body's end, wherever that is.
func (c *Cursor) ToEnd() bool { return c.left < 0 }

// Complete reports whether all of the body is there.
func (b *Body) Complete() bool { return b.done.Load() && b.err == nil && b.dropped == 0 }
