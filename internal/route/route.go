// Package route answers which route takes a request: it compiles the virtual hosts of a chain once per
// snapshot, and then matches without locks and without allocating.
//
// The meaning is that of ir: within the most specific host, the first route in list order whose
// conditions all hold. Paths are found through a radix tree, so a host with a thousand routes is not
// scanned. The package refuses to know how filters are made and what an upstream is: the caller gives
// a Builder and fills the slots. Begin reading at Compile and Table.Match, then Index, which finds the
// chain of a name and decides on 421.
package route

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Builder makes the filters of a route (b nil) or of one of its backends, in the order in which they
// are applied. An error makes the route, or the backend's share of it, refuse its requests with
// HK4104; it does not stop the others.
type Builder func(r *ir.Route, b *ir.Backend) ([]filter.Filter, error)

// Route is one compiled route. All fields are fixed once Compile and the dataplane, which fills the
// slots, are done; requests share it.
type Route struct {
	IR     *ir.Route
	Host   string // first pattern of the virtual host, for metrics and logs
	Origin string // IR.Origin as text

	// Fault is set if the route refuses everything: the IR's own fault, or one found here (a regular
	// expression or filter that cannot be built, no action, weights that are all zero).
	Fault    *ir.Fault
	Filters  []filter.Filter
	Backends []Backend // empty for redirects and direct answers

	// Slots for the caller.
	Metrics any // telemetry handle, resolved once

	match match
	total uint64 // sum of weights
}

// Backend is one weighted destination of a route.
type Backend struct {
	IR      *ir.Backend
	Origin  string
	Filters []filter.Filter
	Fault   *ir.Fault // this share of the weight is refused

	Upstream any       // slot for the caller: the upstream's runtime
	Variants []Variant // slot for the caller: what takes its place, for IR.Pull

	upTo uint64 // sum of weights up to and including this backend
}

// Variant is an upstream for the requests of some hosts, or why they are refused.
type Variant struct {
	Host     hostname.Pattern
	Upstream any
	Fault    *ir.Fault
}

// For returns the upstream for requests of a host, or why they are refused. The host is the one that the
// client asked for (lower case, without port), whatever filters made of it.
func (b *Backend) For(host []byte) (any, *ir.Fault) {
	if len(b.Variants) > 0 {
		name := string(host)
		for i := range b.Variants {
			if v := &b.Variants[i]; v.Host.Match(name) {
				return v.Upstream, v.Fault
			}
		}
	}
	return b.Upstream, b.Fault
}

// Pick returns the backend for a uniformly distributed number, or nil if there is none (then Fault is
// set, or a filter answers). Backends of weight 0 are never picked.
func (r *Route) Pick(random uint32) *Backend {
	switch {
	case r.total == 0:
		return nil
	case len(r.Backends) == 1:
		return &r.Backends[0]
	}
	at := uint64(random) * r.total >> 32
	if r.total > 1<<32 { // then the product above does not fit
		at = uint64(random) % r.total
	}
	for i := range r.Backends {
		if at < r.Backends[i].upTo {
			return &r.Backends[i]
		}
	}
	return nil
}

func compileRoute(r *ir.Route, host string, names *names, build Builder) *Route {
	c := &Route{IR: r, Host: host, Origin: r.Origin.String(), Fault: r.Fault}
	m, err := compileMatch(&r.Match, names)
	c.match = m
	c.fail("match", err)
	if c.Fault != nil {
		return c
	}
	c.Filters, err = build(r, nil)
	c.fail("filter", err)
	for i := range r.Forward {
		b := &r.Forward[i]
		c.total += uint64(b.Weight)
		compiled := Backend{IR: b, Origin: b.Origin.String(), Fault: b.Fault, upTo: c.total}
		if b.Fault == nil {
			if compiled.Filters, err = build(r, b); err != nil {
				compiled.Fault = &ir.Fault{Code: diag.RouteInvalid, Detail: "filter of backend: " + err.Error()}
			}
		}
		c.Backends = append(c.Backends, compiled)
	}
	if c.Fault == nil && c.total == 0 && r.Redirect == nil && r.Respond == nil {
		c.Fault = &ir.Fault{Code: diag.RouteInvalid, Detail: "the weights of the route's backends leave nothing to send to"}
		if len(r.Forward) == 0 {
			c.Fault.Detail = "the route has neither backend nor redirect nor direct answer"
		}
	}
	return c
}

func (r *Route) fail(what string, err error) {
	if err != nil && r.Fault == nil {
		r.Fault = &ir.Fault{Code: diag.RouteInvalid, Detail: what + ": " + err.Error()}
	}
}

// first returns the lowest index below best whose route matches, or best. list is in rising order.
func (h *host) first(list []int32, in *input, best int32) int32 {
	for _, i := range list {
		if i >= best {
			break
		}
		if h.routes[i].match.holds(in) {
			return i
		}
	}
	return best
}
