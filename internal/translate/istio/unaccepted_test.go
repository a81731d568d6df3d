package istio

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// TestWhatWasNotAcceptedIsNotCalledMissing holds that a VirtualService is told where its broken Gateway
// or DestinationRule stands.
func TestWhatWasNotAcceptedIsNotCalledMissing(t *testing.T) {
	set, _ := manifest.Set(map[string]string{"a.yaml": `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {servres: []}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: good}
spec: {servers: [{hosts: ["*"], port: {number: 80, name: http, protocol: HTTP}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {hots: web}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: {hosts: ["*"], gateways: [gw, good], http: [{route: [{destination: {host: web, port: {number: 80}, subset: v1}}]}]}
`})
	f := Translate(set, translate.Context{}, nil)
	wants := map[diag.Code]string{
		diag.GatewayNotFound: "Gateway default/gw stands in a.yaml:4 but was not accepted (HK5003)",
		diag.SubsetNotFound:  "DestinationRule default/web stands in a.yaml:14 but was not accepted (HK5003)",
	}
	for _, d := range f.Diagnostics {
		if want := wants[d.Code]; want != "" {
			delete(wants, d.Code)
			if !strings.Contains(d.Message, want) || strings.Contains(d.Fix, "Create") {
				t.Errorf("%s, want %q", d, want)
			}
		}
	}
	if len(wants) > 0 {
		t.Errorf("not reported: %v", f.Diagnostics)
	}
}
