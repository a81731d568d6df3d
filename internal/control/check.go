package control

import (
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/istio"
)

// Check returns everything that is wrong with a set, in order: what its source found, what evaluation
// and lint find. It is what "hakone check" prints.
func Check(set *resource.Set, sourced []diag.Diagnostic, settings Settings, lint func(*ir.Snapshot, time.Time) []diag.Diagnostic, now time.Time) []diag.Diagnostic {
	settings.Files = new(files).read(istio.FilePaths(set))
	result := Evaluate(set, settings, nil)
	ds := slices.Concat(sourced, result.Diagnostics)
	if lint != nil {
		ds = append(ds, set.Place(lint(result.Snapshot, now))...)
	}
	return diag.Compact(ds)
}
