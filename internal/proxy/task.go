package proxy

import (
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// task is the work of one goroutine that serves exchanges, one after the other: what it waits for, and
// what has to be touched to end the wait from outside.
type task struct {
	p     *Proxy
	raw   *listen.Conn // HTTP/1: the client's connection
	watch watch

	// Read by the sweeper. Of the client's and the upstream's side at most one is set.
	stream    atomic.Pointer[mux.Stream]    // HTTP/2: the client's
	up        atomic.Pointer[upstream.Conn] // HTTP/1
	upStream  atomic.Pointer[mux.Stream]    // HTTP/2
	gone      atomic.Bool                   // the client is gone for good
	number    atomic.Uint64                 // of the exchange
	uploading atomic.Bool                   // a body is being read on another goroutine
	active    atomic.Int64                  // last byte on a tunnel, or of an answer in HTTP/2; milliseconds since base
	giveUp    atomic.Pointer[func()]        // ends the wait for a connection to the upstream; nil: there is none
	larges    atomic.Int32                  // buffers of largeSize in use
	wake      chan struct{}                 // ends a wait for a filter; has room for one
}

func (t *task) init(p *Proxy) { t.p, t.wake = p, make(chan struct{}, 1) }

func (t *task) left() bool { return t.gone.Load() }

func (t *task) lastByte() int64 { return t.active.Load() }

// drain leaves the exchange its time.
func (t *task) drain() {}

// kill cuts the exchange from outside: its present wait is ended by the caller, and there is no other.
func (t *task) kill() { t.gone.Store(true) }

// large returns a buffer of largeSize, which is given back by putLarge.
func (t *task) large() *[]byte {
	t.larges.Add(1)
	return t.p.spare.larges.Get().(*[]byte)
}

func (t *task) putLarge(b *[]byte) {
	t.larges.Add(-1)
	t.p.spare.larges.Put(b)
}

// holds returns how many bytes the exchange holds, roughly: what lies in its buffers, and what of an answer in
// HTTP/2 waits for its client. Anybody may ask.
func (t *task) holds() int64 {
	n := int64(t.larges.Load()) * largeSize
	if s := t.upStream.Load(); s != nil {
		n += int64(s.Held())
	}
	return n
}

// Waits implements upstream.Caller.
func (t *task) Waits(cancel func()) {
	if cancel == nil {
		t.giveUp.Store(nil)
		return
	}
	t.giveUp.Store(&cancel)
	if t.watch.why() != 0 { // ended before there was anything to cancel
		cancel()
	}
}

// rouse ends a wait for a filter.
func (t *task) rouse() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// interrupt wakes the goroutine that is blocked in what. It is called once per ended wait.
func (t *task) interrupt(what wait) {
	past := time.Unix(1, 0)
	switch what {
	case waitIdle, waitClientRead:
		t.stopReading(past)
	case waitClientWrite:
		t.stopWriting(past)
	case waitUpstreamRead:
		t.stopAnswer(past)
	case waitUpstreamWrite:
		t.stopRequest(past)
	case waitFilter:
		t.rouse()
	case waitConnect:
		if cancel := t.giveUp.Load(); cancel != nil {
			(*cancel)()
		}
	case waitTunnel:
		t.endTunnel()
	case waitTaken:
		if s := t.stream.Load(); s != nil {
			s.Reset(http2.Cancel)
		} else {
			t.raw.Close()
		}
	}
}

// stopReading sets when reading from the client gives up.
func (t *task) stopReading(at time.Time) {
	if s := t.stream.Load(); s != nil {
		_ = s.SetReadDeadline(at)
	} else if t.raw != nil {
		_ = t.raw.SetReadDeadline(at)
	}
}

// stopWriting sets when writing to the client gives up.
func (t *task) stopWriting(at time.Time) {
	if s := t.stream.Load(); s != nil {
		_ = s.SetWriteDeadline(at)
	} else if t.raw != nil {
		_ = t.raw.SetWriteDeadline(at)
	}
}

// stopAnswer sets when reading from the upstream gives up.
func (t *task) stopAnswer(at time.Time) {
	if s := t.upStream.Load(); s != nil {
		_ = s.SetReadDeadline(at)
	} else if up := t.up.Load(); up != nil {
		_ = up.SetReadDeadline(at)
	}
}

// stopRequest sets when writing to the upstream gives up.
func (t *task) stopRequest(at time.Time) {
	if s := t.upStream.Load(); s != nil {
		_ = s.SetWriteDeadline(at)
	} else if up := t.up.Load(); up != nil {
		_ = up.SetWriteDeadline(at)
	}
}

// endTunnel wakes both directions of a tunnel.
func (t *task) endTunnel() {
	past := time.Unix(1, 0)
	t.stopReading(past)
	t.stopWriting(past)
	t.stopAnswer(past)
	t.stopRequest(past)
}

// look is the sweeper's look at a wait that may go on.
func (t *task) look(v int64) {
	switch waitOf(v) {
	case waitUpstreamRead, waitFilter, waitConnect:
		// A client that went away is noticed only here, because nobody reads from it. The second look
		// leaves clients alone that shut down their sending side and wait for a quick answer.
		number := t.number.Load()
		if t.watch.seen == number && t.hungUp() {
			t.watch.expire(v, endGone)
		}
		t.watch.seen = number
	}
}

// hungUp reports whether the client is gone, as far as can be told without reading. Of a stream one is
// told.
func (t *task) hungUp() bool {
	return t.raw != nil && !t.uploading.Load() && hungUp(t.raw.TCP())
}
