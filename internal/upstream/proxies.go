package upstream

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// defaultProxyTimeout bounds connecting to a proxy, TLS to it and its answer.
const defaultProxyTimeout = 10 * time.Second

// ProxyMaterial is one UpstreamProxy with what it needs beside its settings.
type ProxyMaterial struct {
	Settings *ir.Proxy
	Login    *ir.Login // nil: none is sent
	Hop      TLS       // towards https addresses; nil where there are none
	Probe    TLS       // towards what the probe asks for; nil: the probe ends with the answer to CONNECT
}

// forwardProxy is what is known of one UpstreamProxy. It outlives snapshots as long as the name is declared.
type forwardProxy struct {
	// Fixed after construction.
	name     string
	registry *Registry

	at atomic.Pointer[proxyState]
}

// proxyState is what a snapshot says of a proxy. It is frozen.
type proxyState struct {
	ProxyMaterial
	timeout time.Duration
	addrs   []*proxyAddress
}

// SetProxies replaces the proxies. What is known of the health of addresses that stay is kept. Connections that
// were made through a proxy whose addresses, login, headers or TLS changed finish what they do and are not used
// again. It is called with each snapshot before the upstreams are given their TLS material.
func (r *Registry) SetProxies(list []ProxyMaterial) {
	old := r.proxyMap()
	next := make(map[string]*forwardProxy, len(list))
	changed := make(map[string]bool)
	for _, m := range list {
		name := m.Settings.Name
		p := old[name]
		if p == nil {
			p = &forwardProxy{name: name, registry: r}
			changed[name] = true
		}
		next[name] = p
		if p.set(m) {
			changed[name] = true
		}
	}
	for name, p := range old {
		if next[name] == nil {
			changed[name] = true
			p.end()
		}
	}
	r.proxies.Store(&next)
	if len(changed) > 0 {
		r.renewVia(func(name string) bool { return changed[name] })
	}
}

func (r *Registry) proxyMap() map[string]*forwardProxy {
	if m := r.proxies.Load(); m != nil {
		return *m
	}
	return nil
}

// renewVia withdraws the connections of upstreams that go through one of the proxies that which names.
func (r *Registry) renewVia(which func(name string) bool) {
	for _, u := range r.list() {
		if u.via == nil || !slices.ContainsFunc(u.via.Proxies, which) {
			continue
		}
		for {
			if old := u.tls.Load(); u.renew(old, old.tls) {
				break
			}
		}
	}
}

// set takes the settings of a snapshot and says whether connections depend on what changed.
func (p *forwardProxy) set(m ProxyMaterial) (changed bool) {
	old := p.at.Load()
	next := &proxyState{ProxyMaterial: m, timeout: m.Settings.ConnectTimeout}
	if next.timeout <= 0 {
		next.timeout = defaultProxyTimeout
	}
	changed = old == nil || !old.connectsLike(next)
	known := make(map[ir.ProxyAddress]*proxyAddress)
	if old != nil {
		for _, a := range old.addrs {
			known[a.ProxyAddress] = a
		}
	}
	for _, s := range m.Settings.Addresses {
		a := known[s]
		if a == nil {
			a = newProxyAddress(p, s)
		}
		delete(known, s)
		if changed {
			a.forgive()
		}
		next.addrs = append(next.addrs, a)
	}
	p.at.Store(next)
	for _, a := range known {
		a.stopProbing()
	}
	for _, a := range next.addrs {
		a.plan(next)
	}
	return changed
}

// end stops what runs for a proxy that is no longer declared.
func (p *forwardProxy) end() {
	for _, a := range p.at.Load().addrs {
		a.stopProbing()
	}
}

// connectsLike reports whether connections made by s may serve t.
func (s *proxyState) connectsLike(t *proxyState) bool {
	a, b := s.Settings, t.Settings
	return s.Hop == t.Hop && reflect.DeepEqual(a.Addresses, b.Addresses) && reflect.DeepEqual(a.Headers, b.Headers) &&
		a.Interception == b.Interception && a.Either == b.Either && reflect.DeepEqual(a.Fault, b.Fault) && sameLogin(s.Login, t.Login)
}

func sameLogin(a, b *ir.Login) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.User == b.User && a.Password.Equal(b.Password) && (a.Fault == nil) == (b.Fault == nil)
}

// refusal is why nothing goes through the proxy whatever its health, or nil.
func (s *proxyState) refusal() *Error {
	switch name := s.Settings.Name; {
	case s.Settings.Fault != nil:
		return &Error{Code: s.Settings.Fault.Code, Detail: fmt.Sprintf("UpstreamProxy %s: %s", name, s.Settings.Fault.Detail), Via: &Way{Proxy: name}}
	case s.Login != nil && s.Login.Fault != nil:
		return &Error{Code: s.Login.Fault.Code, Detail: fmt.Sprintf("the login of UpstreamProxy %s: %s", name, s.Login.Fault.Detail), Via: &Way{Proxy: name}}
	case len(s.addrs) == 0:
		return &Error{Code: diag.ProxyUnavailable, Detail: "UpstreamProxy " + name + " has no address", Via: &Way{Proxy: name}}
	}
	return nil
}

// candidate is an address that may be tried.
type candidate struct {
	state *proxyState
	addr  *proxyAddress
}

// candidates returns the addresses to try in their order, or why there is none. direct says that the
// destination may be connected to without a proxy when none of them works.
func (r *Registry) candidates(via *ir.Via) (list []candidate, direct bool, why *Error) {
	now := time.Now().UnixNano()
	all := r.proxyMap()
	var out []candidate // that are not healthy
	for _, name := range via.Proxies {
		p := all[name]
		if p == nil {
			why = &Error{Code: diag.ProxyUnavailable, Detail: "there is no UpstreamProxy " + name, Via: &Way{Proxy: name}}
			continue
		}
		s := p.at.Load()
		if e := s.refusal(); e != nil {
			why = e
			continue
		}
		direct = direct || s.Settings.Direct
		for _, a := range s.addrs {
			if c := (candidate{s, a}); a.admit(now) {
				list = append(list, c)
			} else {
				out = append(out, c)
			}
		}
	}
	if len(list) == 0 && len(out) > 0 {
		why = allOut(out, now)
	}
	if why == nil {
		why = &Error{Code: diag.ProxyUnavailable, Detail: "no UpstreamProxy is named"}
	}
	return list, direct, why
}

// allOut is the error when every address is out: of one alone its own cause, so that the reason stays the
// same while it is not asked.
func allOut(out []candidate, now int64) *Error {
	if len(out) == 1 {
		c := out[0]
		code, detail, wait := c.addr.why(now)
		e := &Error{Code: code, Detail: detail, Via: &Way{Proxy: c.state.Settings.Name, Address: c.addr.text}}
		if wait > 0 {
			e.Detail += fmt.Sprintf("; it is asked again in %s", wait.Round(100*time.Millisecond))
		}
		return e
	}
	var words []string
	for i, c := range out {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more", len(out)-most))
			break
		}
		code, detail, _ := c.addr.why(now)
		words = append(words, fmt.Sprintf("%s: %s %s", c.addr.text, code, detail))
	}
	name := out[0].state.Settings.Name
	return &Error{Code: diag.ProxyUnavailable, Detail: fmt.Sprintf("no address of the proxy %s is healthy: %s", name, strings.Join(words, "; ")), Via: &Way{Proxy: name}}
}

// patience is how long making a connection may take beyond the upstream's own connect timeout: that of each
// proxy address in turn, within bounds.
func (u *Upstream) patience() time.Duration {
	if u.via == nil {
		return u.pool.ConnectTimeout
	}
	sum := u.pool.ConnectTimeout
	all := u.registry.proxyMap()
	for _, name := range u.via.Proxies {
		if p := all[name]; p != nil {
			s := p.at.Load()
			sum += s.timeout * time.Duration(len(s.addrs))
		}
	}
	return min(sum, max(maxPatience, u.pool.ConnectTimeout))
}

const maxPatience = time.Minute

// proxyNames returns the names of the proxies, in order.
func (r *Registry) proxyNames() []string { return slices.Sorted(maps.Keys(r.proxyMap())) }

// ended reports whether a failure is the caller's end and says nothing about the proxy.
func ended(ctx context.Context) bool { return ctx.Err() == context.Canceled }
