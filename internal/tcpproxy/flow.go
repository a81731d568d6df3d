package tcpproxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Sizes in bytes. A direct flow that fills a buffer goes over to splicing, and back when a turn brings less
// than busyBytes. A flow out of TLS waits with a small buffer of its own and takes a large one while busy.
const (
	bufferSize = 32 << 10
	waitSize   = 4 << 10
	busyBytes  = 4 << 10
)

// bufferPool holds *[]byte of bufferSize. A pool is no state: it only saves allocations.
var bufferPool = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

func getBuffer() *[]byte  { return bufferPool.Get().(*[]byte) }
func putBuffer(b *[]byte) { bufferPool.Put(b) }

// flow is one direction. It belongs to the goroutine that runs it, but for the atomics.
type flow struct {
	r        *relay
	src, dst *end
	early    []byte
	shown    *atomic.Int64 // Options.Sent or Received

	count   atomic.Int64
	blocked atomic.Int64 // since when the destination takes nothing, nanoseconds since base; 0: it does

	kernel // of the system
}

func (f *flow) init(r *relay, src, dst *end, shown *atomic.Int64, early []byte) {
	f.r, f.src, f.dst, f.shown = r, src, dst, shown
	if f.early = src.buffered(); len(early) > 0 {
		f.early = append(early, f.early...)
	}
}

// blockedFor returns for how long the destination has taken nothing.
func (f *flow) blockedFor(now int64) time.Duration {
	if since := f.blocked.Load(); since != 0 {
		return time.Duration(now - since)
	}
	return 0
}

// moved counts n bytes that have arrived.
func (f *flow) moved(n int64) {
	f.count.Add(n)
	if f.shown != nil {
		f.shown.Add(n)
	}
	now := f.r.now()
	f.r.moved.Store(now)
	if f.blocked.Load() != 0 {
		f.blocked.Store(now)
	}
}

// run moves bytes until the source ends, which is passed on, or something fails.
func (f *flow) run() {
	defer func() {
		if fault := recover(); fault != nil {
			f.r.end(diag.TCPFailed, true)
		}
	}()
	if len(f.early) > 0 && !f.send(f.early) {
		return
	}
	f.early = nil
	switch {
	case f.src.tcp != nil:
		f.runDirect()
	default:
		f.runCopy()
	}
}

// ended passes the orderly end of the source on.
func (f *flow) ended() {
	if f.r.ends.Add(1) == 2 && f.r.reason.Load() == 0 {
		return // closing, which follows, says the same
	}
	if f.dst.closes == nil {
		f.r.finish()
		return
	}
	if err := f.dst.closes(); err != nil && f.r.reason.Load() == 0 && !errors.Is(err, syscall.ENOTCONN) { // it may have ended, too
		f.r.broken(f.dst, err)
	}
}

// finish ends both directions in order: a side without half-close has been told to end.
func (r *relay) finish() {
	r.orderly.Store(true)
	_ = r.a.conn.SetDeadline(past())
	_ = r.b.conn.SetDeadline(past())
}

// send writes b by way of the destination's connection.
func (f *flow) send(b []byte) bool {
	f.blocked.Store(max(f.r.now(), 1))
	n, err := f.dst.conn.Write(b)
	f.blocked.Store(0)
	if n > 0 {
		f.moved(int64(n))
	}
	if err != nil {
		f.r.broken(f.dst, err)
		return false
	}
	return true
}

// runCopy reads from a source that is no bare TCP connection.
func (f *flow) runCopy() {
	small := make([]byte, waitSize)
	var large *[]byte
	defer func() {
		if large != nil {
			putBuffer(large)
		}
	}()
	for {
		b := small
		if large != nil {
			b = *large
		}
		n, err := f.src.conn.Read(b)
		if n > 0 && !f.send(b[:n]) {
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			f.ended()
			return
		case err != nil:
			f.r.failed(f.src, err)
			return
		case large == nil && n == len(small):
			large = getBuffer()
		case large != nil && n < busyBytes:
			putBuffer(large)
			large = nil
		}
	}
}
