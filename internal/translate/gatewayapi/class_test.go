package gatewayapi

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// TestAdoptedClasses holds that what kubectl exports beside a GatewayClass of another controller is
// served once its class is adopted, and that a folder warns until then.
func TestAdoptedClasses(t *testing.T) {
	const text = `apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
`
	for _, c := range []struct {
		assume, adopt []string
		served        bool
		severity      diag.Severity
	}{
		{[]string{"istio", "hakone"}, nil, false, diag.Warning},
		{[]string{"istio", "hakone"}, []string{"other"}, false, diag.Warning},
		{[]string{"istio", "hakone"}, []string{"istio"}, true, 0},
		{nil, nil, false, diag.Info},
		{nil, []string{"istio"}, true, 0},
	} {
		set, _ := manifest.Set(map[string]string{"a.yaml": text})
		f, status := Translate(set, translate.Context{ControllerName: "hakone.dev/gateway-controller", AssumeClasses: c.assume, AdoptClasses: c.adopt}, nil)
		if served := len(f.Listeners) == 1; served != c.served || len(status.Classes) != 0 {
			t.Errorf("%+v: served %v, classes %v", c, served, status.Classes)
		}
		told := false
		for _, d := range f.Diagnostics {
			if d.Code == diag.ForeignClass {
				told = true
				if d.Severity != c.severity || !strings.Contains(d.Fix, "--gateway-class istio") || c.assume != nil && !strings.Contains(d.Fix, "gatewayClassName hakone (or istio without a GatewayClass object)") {
					t.Errorf("%+v: %s", c, d)
				}
			}
		}
		if told == c.served {
			t.Errorf("%+v: told %v", c, told)
		}
	}
}
