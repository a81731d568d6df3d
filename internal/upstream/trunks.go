package upstream

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

// assumedSlots is how many streams a connection that is being made is expected to carry as long as no
// other to the endpoint has told: what RFC 9113 section 6.5.2 asks of servers at least.
const assumedSlots = 100

// spreadAt is how many slots of every connection are lent before one more is made though there is room
// (see DESIGN.md).
const spreadAt = 64

// sampled is how many trunks are looked at for the least busy one.
const sampled = 8

// trunks are the HTTP/2 connections to one endpoint, for one TLS server name where that follows the
// request's host, and the requests that wait for one that is being made.
type trunks struct {
	host string

	list    atomic.Pointer[[]*trunk] // frozen when published; nil or empty for none
	waiting atomic.Int32             // length of queue, kept apart so that it can be read without mu

	mu      sync.Mutex
	queue   []*ticket
	dialing int
	expect  int  // slots of the last connection; 0: none yet
	gone    bool // forgotten by its endpoint
}

// ticket is a request that waits for a connection that is being made.
type ticket struct {
	body bool         // the request has one
	out  chan outcome // has room for one and is sent to once
}

// outcome is what a ticket gets: a slot, a connection in HTTP/1.1, a failure, or nothing, which means to
// look again.
type outcome struct {
	trunk *trunk
	used  bool // the slot's trunk has served others
	conn  *Conn
	err   *Error
}

// all returns the trunks, retired ones included. The slice must not be changed.
func (g *trunks) all() []*trunk {
	if p := g.list.Load(); p != nil {
		return *p
	}
	return nil
}

// reserve lends a slot of the least busy trunk that was made with material, is not the one to avoid and,
// unless anyhow, is fit for the request. before is its state until then.
func (g *trunks) reserve(material uint32, q *Query, anyhow bool) (t *trunk, before uint64) {
	list := g.all()
	n := len(list)
	if n == 0 {
		return nil, 0
	}
	start, look := 0, n
	if n > sampled {
		start, look = rand.IntN(n), sampled
	}
	for {
		var best *trunk
		least := int32(1<<31 - 1)
		for i := range look {
			t := list[(start+i)%n]
			s := t.state.Load()
			lent := int32(s & slotMask)
			if s&isRetired == 0 && lent < least && lent < t.slots.Load() && t.conn.material == material &&
				(q.NotConn == nil || t.mux != q.NotConn) && (anyhow || t.fit(lent, q.Body)) {
				best, least = t, lent
			}
		}
		switch {
		case best != nil:
			if s, ok := best.reserve(); ok {
				if s&slotMask != 0 || best.mux.MaxStreams() > 0 {
					return best, s
				}
				// The peer sent GOAWAY while the connection was idle, or takes no more streams.
				best.retire()
				best.release()
			}
		case look == n:
			return nil, 0
		default:
			look = n
		}
	}
}

// hand gives a slot of t to the first ticket. It returns false if that was not possible.
func (g *trunks) hand(t *trunk) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) == 0 || t.conn.material != t.conn.up.tls.Load().num || !t.fit(t.lent(), g.queue[0].body) {
		return false
	}
	before, ok := t.reserve()
	if !ok {
		return false
	}
	g.pop(0).out <- outcome{trunk: t, used: before >= slotOnce}
	return true
}

// pop takes a ticket out of the queue; mu is held.
func (g *trunks) pop(i int) *ticket {
	k := g.queue[i]
	g.queue = slices.Delete(g.queue, i, i+1)
	g.waiting.Store(int32(len(g.queue)))
	return k
}

// push adds a ticket to the queue; mu is held.
func (g *trunks) push(k *ticket) {
	g.queue = append(g.queue, k)
	g.waiting.Store(int32(len(g.queue)))
}

// dismiss gives all that wait the same outcome; mu is held.
func (g *trunks) dismiss(o outcome) {
	for _, k := range g.queue {
		k.out <- o
	}
	clear(g.queue)
	g.queue = g.queue[:0]
	g.waiting.Store(0)
}

// leave takes k out of the queue and says whether it was still there.
func (g *trunks) leave(k *ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, k)
	if i >= 0 {
		g.pop(i)
	}
	return i >= 0
}

// add publishes t; mu is held.
func (g *trunks) add(t *trunk) {
	next := append(slices.Clone(g.all()), t)
	g.list.Store(&next)
	g.expect = int(t.slots.Load())
}

// remove forgets t.
func (g *trunks) remove(t *trunk) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(g.all()), func(o *trunk) bool { return o == t })
	g.list.Store(&next)
}

// covered reports whether the connections that are being made will do for more requests; mu is held.
func (g *trunks) covered(u *Upstream, more int) bool {
	each := g.expect
	if each == 0 {
		each = min(assumedSlots, u.mostSlots())
	}
	return g.dialing*each >= len(g.queue)+more
}

// forget marks a group that is of no use, and says whether it is one.
func (g *trunks) forget() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = g.gone || len(g.all()) == 0 && len(g.queue) == 0 && g.dialing == 0
	return g.gone
}

// joining is what a ticket may count on.
type joining int

const (
	joined    joining = iota // a connection is being made
	mustDial                 // its owner has to make one, and has the permit
	mustQueue                // there is no permit: the pool is at its bound
	stale                    // the group is no longer in use, or has got a connection meanwhile: look again
)

// join queues k for a connection that is being made. permit says that its owner has a permit and makes
// one in any case; else seen is the list in which its owner found no slot.
func (g *trunks) join(u *Upstream, k *ticket, seen *[]*trunk, permit bool) joining {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.gone, !permit && g.list.Load() != seen:
		return stale
	case !permit && g.covered(u, 1):
		g.push(k)
		return joined
	case !permit && !u.limit.try():
		return mustQueue
	}
	g.dialing++
	g.push(k)
	return mustDial
}

// another takes a permit for one more connection than is needed at once, if none is being made.
func (g *trunks) another(u *Upstream) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone || g.dialing > 0 || !u.limit.try() {
		return false
	}
	g.dialing++
	return true
}
