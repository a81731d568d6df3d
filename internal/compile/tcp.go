package compile

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// addTCP puts what takes connections onto a socket, or says why not. It reports whether l has been dealt
// with: nothing tells plain connections of different hosts apart, so those of one socket are one chain with
// the routes of all, the older's first; and TLS that is passed through joins the older chain of its host.
func (c *compiler) addTCP(s *socket, l *translate.Listener) (done bool) {
	if !l.TLS {
		if (l.Chain.TCP != nil) != (s.first.Chain.TCP != nil) {
			c.report(diag.ProtocolConflict, l.Gateway, l.Chain.Origin.Field,
				fmt.Sprintf("port %d takes %s for %s already, so %s cannot share it", l.Port, carries(s.first), s.first.Gateway, carries(l)), "Move one of them to another port.")
			c.lost[l.Chain.Origin] = true
			return true
		}
		if l.Chain.TCP == nil {
			return false
		}
		if s.first == l {
			l.Chain.Hosts = []hostname.Pattern{hostname.Any()}
			return false
		}
		s.first.Chain.TCP = append(s.first.Chain.TCP, l.Chain.TCP...)
		return true
	}
	if l.Chain.TCP == nil || l.Chain.TLS != nil {
		return false
	}
	joined := 0
	for _, h := range l.Chain.Hosts {
		if owner := s.owner[h]; owner != nil && owner != l && owner.Refused == "" && owner.Chain.TCP != nil && owner.Chain.TLS == nil {
			owner.Chain.TCP = append(owner.Chain.TCP, routesFor(l.Chain.TCP, h)...)
			joined++
		}
	}
	return joined > 0 && joined == len(l.Chain.Hosts)
}

// carries says what comes to a plain listener.
func carries(l *translate.Listener) string {
	if l.Chain.TCP != nil {
		return "plain connections"
	}
	return "plain HTTP"
}

// routesFor returns the routes that may take connections for a host.
func routesFor(routes []*ir.TCPRoute, h hostname.Pattern) []*ir.TCPRoute {
	var out []*ir.TCPRoute
	for _, r := range routes {
		fits := len(r.Hosts) == 0
		for _, p := range r.Hosts {
			_, ok := hostname.Intersect(p, h)
			fits = fits || ok
		}
		if fits {
			out = append(out, r)
		}
	}
	return out
}

// bareALPN leaves ALPN to nobody where what is inside TLS is not HTTP.
func bareALPN(listeners []*ir.Listener) {
	for _, l := range listeners {
		for _, chain := range l.Chains {
			if chain.TCP == nil || chain.TLS == nil {
				continue
			}
			chain.TLS.ALPN = nil
			for i := range chain.HostTLS {
				chain.HostTLS[i].TLS.ALPN = nil
			}
		}
	}
}

// overTCP refuses the connections of hosts that a policy on client certificates closes: there is no request
// that it could decide about.
func (v *coverage) overTCP(chain *ir.Chain, from *translate.Listener, rules []placed) {
	told := map[int]bool{}
	for _, rule := range rules {
		p := v.access[rule.order].Policy
		if p.Open || p.Audit {
			continue
		}
		message := fmt.Sprintf("%s on port %d is not looked into as requests by %s, so nobody can be let in by certificate; its connections are refused there", rule.Host, from.Port, chain.Name)
		for _, r := range routesFor(chain.TCP, rule.Host) {
			r.Forward, r.Fault = nil, &ir.Fault{Code: diag.AccessOverTCP, Detail: p.Origin.Object.String() + ": " + message}
		}
		if !told[rule.order] {
			told[rule.order] = true
			v.report(diag.AccessOverTCP, p.Origin.Object, "spec", message, "Narrow the policy to listeners of HTTP (targetRefs with sectionName), or terminate TLS and route HTTP there.")
		}
	}
}
