package proxy

import (
	"cmp"
	"slices"

	"github.com/hakone-gateway/hakone/internal/overload"
)

// Parts of the connections that are closed in one sweep, one in so many and at least one. What was
// closed shows in the measurements of the next second.
const (
	idlePart   = 10 // of the idle ones while memory or connections are short
	hungryPart = 2  // of the idle ones while new requests are refused
	cutPart    = 20 // of the busy ones while nothing else helps
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
	now := p.now()
	type candidate struct {
		w      *watch
		v      int64 // of watch.at
		weight int64 // idle: milliseconds; busy: how much it holds, roughly
	}
	var idle, busy []candidate
	p.watches.each(func(w *watch) {
		v := w.at.Load()
		if w.inner || v < 0 {
			return
		}
		if h, ok := w.of.(*http2Conn); ok {
			if since := h.mux.IdleSince(); since > 0 {
				idle = append(idle, candidate{w, v, now - since})
			} else {
				busy = append(busy, candidate{w, v, int64(h.mux.Streams())})
			}
			return
		}
		switch waitOf(v) {
		case waitIdle: // all wait for the same time: who is over first has waited longest
			idle = append(idle, candidate{w, v, -v})
		case waitClientWrite, waitClientRead: // slow, and their buffers wait with them
			busy = append(busy, candidate{w, v, 2})
		default:
			busy = append(busy, candidate{w, v, 1})
		}
	})
	heaviest := func(list []candidate, part int) []candidate {
		slices.SortFunc(list, func(a, b candidate) int { return cmp.Compare(b.weight, a.weight) })
		return list[:min(len(list), max(1, len(list)/part))]
	}
	part := idlePart
	if level >= overload.Refusing {
		part = hungryPart
	}
	for _, c := range heaviest(idle, part) {
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
	for _, c := range heaviest(busy, cutPart) {
		p.bounds.Shed(p.bounds.Short())
		c.w.of.kill()
	}
}
