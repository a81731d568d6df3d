package upstream

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// maxFallbacks bounds how many pools a request is passed on by.
const maxFallbacks = 8

// lineup is the origins of an upstream that is an OriginPool. It is frozen when published.
type lineup struct {
	members []member
}

// member is one origin with its addresses.
type member struct {
	origin    *origin
	server    *ir.Server
	endpoints []*Endpoint
	pending   bool // its name was not resolved yet
	next      *atomic.Uint32
}

// Choice is what a pool wants to know of a request, and what it decided. Set the exported fields before
// each request; the rest is the pool's. It belongs to one request, all its tries included.
type Choice struct {
	Address netip.Addr // the client's
	Cookie  []byte     // value of the cookie that AffinityCookie names; nil for none
	Secure  bool       // the client came over HTTPS

	pool    uint64 // for which Cookie was looked at; 0: it was not
	known   bool   // it holds a session with that pool,
	named   uint64 // with this origin
	located bool   // the place was looked up
	place   Place
	kept    bool // the cookie stays although another origin answers
}

// Steered says whether requests need a Choice: the upstream is an OriginPool.
func (u *Upstream) Steered() bool { return u.origins != nil }

// PoolName is the name of the OriginPool that the upstream is, "namespace/name"; else "".
func (u *Upstream) PoolName() string {
	if u.origins == nil {
		return ""
	}
	return u.origins.name
}

// Serving returns the upstream that serves instead of this one: itself, unless it is a pool that is disabled or
// below its minimum. Then it is the first of the chain of fallbacks that is fit; else the first with any
// healthy origin; else the last that is enabled, as trying is better than refusing.
func (u *Upstream) Serving() *Upstream {
	if u.origins == nil || u.fallback.Load() == nil {
		return u
	}
	now := time.Now().UnixNano()
	var some, last *Upstream
	at := u
	var seen [maxFallbacks]*Upstream
	for i := range seen {
		if at == nil || slices.Contains(seen[:i], at) {
			break
		}
		seen[i] = at
		healthy, needed := at.fitness(now)
		switch {
		case healthy >= needed:
			return at
		case healthy > 0 && some == nil:
			some = at
		}
		if at.origins == nil || !at.origins.settings.Load().Disabled {
			last = at
		}
		at = at.fallback.Load()
	}
	switch {
	case some != nil:
		return some
	case last != nil:
		return last
	}
	return u
}

// fitness returns how many healthy origins take new clients, and how many are needed.
func (u *Upstream) fitness(now int64) (healthy, needed int) {
	if u.origins == nil {
		return 1, 1
	}
	s := u.origins.settings.Load()
	if needed = max(s.Minimum, 1); s.Disabled {
		return 0, needed
	}
	if l := u.set.Load().lineup; l != nil {
		healthy = l.healthy(now)
	}
	return healthy, needed
}

func (l *lineup) healthy(now int64) (n int) {
	for i := range l.members {
		if m := &l.members[i]; m.takes() && (m.pending || len(m.endpoints) > 0) && m.origin.healthy(now) {
			n++
		}
	}
	return n
}

// takes reports whether the origin takes new clients at all.
func (m *member) takes() bool { return !m.server.Disabled && m.server.Share > 0 }

// Ranks: what is lower is better. The place counts only among origins that are equally good.
const (
	rankFit     = iota * ranks // healthy
	rankCooling                // healthy, but connecting has just failed
	rankSame                   // healthy, but the one to avoid
	rankSick
	rankSickSame
	rankNone
)

// places of an origin with regions, by what they say about the client.
const (
	inCountry = iota
	inContinent
	anywhere
	elsewhere
	ranks
)

// rank says how good a member is for a new client. not is the endpoint that must not be chosen.
func (m *member) rank(now int64, not *Endpoint) int {
	if !m.takes() || !slices.ContainsFunc(m.endpoints, func(e *Endpoint) bool { return e != not }) {
		return rankNone
	}
	same := not != nil && not.origin == m.origin
	switch healthy := m.origin.healthy(now); {
	case !healthy && same:
		return rankSickSame
	case !healthy:
		return rankSick
	case same:
		return rankSame
	case !slices.ContainsFunc(m.endpoints, func(e *Endpoint) bool { return e.coolUntil.Load() == 0 || !e.cooling(now) }):
		return rankCooling
	}
	return rankFit
}

// near says how a member lies to a client.
func (m *member) near(p Place) int {
	switch {
	case len(m.server.Regions) == 0:
		return anywhere
	case p.Country != "" && slices.Contains(m.server.Regions, p.Country):
		return inCountry
	case p.Continent != "" && slices.Contains(m.server.Regions, p.Continent):
		return inContinent
	}
	return elsewhere
}

// steer chooses an endpoint for a request, other than not. It returns nil if there is none; q.refused says
// why if that is final.
func (u *Upstream) steer(l *lineup, q *Query, not *Endpoint) *Endpoint {
	now := time.Now().UnixNano()
	settings := u.origins.settings.Load()
	if settings.Disabled {
		q.refused = &Error{Code: diag.PoolUnavailable, Detail: "origin pool " + u.origins.name + " is disabled and has no fallback that is not"}
		return nil
	}
	c := q.Choice
	if c == nil {
		c = &Choice{}
	}
	if a := settings.Affinity; a != nil && a.Cookie != "" && !a.ByAddress {
		if e, final := u.sticky(l, q, c, a, now, not); e != nil || final {
			return e
		}
	}
	m := l.choose(u, c, settings, now, not)
	if m == nil {
		return nil
	}
	return m.endpoint(now, not)
}

// choose returns the member for a new client, or nil.
func (l *lineup) choose(u *Upstream, c *Choice, settings *ir.OriginPool, now int64, not *Endpoint) *member {
	how := u.Settings.Balancing
	geo := how == ir.Geo
	if geo && !c.located {
		c.place, c.located = u.registry.opt.locate(c.Address), true
	}
	if settings.Affinity != nil && settings.Affinity.ByAddress {
		how = ir.HashAddress
	}
	rank := func(m *member) int {
		r := m.rank(now, not)
		if geo && r < rankNone {
			r += m.near(c.place)
		}
		return r
	}
	best, total, first := rankNone, 0.0, (*member)(nil)
	for i := range l.members {
		m := &l.members[i]
		switch r := rank(m); {
		case r < best:
			best, total, first = r, m.server.Share, m
		case r == best && r < rankNone:
			total += m.server.Share
		}
	}
	if best >= rankNone {
		return nil
	}
	draw := func() *member {
		left := rand.Float64() * total
		chosen := first
		for i := range l.members {
			m := &l.members[i]
			if rank(m) != best {
				continue
			}
			chosen = m
			if left -= m.server.Share; left < 0 {
				break
			}
		}
		return chosen
	}
	switch how {
	case ir.FirstHealthy:
		return first
	case ir.HashAddress:
		if m := l.rendezvous(c.Address, func(m *member) bool { return rank(m) == best }); m != nil {
			return m
		}
		return first
	case ir.LeastRequest:
		a, b := draw(), draw()
		if b.origin.active.Load() < a.origin.active.Load() {
			return b
		}
		return a
	}
	return draw()
}

// rendezvous returns the member with the highest score for an address (weighted rendezvous hashing): one that
// goes moves its own clients and nobody else's, and so in every process.
func (l *lineup) rendezvous(a netip.Addr, in func(*member) bool) (chosen *member) {
	raw := a.Unmap().As16()
	seed := uint64(14695981039346656037)
	for _, b := range raw {
		seed = (seed ^ uint64(b)) * 1099511628211
	}
	best := math.Inf(-1)
	for i := range l.members {
		m := &l.members[i]
		if !in(m) {
			continue
		}
		// In (0,1): the 53 bits of a float, and a half.
		unit := (float64(mix(seed^m.origin.tag)>>11) + 0.5) / (1 << 53)
		if score := -m.server.Share / math.Log(unit); score > best {
			best, chosen = score, m
		}
	}
	return chosen
}

// mix spreads the bits of x (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// endpoint returns one of the member's addresses in turn, rather one that is not cooling down, and never not.
func (m *member) endpoint(now int64, not *Endpoint) *Endpoint {
	n := uint32(len(m.endpoints))
	if n == 0 {
		return nil
	}
	at := uint32(0)
	if n > 1 {
		at = m.next.Add(1)
	}
	var second *Endpoint
	for i := range n {
		e := m.endpoints[(at+i)%n]
		switch {
		case e == not:
		case e.coolUntil.Load() == 0 || !e.cooling(now):
			return e
		case second == nil:
			second = e
		}
	}
	return second
}

// unavailable says why there is no origin for anybody.
func (u *Upstream) unavailable() *Error {
	s := u.set.Load()
	if s.lineup == nil {
		return &Error{Code: diag.PoolUnavailable, Detail: "origin pool " + u.origins.name + " has no origins"}
	}
	return &Error{Code: diag.PoolUnavailable, Detail: fmt.Sprintf("no origin of pool %s can be used: %s", u.origins.name, s.lineup.words(time.Now().UnixNano()))}
}

// despite adds to a failure that no origin was healthy, and why. The code stays that of the cause.
func (u *Upstream) despite(err *Error) *Error {
	now := time.Now().UnixNano()
	l := u.set.Load().lineup
	if l == nil || len(l.members) == 0 || l.healthy(now) > 0 || err.Code == diag.PoolUnavailable || err.Code == diag.AffinityOriginGone {
		return err
	}
	with := *err // others may have the same
	with.Detail = fmt.Sprintf("%s; no origin of pool %s is healthy: %s", err.Error(), u.origins.name, l.words(now))
	return &with
}
