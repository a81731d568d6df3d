package forward

import (
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Figures returns what forward proxies hold now.
func (s *State) Figures() telemetry.ForwardState {
	out := telemetry.ForwardState{Spliced: s.spliced.Load(), Bumped: s.bumped.Load(), Pinned: s.pinned.count()}
	out.Logins, out.Guessers = s.logins.count()
	s.mu.Lock()
	all := make([]*upstream.Destinations, 0, len(s.outside))
	for d := range s.outside {
		all = append(all, d)
	}
	s.mu.Unlock()
	for _, d := range all {
		kept, used := d.Len()
		out.Kept, out.Used = out.Kept+kept, out.Used+used
	}
	return out
}

// hold counts a policy that uses destinations; let ends that.
func (s *State) hold(d *upstream.Destinations) {
	if d == nil {
		return
	}
	s.mu.Lock()
	s.outside[d]++
	s.mu.Unlock()
}

func (s *State) let(d *upstream.Destinations) {
	if d == nil {
		return
	}
	s.mu.Lock()
	if s.outside[d]--; s.outside[d] <= 0 {
		delete(s.outside, d)
	}
	s.mu.Unlock()
}

// count returns how many hosts are spliced.
func (p *pinned) count() int {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.hosts {
		if r.n >= pinnedAfter && !now.After(r.until) {
			n++
		}
	}
	return n
}

// count returns how many logins hold, and how many addresses have guessed lately.
func (l *logins) count() (good, guessers int) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, until := range l.good {
		if now.Before(until) {
			good++
		}
	}
	for _, g := range l.wrong {
		if now.Before(g.until) {
			guessers++
		}
	}
	return good, guessers
}
