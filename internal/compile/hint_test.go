package compile

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
)

const hintText = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec: {gatewayClassName: hakone, listeners: [{name: secure, port: 443, hostname: www.example.com, protocol: HTTPS, tls: {certificateRefs: [{name: s}]}}]}
---
apiVersion: hakone.dev/v1alpha1
kind: TLSPolicy
metadata: {name: p, namespace: infra}
`

func TestUnusedPolicyNamesWhatWasMeant(t *testing.T) {
	for spec, want := range map[string]string{
		"targetRef: {kind: Gateway, name: egde}":                                "Did you mean Gateway infra/edge?",
		"targetRef: {kind: Gateway, name: edge, namespace: default}":            "Did you mean the Gateway of namespace infra?",
		"targetRef: {kind: Gateway, name: edge, sectionName: secrue}":           "Did you mean sectionName secure?",
		"hosts: [wwww.example.com]":                                             "Did you mean host www.example.com?",
		"targetRef: {kind: Gateway, name: edge}, hosts: [elsewhere.other.test]": "Correct spec.targetRef",
		"targetRef: {kind: Gateway, name: something-else-altogether}":           "Correct spec.targetRef",
	} {
		set, bad := manifest.Set(map[string]string{"a.yaml": hintText + "spec: {minVersion: '1.3', " + spec + "}\n"})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		_, ds := compileSet(set, 0, nil)
		found := false
		for _, d := range ds {
			if d.Code == diag.TLSPolicyTarget {
				found = strings.HasPrefix(d.Fix, want)
			}
		}
		if !found {
			t.Errorf("%s: want %q: %v", spec, want, ds)
		}
	}
}

// TestServerThatLostItsHostsNeedsNoRoutes holds that a conflict is not followed by the advice to bind
// routes to what does not serve.
func TestServerThatLostItsHostsNeedsNoRoutes(t *testing.T) {
	const server = "spec: {selector: {istio: ingressgateway}, servers: [{hosts: [HOST], port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: s}}]}\n"
	const head = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: NAME, namespace: istio-system}\n"
	make := func(name, hosts string) string {
		return strings.NewReplacer("NAME", name, "HOST", hosts).Replace(head + server)
	}
	for second, want := range map[string]bool{"a.test": false, "a.test, b.test": true, "b.test": true} {
		set, bad := manifest.Set(map[string]string{"a.yaml": make("first", "a.test") + make("second", second)})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		_, ds := compileSet(set, 0, nil)
		told := map[string]bool{}
		for _, d := range ds {
			if d.Code == diag.NoRoutesAttached {
				told[d.Object.Name] = true
			}
		}
		if !told["first"] || told["second"] != want {
			t.Errorf("second with %s: %v", second, ds)
		}
	}
}
