package route

import (
	"sync"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Table holds the compiled routes of one chain. It is safe for concurrent use once its slots are
// filled.
type Table struct {
	Chain *ir.Chain

	byName hosts[*host]
	hosts  []*host
	known  nearby // names and patterns, for explaining misses
	inputs sync.Pool
}

// host is a compiled virtual host.
type host struct {
	routes []*Route // in order of precedence
	plain  tree
	folded tree
	others []int32 // routes without a path literal: any path, or a regular expression
	names  names
	fields bool // some route asks for a header, parameter or authority
}

// Compile prepares the routes of a chain. What cannot be built becomes a fault of its route.
func Compile(chain *ir.Chain, build Builder) *Table {
	t := &Table{Chain: chain}
	t.inputs.New = func() any { return new(input) }
	var patterns []hostname.Pattern
	for _, vh := range chain.VirtualHosts {
		h := compileHost(vh, build)
		t.hosts = append(t.hosts, h)
		for _, p := range vh.Hosts {
			t.byName.add(p, h)
			patterns = append(patterns, p)
		}
	}
	t.known = newNearby(patterns)
	return t
}

func compileHost(vh *ir.VirtualHost, build Builder) *host {
	name := ""
	if len(vh.Hosts) > 0 {
		name = vh.Hosts[0].String()
	}
	h := &host{folded: tree{fold: true}}
	for _, r := range vh.Routes {
		h.insert(compileRoute(r, name, &h.names, build))
	}
	return h
}

// insert appends a route and files it under its path.
func (h *host) insert(r *Route) {
	index := int32(len(h.routes))
	h.routes = append(h.routes, r)
	m := &r.match
	if len(m.headers) > 0 || len(m.query) > 0 || m.authority.kind != ir.MatchAny {
		h.fields = true
	}
	t := &h.plain
	if m.path.fold {
		t = &h.folded
	}
	switch m.path.kind {
	case ir.MatchExact:
		n := t.at(m.path.literal)
		n.exact = append(n.exact, index)
	case ir.MatchPrefix:
		n := t.at(m.path.literal)
		n.prefix = append(n.prefix, index)
	case ir.MatchSegmentPrefix:
		n := t.at(m.path.literal)
		n.segment = append(n.segment, index)
	default:
		h.others = append(h.others, index)
	}
}

// Match returns the route that takes the request, or nil and NoHost or NoRoute. The route may have a
// Fault. It does not allocate, but for regular expressions that Go's engine cannot run in place.
func (t *Table) Match(req *message.Request) (*Route, diag.Code) {
	h, ok := t.byName.find(req.Host)
	if !ok {
		return nil, diag.NoHost
	}
	if h.fields {
		in := t.inputs.Get().(*input)
		in.begin(req, &h.names)
		r := h.match(in)
		in.end()
		t.inputs.Put(in)
		return found(r)
	}
	in := input{req: req}
	return found(h.match(&in))
}

func found(r *Route) (*Route, diag.Code) {
	if r == nil {
		return nil, diag.NoRoute
	}
	return r, 0
}

func (h *host) match(in *input) *Route {
	none := int32(len(h.routes))
	best := h.search(&h.plain.root, in.req.Path, false, in, none)
	if len(h.folded.root.children) > 0 || h.folded.root.used() {
		best = h.search(&h.folded.root, in.req.Path, true, in, best)
	}
	best = h.first(h.others, in, best)
	if best == none {
		return nil
	}
	return h.routes[best]
}

func (n *node) used() bool { return len(n.exact)+len(n.segment)+len(n.prefix) > 0 }

// Routes calls f for every compiled route, to fill its slots.
func (t *Table) Routes(f func(*Route)) {
	for _, h := range t.hosts {
		for _, r := range h.routes {
			f(r)
		}
	}
}
