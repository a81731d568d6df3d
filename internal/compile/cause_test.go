package compile

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
)

const meshText = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {selector: {istio: ingressgateway}, servers: [{hosts: [a.test], port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: s}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec: {hosts: [a.test], gateways: [gw], http: [{name: r, match: [{uri: URI}], directResponse: {status: 200}}, {directResponse: {status: 201}}]}
---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: p}
spec: {targetRefs: [{kind: VirtualService, name: vs, sectionName: r}], trust: {caRefs: [{name: ca}]}}
`

// TestTargetThatMatchesNoRequest holds that a policy for a route whose path has no slash before it is told of.
func TestTargetThatMatchesNoRequest(t *testing.T) {
	for uri, never := range map[string]bool{
		"{prefix: test1}": true, "{exact: test1}": true, "{prefix: /test1}": false, "{exact: /test1}": false, "{regex: test1}": false, "{exact: '*'}": false,
	} {
		set, bad := manifest.Set(map[string]string{"a.yaml": strings.Replace(meshText, "URI", uri, 1)})
		if len(bad) > 0 {
			t.Fatal(bad)
		}
		_, ds := compileSet(set, 0, nil)
		warned, told := false, false
		for _, d := range ds {
			warned = warned || d.Code == diag.RouteNeverMatches && d.Object.Kind == "VirtualService" && d.Fix == `Write "/test1".`
			told = told || d.Code == diag.AccessCoversNothing && strings.Contains(d.Message, "can match no request")
		}
		if warned != never || told != never {
			t.Errorf("%s: %v %v: %v", uri, warned, told, ds)
		}
	}
}

// TestEffectsNameTheirCause holds that what follows from an object that was not accepted says so.
func TestEffectsNameTheirCause(t *testing.T) {
	const head = "apiVersion: hakone.dev/v1alpha1\nkind: EdgeHost\nmetadata: {name: e}\nspec: {hosts: [b.test], certificateRef: [{name: x}], poolRef: {name: pp}}\n---\n" +
		"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec: {gatewayClassName: hakone, listeners: [{name: https, port: 443, protocol: HTTPS, hostname: a.test, tls: {certificateRefs: [{name: s}]}}]}\n---\n" +
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: app2}\nspec: {parentRefs: [{name: gw}], rules: [{name: closed, matches: [{path: {type: PathPrefix, value: test1}}]}, {name: open}]}\n---\n" +
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: bad}\nspec: {parentRefs: [{name: gw}], hosts: [a.test]}\n---\n" +
		"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: mesh}\nspec: {selector: {istio: ingressgateway}, severs: [], servers: [{hosts: [default/c.test], port: {number: 443, name: h, protocol: HTTPS}}]}\n---\n" +
		"apiVersion: hakone.dev/v1alpha1\nkind: ClientCertificatePolicy\nmetadata: {name: p}\n"
	for spec, want := range map[string][2]string{
		"hosts: [b.test]":                                                  {"EdgeHost default/e stands in a.yaml:4 but was not accepted (HK5003)", "Mend what is reported there."},
		"hosts: [c.test]":                                                  {"Gateway default/mesh stands in a.yaml:", "Mend what is reported there."},
		"targetRefs: [{kind: EdgeHost, name: e}]":                          {"EdgeHost default/e stands in a.yaml:4", "Mend what is reported there."},
		"targetRefs: [{kind: HTTPRoute, name: bad}]":                       {"HTTPRoute default/bad stands in a.yaml:", "Mend what is reported there."},
		"targetRefs: [{kind: HTTPRoute, name: app2, sectionName: closed}]": {`the rule "closed" of HTTPRoute default/app2 was not accepted`, "Mend what is reported there."},
		"targetRefs: [{kind: HTTPRoute, name: app3}]":                      {"no listener serves a route of HTTPRoute default/app3", "Did you mean HTTPRoute default/app2?"},
		"targetRefs: [{kind: HTTPRoute, name: app2, sectionName: opne}]":   {`no rule named "opne"`, "Did you mean sectionName open?"},
		"hosts: [d.test]":                                                  {`no listener serves host "d.test"`, "Did you mean host a.test?"},
	} {
		set, _ := manifest.Set(map[string]string{"a.yaml": head + "spec: {" + spec + ", trust: {caRefs: [{name: ca}]}}\n"})
		_, ds := compileSet(set, 0, nil)
		found := false
		for _, d := range ds {
			found = found || d.Code == diag.AccessCoversNothing && strings.Contains(d.Message, want[0]) && strings.HasPrefix(d.Fix, want[1])
		}
		if !found {
			t.Errorf("%s: want %q: %v", spec, want, ds)
		}
	}
}
