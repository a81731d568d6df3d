// Package istio translates Istio's Gateway and VirtualService, with the DestinationRules and
// ServiceEntries that they lead to, into a Fragment.
//
// It is pure and knows nothing of the Gateway API. A fault harms the server, host or rule that has
// it: a server whose TLS settings cannot be used does not serve, a rule that cannot be understood
// refuses what it would have matched. Begin reading at Translate, then server and rule.
package istio

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// Translate returns what the Istio objects of the set declare. The cache may be nil; it changes the
// cost and never the result.
func Translate(set *resource.Set, ctx translate.Context, cache *credential.Cache) *translate.Fragment {
	f := translate.NewFragment()
	creds := credential.New(set, ctx, f, cache)
	t := &translator{
		set: set, ctx: ctx, out: f, creds: creds, backends: backend.New(set, ctx, f, creds),
		gateways: map[objectName]*gateway{}, shadows: newShadows(), told: map[string]bool{},
	}
	for _, g := range set.IstioGateways() {
		t.gateway(g)
	}
	for _, g := range t.gateways {
		t.egress = t.egress || g.selected && g.egress
	}
	for _, v := range set.VirtualServices() {
		t.virtualService(v)
		t.lintHops(v)
	}
	t.meshServices()
	t.known()
	t.outbound()
	for _, g := range set.IstioGateways() {
		for _, s := range t.gateways[objectName{g.Namespace, g.Name}].servers {
			t.finish(s)
		}
	}
	t.shadows.report(t)
	backend.Lint(set, f)
	t.backends.LintEgress(t.told)
	f.Diagnostics = diag.Compact(f.Diagnostics)
	return f
}

// objectName is a namespaced name.
type objectName struct{ namespace, name string }

// translator holds the state of one Translate.
type translator struct {
	set      *resource.Set
	ctx      translate.Context
	out      *translate.Fragment
	creds    *credential.Finder
	backends *backend.Resolver
	gateways map[objectName]*gateway
	shadows  *shadows
	egress   bool            // some Gateway of the egress gateway is ours
	told     map[string]bool // hosts of proxies of which a rule for the mesh has said all there is to say
	services *services       // nil until asked for
	sought   int             // how often ServiceEntries were searched for a message
	meshOnly []*resource.VirtualService
	hops     map[uint32]hopIn // by port of the egress gateway; nil until asked for
}

func (t *translator) report(code diag.Code, from ir.Origin, message, fix string) {
	t.out.Report(code, from.Object, from.Field, message, fix)
}

// info reports with the severity of a remark.
func (t *translator) info(code diag.Code, from ir.Origin, message, fix string) {
	d := diag.New(code, from.Object, from.Field, message, fix)
	d.Severity = diag.Info
	t.out.Diagnostics = append(t.out.Diagnostics, d)
}

// underscore reports a host that works here and that Istio's own validation refuses.
func (t *translator) underscore(p hostname.Pattern, from ir.Origin) {
	if p.HasUnderscore() {
		t.report(diag.UnderscoreHost, from, fmt.Sprintf("host name %q has an underscore, which Istio refuses in a cluster", p), "Serve the name with an EdgeHost (hakone.dev/v1alpha1).")
	}
}

// at returns a field of an object.
func at(m *resource.Meta, format string, args ...any) ir.Origin {
	return ir.Origin{Object: m.Object(), Field: fmt.Sprintf(format, args...)}
}

// below returns a field of the thing that from names.
func below(from ir.Origin, format string, args ...any) ir.Origin {
	return ir.Origin{Object: from.Object, Field: from.Field + "." + fmt.Sprintf(format, args...)}
}
