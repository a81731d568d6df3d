package upstream

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// maxToward bounds how many destinations one Dynamic upstream keeps.
const maxToward = 4096

// Toward returns the upstream of a destination that a request or connection names, for an upstream whose
// settings are Dynamic: a host name or an IP address, and a port, 0 for that of the settings. It is nil if the settings
// do not take the host. Nothing is looked up or connected to yet; release is called once, when the connection
// has been given or has ended. As for clients of forward proxies, names do not lead to this machine.
func (u *Upstream) Toward(host string, port uint16) (to *Upstream, release func()) {
	dyn := u.Settings.Dynamic
	if dyn == nil {
		return nil, nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && !dyn.Original:
		return nil, nil
	case err != nil && !slices.ContainsFunc(dyn.Hosts, func(p hostname.Pattern) bool { return p.Match(host) }):
		return nil, nil
	}
	if port == 0 {
		port = dyn.Port
	}
	d := u.towards()
	if d == nil || port == 0 {
		return nil, nil
	}
	return d.Get(host, port, u.Settings.TLS != nil, u.Settings.Via)
}

// towards returns the destinations of a Dynamic upstream, made with the first; nil after its end.
func (u *Upstream) towards() *Destinations {
	if d := u.toward.Load(); d != nil {
		return d
	}
	fresh := NewDestinations(u.registry, u.template(), u.ownTLS, maxToward)
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := u.toward.Load(); d != nil || u.closed {
		defer fresh.Close()
		return d
	}
	u.toward.Store(fresh)
	return fresh
}

// template says how the destinations of a Dynamic upstream are spoken to.
func (u *Upstream) template() *ir.Forward {
	t := *u.Settings
	t.Dynamic, t.Resolve, t.Via = nil, nil, nil
	return &ir.Forward{Name: u.Name, Template: t, Revision: "dynamic"}
}

// ownTLS gives destinations the TLS material of the upstream itself.
func (u *Upstream) ownTLS(*ir.Upstream) TLS { return u.tls.Load().tls }

// getToward is Get for a Dynamic upstream.
func (u *Upstream) getToward(q Query) (*Conn, error) {
	to, release := u.Toward(q.Host, 0)
	if to == nil {
		return nil, &Error{Code: diag.RouteInvalid, Detail: fmt.Sprintf("upstream %s does not take the destination %q", u.Name, q.Host)}
	}
	defer release()
	return to.Get(q)
}
