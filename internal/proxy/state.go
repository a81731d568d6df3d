package proxy

import (
	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Wiring is what a listener's configuration is compiled with.
type Wiring struct {
	// Build makes the filters of a route or backend, its redirect or direct answer as the last one:
	// build.Route.
	Build route.Builder

	// Standard are the steps before every route's filters: build.Standard.
	Standard []filter.Filter

	// Trust says whose request IDs are kept by requests that are answered before Standard has run.
	Trust filter.Trust

	// Upstreams are those of the snapshot by name. The caller holds them (upstream.Registry.Acquire)
	// for as long as the State is current, and a while longer for the requests that still run.
	Upstreams map[string]*upstream.Upstream

	// Policies are the snapshot's policies on client certificates, and Access the same compiled.
	Policies []*ir.AccessPolicy
	Access   *authz.Set

	// Forwarder decides about requests of a listener with ir.Listener.Forward, in the place of routes, and
	// Forward says what becomes of their fields. Standard, Policies and Access have no part in it. Both are
	// nil for other listeners.
	Forwarder Forwarder
	Forward   *ir.Forward

	// Metrics, if not nil, fills the Metrics slot of every route.
	Metrics func(*route.Route) any
}

// State is one listener's compiled configuration of one snapshot. It is immutable.
type State struct {
	Index    *route.Index // whose entries' Data is an *authz.Index, or nil
	standard []filter.Filter
	trust    filter.Trust
	access   *authz.Set
	forward  *forwardState // nil: the listener is no forward proxy
}

// WithAccess returns the same configuration with other policies, made of the same ones by name: what these
// trust has changed. It is s itself where they are the same.
func (s *State) WithAccess(access *authz.Set) *State {
	if s.access == access {
		return s
	}
	next := *s
	next.access = access
	return &next
}

// Compile prepares a listener. What cannot be built becomes a fault of its route or backend, which
// then refuses; it does not stop the others.
func (p *Proxy) Compile(l *ir.Listener, w Wiring) *State {
	s := &State{Index: route.NewIndex(l, w.Build), standard: w.Standard, trust: w.Trust, access: w.Access, forward: newForwardState(l, w)}
	for _, e := range s.Index.Entries {
		if x := authz.NewIndex(e.Chain, w.Policies); x != nil {
			e.Data = x
		}
		e.Table.Routes(func(r *route.Route) {
			for i := range r.Backends {
				link(&r.Backends[i], w.Upstreams)
			}
			if w.Metrics != nil {
				r.Metrics = w.Metrics(r)
			}
		})
	}
	return s
}

// link gives a backend its upstream and the variants of it, or the faults that take their place.
func link(b *route.Backend, upstreams map[string]*upstream.Upstream) {
	if b.Fault != nil {
		return
	}
	if u, fault := find(b.IR.Upstream, upstreams); fault == nil {
		b.Upstream = u
	} else {
		b.Fault = fault
	}
	for _, p := range b.IR.Pull {
		v := route.Variant{Host: p.Host}
		if u, fault := find(p.Upstream, upstreams); fault == nil {
			v.Upstream = u
		} else {
			v.Fault = fault
		}
		b.Variants = append(b.Variants, v)
	}
}

func find(name string, upstreams map[string]*upstream.Upstream) (*upstream.Upstream, *ir.Fault) {
	u := upstreams[name]
	switch {
	case u == nil:
		return nil, &ir.Fault{Code: diag.RouteInvalid, Detail: "the snapshot has no upstream " + name}
	case u.Settings.Fault != nil:
		return nil, u.Settings.Fault
	}
	return u, nil
}
