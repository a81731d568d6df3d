package upstream

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// limiter bounds the connections of an upstream, idle ones included, and the requests that wait for
// one. Below the bound it is two atomic operations.
type limiter struct {
	max        int32
	maxPending int

	open      atomic.Int32 // permits given out
	pending   atomic.Int32 // length of waiting, kept apart so that it can be read without mu
	overflows atomic.Int64

	mu      sync.Mutex
	waiting []*waiter // first come, first served
}

// waiter is a request in the queue and what it can use beside a permit and a connection on which nothing
// is outstanding.
type waiter struct {
	shared bool      // a slot of an HTTP/2 connection
	host   string    // made for this TLS server name; "" where that does not matter
	only   *Endpoint // to this endpoint; nil where that does not matter
	out    chan handed
}

// handed is what a waiter is given: a connection with its permit, a slot, or, if both are nil, a permit.
type handed struct {
	conn  *Conn
	trunk *trunk
	used  bool // the slot's trunk has served others
}

// acquire takes a permit for a new connection, or is handed a connection together with its permit, or a
// slot of an HTTP/2 connection if w can use one. At the bound it first closes an idle connection
// elsewhere, then waits; look is called once more after w was queued, for a slot that came free
// meanwhile.
func (l *limiter) acquire(ctx context.Context, u *Upstream, w *waiter, look func() handed) (handed, *Error) {
	for {
		if l.try() {
			return handed{}, nil
		}
		if !u.evict() {
			break
		}
	}
	w.out = make(chan handed, 1)
	l.mu.Lock()
	if len(l.waiting) >= l.maxPending {
		l.mu.Unlock()
		l.overflows.Add(1)
		return handed{}, &Error{Code: diag.UpstreamPoolOverflow, Detail: "upstream " + u.Name + " has its maximum of connections and of waiting requests"}
	}
	l.waiting = append(l.waiting, w)
	l.pending.Store(int32(len(l.waiting)))
	l.mu.Unlock()
	// Whoever released before pending was raised did not see us: look once more.
	if l.try() {
		l.release()
	} else if h := look(); h.trunk != nil {
		if l.leave(w) {
			return h, nil
		}
		h.trunk.release()
	} else {
		u.evict()
	}
	select {
	case h := <-w.out:
		return h, nil
	case <-ctx.Done():
	}
	if !l.leave(w) {
		switch h := <-w.out; { // already served: pass it on
		case h.conn != nil:
			h.conn.discard()
		case h.trunk != nil:
			h.trunk.release()
		default:
			l.release()
		}
	}
	if ctx.Err() != context.Canceled { // else the client has left
		l.overflows.Add(1)
	}
	return handed{}, &Error{Code: diag.UpstreamPoolOverflow, Detail: "no connection of upstream " + u.Name + " became free in time", Err: ctx.Err()}
}

// full reports whether all permits are out.
func (l *limiter) full() bool { return l.open.Load() >= l.max }

// try takes a permit if there is one.
func (l *limiter) try() bool {
	for {
		n := l.open.Load()
		if n >= l.max {
			return false
		}
		if l.open.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave takes w out of the queue and says whether it was still there.
func (l *limiter) leave(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i >= 0 {
		l.pop(i)
	}
	return i >= 0
}

// pop takes a waiter out of the queue; mu is held.
func (l *limiter) pop(i int) *waiter {
	w := l.waiting[i]
	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.pending.Store(int32(len(l.waiting)))
	return w
}

// hand gives a connection with its permit, or a permit alone if c is nil, to the first that waits, and
// says whether one did.
func (l *limiter) hand(c *Conn) bool {
	if l.pending.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return false
	}
	l.pop(0).out <- handed{conn: c} // has room for one and is sent to once
	return true
}

// handSlot gives a slot of t to the first waiter that can use it, and says whether one did.
func (l *limiter) handSlot(t *trunk) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.waiting, func(w *waiter) bool {
		return w.shared && w.host == t.conn.host && (w.only == nil || w.only == t.conn.Endpoint)
	})
	if i < 0 {
		return false
	}
	before, ok := t.reserve()
	if ok {
		l.pop(i).out <- handed{trunk: t, used: before >= slotOnce}
	}
	return ok
}

// release gives a permit back, to the first that waits if there is one.
func (l *limiter) release() {
	if !l.hand(nil) {
		l.open.Add(-1)
	}
}
