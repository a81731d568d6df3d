package manifest

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
)

func TestVolumesOfSidecarsAreNotNeeded(t *testing.T) {
	const annotation = `{sidecar.istio.io/userVolume: '[{"name":"proxy-cert"}]', sidecar.istio.io/userVolumeMount: '[]'}`
	for text, want := range map[string]string{
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: sleep}\nspec: {template: {metadata: {annotations: " + annotation + "}}}\n":                  "spec.template.metadata.annotations[sidecar.istio.io/userVolume]",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: sleep, annotations: " + annotation + "}\n":                                                              "metadata.annotations[sidecar.istio.io/userVolume]",
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: s}\nspec: {jobTemplate: {spec: {template: {metadata: {annotations: " + annotation + "}}}}}\n": "spec.jobTemplate.spec.template.metadata.annotations[sidecar.istio.io/userVolume]",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: sleep}\nspec: {template: {metadata: {annotations: {sidecar.istio.io/inject: \"true\"}}}}\n": "",
	} {
		_, ds := Set(map[string]string{"a.yaml": text})
		switch {
		case len(ds) != 1:
			t.Errorf("%s: %v", text, ds)
		case want == "" && ds[0].Code != diag.IgnoredKind, want != "" && (ds[0].Code != diag.SidecarAnnotation || ds[0].Field != want || ds[0].Severity != diag.Info):
			t.Errorf("%s: %v", text, ds[0])
		}
	}
}
