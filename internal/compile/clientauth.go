package compile

import (
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// ask makes a chain's TLS ask for certificates on exactly the hosts that rules cover.
func (v *coverage) ask(chain *ir.Chain, from *translate.Listener, rules []placed) {
	known := map[hostname.Pattern]bool{}
	for _, h := range chain.HostTLS {
		known[h.Host] = true
	}
	// A rule's host that is all of a chain's only host needs no entry of its own.
	whole := func(h hostname.Pattern) bool { return len(chain.Hosts) == 1 && chain.Hosts[0] == h }
	original := *chain.TLS
	for _, r := range rules {
		if !known[r.Host] && !whole(r.Host) {
			known[r.Host] = true
			t := settingsOf(chain, r.Host, original)
			chain.HostTLS = append(chain.HostTLS, ir.HostTLS{Host: r.Host, TLS: &t})
		}
	}
	slices.SortFunc(chain.HostTLS, func(a, b ir.HostTLS) int { return hostname.Compare(a.Host, b.Host) })
	told := map[string]bool{}
	for _, h := range chain.HostTLS {
		v.demand(h.TLS, h.Host, from, rules, told)
	}
	if len(chain.Hosts) == 1 {
		v.demand(chain.TLS, chain.Hosts[0], from, rules, told)
	}
}

// settingsOf returns the TLS that holds for a host so far: that of the narrowest entry that covers it.
func settingsOf(chain *ir.Chain, host hostname.Pattern, otherwise ir.TLS) ir.TLS {
	best := otherwise
	var from hostname.Pattern
	for _, h := range chain.HostTLS {
		if h.Host.Covers(host) && (!from.IsValid() || hostname.Compare(h.Host, from) < 0) {
			best, from = *h.TLS, h.Host
		}
	}
	return best
}

// demand sets what is asked of the clients of one host.
func (v *coverage) demand(t *ir.TLS, host hostname.Pattern, from *translate.Listener, rules []placed, told map[string]bool) {
	var names []string
	var asking []placed
	for _, r := range rules {
		if !r.Host.Covers(host) {
			continue
		}
		asking = append(asking, r)
		if !slices.Contains(names, r.Policy) && !v.byName[r.Policy].Policy.Open {
			names = append(names, r.Policy)
		}
	}
	if len(names) == 0 {
		return // Open alone asks for nothing
	}
	auth := ir.ClientAuth{Mode: ir.ClientAuthPolicy, Policies: names, Origin: v.byName[names[0]].Policy.Origin, Forward: t.ClientAuth.Forward}
	switch t.ClientAuth.Mode {
	case ir.ClientAuthRequire, ir.ClientAuthOptional:
		// The listener's own demand stands: a policy never makes it laxer.
		auth = t.ClientAuth
		auth.Policies = names
		v.behind(t, from, names, told)
	default:
		auth.Reject = v.rejection(host, asking, names, told)
	}
	t.ClientAuth = auth
	t.Class = v.classWith(t)
}

// classWith is classOf with what the policies say.
func (v *coverage) classWith(t *ir.TLS) ir.Revision {
	list := []any{classOf(t), t.ClientAuth.Reject}
	for _, name := range t.ClientAuth.Policies {
		list = append(list, name, v.byName[name].Policy.Revision)
	}
	return ir.HashOf(list)
}

// behind tells, once for each policy, that the listener judges first.
func (v *coverage) behind(t *ir.TLS, from *translate.Listener, names []string, told map[string]bool) {
	for _, name := range names {
		key := "behind " + name
		if told[key] || from == nil {
			continue
		}
		told[key] = true
		how := "demands certificates of its own CAs"
		if t.ClientAuth.Mode == ir.ClientAuthOptional {
			how = "refuses certificates of other CAs than its own"
		}
		v.report(diag.AccessBehindMutual, v.byName[name].Policy.Origin.Object, "spec",
			fmt.Sprintf("%s (%s) %s in the handshake, so clients have to satisfy it before this policy sees them", from.Gateway, from.Chain.Name, how),
			"Take the listener's own client authentication away, or give both the same CAs.")
	}
}

// rejection says whom the handshake of a host refuses. It refuses bad certificates only if every policy
// of the host that asks for one wants that: one that answers would be kept from it. It refuses clients
// without one only if some policy that rejects holds for every path, and none lets anybody in.
func (v *coverage) rejection(host hostname.Pattern, rules []placed, names []string, told map[string]bool) ir.RejectMode {
	var wants []string
	mixed := ""
	for _, name := range names {
		if p := v.byName[name].Policy; p.Reject && !p.Audit {
			wants = append(wants, name)
		} else {
			mixed = name
		}
	}
	switch {
	case len(wants) == 0:
		return ir.RejectNone
	case mixed != "":
		for _, name := range wants {
			if key := "mixed " + name; !told[key] {
				told[key] = true
				v.report(diag.AccessRejectMixed, v.byName[name].Policy.Origin.Object, "spec.enforcement",
					fmt.Sprintf("on host %s the policy %s does not reject connections, so clients that this policy turns away get an answer there", host, mixed),
					"Set enforcement: RejectConnection on both, or Deny here.")
			}
		}
		return ir.RejectNone
	}
	whole := false
	for _, r := range rules {
		p := v.byName[r.Policy].Policy
		if p.Open || p.Session != nil && p.Session.Alone {
			return ir.RejectBad
		}
		whole = whole || r.Path == "" && len(r.Except) == 0 && r.Route == nil
	}
	if whole {
		return ir.RejectAll
	}
	return ir.RejectBad
}
