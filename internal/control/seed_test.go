package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/test/golden"
)

// seedInput returns the objects of one of the attempts to have a proxy's certificate verified with Istio.
func seedInput(t *testing.T, attempt string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "translate", "istio", "testdata", "egress-seed-"+attempt+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range txtar.Parse(data).Files {
		if f.Name == "input.yaml" {
			return string(f.Data)
		}
	}
	t.Fatal("no input")
	return ""
}

// TestWhatDiagnosticsPrintLoads holds that the objects which the finding about each attempt prints serve as
// they stand, with the CA where the finding says that it belongs.
func TestWhatDiagnosticsPrintLoads(t *testing.T) {
	const company = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: company-ca, namespace: default}\ndata:\n  ca.crt: |\n    ${ca.pem}\n"
	const mounted = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: proxy-cert, namespace: default}\ndata: {bump.pem: \"${ca.crt}\"}\n"
	for _, c := range []struct {
		attempt, beside string
		code            diag.Code
		ref             string
	}{
		{"1", "", diag.ProxyOnlyPassed, "company-ca"},
		{"2", "", diag.EgressHopUnreachable, "company-ca"},
		{"3", "", diag.TLSToPlaintextProxy, "company-ca"},
		{"3", mounted, diag.TLSToPlaintextProxy, "proxy-cert, key: bump.pem"},
		{"4", "", diag.TLSToPlaintextProxy, "company-ca"},
	} {
		settings := testSettings()
		settings.MoreLabels = map[string][]string{"istio": {"egressgateway"}}
		set, sourced := manifest.Set(map[string]string{"a.yaml": seedInput(t, c.attempt) + golden.Fill(c.beside)})
		var found *diag.Diagnostic
		for _, d := range Check(set, sourced, settings, nil, time.Now()) {
			if d.Code != c.code {
				continue
			}
			if found != nil {
				t.Errorf("attempt %s: %s twice", c.attempt, c.code)
			}
			found = &d
		}
		if found == nil {
			t.Errorf("attempt %s: no %s", c.attempt, c.code)
			continue
		}
		_, yaml, ok := strings.Cut(found.Fix, "apiVersion: hakone.dev")
		if !ok || !strings.Contains(yaml, c.ref) {
			t.Errorf("attempt %s: the fix is %s", c.attempt, found.Fix)
			continue
		}
		beside := company
		if c.beside != "" {
			beside = c.beside
		}
		set, sourced = manifest.Set(map[string]string{"a.yaml": "apiVersion: hakone.dev" + yaml + "\n" + golden.Fill(beside)})
		for _, d := range Check(set, sourced, settings, nil, time.Now()) {
			if d.Severity != diag.Info {
				t.Errorf("attempt %s: what is printed gives %s", c.attempt, d)
			}
		}
		s := Snapshot(set, settings)
		if len(s.Config.Proxies) != 1 || s.Config.Proxies[0].Interception == "" || len(s.Config.Forwards) != 1 || len(s.Config.Listeners) != 2 {
			t.Errorf("attempt %s: what is printed makes proxies %v, %d forward proxies and %d listeners", c.attempt, s.Config.Proxies, len(s.Config.Forwards), len(s.Config.Listeners))
		}
	}
}

// TestIstioEgressPageLoads holds that each block of objects on the page about Istio's egress is without fault.
func TestIstioEgressPageLoads(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "istio-egress.md"))
	if err != nil {
		t.Fatal(err)
	}
	settings := testSettings()
	settings.MoreLabels = map[string][]string{"istio": {"egressgateway"}}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for _, b := range blocks {
		text, _, _ := strings.Cut(b, "```")
		set, sourced := manifest.Set(map[string]string{"a.yaml": text})
		for _, d := range Check(set, sourced, settings, nil, time.Now()) {
			// The first block has no listener on purpose.
			if d.Severity != diag.Info && d.Code != diag.NoUsableListener {
				t.Errorf("%s\n%s", d, text)
			}
		}
	}
}
