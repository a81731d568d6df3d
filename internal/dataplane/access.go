package dataplane

import (
	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// compileAccess makes the policies of a snapshot, taking over those that are the same. A policy that
// cannot be carried out, which translation has not told of, and a signing key that cannot be used are told
// once for each change.
func (p *Plane) compileAccess(snap *ir.Snapshot) *authz.Set {
	set := authz.NewSet(snap.Config.AccessPolicies, snap.Trust, snap.Secrets, p.opts.Access, p.access)
	for _, policy := range snap.Config.AccessPolicies {
		compiled := set.Policy(policy.Name)
		if f := compiled.Broken(); f != nil && policy.Fault == nil && compiled != p.access.Policy(policy.Name) {
			p.opts.Logger.Error("a policy cannot be carried out, so it lets nobody in", "policy", policy.Name, "code", f.Code.String(), "err", f.Detail)
		}
		if why := compiled.Problem(); why != "" && compiled != p.access.Policy(policy.Name) {
			p.opts.Logger.Warn("identity cookies of a policy cannot be signed, so none are given", "policy", policy.Name, "err", why)
		}
	}
	return set
}
