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
	c := &compiler{minVersion: cmp.Or(in.MinVersion, tls.VersionTLS12), refusing: map[ir.SecretRef]*ir.Credential{}, lost: map[ir.Origin]bool{}}
	s := &ir.Snapshot{
		Config:    &ir.Config{},
		Endpoints: &ir.Endpoints{ByUpstream: map[string][]ir.Endpoint{}},
		Secrets:   &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{}},
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
	s.Config.AccessPolicies = c.cover(s.Config.Listeners)
	c.applyPulls(s, upstreams)
	all := maps.Clone(upstreams)
	keepReferenced(s, upstreams)
	c.reportIdlePools(all, s.Config.Upstreams)
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

// keepReferenced drops what nothing refers to any more, such as the credentials of a listener that
// lost a conflict, and orders upstreams by name.
func keepReferenced(s *ir.Snapshot, upstreams map[string]*ir.Upstream) {
	used, secrets, trusts := map[string]bool{}, map[ir.SecretRef]bool{}, map[ir.TrustRef]bool{}
	use := func(name string) { // and what it falls back to
		for u := upstreams[name]; u != nil && !used[u.Name]; u = upstreams[u.Origins.Fallback] {
			used[u.Name] = true
			if u.Origins == nil {
				return
			}
		}
	}
	for _, l := range s.Config.Listeners {
		for _, chain := range l.Chains {
			if chain.TLS != nil {
				trusts[chain.TLS.ClientAuth.Trust] = true
				for _, h := range chain.HostTLS {
					trusts[h.TLS.ClientAuth.Trust] = true
				}
				for _, ref := range chain.TLS.Certificates {
					secrets[ref] = true
				}
			}
			for _, vh := range chain.VirtualHosts {
				for _, r := range vh.Routes {
					for i := range r.Forward {
						use(r.Forward[i].Upstream)
						for _, v := range r.Forward[i].Pull {
							use(v.Upstream)
						}
					}
				}
			}
		}
	}
	for _, p := range s.Config.AccessPolicies {
		trusts[p.Trust] = true
		if p.Session != nil {
			secrets[p.Session.Key] = true
		}
	}
	for name, u := range upstreams {
		if used[name] && u.TLS != nil {
			secrets[u.TLS.Certificate], trusts[u.TLS.Trust] = true, true
		}
	}
	maps.DeleteFunc(upstreams, func(name string, _ *ir.Upstream) bool { return !used[name] })
	maps.DeleteFunc(s.Endpoints.ByUpstream, func(name string, _ []ir.Endpoint) bool { return !used[name] })
	maps.DeleteFunc(s.Secrets.ByRef, func(ref ir.SecretRef, _ *ir.Credential) bool { return !secrets[ref] })
	maps.DeleteFunc(s.Trust.ByRef, func(ref ir.TrustRef, _ *ir.TrustBundle) bool { return !trusts[ref] })
	s.Config.Upstreams = slices.SortedFunc(maps.Values(upstreams), func(a, b *ir.Upstream) int { return strings.Compare(a.Name, b.Name) })
}
