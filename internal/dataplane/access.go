package dataplane

import (
	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// compileAccess makes the policies of a snapshot, taking over those that are the same. A signing key that
// cannot be used is told once for each change.
func (p *Plane) compileAccess(snap *ir.Snapshot) *authz.Set {
	set := authz.NewSet(snap.Config.AccessPolicies, snap.Trust, snap.Secrets, p.opts.Access, p.access)
	for _, policy := range snap.Config.AccessPolicies {
		compiled := set.Policy(policy.Name)
		if why := compiled.Problem(); why != "" && compiled != p.access.Policy(policy.Name) {
			p.opts.Logger.Warn("identity cookies of a policy cannot be signed, so none are given", "policy", policy.Name, "err", why)
		}
	}
	return set
}
