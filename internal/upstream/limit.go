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
	waiting []chan *Conn // first come, first served; nil sent means a permit
}

// acquire takes a permit for a new connection, or is handed a connection together with its permit.
// At the bound it first closes an idle connection elsewhere, then waits.
func (l *limiter) acquire(ctx context.Context, u *Upstream) (*Conn, *Error) {
	for {
		if l.try() {
			return nil, nil
		}
		if !u.evict() {
			break
		}
	}
	ch := make(chan *Conn, 1)
	l.mu.Lock()
	if len(l.waiting) >= l.maxPending {
		l.mu.Unlock()
		l.overflows.Add(1)
		return nil, &Error{Code: diag.UpstreamPoolOverflow, Detail: "upstream " + u.Name + " has its maximum of connections and of waiting requests"}
	}
	l.waiting = append(l.waiting, ch)
	l.pending.Store(int32(len(l.waiting)))
	l.mu.Unlock()
	// Whoever released before pending was raised did not see us: look once more.
	if l.try() {
		l.release()
	} else {
		u.evict()
	}
	select {
	case c := <-ch:
		return c, nil
	case <-ctx.Done():
	}
	if !l.leave(ch) {
		c := <-ch // already served: pass it on
		if c != nil {
			c.discard()
		} else {
			l.release()
		}
	}
	l.overflows.Add(1)
	return nil, &Error{Code: diag.UpstreamPoolOverflow, Detail: "no connection of upstream " + u.Name + " became free in time", Err: ctx.Err()}
}

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

// leave takes ch out of the queue and says whether it was still there.
func (l *limiter) leave(ch chan *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting, ch)
	if i < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	l.pending.Store(int32(len(l.waiting)))
	return true
}

// hand gives a connection with its permit to the first that waits, and says whether one did.
func (l *limiter) hand(c *Conn) bool {
	if l.pending.Load() == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return false
	}
	ch := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	l.pending.Store(int32(len(l.waiting)))
	ch <- c // has room for one and is sent to once
	return true
}

// release gives a permit back, to the first that waits if there is one.
func (l *limiter) release() {
	if !l.hand(nil) {
		l.open.Add(-1)
	}
}
