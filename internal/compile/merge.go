package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// merge groups listeners into sockets. c.listeners is ordered: the older wins.
func (c *compiler) merge() []*ir.Listener {
	var out []*ir.Listener
	bySocket := map[string]*socket{}
	for _, l := range c.listeners {
		name := socketName(l.Bind, l.Port)
		s := bySocket[name]
		if s == nil {
			bind := l.Bind
			if strings.HasPrefix(name, "*:") {
				bind = ""
			}
			s = &socket{listener: &ir.Listener{Name: name, Bind: bind, Port: l.Port, TLS: l.TLS}, first: l, owner: map[hostname.Pattern]*translate.Listener{}}
			bySocket[name] = s
			out = append(out, s.listener)
		}
		c.add(s, l)
	}
	for _, l := range out {
		slices.SortFunc(l.Chains, func(a, b *ir.Chain) int { return strings.Compare(a.Name, b.Name) })
	}
	return slices.DeleteFunc(out, func(l *ir.Listener) bool { return len(l.Chains) == 0 })
}

// socket is a listener being put together.
type socket struct {
	listener *ir.Listener
	first    *translate.Listener
	owner    map[hostname.Pattern]*translate.Listener
}

// add puts one chain onto a socket, or says why not.
func (c *compiler) add(s *socket, l *translate.Listener) {
	if l.TLS != s.listener.TLS {
		c.report(diag.ProtocolConflict, l.Gateway, l.Chain.Origin.Field,
			fmt.Sprintf("port %d carries %s for %s already, so %s cannot share it", l.Port, protocol(s.listener.TLS), s.first.Gateway, protocol(l.TLS)),
			"Move one of them to another port.")
		return
	}
	var hosts []hostname.Pattern
	for _, h := range l.Chain.Hosts {
		owner := s.owner[h]
		switch {
		case owner == nil:
			s.owner[h] = l
			hosts = append(hosts, h)
		case owner == l: // the same host twice in one server
		case !l.TLS && l.Family == translate.Istio && owner.Family == translate.Istio:
			// Istio serves one route table for a plain port: routes of a younger Gateway join.
			joinVirtualHosts(owner.Chain, l.Chain, h)
		default:
			c.report(diag.ListenerConflict, l.Gateway, l.Chain.Origin.Field,
				fmt.Sprintf("host %q on port %d is served by %s (%s) already; the older one keeps it", h, l.Port, owner.Gateway, owner.Chain.Name),
				"Give the two listeners different hosts or ports.")
		}
	}
	if len(hosts) == 0 {
		return
	}
	l.Chain.Hosts = hosts
	slices.SortFunc(l.Chain.Hosts, hostname.Compare)
	s.listener.Chains = append(s.listener.Chains, l.Chain)
}

func protocol(tls bool) string {
	if tls {
		return "TLS"
	}
	return "plain HTTP"
}

// joinVirtualHosts appends to older's the virtual hosts of younger that lie within host.
func joinVirtualHosts(older, younger *ir.Chain, host hostname.Pattern) {
	for _, vh := range younger.VirtualHosts {
		for _, p := range vh.Hosts {
			if !host.Covers(p) {
				continue
			}
			if i := slices.IndexFunc(older.VirtualHosts, func(o *ir.VirtualHost) bool { return slices.Contains(o.Hosts, p) }); i >= 0 {
				o := older.VirtualHosts[i]
				o.Routes = append(o.Routes, vh.Routes...)
				continue
			}
			older.VirtualHosts = append(older.VirtualHosts, &ir.VirtualHost{Hosts: []hostname.Pattern{p}, Routes: vh.Routes})
		}
	}
	slices.SortStableFunc(older.VirtualHosts, func(a, b *ir.VirtualHost) int { return hostname.Compare(a.Hosts[0], b.Hosts[0]) })
}
