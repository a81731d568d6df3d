package overload

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Handshakes are short of two things. Memory: all in progress are counted, and when there are too many
// the one that has waited longest for its client gives way, because who is slow on purpose waits
// longest. And processor time: only a few compute at once, the others wait for their turn, so that
// those that are served finish in time instead of all being late.

// shakes are the handshakes in progress.
type shakes struct {
	mu        sync.Mutex
	n         int
	addresses map[netip.Addr]int // in progress by address
	oldest    *Handshake         // list of those that wait for their client
	newest    *Handshake
}

// Handshake is one handshake in progress. The methods of a nil *Handshake do nothing. Begin, Turn,
// Yield and End belong to the goroutine that runs it.
type Handshake struct {
	b    *Bounds
	from netip.Addr // invalid if its address has no bound
	wake func()

	gone       atomic.Bool // it gave way
	turn       bool        // owned by its goroutine: it may compute
	listed     bool        // guarded by shakes.mu
	prev, next *Handshake  // guarded by shakes.mu
}

// BeginHandshake counts a handshake, or returns the reason to refuse it. wake is called, from another
// goroutine and at most once, when the handshake has to give way while it waits for its client; it must
// end that wait and not block. End must follow.
func (b *Bounds) BeginHandshake(remote netip.Addr, wake func()) (*Handshake, diag.Code) {
	if b == nil {
		return nil, 0
	}
	b.Reserve(perHandshake)
	h := &Handshake{b: b, wake: wake}
	if b.bounded(remote) {
		h.from = network(remote)
	}
	victim, ok := b.shakes.begin(h, b.opts.MaxHandshakes)
	if victim != nil {
		b.Shed(diag.OverloadHandshakes)
		victim.wake()
	}
	if !ok {
		b.Shed(diag.OverloadHandshakes)
		return nil, diag.OverloadHandshakes
	}
	return h, 0
}

// begin adds h. At the bound it takes the oldest waiting handshake out, which its caller wakes; if none
// waits, or once half of the bound is used and h's address has half of that, h is not added.
func (s *shakes) begin(h *Handshake, bound int) (victim *Handshake, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.from.IsValid() && s.n >= (bound+1)/2 && s.addresses[h.from] >= (bound+3)/4 {
		return nil, false
	}
	if s.n >= bound {
		if victim = s.oldest; victim == nil {
			return nil, false
		}
		victim.gone.Store(true)
		s.drop(victim)
	}
	s.n++
	if h.from.IsValid() {
		s.addresses[h.from]++
	}
	s.list(h)
	return victim, true
}

// drop takes h out of all counts. mu is held.
func (s *shakes) drop(h *Handshake) {
	s.unlist(h)
	s.n--
	if h.from.IsValid() {
		if s.addresses[h.from]--; s.addresses[h.from] <= 0 {
			delete(s.addresses, h.from)
		}
	}
}

// list puts h among those that wait for their client, as the newest. mu is held.
func (s *shakes) list(h *Handshake) {
	h.listed, h.prev, h.next = true, s.newest, nil
	if s.newest != nil {
		s.newest.next = h
	} else {
		s.oldest = h
	}
	s.newest = h
}

// unlist takes h from among them. mu is held.
func (s *shakes) unlist(h *Handshake) {
	if !h.listed {
		return
	}
	if h.prev != nil {
		h.prev.next = h.next
	} else {
		s.oldest = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	} else {
		s.newest = h.prev
	}
	h.listed, h.prev, h.next = false, nil, nil
}

func (s *shakes) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// Gone reports whether the handshake has given way: it is to be refused with HK4404.
func (h *Handshake) Gone() bool { return h != nil && h.gone.Load() }

// Turn waits, at most until the deadline, until the handshake may compute. It returns HK4404 if its
// turn did not come in time or it has given way.
func (h *Handshake) Turn(deadline time.Time) diag.Code {
	if h == nil || h.turn {
		return 0
	}
	s := &h.b.shakes
	s.mu.Lock()
	s.unlist(h) // who waits for us does not give way
	s.mu.Unlock()
	if h.gone.Load() {
		return diag.OverloadHandshakes
	}
	select {
	case h.b.turns <- struct{}{}:
		h.turn = true
		return 0
	default:
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case h.b.turns <- struct{}{}:
		h.turn = true
		return 0
	case <-t.C:
		h.b.Shed(diag.OverloadHandshakes)
		return diag.OverloadHandshakes
	}
}

// Yield ends a turn because the handshake is about to wait for its client. Without a turn it does
// nothing.
func (h *Handshake) Yield() {
	if h == nil || !h.turn {
		return
	}
	h.turn = false
	<-h.b.turns
	s := &h.b.shakes
	s.mu.Lock()
	s.list(h)
	s.mu.Unlock()
}

// End ends the handshake and reports whether it had given way before. Later calls report the same and
// do nothing.
func (h *Handshake) End() (gone bool) {
	if h == nil {
		return false
	}
	if h.b == nil {
		return h.gone.Load()
	}
	if h.turn {
		h.turn = false
		<-h.b.turns
	}
	s := &h.b.shakes
	s.mu.Lock()
	if gone = h.gone.Load(); !gone {
		s.drop(h)
	}
	s.mu.Unlock()
	h.b = nil
	return gone
}
