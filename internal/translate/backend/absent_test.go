package backend

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

func TestServiceThatIsNotThere(t *testing.T) {
	const services = `apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec: {ports: [{port: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: broken}
spec: {prots: []}
`
	for _, c := range []struct {
		host     string
		port     uint32
		complete bool
		code     diag.Code
		severity diag.Severity
		words    []string
	}{
		{"htpbin", 8000, false, diag.ServiceNotFound, diag.Warning, []string{"there is no Service default/htpbin; DNS is asked for htpbin.default.svc.cluster.local, htpbin.default and htpbin", "Did you mean httpbin?", "--endpoint htpbin.default:8000"}},
		{"broken", 8000, false, diag.ServiceNotFound, diag.Warning, []string{"Service default/broken stands in a.yaml:9 but was not accepted", "Mend what is reported there."}},
		{"elsewhere", 8000, false, diag.ResolvedByDNS, diag.Info, []string{"DNS is asked for elsewhere.default.svc.cluster.local, elsewhere.default and elsewhere"}},
		{"elsewhere", 0, false, diag.DestinationInvalid, diag.Error, []string{"there is no Service default/elsewhere, so the destination must name a port", "Add port.number."}},
		{"htpbin", 0, false, diag.DestinationInvalid, diag.Error, []string{"there is no Service default/htpbin, so", "Did you mean httpbin?"}},
		{"htpbin", 8000, true, diag.ServiceNotFound, diag.Error, []string{"there is no Service default/htpbin", "Did you mean httpbin?"}},
	} {
		set, _ := manifest.Set(map[string]string{"a.yaml": services})
		f := translate.NewFragment()
		ctx := translate.Context{Complete: c.complete}
		New(set, ctx, f, credential.New(set, ctx, f, nil)).Destination(Destination{Host: c.host, Port: c.port}, "default", ir.Origin{})
		if len(f.Diagnostics) != 1 || f.Diagnostics[0].Code != c.code || f.Diagnostics[0].Severity != c.severity {
			t.Errorf("%s:%d: %v", c.host, c.port, f.Diagnostics)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(f.Diagnostics[0].String(), w) {
				t.Errorf("%s:%d: %s lacks %q", c.host, c.port, f.Diagnostics[0], w)
			}
		}
	}
}
