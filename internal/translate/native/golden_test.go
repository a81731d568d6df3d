package native

import (
	"encoding/json"
	"flag"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
	"github.com/hakone-gateway/hakone/test/golden"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/*.txtar")

// TestGolden reads each testdata/*.txtar: a sentence on the rule, *.yaml, optionally a section "context"
// ("geo": there is a database), and the fragment and diagnostics that come of it. What the source itself
// finds stands among the diagnostics.
func TestGolden(t *testing.T) {
	golden.Run(t, *update, 5, []string{"fragment", "diagnostics"}, func(t *testing.T, c golden.Case) map[string]string {
		texts, ctx := map[string]string{}, translate.Context{}
		for name, text := range c.Inputs {
			switch {
			case name == "context" && strings.TrimSpace(text) == "geo":
				ctx.GeoDB = true
			case strings.HasSuffix(name, ".yaml"):
				texts[name] = text
			default:
				t.Errorf("section %q is of no use", name)
			}
		}
		set, ds := manifest.Set(texts)
		f := Translate(set, ctx, credential.NewCache())
		if dump(t, Translate(set, ctx, nil)) != dump(t, f) {
			t.Error("a second translation differs")
		}
		got := map[string]string{"fragment": dump(t, f), "diagnostics": ""}
		for _, d := range append(ds, set.Place(f.Diagnostics)...) {
			got["diagnostics"] += d.String() + "\n"
		}
		return got
	})
}

// dump writes the fragment as YAML: references and fingerprints, never keys.
func dump(t *testing.T, f *translate.Fragment) string {
	t.Helper()
	s := ir.Snapshot{Config: &ir.Config{}, Endpoints: &ir.Endpoints{}, Secrets: &ir.Secrets{ByRef: f.Secrets, Logins: f.Logins, Passwords: f.Passwords}, Trust: &ir.Trust{ByRef: f.Trust}}
	d := s.Dump()
	parts := map[string]any{}
	if len(f.Listeners) > 0 {
		parts["listeners"] = f.Listeners
	}
	if len(f.Upstreams) > 0 {
		parts["upstreams"], parts["endpoints"] = f.Upstreams, f.Endpoints
	}
	if len(f.Pulls) > 0 {
		parts["pulls"] = f.Pulls
	}
	if len(f.Access) > 0 {
		parts["access"] = f.Access
	}
	if len(f.Secrets) > 0 {
		parts["secrets"] = d.Secrets.Credentials
	}
	if len(f.Trust) > 0 {
		parts["trust"] = d.Trust.Bundles
	}
	if len(f.Proxies) > 0 {
		parts["proxies"] = f.Proxies
	}
	if len(f.Forwards) > 0 {
		parts["forwards"] = f.Forwards
	}
	if len(f.Caches) > 0 {
		parts["caches"] = f.Caches
	}
	if len(f.Logins)+len(f.Passwords) > 0 {
		parts["logins"], parts["passwords"] = d.Secrets.Logins, d.Secrets.Passwords
	}
	text, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.JSONToYAML(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
