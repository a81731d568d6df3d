package backend

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// guards finds what BackendTLSPolicies target. None is enforced, so nothing is sent to their targets,
// neither in plaintext nor with the TLS settings of another object.
type guards struct {
	byTarget map[resource.Key][]guard
	whole    map[string]guard // by namespace: the target of the policy cannot be read
}

// guard is one target of one policy.
type guard struct {
	policy  diag.Object
	section string // name of a port; empty for all
}

func indexGuards(set *resource.Set) guards {
	g := guards{map[resource.Key][]guard{}, map[string]guard{}}
	for _, p := range set.BackendTLSPolicies() {
		for _, t := range p.Targets {
			if t.Kind == "" {
				g.whole[p.Namespace] = guard{policy: p.Object()}
				continue
			}
			key := resource.Key{Group: t.Group, Kind: t.Kind, Namespace: p.Namespace, Name: t.Name}
			g.byTarget[key] = append(g.byTarget[key], guard{p.Object(), t.Section})
		}
	}
	for _, b := range set.Broken() {
		if b.Group == resource.GroupGateway && b.Kind == resource.KindBackendTLSPolicy {
			namespace := b.Namespace
			if namespace == "" {
				namespace = "default"
			}
			g.whole[namespace] = guard{policy: b.Object()}
		}
	}
	return g
}

// over returns the policy that guards a port of a target. A section that cannot be told from the port,
// because nothing names the port, counts as this one.
func (g guards) over(t target, p port) (diag.Object, bool) {
	if len(g.byTarget) == 0 && len(g.whole) == 0 {
		return diag.Object{}, false
	}
	var keys []resource.Key
	if t.internal() {
		keys = append(keys, resource.Key{Kind: resource.KindService, Namespace: t.namespace, Name: t.name})
	}
	for _, e := range t.entries {
		keys = append(keys, e.Key)
	}
	for _, key := range keys {
		for _, x := range g.byTarget[key] {
			if x.section == "" || x.section == p.name || !p.known {
				return x.policy, true
			}
		}
		if x, ok := g.whole[key.Namespace]; ok {
			return x.policy, true
		}
	}
	return diag.Object{}, false
}

// guarded reports and refuses a destination that a BackendTLSPolicy targets; nil if none does.
func (r *Resolver) guarded(t target, p port, from ir.Origin) *ir.Fault {
	policy, ok := r.guards.over(t, p)
	if !ok {
		return nil
	}
	return r.fault(diag.PolicyNotEnforced, from, fmt.Sprintf("%s demands verified TLS towards port %d of %s, which is not enforced; requests are refused instead of being sent without it", policy, p.number, t),
		"Write a DestinationRule with trafficPolicy.tls for the Service, and remove the policy.").Fault
}
