package compile

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// scope is how narrow a policy's target is; the narrower one wins, field by field.
type scope int

const (
	global scope = iota
	gateway
	listener // stands above what the listener's own manifest says
	host
)

func scopeOf(p *translate.Policy) scope {
	if len(p.Hosts) > 0 {
		return host
	}
	return gatewayScope(p)
}

// gatewayScope is the scope of a policy's target, whatever hosts it names.
func gatewayScope(p *translate.Policy) scope {
	switch {
	case p.Gateway == nil:
		return global
	case p.Section == "":
		return gateway
	}
	return listener
}

// applyPolicies completes the TLS settings of every chain: the default floor, then TLSPolicies from
// the widest to the narrowest, with the manifest's own words between gateway and listener.
func (c *compiler) applyPolicies(listeners []*ir.Listener) {
	c.dropRivals()
	used := make([]bool, len(c.policies))
	owner := make(map[*ir.Chain]*translate.Listener, len(c.listeners))
	for _, l := range c.listeners {
		owner[l.Chain] = l
	}
	for _, l := range listeners {
		if !l.TLS {
			continue
		}
		for _, chain := range l.Chains {
			c.completeChain(chain, owner[chain], used)
		}
	}
	if slices.ContainsFunc(c.forwards, func(f translate.Forward) bool { return f.Interception != nil }) {
		for i := range c.policies { // see compiler.forward
			used[i] = used[i] || scopeOf(&c.policies[i]) == global
		}
	}
	const most = 100 // policies for which what was meant is looked for
	unused := 0
	for i, ok := range used {
		if p := &c.policies[i]; !ok {
			hint := ""
			if unused++; unused <= most {
				hint = c.meant(p)
			}
			c.report(diag.TLSPolicyTarget, p.Origin.Object, "spec", "no TLS listener or host matches this policy's target, so it changes nothing",
				hint+"Correct spec.targetRef or spec.hosts; hakone dump listeners shows what is served.")
		}
	}
}

// meant proposes what the target of an unused policy was most likely meant to be; "" if nothing is near.
func (c *compiler) meant(p *translate.Policy) string {
	var gateways, sections, hosts []string
	exists := false
	for _, l := range c.listeners {
		if p.Gateway != nil && l.Gateway.Kind != p.Gateway.Kind {
			continue
		}
		if p.Gateway != nil && l.Gateway != *p.Gateway {
			gateways = append(gateways, l.Gateway.Namespace+"/"+l.Gateway.Name)
			continue
		}
		exists = true
		sections = append(sections, l.Section)
		for _, h := range l.Chain.Hosts {
			hosts = append(hosts, h.String())
		}
	}
	if p.Gateway != nil && !exists {
		for _, l := range c.listeners {
			if l.Gateway.Kind == p.Gateway.Kind && l.Gateway.Name == p.Gateway.Name {
				return fmt.Sprintf("Did you mean the Gateway of namespace %s? ", l.Gateway.Namespace)
			}
		}
		return didYouMean("Gateway", p.Gateway.Namespace+"/"+p.Gateway.Name, gateways)
	}
	if p.Section != "" && !slices.Contains(sections, p.Section) {
		return didYouMean("sectionName", p.Section, sections)
	}
	for _, h := range p.Hosts {
		if fix := didYouMean("host", h.String(), hosts); fix != "" {
			return fix
		}
	}
	return ""
}

func didYouMean(what, name string, candidates []string) string {
	near := translate.Nearest(name, candidates)
	if near == "" && what != "host" {
		near = translate.NearestOfAll(name, candidates)
	}
	if near != "" && near != name {
		return fmt.Sprintf("Did you mean %s %s? ", what, near)
	}
	return ""
}

// target is what two policies cannot both have. Host is invalid for policies of every host.
type target struct {
	gateway diag.Object
	family  translate.Family
	section string
	host    hostname.Pattern
}

// dropRivals leaves every target to the oldest of the policies that have it. A policy of several hosts
// loses only those that an older one names.
func (c *compiler) dropRivals() {
	first := map[target]translate.Policy{}
	c.policies = slices.DeleteFunc(c.policies, func(p translate.Policy) bool {
		at := target{family: p.Family, section: p.Section}
		if p.Gateway != nil {
			at.gateway = *p.Gateway
		}
		if len(p.Hosts) == 0 {
			return !c.claim(first, at, p)
		}
		p.Hosts = slices.DeleteFunc(p.Hosts, func(h hostname.Pattern) bool {
			at.host = h
			return !c.claim(first, at, p)
		})
		return len(p.Hosts) == 0
	})
}

// claim gives a target to p, or reports who has it.
func (c *compiler) claim(first map[target]translate.Policy, at target, p translate.Policy) bool {
	winner, taken := first[at]
	if !taken {
		first[at] = p
		return true
	}
	what := "has the same target as"
	if at.host.IsValid() {
		what = fmt.Sprintf("names host %q like", at.host)
	}
	c.report(diag.TLSPolicyConflict, p.Origin.Object, "spec", fmt.Sprintf("%s %s, which is older and wins", what, winner.Origin.Object), "Remove one of the two.")
	return false
}

// settings are the parts of TLS that a policy may set.
type settings struct {
	min, max uint16
	suites   []uint16
	groups   []uint16
}

func (s *settings) apply(p settings) {
	if p.min != 0 {
		s.min = p.min
	}
	if p.max != 0 {
		s.max = p.max
	}
	if p.suites != nil {
		s.suites = p.suites
	}
	if p.groups != nil {
		s.groups = p.groups
	}
}

func (c *compiler) completeChain(chain *ir.Chain, from *translate.Listener, used []bool) {
	if chain.TLS == nil {
		return // passed through
	}
	own := settings{chain.TLS.MinVersion, chain.TLS.MaxVersion, chain.TLS.CipherSuites, groupNumbers(chain.TLS.Groups)}
	base := settings{min: c.minVersion, max: tls.VersionTLS13}
	for want := global; want <= listener; want++ {
		if want == listener {
			base.apply(own)
		}
		for i := range slices.Backward(c.policies) { // the oldest has the last word
			p := &c.policies[i]
			if scopeOf(p) == want && targets(p, from) {
				base.apply(settings{p.MinVersion, p.MaxVersion, p.CipherSuites, p.Groups})
				used[i] = true
			}
		}
	}
	original := *chain.TLS
	c.set(chain.TLS, base, from)
	for _, h := range c.policyHosts(chain, from) {
		narrow := base
		// From the widest pattern to the narrowest, so that the narrowest has the last word.
		for _, i := range c.hostPolicies(h, from) {
			p := &c.policies[i]
			narrow.apply(settings{p.MinVersion, p.MaxVersion, p.CipherSuites, p.Groups})
			used[i] = true
		}
		t := original
		c.set(&t, narrow, from)
		chain.HostTLS = append(chain.HostTLS, ir.HostTLS{Host: h, TLS: &t})
	}
}

// set writes settings into t and computes its class. A ceiling below the floor is raised to it: the
// floor is the promise.
func (c *compiler) set(t *ir.TLS, s settings, from *translate.Listener) {
	if s.max < s.min {
		c.report(diag.TLSFloorInvalid, from.Gateway, t.Origin.Field,
			fmt.Sprintf("the TLS floor %s is above the ceiling %s; the ceiling was raised to the floor", tls.VersionName(s.min), tls.VersionName(s.max)),
			"Raise maxVersion (maxProtocolVersion), or lower the floor.")
		s.max = s.min
	}
	t.MinVersion, t.MaxVersion, t.CipherSuites = s.min, s.max, s.suites
	t.Groups = nil
	for _, g := range s.groups {
		t.Groups = append(t.Groups, tls.CurveID(g))
	}
	if len(t.ALPN) == 0 {
		t.ALPN = protocols(s)
	}
	t.Class = classOf(t)
}

// protocols returns what ALPN offers where nothing says otherwise. HTTP/2 asks for TLS 1.2 with a suite
// that clients do not refuse it for: ECDHE with AEAD (RFC 9113 section 9.2).
func protocols(s settings) []string {
	out := []string{"http/1.1", "http/1.0"} // curl --http1.0 offers nothing else
	if s.max >= tls.VersionTLS13 || s.max == tls.VersionTLS12 && (s.suites == nil || slices.ContainsFunc(s.suites, fitsHTTP2)) {
		out = slices.Insert(out, 0, "h2")
	}
	return out
}

// fitsHTTP2 reports whether a suite of TLS 1.2 is none of those that RFC 9113 appendix A lists, as far as
// Go has them.
func fitsHTTP2(suite uint16) bool {
	switch suite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return true
	}
	return false
}

// classOf names everything that two hosts must have in common to share tickets and connections. The
// order of lists means nothing: none of them is a preference.
func classOf(t *ir.TLS) ir.Revision {
	a := t.ClientAuth
	return ir.HashOf([]any{a.Mode, a.Trust, sorted(a.SANs), sorted(a.SPKI), sorted(a.Hashes), a.Forward,
		t.MinVersion, t.MaxVersion, sorted(t.CipherSuites), sorted(t.Groups)})
}

func sorted[E cmp.Ordered](list []E) []E {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// policyHosts returns the parts of a chain's hosts that host policies single out, most specific first.
func (c *compiler) policyHosts(chain *ir.Chain, from *translate.Listener) []hostname.Pattern {
	if from.Forward != nil {
		return nil // its clients name the proxy, whatever hosts they mean
	}
	var out []hostname.Pattern
	for i := range c.policies {
		p := &c.policies[i]
		if scopeOf(p) != host || !targets(p, from) {
			continue
		}
		for _, ph := range p.Hosts {
			for _, ch := range chain.Hosts {
				if h, ok := hostname.Intersect(ph, ch); ok {
					out = append(out, h)
				}
			}
		}
	}
	slices.SortFunc(out, hostname.Compare)
	return slices.Compact(out)
}

// hostPolicies returns the policies that cover h, the widest pattern first; among equals those of the
// wider target first, then the younger, so that applying them in order leaves the right one on top.
func (c *compiler) hostPolicies(h hostname.Pattern, from *translate.Listener) []int {
	type hit struct {
		index   int
		pattern hostname.Pattern
		target  scope
	}
	var hits []hit
	for i := range c.policies {
		p := &c.policies[i]
		if len(p.Hosts) == 0 || !targets(p, from) {
			continue
		}
		var best hostname.Pattern
		for _, ph := range p.Hosts {
			if ph.Covers(h) && (!best.IsValid() || hostname.Compare(ph, best) < 0) {
				best = ph
			}
		}
		if best.IsValid() {
			hits = append(hits, hit{i, best, gatewayScope(p)})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(hostname.Compare(b.pattern, a.pattern), cmp.Compare(a.target, b.target), cmp.Compare(b.index, a.index))
	})
	out := make([]int, len(hits))
	for i, h := range hits {
		out[i] = h.index
	}
	return out
}

// targets reports whether a policy's gateway and section admit a listener. A section is a listener's
// or server's name, or the last part of a chain's name as commands show it ("https#2", "443").
func targets(p *translate.Policy, l *translate.Listener) bool {
	if p.Gateway == nil {
		return true
	}
	g := *p.Gateway
	if g.Kind != l.Gateway.Kind || g.Namespace != l.Gateway.Namespace || g.Name != l.Gateway.Name || p.Family != 0 && p.Family != l.Family {
		return false
	}
	return p.Section == "" || p.Section == l.Section || l.Chain.Name == g.Namespace+"/"+g.Name+"/"+p.Section
}

func groupNumbers(ids []tls.CurveID) []uint16 {
	var out []uint16
	for _, id := range ids {
		out = append(out, uint16(id))
	}
	return out
}
