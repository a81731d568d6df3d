package backend

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// TestWhatABackendTLSPolicyTargetsIsRefused holds that a policy which is not enforced never means
// plaintext to what it targets, however it is written.
func TestWhatABackendTLSPolicyTargetsIsRefused(t *testing.T) {
	const head = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p, namespace: prod}\n"
	for _, c := range []struct {
		name, policy, service string
		refused               bool
	}{
		{"target", head + "spec: {targetRefs: [{group: '', kind: Service, name: web}]}\n", "web", true},
		{"port by section", head + "spec: {targetRefs: [{kind: Service, name: web, sectionName: http}]}\n", "web", true},
		{"other port", head + "spec: {targetRefs: [{kind: Service, name: web, sectionName: https}]}\n", "web", false},
		{"other service", head + "spec: {targetRefs: [{kind: Service, name: other}]}\n", "web", false},
		{"service without object", head + "spec: {targetRefs: [{kind: Service, name: gone, sectionName: https}]}\n", "gone", true},
		{"old version", "---\napiVersion: gateway.networking.k8s.io/v1alpha2\nkind: BackendTLSPolicy\nmetadata: {name: p, namespace: prod}\nspec: {targetRef: {kind: Service, name: web}}\n", "web", true},
		{"misspelt target list", head + "spec: {targetReffs: [{kind: Service, name: other}]}\n", "web", true},
		{"target without name", head + "spec: {targetRefs: [{kind: Service, nam: other}]}\n", "web", true},
		{"broken YAML", head + "spec: {targetRefs: [{kind: Service\n", "web", true},
		{"other namespace", "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p}\nspec: {targetRefs: [{kind: Service, name: web}]}\n", "web", false},
	} {
		set, _ := manifest.Set(map[string]string{"a.yaml": manifests + c.policy})
		f := translate.NewFragment()
		r := New(set, translate.Context{}, f, credential.New(set, translate.Context{}, f, nil))
		for _, got := range []Result{
			r.Service("prod", c.service, 80, ir.Origin{}),
			r.Destination(Destination{Host: c.service + ".prod.svc.cluster.local", Port: 80}, "default", ir.Origin{}),
		} {
			refused := got.Fault != nil && got.Fault.Code == diag.PolicyNotEnforced && got.Upstream == ""
			if refused != c.refused {
				t.Errorf("%s: %+v, want refused: %v", c.name, got, c.refused)
			}
		}
	}
}
