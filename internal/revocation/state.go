package revocation

import (
	"log/slog"
	"sync"
	"time"
)

// counts counts fetches. It is safe for concurrent use.
type counts struct {
	mu   sync.Mutex // guards what follows
	n    map[FetchResult]uint64
	told [2]time.Time // when a failure was logged last, by kind
}

// quiet is how long failures of one kind are not logged as warnings after one that was: a responder
// that is down fails for each of its certificates.
const quiet = 10 * time.Second

// level returns the level at which a failure is logged.
func (c *counts) level(k kind, now time.Time) slog.Level {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.told[k]) < quiet {
		return slog.LevelDebug
	}
	c.told[k] = now
	return slog.LevelWarn
}

// FetchResult is a kind ("crl", "ocsp") with an outcome: ok, unchanged, disk, unreachable, status,
// forbidden, too_large, invalid or overload.
type FetchResult struct{ Kind, Result string }

func (c *counts) add(k kind, r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[FetchResult]uint64{}
	}
	c.n[FetchResult{k.String(), string(r)}]++
}

func (c *counts) all() map[FetchResult]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[FetchResult]uint64, len(c.n))
	for k, v := range c.n {
		out[k] = v
	}
	return out
}

// State is what a Service holds, for metrics.
type State struct {
	Fetches map[FetchResult]uint64 // since the start
	Kinds   map[string]KindState   // "crl" and "ocsp"
}

// KindState is about the answers of one kind that are held.
type KindState struct {
	Answers int
	Failing int           // whose last fetch failed
	Oldest  time.Duration // since the thisUpdate of the oldest that was asked for within an hour; 0: none
	Bytes   int64         // of lists
}

// State returns the present state.
func (s *Service) State() State {
	out := State{Fetches: s.counts.all(), Kinds: map[string]KindState{kindCRL.String(): {}, kindOCSP.String(): {}}}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		k := out.Kinds[e.kind.String()]
		if e.fault != "" {
			k.Failing++
		}
		if e.answer != nil {
			k.Answers++
			k.Bytes += e.answer.size
			if e.pinned || now.Sub(e.used) < time.Hour {
				k.Oldest = max(k.Oldest, now.Sub(e.answer.this))
			}
		}
		out.Kinds[e.kind.String()] = k
	}
	return out
}
