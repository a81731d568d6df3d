package proxy

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/hakone-gateway/hakone/internal/overload"
)

// Parts of the connections that are closed in one sweep, one in so many and at least one. What was
// closed shows in the measurements of the next second.
const (
	idlePart   = 10 // of the idle ones while memory or connections are short
	hungryPart = 2  // of the idle ones while new requests are refused
	cachePart  = 10 // of the bytes of every cache, in each sweep
	cutPart    = 20 // of the busy ones while nothing else helps
)

// What a busy connection and a request on a stream are taken to hold besides what is counted, in bytes.
const (
	busyConn   = headSize + outSize + reply
	busyStream = 4 << 10
)

// unadmitted reports whether x was refused because the process is at a bound.
func (x *exchange) unadmitted() bool {
	code, ok := x.client.p.bounds.Admit()
	if !ok {
		x.refuse(code, "memory is at its bound; new requests are refused until it falls")
	}
	return !ok
}

// calm reports whether connections may be kept.
func (p *Proxy) calm() bool { return p.bounds.Level() == overload.Calm }

// relieve closes connections while the process is short of memory or connections: those that idle,
// the longest idle first; when nothing else helps also busy ones, those that hold most first.
func (p *Proxy) relieve() {
	level := p.bounds.Level()
	if level == overload.Calm {
		return
	}
	p.caches.Shrink(cachePart)
	part := idlePart
	if level >= overload.Refusing {
		part = hungryPart
	}
	idle := p.idle()
	slices.SortFunc(idle, func(a, b idler) int { return cmp.Compare(b.since, a.since) })
	for _, c := range idle[:share(len(idle), part)] {
		p.bounds.Shed(p.bounds.Short())
		if h, ok := c.w.of.(*http2Conn); ok {
			h.leave()
		} else {
			c.w.expire(c.v, endDrain)
		}
	}
	if level < overload.Cutting {
		return
	}
	busy := p.busy()
	for _, c := range busy[:share(len(busy), cutPart)] {
		p.bounds.Shed(p.bounds.Short())
		c.w.of.kill()
	}
}

// share returns how many of n are closed.
func share(n, part int) int { return min(n, max(1, n/part)) }

// idler is a connection without a request.
type idler struct {
	w     *watch
	v     int64 // of watch.at
	since int64 // milliseconds, to be compared only
}

// idle returns the connections without a request.
func (p *Proxy) idle() []idler {
	var out []idler
	now := p.now()
	p.watches.each(func(w *watch) {
		v := w.at.Load()
		if w.inner || v < 0 {
			return
		}
		if h, ok := w.of.(*http2Conn); ok {
			if since := h.mux.IdleSince(); since > 0 {
				out = append(out, idler{w, v, now - since})
			}
		} else if waitOf(v) == waitIdle { // all wait for the same time: who is over first has waited longest
			out = append(out, idler{w, v, -v})
		}
	})
	return out
}

// holder is a connection with requests.
type holder struct {
	w     *watch
	holds int64 // bytes, roughly
	party int64 // bytes of all connections of its address
}

// busy returns the connections with requests, in the order in which they are cut: those of the address that
// holds most first, and of these the one that holds most.
func (p *Proxy) busy() []*holder {
	streams := map[*http2Conn]int64{} // bytes of their requests
	var conns []*holder
	p.watches.each(func(w *watch) {
		switch of := w.of.(type) {
		case *worker:
			if c := of.conn.Load(); c != nil {
				streams[c] += busyStream + of.holds()
			}
		case *http2Conn:
			if of.mux.IdleSince() == 0 {
				conns = append(conns, &holder{w: w, holds: int64(of.mux.Held())})
			}
		case *conn:
			if v := w.at.Load(); !w.inner && v >= 0 && waitOf(v) != waitIdle {
				conns = append(conns, &holder{w: w, holds: busyConn + of.holds()})
			}
		}
	})
	parties := map[netip.Addr]int64{}
	of := func(h *holder) (netip.Addr, bool) { return p.bounds.Party(h.w.of.(served).remote()) }
	for _, h := range conns {
		if c, ok := h.w.of.(*http2Conn); ok {
			h.holds += streams[c]
		}
		h.party = h.holds
		if a, ok := of(h); ok {
			parties[a] += h.holds
		}
	}
	for _, h := range conns {
		if a, ok := of(h); ok {
			h.party = parties[a]
		}
	}
	slices.SortFunc(conns, func(a, b *holder) int {
		return cmp.Or(cmp.Compare(b.party, a.party), cmp.Compare(b.holds, a.holds))
	})
	return conns
}

// served is who a connection's watch belongs to.
type served interface{ remote() netip.Addr }

// remote returns the address of the connection's other end.
func (c *client) remote() netip.Addr { return c.d.Raw.Remote().Addr() }
