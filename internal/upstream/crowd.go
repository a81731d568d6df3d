package upstream

import "github.com/hakone-gateway/hakone/internal/http2/mux"

// Streams of a trunk share its window, and memory. Clients whose uploads the endpoint does not read, or who do
// not read their answers, must not hold others up: as long as another connection can be had, a slot is not lent
// where that is so.
const (
	heldMost = 32 << 20 // bytes of a trunk that wait to be read by clients or to be sent, beyond which it is full
	sendRoom = 16 << 10 // bytes that the endpoint has to take at once for a request with a body
)

// crowd returns from how many lent slots on a trunk may hold heldMost.
func (r *Registry) crowd() int32 {
	window := r.opt.HTTP2.StreamWindow
	if window == 0 {
		window = mux.DefaultStreamWindow
	}
	return int32(heldMost / window)
}

// fit reports whether a trunk with lent slots is good for one more request. body says that it has one.
func (t *trunk) fit(lent int32, body bool) bool {
	switch {
	case t.congested.Load():
		return false
	case lent >= t.crowd && t.mux.Held() > heldMost:
		return false
	}
	return !body || t.mux.Room() >= sendRoom
}

// observe is done about once a second.
func (t *trunk) observe(now int64) {
	if is := t.mux.Congested(now); is != t.congested.Load() {
		t.congested.Store(is)
		if !is {
			t.serve()
		}
	}
}
