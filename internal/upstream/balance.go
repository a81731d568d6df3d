package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// maxTurns bounds the length of a schedule; weights are scaled down to fit.
const maxTurns = 4096

// set is the endpoints that can be chosen, frozen when published. Weights are compiled into turns: a
// schedule in which every endpoint stands as often as its share asks, spread evenly, so that all ways
// of balancing choose an index.
type set struct {
	endpoints []*Endpoint
	turns     []uint16
	lineup    *lineup // of an OriginPool, instead of turns
}

// newSet builds the schedule by smooth weighted round robin. endpoints are at most 65,535.
func newSet(endpoints []*Endpoint, weights []uint32) *set {
	s := &set{endpoints: endpoints}
	if len(endpoints) == 0 {
		return s
	}
	shares, total := scale(weights)
	s.turns = make([]uint16, 0, total)
	current := make([]int, len(shares))
	for range total {
		best := 0
		for i, w := range shares {
			current[i] += w
			if current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		s.turns = append(s.turns, uint16(best))
	}
	return s
}

// scale reduces weights to small whole shares of at least 1 and returns their sum.
func scale(weights []uint32) (shares []int, total int) {
	var sum, divisor uint64
	for _, w := range weights {
		w := uint64(max(w, 1))
		sum += w
		divisor = gcd(divisor, w)
	}
	limit := uint64(max(maxTurns, len(weights)))
	shares = make([]int, len(weights))
	for i, w := range weights {
		n := uint64(max(w, 1)) / divisor
		if sum/divisor > limit {
			n = max(1, uint64(max(w, 1))*limit/sum)
		}
		shares[i] = int(n)
		total += int(n)
	}
	return shares, total
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// pick chooses an endpoint other than not, passing over those that are cooling down as long as there
// is another. It returns nil only if there is no endpoint, or none but not.
func (s *set) pick(how ir.Balancing, next *atomic.Uint32, not *Endpoint) *Endpoint {
	n := uint32(len(s.turns))
	if n == 0 {
		return nil
	}
	var at uint32
	switch how {
	case ir.LeastRequest:
		at = rand.Uint32N(n)
		if b := rand.Uint32N(n); s.at(b).active.Load() < s.at(at).active.Load() {
			at = b
		}
	case ir.Random:
		at = rand.Uint32N(n)
	default:
		at = next.Add(1) % n
	}
	e := s.at(at)
	if e != not && e.coolUntil.Load() == 0 {
		return e
	}
	return s.pass(at, not)
}

func (s *set) at(i uint32) *Endpoint { return s.endpoints[s.turns[i]] }

// pass looks further from turn at for an endpoint that is not cooling down.
func (s *set) pass(at uint32, not *Endpoint) *Endpoint {
	now := time.Now().UnixNano()
	var second *Endpoint
	for i := range uint32(len(s.turns)) {
		e := s.at((at + i) % uint32(len(s.turns)))
		if e == not {
			continue
		}
		if !e.cooling(now) {
			return e
		}
		if second == nil {
			second = e
		}
	}
	return second
}
