package tcpproxy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Table is the compiled routes of one chain. It is immutable.
type Table struct {
	Chain  *ir.Chain
	routes []*Route
	names  bool // a route asks for the server name
	nets   bool // a route asks for the destination
}

// Route is one compiled ir.TCPRoute.
type Route struct {
	IR      *ir.TCPRoute
	Metrics any // slot for the caller

	origin   string
	subnets  []netip.Prefix
	sources  []netip.Prefix
	backends []backend
	total    uint64
	fault    *ir.Fault
}

// backend is one of a route's, with the sum of the weights up to it.
type backend struct {
	ir    *ir.Backend
	up    *upstream.Upstream
	fault *ir.Fault
	upTo  uint64
}

// Asked is what a connection says about where it wants to go.
type Asked struct {
	Name        string // SNI in lower case; "" for none
	Destination netip.AddrPort
	Source      netip.Addr
}

// Compile prepares the routes of a chain. upstreams are the snapshot's by name. What is broken becomes a fault
// of its route or backend, which then refuses.
func Compile(chain *ir.Chain, upstreams map[string]*upstream.Upstream) *Table {
	t := &Table{Chain: chain}
	for _, r := range chain.TCP {
		c := &Route{IR: r, origin: r.Origin.String(), fault: r.Fault}
		c.subnets = c.prefixes("subnet", r.Subnets)
		c.sources = c.prefixes("source", r.Sources)
		for i := range r.Forward {
			b := backend{ir: &r.Forward[i], fault: r.Forward[i].Fault}
			if b.fault == nil {
				b.up, b.fault = find(b.ir.Upstream, upstreams)
			}
			c.total += uint64(b.ir.Weight)
			b.upTo = c.total
			c.backends = append(c.backends, b)
		}
		if c.fault == nil && c.total == 0 {
			c.fault = &ir.Fault{Code: diag.RouteInvalid, Detail: "the weights of the route's backends leave nothing to connect to"}
		}
		t.routes = append(t.routes, c)
		t.names = t.names || len(r.Hosts) > 0 || needsName(c.backends)
		t.nets = t.nets || len(r.Subnets) > 0 || dynamic(c.backends)
	}
	return t
}

// dynamic reports whether connections may name their destination.
func dynamic(backends []backend) bool {
	return slices.ContainsFunc(backends, func(b backend) bool { return b.up != nil && b.up.Settings.Dynamic != nil })
}

// needsName reports whether an upstream goes by the server name.
func needsName(backends []backend) bool {
	return slices.ContainsFunc(backends, func(b backend) bool {
		return b.up != nil && b.up.NeedsHost() && (b.up.Settings.Dynamic == nil || !b.up.Settings.Dynamic.Original)
	})
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

func (r *Route) prefixes(what string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			r.fault = &ir.Fault{Code: diag.RouteInvalid, Detail: fmt.Sprintf("%s %q is no network", what, s)}
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

// Choose returns the first route that matches, nil if none does.
func (t *Table) Choose(a Asked) *Route {
	for _, r := range t.routes {
		if r.matches(a) {
			return r
		}
	}
	return nil
}

func (r *Route) matches(a Asked) bool {
	if len(r.IR.Hosts) > 0 && !slices.ContainsFunc(r.IR.Hosts, func(p hostname.Pattern) bool { return p.IsAny() || a.Name != "" && p.Match(a.Name) }) {
		return false
	}
	in := func(nets []netip.Prefix, ip netip.Addr) bool {
		return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
	}
	if len(r.IR.Subnets) > 0 && !in(r.subnets, a.Destination.Addr()) {
		return false
	}
	return len(r.IR.Sources) == 0 || in(r.sources, a.Source)
}

// pick returns a backend by weight.
func (r *Route) pick() *backend {
	if len(r.backends) == 1 {
		return &r.backends[0]
	}
	n := rand.Uint64N(r.total)
	for i := range r.backends {
		if n < r.backends[i].upTo {
			return &r.backends[i]
		}
	}
	return &r.backends[len(r.backends)-1]
}

// miss says for the log why no route was chosen.
func (t *Table) miss(a Asked) string {
	var wanted []string
	for _, r := range t.routes {
		var part []string
		for _, h := range r.IR.Hosts {
			part = append(part, h.String())
		}
		part = append(append(part, r.IR.Subnets...), r.IR.Sources...)
		wanted = append(wanted, r.IR.Name+" ("+strings.Join(part[:min(len(part), 8)], ", ")+")")
	}
	what := "without a server name"
	if a.Name != "" {
		what = fmt.Sprintf("for %q", a.Name)
	}
	return fmt.Sprintf("a connection %s to %s from %s matches none of the routes: %s", what, a.Destination, a.Source, strings.Join(wanted[:min(len(wanted), 8)], "; "))
}

// idle returns the idle bound of the route, 0 for the process's.
func (r *Route) idle() time.Duration { return r.IR.IdleTime }
