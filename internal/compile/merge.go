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

// socket is a listener being put together.
type socket struct {
	listener *ir.Listener
	first    *translate.Listener
	owner    map[hostname.Pattern]*translate.Listener // who serves a host, or refuses it
	chains   []*translate.Listener                    // those that have a chain here
	istio    []*translate.Listener                    // plain ones of Istio, with and without a chain
	refused  []*translate.Listener
}

// merge groups listeners into sockets. c.listeners is ordered: the older wins.
func (c *compiler) merge() []*ir.Listener {
	var sockets []*socket
	bySocket := map[string]*socket{}
	for _, l := range c.listeners {
		name := socketName(l.Bind, l.Port)
		s := bySocket[name]
		if s == nil {
			s = &socket{listener: &ir.Listener{Name: name, Bind: l.Bind, Port: l.Port}, owner: map[hostname.Pattern]*translate.Listener{}}
			bySocket[name] = s
			sockets = append(sockets, s)
		}
		if l.Refused != "" {
			s.refused = append(s.refused, l)
			continue
		}
		if s.first == nil {
			s.first, s.listener.TLS, s.listener.Forward = l, l.TLS, l.Forward
		} else if s.first.Forward != nil || l.Forward != nil {
			c.notShared(s, l)
			continue
		}
		c.add(s, l)
	}
	var out []*ir.Listener
	for _, s := range sockets {
		s.joinRoutes()
		for _, l := range s.refused {
			c.guard(s, l)
		}
		for _, l := range s.chains {
			s.listener.Chains = append(s.listener.Chains, l.Chain)
		}
		slices.SortFunc(s.listener.Chains, func(a, b *ir.Chain) int { return strings.Compare(a.Name, b.Name) })
		if len(s.listener.Chains) > 0 {
			out = append(out, s.listener)
		}
	}
	return out
}

// notShared reports a listener on the socket of a forward proxy, or the other way round: nothing tells
// their connections apart.
func (c *compiler) notShared(s *socket, l *translate.Listener) {
	c.report(diag.ListenerConflict, l.Gateway, l.Chain.Origin.Field,
		fmt.Sprintf("port %d is served for %s (%s) already, and a forward proxy shares its port with nobody; the older one keeps it", l.Port, s.first.Gateway, s.first.Chain.Name),
		"Give the two different ports, or different addresses in bind.")
	c.lost[l.Chain.Origin] = true
}

// add puts one chain onto a socket, or says why not.
func (c *compiler) add(s *socket, l *translate.Listener) {
	if l.TLS != s.listener.TLS {
		c.report(diag.ProtocolConflict, l.Gateway, l.Chain.Origin.Field,
			fmt.Sprintf("port %d carries %s for %s already, so %s cannot share it", l.Port, protocol(s.listener.TLS), s.first.Gateway, protocol(l.TLS)),
			"Move one of them to another port.")
		return
	}
	if c.addTCP(s, l) {
		return
	}
	joins := !l.TLS && l.Family == translate.Istio
	if joins {
		s.istio = append(s.istio, l)
	}
	var hosts []hostname.Pattern
	for _, h := range l.Chain.Hosts {
		owner := s.owner[h]
		switch {
		case owner == nil:
			s.owner[h] = l
			hosts = append(hosts, h)
		case owner == l: // the same host twice in one server
		case joins && owner.Family == translate.Istio: // see joinRoutes
		default:
			c.report(diag.ListenerConflict, l.Gateway, l.Chain.Origin.Field,
				fmt.Sprintf("host %q on port %d is served by %s (%s) already; the older one keeps it", h, l.Port, owner.Gateway, owner.Chain.Name),
				"Give the two listeners different hosts or ports.")
		}
	}
	if len(hosts) < len(l.Chain.Hosts) && !joins {
		l.Chain.VirtualHosts = within(l.Chain.VirtualHosts, hosts)
	}
	l.Chain.Hosts = hosts
	slices.SortFunc(l.Chain.Hosts, hostname.Compare)
	if len(hosts) > 0 {
		s.chains = append(s.chains, l)
		return
	}
	c.lost[l.Chain.Origin] = true
}

// within returns the virtual hosts of which requests can come to a chain of these hosts.
func within(list []*ir.VirtualHost, hosts []hostname.Pattern) []*ir.VirtualHost {
	out := []*ir.VirtualHost{}
	for _, vh := range list {
		var kept []hostname.Pattern
		for _, p := range vh.Hosts {
			if slices.ContainsFunc(hosts, func(h hostname.Pattern) bool { return h.Covers(p) }) {
				kept = append(kept, p)
			}
		}
		if len(kept) > 0 {
			out = append(out, &ir.VirtualHost{Hosts: kept, Routes: vh.Routes})
		}
	}
	return out
}

func protocol(tls bool) string {
	if tls {
		return "TLS"
	}
	return "plain HTTP"
}

// joinRoutes gives every virtual host of Istio's plain servers to the server with the most specific
// host for it, because Istio serves one route table for a plain port, whatever Gateway a server is
// of. Routes of the older server come first.
func (s *socket) joinRoutes() {
	if len(s.istio) < 2 {
		return
	}
	type place struct {
		chain *ir.Chain
		host  hostname.Pattern
	}
	joined := map[*ir.Chain][]*ir.VirtualHost{}
	known := map[place]*ir.VirtualHost{}
	for _, l := range s.istio {
		for _, vh := range l.Chain.VirtualHosts {
			for _, p := range vh.Hosts {
				owner := covering(s.owner, p)
				if owner == nil || owner.Family != translate.Istio {
					continue // no request for it comes to this server
				}
				at := place{owner.Chain, p}
				if known[at] == nil {
					known[at] = &ir.VirtualHost{Hosts: []hostname.Pattern{p}}
					joined[at.chain] = append(joined[at.chain], known[at])
				}
				known[at].Routes = appendNew(known[at].Routes, vh.Routes)
			}
		}
	}
	for _, l := range s.istio {
		vhs := joined[l.Chain]
		slices.SortStableFunc(vhs, func(a, b *ir.VirtualHost) int { return hostname.Compare(a.Hosts[0], b.Hosts[0]) })
		if vhs == nil {
			vhs = []*ir.VirtualHost{}
		}
		l.Chain.VirtualHosts = vhs
	}
}

// appendNew appends routes that are not in list yet: one VirtualService may come through two servers.
func appendNew(list, more []*ir.Route) []*ir.Route {
	if len(list) == 0 {
		return slices.Clip(more)
	}
	have := make(map[string]bool, len(list))
	for _, r := range list {
		have[r.Name] = true
	}
	for _, r := range more {
		if !have[r.Name] {
			list = append(list, r)
		}
	}
	return list
}

// guard keeps the hosts of a listener that is refused from broader ones: falling through to their
// certificates, client authentication and routes is worse than not being served. Hosts that another
// listener names as they are belong to that one.
func (c *compiler) guard(s *socket, l *translate.Listener) {
	if s.first == nil || l.TLS != s.listener.TLS {
		return
	}
	var hosts []hostname.Pattern
	for _, h := range l.Chain.Hosts {
		if broader := covering(s.owner, h); broader != nil && broader.Refused == "" && s.owner[h] == nil {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) == 0 {
		return
	}
	for _, h := range hosts {
		s.owner[h] = l
	}
	slices.SortFunc(hosts, hostname.Compare)
	l.Chain.Hosts, l.Chain.VirtualHosts = slices.Compact(hosts), []*ir.VirtualHost{}
	if l.TLS {
		ref := ir.SecretRef("refused:" + l.Chain.Name)
		c.refusing[ref] = &ir.Credential{Origin: l.Chain.Origin, Code: diag.CredentialMissing, Detail: fmt.Sprintf("%s is not served: %s", l.Chain.Name, l.Refused)}
		l.Chain.TLS = &ir.TLS{Origin: l.Chain.Origin, Certificates: []ir.SecretRef{ref}, ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone, Origin: l.Chain.Origin}}
	}
	s.chains = append(s.chains, l)
}

// covering returns the listener with the most specific host that covers p, or nil.
func covering(owner map[hostname.Pattern]*translate.Listener, p hostname.Pattern) *translate.Listener {
	if l := owner[p]; l != nil {
		return l
	}
	rest, more := strings.TrimPrefix(p.String(), "*."), !p.IsAny()
	for more {
		if _, rest, more = strings.Cut(rest, "."); more {
			if q, err := hostname.Parse("*." + rest); err == nil && owner[q] != nil {
				return owner[q]
			}
		}
	}
	return owner[hostname.Any()]
}
