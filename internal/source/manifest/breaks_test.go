package manifest

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// TestSyntaxFaultsAreAtTheirLine marks the line at fault with "# here", or the line before with "# next".
func TestSyntaxFaultsAreAtTheirLine(t *testing.T) {
	const head = "apiVersion: v1\nkind: ConfigMap\n"
	long := strings.Repeat("  k: v\n", 3000)
	for name, c := range map[string]struct{ text, words string }{
		"a space too few in a mapping": {head + "metadata:\n  name: c\n  labels:\n    a: b\n   c: d # here\ndata: {}\n", "indented by 3; the lines above that it could stand beside are indented by 0, 2 or 4"},
		"a space too few at first":     {head + "metadata:\n  name: c\n labels: {} # here\ndata: {}\n", "indented by 1"},
		"a space too many":             {head + "metadata:\n  name: c\n   labels: {} # here\ndata: {}\n", "mapping values are not allowed"},
		"a space too few in a list":    {head + "metadata:\n  name: c\nspec:\n  list:\n  - a: 1\n    b: 2\n   c: 3 # here\ndata: {}\n", "indented by 0, 2 or 4"},
		"quote that is never closed":   {head + "metadata:\n  name: c\ndata:\n  a: \"v # here\n  b: w\n  c: x\n", ""},
		"bracket that is never closed": {head + "metadata:\n  name: c\ndata: {a: [1, # here\nx: y\n", ""},
		"after brackets over lines":    {head + "metadata: {\n  name: c,\n  labels: {\n    a: b\n  }\n}\ndata:\n  a: b\n c: d # here\n", "indented by 1"},
		"after comments and blanks":    {head + "metadata:\n  name: c\n\n  # remark\n\n labels: {} # here\n", ""},
		"no colon":                     {head + "metadata:\n  name: c\ndata # here\n  a: b\n", ""},
		"far down":                     {head + "metadata:\n  name: c\ndata:\n" + long + " x: y # here\nz: {}\n", "indented by 1"},
	} {
		want := 1 + strings.Count(c.text[:strings.Index(c.text, "# here")], "\n")
		_, ds := Set(map[string]string{"a.yaml": c.text})
		if len(ds) != 1 || ds[0].Code != diag.YAMLSyntax || ds[0].Position.Line != want || !strings.Contains(ds[0].Message, c.words) {
			t.Errorf("%s: want line %d: %v", name, want, ds)
		}
	}
}
