package upstream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// States of a pool. Below its minimum of healthy origins a pool serves only if it has no fallback, or none
// that is better off.
const (
	PoolHealthy  = "healthy"
	PoolDegraded = "below minimum"
	PoolDown     = "no healthy origin"
	PoolDisabled = "disabled"
)

// Health of an origin. One that was not checked yet, or has no monitor, counts as healthy.
const (
	OriginHealthy   = "healthy"
	OriginUnchecked = "unchecked"
	OriginUnhealthy = "unhealthy"
	OriginEjected   = "ejected"
	OriginDraining  = "draining"
	OriginDisabled  = "disabled"
)

// PoolStatus is how an origin pool is.
type PoolStatus struct {
	Name     string         `json:"pool"` // "namespace/name"
	Display  string         `json:"displayName,omitempty"`
	State    string         `json:"state"`
	Enabled  bool           `json:"enabled"`
	Healthy  int            `json:"healthy"` // origins that take new clients
	Minimum  int            `json:"minimum"`
	Steering string         `json:"steering"`
	Fallback string         `json:"fallback,omitempty"`
	Code     diag.Code      `json:"code,omitempty"`
	Detail   string         `json:"detail,omitempty"` // why State is not healthy
	Origins  []OriginStatus `json:"origins"`
}

// OriginStatus is how one origin of a pool is. Times are nil where there is none.
type OriginStatus struct {
	Name         string     `json:"origin"`
	Address      string     `json:"address"` // host:port as configured
	Enabled      bool       `json:"enabled"`
	Share        float64    `json:"weight"`
	Health       string     `json:"health"`
	Code         diag.Code  `json:"code,omitempty"`
	Reason       string     `json:"reason,omitempty"`
	Since        *time.Time `json:"since,omitempty"` // of Health
	Checked      *time.Time `json:"checked,omitempty"`
	RTT          float64    `json:"rttMillis,omitempty"` // of the last check
	Active       int32      `json:"active"`              // requests in progress
	Requests     int64      `json:"requests"`
	Failures     int64      `json:"failures"` // of requests: no connection, no answer, 502, 503, 504
	Ejections    int64      `json:"ejections"`
	EjectedUntil *time.Time `json:"ejectedUntil,omitempty"`
}

// Checks returns how many health checks passed and failed.
func (r *Registry) Checks() (passed, failed int64) { return r.passed.Load(), r.missed.Load() }

// Pools tells how the pools of the snapshot that serves are, ordered by name.
func (r *Registry) Pools() []PoolStatus {
	out := []PoolStatus{}
	now := time.Now()
	for _, p := range r.listPools() {
		if s, ok := p.status(now); ok {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b PoolStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (r *Registry) listPools() []*originPool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.pools))
}

// tellPools logs pools that fell below their minimum, and those that are back.
func (r *Registry) tellPools() {
	for _, p := range r.listPools() {
		s, ok := p.status(time.Now())
		if !ok || !s.Enabled {
			continue
		}
		low := s.State != PoolHealthy
		p.mu.Lock()
		changed := p.low != low
		p.low = low
		p.mu.Unlock()
		switch {
		case changed && low:
			r.opt.Logger.Warn("origin pool is below its minimum", "pool", p.name, "code", diag.PoolBelowMinimum, "err", s.Detail)
		case changed:
			r.opt.Logger.Info("origin pool is healthy", "pool", p.name)
		}
	}
}

// status returns false for a pool that the snapshot which serves has not.
func (p *originPool) status(at time.Time) (PoolStatus, bool) {
	p.mu.Lock()
	front, order := p.front, p.order
	p.mu.Unlock()
	if front == nil {
		return PoolStatus{}, false
	}
	settings := p.settings.Load()
	s := PoolStatus{Name: p.name, Display: settings.Display, Enabled: !settings.Disabled, Steering: string(front.Settings.Balancing), Fallback: settings.Fallback,
		Origins: make([]OriginStatus, 0, len(order)), State: PoolHealthy}
	if f := front.fallback.Load(); f != nil && f.origins != nil {
		s.Fallback = f.origins.name
	}
	now := at.UnixNano()
	l := front.set.Load().lineup
	if l == nil {
		l = &lineup{}
	}
	s.Healthy, s.Minimum = l.healthy(now), max(settings.Minimum, 1)
	switch {
	case settings.Disabled:
		s.State = PoolDisabled
	case s.Healthy == 0:
		s.State, s.Code, s.Detail = PoolDown, diag.PoolBelowMinimum, "no origin is healthy: "+l.words(now)
	case s.Healthy < s.Minimum:
		s.State, s.Code = PoolDegraded, diag.PoolBelowMinimum
		s.Detail = fmt.Sprintf("%d of at least %d origins healthy: %s", s.Healthy, s.Minimum, l.words(now))
	case front.Settings.Balancing == ir.Geo && p.registry.opt.Locate == nil:
		s.Code, s.Detail = diag.GeoWithoutDatabase, "geo steering without --geoip-db: nobody's country is known"
	}
	for _, o := range order {
		s.Origins = append(s.Origins, o.status(l.find(o), settings, now))
	}
	return s, true
}

// status tells how an origin is. m is nil where it has no place in the pool's upstream.
func (o *origin) status(m *member, settings *ir.OriginPool, now int64) OriginStatus {
	server, v := o.server.Load(), o.verdict.Load()
	s := OriginStatus{Name: o.key.name, Address: o.key.address, Enabled: !server.Disabled, Share: server.Share, Health: OriginHealthy,
		Active: o.active.Load(), Requests: o.requests.Load(), Failures: o.failures.Load(), Ejections: o.ejections.Load()}
	if v != nil {
		s.Since, s.Checked, s.RTT = &v.since, &v.checked, float64(v.rtt.Microseconds())/1000
	}
	switch until := o.out.Load(); {
	case server.Disabled:
		s.Health, s.Since = OriginDisabled, nanos(o.disabled.Load())
		if o.draining(now) {
			s.Health, s.Reason = OriginDraining, "clients with a session stay until "+time.Unix(0, o.disabled.Load()).Add(settings.Affinity.Drain).UTC().Format(time.RFC3339)
		}
	case v != nil && !v.up:
		s.Health, s.Code, s.Reason = OriginUnhealthy, v.code, v.detail
	case o.ejected(now):
		s.Health, s.EjectedUntil = OriginEjected, nanos(until)
		if c := o.cause.Load(); c != nil {
			s.Code, s.Reason, s.Since = c.code, c.detail, &c.at
		}
	case m != nil && len(m.endpoints) == 0 && !m.pending:
		s.Health, s.Code, s.Reason = OriginUnhealthy, diag.UpstreamDNS, "the name does not resolve"
	case v == nil && settings.Monitor != nil && !settings.Disabled:
		s.Health, s.Reason = OriginUnchecked, "counts as healthy until the first check"
	case v != nil && v.last != 0:
		s.Reason = fmt.Sprintf("the last check failed: %s %s", v.last, v.words)
	case v == nil:
		s.Reason = "no monitor"
	}
	return s
}

// nanos returns a time, nil for 0.
func nanos(at int64) *time.Time {
	if at == 0 {
		return nil
	}
	t := time.Unix(0, at)
	return &t
}
