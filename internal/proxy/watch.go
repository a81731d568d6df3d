package proxy

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Deadlines cost one atomic store each: whoever is about to block writes down what it waits for and
// until when, and the sweeper looks at all watches once a second, at those that are near every tenth.
// Only a deadline that has passed costs a system or timer call: the connection concerned gets a
// deadline in the past, which wakes whoever is blocked on it.

// tick is how often near deadlines are looked at; all of them every fullSweep ticks.
const (
	tick      = 100 * time.Millisecond
	fullSweep = 10
	nearby    = int64(fullSweep*tick/time.Millisecond) + 100 // what may pass before the next full sweep, ms
)

// wait is what a goroutine is blocked in.
type wait int64

const (
	waitNothing       wait = iota
	waitIdle               // for the first byte of a request
	waitClientRead         // for more of a request
	waitClientWrite        // for the client to take bytes
	waitUpstreamRead       // for an answer, or more of it
	waitUpstreamWrite      // for the upstream to take bytes
	waitFilter             // for a suspended filter
	waitTunnel             // for bytes either way
	waitConnect            // for a connection to the upstream
	waitTaken              // for a connection that a forward proxy has taken to end
	waitMux                // of an HTTP/2 connection, for whatever comes
)

// end is why a wait was ended from outside.
type end int32

const (
	endTime  end = iota + 1 // the deadline passed
	endGone                 // the client is gone
	endDrain                // idle, and the process or the listener ends; or the time for what is in progress is over
)

// Values of watch.at below zero: being ended, and ended.
const (
	ending = -1
	ended  = -2
)

const waitBits = 4

// watched is who a watch belongs to.
type watched interface {
	interrupt(what wait) // wakes the goroutine that is blocked in what; called once per ended wait
	look(v int64)        // about once a second, at a wait whose time is not over; v is a value of at
	left() bool          // the client is gone for good: no wait of this exchange may go on
	lastByte() int64     // when something last went over a tunnel, milliseconds since base
	drain()              // ends what idles
	kill()               // ends everything
}

// watch is one goroutine's present wait. arm and disarm belong to that goroutine, expire to anyone.
type watch struct {
	p     *Proxy
	of    watched
	inner bool         // not the one watch that stands for a connection
	at    atomic.Int64 // milliseconds since base << waitBits | wait; 0 none; or ending, ended
	cause atomic.Int32 // an end, once at is ended

	// Owned by watches.
	shard *watchShard
	index int
	short atomic.Bool // in watches.short
	seen  uint64      // number of the exchange that the sweeper last saw waiting for an answer
}

// now returns milliseconds since base, at most a tick old.
func (p *Proxy) now() int64 { return p.clock.Load() }

// arm writes down that the goroutine is about to wait for at most d (0: without end), but not beyond
// until (milliseconds since base; 0: no such bound). It returns false if the wait before was ended
// from outside: then the connection waited on then cannot be used.
func (w *watch) arm(what wait, d time.Duration, until int64) bool {
	p := w.p
	now := p.clock.Load()
	at := until
	if d > 0 {
		// The clock may be a tick behind; early is worse than late.
		if t := now + int64((d+tick)/time.Millisecond); at == 0 || t < at {
			at = t
		}
	}
	if at == 0 {
		at = 1 << 56
	}
	v := w.at.Load()
	if v < 0 || !w.at.CompareAndSwap(v, at<<waitBits|int64(what)) {
		w.settle()
		return false
	}
	if at < now+nearby && !w.short.Load() {
		p.watches.hurry(w)
	}
	// Who notices that the client is gone says so first and looks for a wait to end afterwards.
	if w.of.left() {
		for v := w.at.Load(); v > 0; v = w.at.Load() {
			w.expire(v, endGone)
		}
		w.settle()
		return false
	}
	return true
}

// disarm ends the wait. It returns false if it was ended from outside.
func (w *watch) disarm() bool {
	v := w.at.Load()
	if v >= 0 && w.at.CompareAndSwap(v, 0) {
		return true
	}
	w.settle()
	return false
}

// settle waits until whoever ends the wait is through with the connections.
func (w *watch) settle() {
	for w.at.Load() != ended {
		runtime.Gosched()
	}
}

// why returns why the wait was ended, or 0 if it was not.
func (w *watch) why() end {
	if w.at.Load() >= 0 {
		return 0
	}
	w.settle()
	return end(w.cause.Load())
}

// recover makes an ended watch usable again, after which its owner sets new deadlines.
func (w *watch) recover() {
	if w.at.Load() < 0 {
		w.settle()
		w.cause.Store(0)
		w.at.Store(0)
	}
}

func waitOf(v int64) wait { return wait(v & (1<<waitBits - 1)) }

// expire ends the wait that v, a value of at, stands for, unless it is over.
func (w *watch) expire(v int64, why end) {
	if v <= 0 || !w.at.CompareAndSwap(v, ending) {
		return
	}
	defer w.at.Store(ended) // its owner waits for that
	w.cause.Store(int32(why))
	w.of.interrupt(waitOf(v))
}

func (w *watch) init(p *Proxy, of watched) { w.p, w.of = p, of }

// watches is every watch of the process.
type watches struct {
	shards [16]watchShard
	turn   atomic.Uint32
	ticks  int // owned by the sweeper

	mu    sync.Mutex
	short []*watch
}

type watchShard struct {
	mu  sync.Mutex
	all []*watch
	_   [32]byte
}

func (ws *watches) add(w *watch) {
	sh := &ws.shards[ws.turn.Add(1)%uint32(len(ws.shards))]
	sh.mu.Lock()
	w.shard, w.index = sh, len(sh.all)
	sh.all = append(sh.all, w)
	sh.mu.Unlock()
}

func (ws *watches) remove(w *watch) {
	sh := w.shard
	sh.mu.Lock()
	last := sh.all[len(sh.all)-1]
	sh.all[w.index], last.index = last, w.index
	sh.all[len(sh.all)-1] = nil
	sh.all = sh.all[:len(sh.all)-1]
	sh.mu.Unlock()
	w.at.Store(0)
}

func (ws *watches) count() int {
	n := 0
	ws.each(func(w *watch) {
		if !w.inner {
			n++
		}
	})
	return n
}

// each calls f for every watch, with no lock held.
func (ws *watches) each(f func(*watch)) {
	var list []*watch
	for i := range ws.shards {
		sh := &ws.shards[i]
		sh.mu.Lock()
		list = append(list[:0], sh.all...)
		sh.mu.Unlock()
		for _, w := range list {
			f(w)
		}
	}
}

// hurry puts a watch among those that are looked at every tick.
func (ws *watches) hurry(w *watch) {
	ws.mu.Lock()
	if !w.short.Swap(true) {
		ws.short = append(ws.short, w)
	}
	ws.mu.Unlock()
}

// each calls f, a look at w. After a fault its connection or stream ends.
func (p *Proxy) each(w *watch, f func()) {
	defer func() {
		if fault := recover(); fault != nil {
			p.fault("keeping the deadlines of a connection failed", fault)
			p.guarded(w.of.kill)
			p.guarded(func() { w.expire(w.at.Load(), endGone) })
		}
	}()
	f()
}

// sweep ends the waits whose time is over.
func (p *Proxy) sweep(at time.Time) {
	now := int64(at.Sub(p.base) / time.Millisecond)
	p.clock.Store(now)
	p.setDate(at)
	ws := &p.watches
	if ws.ticks++; ws.ticks%fullSweep == 0 {
		ws.each(func(w *watch) { p.each(w, func() { p.lookAt(w, now) }) })
		p.guarded(p.workers.trim)
		p.guarded(p.relieve)
	}
	var due []*watch
	ws.mu.Lock()
	kept := ws.short[:0]
	for _, w := range ws.short {
		// short is cleared before at is read: whoever arms does it in the other order.
		w.short.Store(false)
		v := w.at.Load()
		switch {
		case v > 0 && v>>waitBits <= now:
			due = append(due, w)
		case v > 0 && v>>waitBits <= now+nearby:
			w.short.Store(true)
			kept = append(kept, w)
		}
	}
	clear(ws.short[len(kept):])
	ws.short = kept
	ws.mu.Unlock()
	for _, w := range due {
		p.each(w, func() { p.timeUp(w, now) })
	}
}

// lookAt is the full sweep's look at one watch.
func (p *Proxy) lookAt(w *watch, now int64) {
	v := w.at.Load()
	if v <= 0 {
		return
	}
	switch until := v >> waitBits; {
	case until <= now:
		p.timeUp(w, now)
		return
	case until < now+nearby:
		p.watches.hurry(w)
	}
	w.of.look(v)
}

// timeUp ends a wait whose deadline has passed, unless there was life on a tunnel.
func (p *Proxy) timeUp(w *watch, now int64) {
	v := w.at.Load()
	if v <= 0 || v>>waitBits > now {
		return
	}
	if waitOf(v) == waitTunnel {
		if until := w.of.lastByte() + p.limits.UpgradeIdle.Milliseconds(); until > now {
			w.at.CompareAndSwap(v, until<<waitBits|int64(waitTunnel))
			return
		}
	}
	w.expire(v, endTime)
}
