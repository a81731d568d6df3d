// Package native translates Hakone's own kinds: TLSPolicy (versions, suites and groups of listeners and
// hosts), ClientCertificatePolicy, EdgeHost, OriginPool, OriginPull, UpstreamProxy, ForwardProxy and
// CachePolicy.
//
// Like every translator it is pure. Which listeners a policy hits is for package compile to find out.
// Begin reading at Translate; each kind has a file.
package native

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
	"github.com/hakone-gateway/hakone/internal/translate/grant"
)

// Translate returns what the objects of our own kinds in the set declare. The cache may be nil; it
// changes the cost and never the result.
func Translate(set *resource.Set, ctx translate.Context, cache *credential.Cache) *translate.Fragment {
	f := translate.NewFragment()
	t := &translator{set: set, ctx: ctx, out: f, creds: credential.New(set, ctx, f, cache), grants: grant.New(set)}
	for _, p := range set.TLSPolicies() {
		if policy, ok := read(f, p); ok {
			f.Policies = append(f.Policies, policy)
		}
	}
	t.access()
	t.absent()
	t.origins()
	t.egress()
	f.Diagnostics = diag.Compact(f.Diagnostics)
	return f
}

// translator holds the state of one Translate.
type translator struct {
	set    *resource.Set
	ctx    translate.Context
	out    *translate.Fragment
	creds  *credential.Finder
	grants grant.Grants
}

// origins translates EdgeHosts, OriginPools and OriginPulls.
func (t *translator) origins() {
	t.pools()
	for _, e := range t.set.EdgeHosts() {
		t.edgeHost(e)
	}
	for _, p := range t.set.OriginPulls() {
		t.pull(p)
	}
}
