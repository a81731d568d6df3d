package telemetry

import (
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// sampleRate is how many shed connections a second get a line; all are counted.
const sampleRate = 20

// sample passes some of many equal records. A flood that is shed must not come back as a flood of lines.
type sample struct {
	mu    sync.Mutex
	begun time.Time // of the present second
	n     int
}

// pass reports whether a record shall be logged and kept.
func (s *sample) pass(h *Handshake) bool {
	if !shedding(h.Code) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.begun) >= time.Second {
		s.begun, s.n = now, 0
	}
	s.n++
	return s.n <= sampleRate
}

// shedding reports whether a code stands for want of resources.
func shedding(c diag.Code) bool {
	return c == diag.ConnectionLimit || c >= diag.OverloadMemory && c <= diag.OverloadHandshakes
}
