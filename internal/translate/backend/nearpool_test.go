package backend

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// TestSlipInTheDomainOfPools holds that a destination that is nearly a pool's name is not asked of DNS.
func TestSlipInTheDomainOfPools(t *testing.T) {
	for host, want := range map[string]string{
		"mtls-pool.originpol":         "Did you mean mtls-pool.originpool?",
		"mtls-pool.default.origipool": "Did you mean mtls-pool.default.originpool?",
		"other.originpol":             "",
		"mtls-pool.default":           "",
	} {
		set, bad := manifest.Set(map[string]string{"a.yaml": "apiVersion: hakone.dev/v1alpha1\nkind: OriginPool\nmetadata: {name: mtls-pool}\nspec: {origins: [{name: o, address: 127.0.0.1}]}\n"})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		out, ctx := translate.NewFragment(), translate.Context{ClusterDomain: "cluster.local", Namespace: "default"}
		New(set, ctx, out, credential.New(set, ctx, out, nil)).Destination(Destination{Host: host, Port: 80}, "default", ir.Origin{Object: diag.Object{Kind: "VirtualService", Name: "v"}, Field: "spec"})
		got := ""
		for _, d := range out.Diagnostics {
			if d.Code == diag.OriginPoolNotFound {
				got = d.Fix
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q: %v", host, got, want, out.Diagnostics)
		}
	}
}
