package manifest

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// TestPoliciesThatAreNotEnforcedAreErrors holds that nothing which would deny or verify is passed over
// with less than an error.
func TestPoliciesThatAreNotEnforcedAreErrors(t *testing.T) {
	for kind, version := range map[string]string{
		"AuthorizationPolicy": "security.istio.io/v1", "RequestAuthentication": "security.istio.io/v1", "PeerAuthentication": "security.istio.io/v1beta1",
		"EnvoyFilter": "networking.istio.io/v1alpha3", "WasmPlugin": "extensions.istio.io/v1alpha1",
		"SecurityPolicy": "gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy": "gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy": "gateway.envoyproxy.io/v1alpha1",
		"BackendTLSPolicy": "gateway.networking.k8s.io/v1alpha3",
	} {
		_, ds := Set(map[string]string{"a.yaml": "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: p}\nspec: {}\n"})
		if len(ds) != 1 || ds[0].Code != diag.PolicyNotEnforced || ds[0].Severity != diag.Error || ds[0].Position.Line != 2 {
			t.Errorf("%s: %v", kind, ds)
		}
	}
}
