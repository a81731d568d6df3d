package gatewayapi

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
)

const unacceptedText = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec: {gatewayClassName: hakone, listners: []}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other}
spec: {gatewayClassName: theirs, listeners: [{name: a, port: 80, protocol: HTTP, tls: {options: {}, certificateRefs: [{name: s, namespace: far}]}}, {name: b, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s, namespace: far}]}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controler: x}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: third}
spec: {gatewayClassName: hakone, listeners: [{name: b, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: s, namespace: far}, {name: t}]}}]}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: grant, namespace: far}
spec: {form: []}
---
apiVersion: v1
kind: Secret
metadata: {name: t}
dat: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: 80}]}]}
`

// TestWhatWasNotAcceptedIsNotCalledMissing holds that an object which stands in the folder is never
// said not to exist, and nobody is told to create it again.
func TestWhatWasNotAcceptedIsNotCalledMissing(t *testing.T) {
	set, _ := manifest.Set(map[string]string{"a.yaml": unacceptedText})
	f, _ := Translate(set, translate.Context{ControllerName: "hakone.dev/gateway-controller", AssumeClasses: []string{"hakone"}}, nil)
	wants := map[diag.Code]string{
		diag.GatewayNotFound: "Gateway default/gw stands in a.yaml:4 but was not accepted (HK5003)",
		diag.ForeignClass:    "GatewayClass theirs stands in a.yaml:14 but was not accepted",
		diag.RefNotPermitted: "ReferenceGrant grant stands in a.yaml:24 but was not accepted",
		diag.SecretNotFound:  "secret default/t stands in a.yaml:29 but was not accepted",
	}
	for _, d := range f.Diagnostics {
		want, ok := wants[d.Code]
		if !ok {
			continue
		}
		delete(wants, d.Code)
		if !strings.Contains(d.Message, want) || strings.Contains(d.Fix, "Create") || strings.Contains(d.Message, "exist") {
			t.Errorf("%s, want %q", d, want)
		}
	}
	if len(wants) > 0 {
		t.Errorf("not reported: %v\n%v", wants, f.Diagnostics)
	}
}
