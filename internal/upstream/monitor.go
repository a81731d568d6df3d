package upstream

import (
	"context"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Bounds of the checks in progress: of all pools, of one, and of those of one pool's origins that are not
// healthy, whose checks take longest. So neither other pools nor healthy origins wait for dead ones.
const (
	maxChecks     = 256
	maxPoolChecks = 64
	maxDeadChecks = 48
)

// tellLag is how often a pool is told of whose checks are late.
const tellLag = 10 * time.Minute

// turns are those bounds of one pool.
type turns struct {
	all, dead chan struct{}
	told      atomic.Int64 // when it was logged that checks are late, Unix nanoseconds
}

func newTurns() turns {
	return turns{all: make(chan struct{}, maxPoolChecks), dead: make(chan struct{}, maxDeadChecks)}
}

// turn waits until a check of an origin may begin, and returns what ends it, or nil when ctx ends.
func (o *origin) turn(ctx context.Context) (end func()) {
	bounds := []chan struct{}{o.pool.turns.all, o.pool.registry.checks}
	if v := o.verdict.Load(); v != nil && !v.up {
		bounds = append([]chan struct{}{o.pool.turns.dead}, bounds...)
	}
	taken := 0
	end = func() {
		for _, b := range bounds[:taken] {
			<-b
		}
	}
	for _, b := range bounds {
		select {
		case b <- struct{}{}:
			taken++
		case <-ctx.Done():
			end()
			return nil
		}
	}
	return end
}

// late logs that the checks of a pool wait for each other for longer than half their interval.
func (p *originPool) late(waited, interval time.Duration) {
	if waited < interval/2 {
		return
	}
	now, told := time.Now().UnixNano(), p.turns.told.Load()
	if told != 0 && now-told < int64(tellLag) || !p.turns.told.CompareAndSwap(told, now) {
		return
	}
	p.registry.opt.Logger.Warn("health checks of a pool are late: too many of its origins take long to check; give the monitor a shorter timeout, fewer retries or a longer interval",
		"pool", p.name, "late", waited.Round(time.Millisecond), "interval", interval)
}

// plan is what is asked of an origin. It is frozen.
type plan struct {
	monitor *ir.Monitor
	by      *Upstream // whose TLS material and protocol are used
	target  ir.Endpoint
}

// same reports whether two plans ask for the same.
func (p *plan) same(q *plan) bool {
	a, b := p.target.Server, q.target.Server
	return reflect.DeepEqual(p.monitor, q.monitor) && a.HostHeader == b.HostHeader && a.VerifyName == b.VerifyName && p.by.Settings.Protocol == q.by.Settings.Protocol
}

// monitor is the checks of one origin.
type monitor struct {
	origin *origin
	plan   atomic.Pointer[plan]
	ctx    context.Context // of run: ended by cancel, or by the registry
	cancel context.CancelFunc
}

func newMonitor(o *origin, first *plan) *monitor {
	m := &monitor{origin: o}
	m.ctx, m.cancel = context.WithCancel(o.pool.registry.ctx)
	m.plan.Store(first)
	return m
}

// begin starts the checks, which end with cancel or the registry.
func (m *monitor) begin() {
	if !m.origin.pool.registry.spawn(func() { m.run(m.ctx) }) {
		m.cancel()
	}
}

// run checks at once and then at the interval, give or take a tenth, until ctx ends.
func (m *monitor) run(ctx context.Context) {
	r := m.origin.pool.registry
	row := 0 // checks in a row with another result than the verdict
	for {
		begin := time.Now()
		end := m.origin.turn(ctx)
		if end == nil {
			return
		}
		at := m.plan.Load()
		m.origin.pool.late(time.Since(begin), max(at.monitor.Interval, time.Second))
		r.guarded(func() {
			defer end()
			res := r.attempt(ctx, at)
			if ctx.Err() == nil {
				row = m.origin.judge(res, at.monitor, row)
			}
		})
		every := max(at.monitor.Interval, time.Second)
		t := time.NewTimer(every - every/10 + rand.N(every/5))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// attempt checks, and again as often as the monitor says while that fails.
func (r *Registry) attempt(ctx context.Context, p *plan) (res checked) {
	for n := 0; n <= max(p.monitor.Retries, 0); n++ {
		if res = r.check(ctx, p); res.code == 0 || ctx.Err() != nil {
			break
		}
	}
	if res.code == 0 {
		r.passed.Add(1)
	} else if ctx.Err() == nil {
		r.missed.Add(1)
	}
	return res
}

// judge takes the result of a check; row is how many before it in a row spoke against the verdict. The first
// success is believed at once, as nothing speaks against it.
func (o *origin) judge(res checked, m *ir.Monitor, row int) int {
	old := o.verdict.Load()
	now := time.Now()
	next := verdict{up: true, since: now}
	if old != nil {
		next = *old
	}
	next.checked, next.rtt, next.last, next.words = now, res.rtt, res.code, res.detail
	up := res.code == 0
	switch {
	case up == next.up:
		row = 0
		if !up {
			next.code, next.detail = res.code, res.detail
		}
	default:
		need := m.Down
		if up {
			need = m.Up
		}
		if row++; row < max(need, 1) {
			break
		}
		row = 0
		next.up, next.since, next.code, next.detail = up, now, res.code, res.detail
		log := o.pool.registry.opt.Logger
		if up {
			log.Info("origin is healthy", "pool", o.pool.name, "origin", o.key.name, "endpoint", o.key.address, "dur", res.rtt)
		} else {
			log.Warn("origin is not healthy", "pool", o.pool.name, "origin", o.key.name, "endpoint", o.key.address, "code", res.code, "err", res.detail)
		}
	}
	o.verdict.Store(&next)
	return row
}
