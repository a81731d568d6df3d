// Package compile merges the fragments of all translators into one Snapshot: which listeners share a
// socket, who wins a conflict, which TLS policy holds for which host.
//
// It is pure: no clock, no I/O, no logger. The same fragments, in whatever order, give a byte-equal
// snapshot. It knows no API; what a listener's API asks for in a conflict is told by its Family.
// Begin reading at Compile.
package compile

import (
	"cmp"
	"crypto/tls"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Input is what a snapshot is made from. MinVersion is the floor where nothing says otherwise
// (TLS_MIN_VERSION of the environment, or 1.2); 0 means TLS 1.2.
type Input struct {
	Fragments  []*translate.Fragment
	MinVersion uint16
}

// Compile returns the snapshot and what is wrong with its input. Faults are local: a listener that
// loses a conflict is left out, the others serve. The result owns its memory only in part: chains and
// routes of the fragments are taken over, so a fragment must not be compiled twice.
func Compile(in Input) (*ir.Snapshot, []diag.Diagnostic) {
	c := &compiler{minVersion: cmp.Or(in.MinVersion, tls.VersionTLS12), refusing: map[ir.SecretRef]*ir.Credential{}, lost: map[ir.Origin]bool{},
		proxies: map[string]*ir.Proxy{}, proxyAges: map[string]int{}, split: map[string]bool{}}
	s := &ir.Snapshot{
		Config:    &ir.Config{},
		Endpoints: &ir.Endpoints{ByUpstream: map[string][]ir.Endpoint{}},
		Secrets:   &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{}, Logins: map[ir.SecretRef]*ir.Login{}, Passwords: map[ir.SecretRef]*ir.Passwords{}},
		Trust:     &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{}},
	}
	upstreams := map[string]*ir.Upstream{}
	for _, f := range in.Fragments {
		c.listeners = append(c.listeners, f.Listeners...)
		c.policies = append(c.policies, f.Policies...)
		c.pulls = append(c.pulls, f.Pulls...)
		c.access = append(c.access, f.Access...)
		c.unread, c.idle = append(c.unread, f.Unread...), append(c.idle, f.Idle...)
		c.diagnostics = append(c.diagnostics, f.Diagnostics...)
		c.collectEgress(f, s)
		for name, u := range f.Upstreams {
			if before := upstreams[name]; before != nil && before.GRPCWeb {
				u.GRPCWeb = true
			}
			upstreams[name] = u
		}
		maps.Copy(s.Endpoints.ByUpstream, f.Endpoints)
		maps.Copy(s.Secrets.ByRef, f.Secrets)
		maps.Copy(s.Trust.ByRef, f.Trust)
	}
	c.orderInput()
	s.Config.Listeners = c.merge()
	// What serves nothing needs no routes.
	c.diagnostics = slices.DeleteFunc(c.diagnostics, func(d diag.Diagnostic) bool {
		return d.Code == diag.NoRoutesAttached && c.lost[ir.Origin{Object: d.Object, Field: d.Field}]
	})
	maps.Copy(s.Secrets.ByRef, c.refusing)
	c.applyPolicies(s.Config.Listeners)
	bareALPN(s.Config.Listeners)
	s.Config.AccessPolicies = c.cover(s.Config.Listeners)
	c.applyCaches(s.Config.Listeners)
	c.applyPulls(s, upstreams)
	c.egress(s, upstreams)
	all := maps.Clone(upstreams)
	keepReferenced(s, upstreams)
	c.reportIdlePools(all, s.Config.Upstreams)
	c.reportIdleProxies(s.Config)
	s.Seal()
	return s, diag.Compact(c.diagnostics)
}

// compiler holds the state of one Compile.
type compiler struct {
	minVersion  uint16
	listeners   []*translate.Listener
	policies    []translate.Policy
	pulls       []translate.Pull
	access      []translate.Access
	unread      []translate.Unread
	idle        []translate.Idle
	diagnostics []diag.Diagnostic
	refusing    map[ir.SecretRef]*ir.Credential // of guards: they never hold a key
	lost        map[ir.Origin]bool              // listeners that lost all their hosts

	proxies   map[string]*ir.Proxy
	proxyAges map[string]int
	forwards  []translate.Forward
	caches    []translate.Cache
	known     []ir.KnownHost
	outbound  []translate.Outbound
	split     map[string]bool // pools that were told to lie on both sides of a proxy
}

func (c *compiler) report(code diag.Code, obj diag.Object, field, message, fix string) {
	c.diagnostics = append(c.diagnostics, diag.New(code, obj, field, message, fix))
}

// orderInput makes the result independent of the order of fragments: the older first. Listeners of
// one Gateway stay in the order in which it names them.
func (c *compiler) orderInput() {
	slices.SortStableFunc(c.listeners, func(a, b *translate.Listener) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Family, b.Family), strings.Compare(a.Gateway.String(), b.Gateway.String()))
	})
	c.nameChains()
	for _, l := range c.listeners {
		l.Bind = canonicalBind(l.Bind)
	}
	slices.SortStableFunc(c.listeners, func(a, b *translate.Listener) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Bind, b.Bind))
	})
	slices.SortStableFunc(c.policies, func(a, b translate.Policy) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.Origin.String(), b.Origin.String()))
	})
}

// nameChains makes names unique: a second chain of a name gets "#2". A younger chain never takes the
// name of an older one, nor a refused one that of one that serves.
func (c *compiler) nameChains() {
	taken := make(map[string]bool, len(c.listeners))
	for _, refused := range []bool{false, true} {
		for _, l := range c.listeners {
			if (l.Refused != "") != refused {
				continue
			}
			name := l.Chain.Name
			for n := 2; taken[name]; n++ {
				name = l.Chain.Name + "#" + strconv.Itoa(n)
			}
			taken[name] = true
			l.Chain.Name = name
		}
	}
}

// canonicalBind returns one spelling for each address, and "" for those that mean all of them.
func canonicalBind(bind string) string {
	a, err := netip.ParseAddr(bind)
	switch {
	case err != nil:
		return bind
	case a.IsUnspecified():
		return ""
	}
	return a.Unmap().String()
}

// socketName returns the name of the socket of a canonical bind address and a port.
func socketName(bind string, port uint16) string {
	if bind == "" {
		bind = "*"
	}
	if strings.ContainsRune(bind, ':') {
		bind = "[" + bind + "]"
	}
	return bind + ":" + strconv.Itoa(int(port))
}

// references are the things that a configuration refers to.
type references struct {
	upstreams map[string]*ir.Upstream
	used      map[string]bool // upstreams
	secrets   map[ir.SecretRef]bool
	logins    map[ir.SecretRef]bool
	passwords map[ir.SecretRef]bool
	trusts    map[ir.TrustRef]bool
}

// use marks an upstream and what it falls back to.
func (r *references) use(name string) {
	for u := r.upstreams[name]; u != nil && !r.used[u.Name]; u = r.upstreams[u.Origins.Fallback] {
		r.used[u.Name] = true
		if u.Origins == nil {
			return
		}
	}
}

func (r *references) backends(list []ir.Backend) {
	for i := range list {
		r.use(list[i].Upstream)
		for _, v := range list[i].Pull {
			r.use(v.Upstream)
		}
	}
}

func (r *references) chain(chain *ir.Chain) {
	if chain.TLS != nil {
		r.trusts[chain.TLS.ClientAuth.Trust] = true
		for _, h := range chain.HostTLS {
			r.trusts[h.TLS.ClientAuth.Trust] = true
		}
		for _, ref := range chain.TLS.Certificates {
			r.secrets[ref] = true
		}
	}
	for _, vh := range chain.VirtualHosts {
		for _, route := range vh.Routes {
			r.backends(route.Forward)
		}
	}
	for _, route := range chain.TCP {
		r.backends(route.Forward)
	}
}

// keepReferenced drops what nothing refers to any more, such as the credentials of a listener that
// lost a conflict, and orders upstreams by name.
func keepReferenced(s *ir.Snapshot, upstreams map[string]*ir.Upstream) {
	r := &references{upstreams, map[string]bool{}, map[ir.SecretRef]bool{}, map[ir.SecretRef]bool{}, map[ir.SecretRef]bool{}, map[ir.TrustRef]bool{}}
	for _, l := range s.Config.Listeners {
		for _, chain := range l.Chains {
			r.chain(chain)
		}
	}
	for _, p := range s.Config.AccessPolicies {
		r.trusts[p.Trust] = true
		if p.Session != nil {
			r.secrets[p.Session.Key] = true
		}
	}
	r.usesOfEgress(s)
	for name, u := range upstreams {
		if r.used[name] && u.TLS != nil {
			r.secrets[u.TLS.Certificate], r.trusts[u.TLS.Trust] = true, true
		}
	}
	maps.DeleteFunc(upstreams, func(name string, _ *ir.Upstream) bool { return !r.used[name] })
	maps.DeleteFunc(s.Endpoints.ByUpstream, func(name string, _ []ir.Endpoint) bool { return !r.used[name] })
	maps.DeleteFunc(s.Secrets.ByRef, func(ref ir.SecretRef, _ *ir.Credential) bool { return !r.secrets[ref] })
	maps.DeleteFunc(s.Secrets.Logins, func(ref ir.SecretRef, _ *ir.Login) bool { return !r.logins[ref] })
	maps.DeleteFunc(s.Secrets.Passwords, func(ref ir.SecretRef, _ *ir.Passwords) bool { return !r.passwords[ref] })
	maps.DeleteFunc(s.Trust.ByRef, func(ref ir.TrustRef, _ *ir.TrustBundle) bool { return !r.trusts[ref] })
	s.Config.Upstreams = slices.SortedFunc(maps.Values(upstreams), func(a, b *ir.Upstream) int { return strings.Compare(a.Name, b.Name) })
}
