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
