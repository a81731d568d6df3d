package control

import (
	"fmt"
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
	result := evaluateNow(set, settings)
	ds := slices.Concat(sourced, result.Diagnostics)
	if lint != nil {
		ds = append(ds, set.Place(lint(result.Snapshot, now))...)
	}
	if len(result.Snapshot.Config.Listeners) == 0 {
		ds = append(ds, nothingServes(set))
	}
	return diag.Compact(ds)
}

// Snapshot evaluates a set by itself, with the certificate files that it names as they stand.
func Snapshot(set *resource.Set, settings Settings) *ir.Snapshot {
	return evaluateNow(set, settings).Snapshot
}

func evaluateNow(set *resource.Set, settings Settings) Result {
	settings.Files = new(files).read(istio.FilePaths(set))
	return Evaluate(set, settings, nil)
}

// nothingServes says that the set yields no listener: an error if there are Gateways, EdgeHosts or ForwardProxies, which all are
// somebody else's or broken, and a warning for a folder that holds only parts, such as routes.
func nothingServes(set *resource.Set) diag.Diagnostic {
	d := diag.New(diag.NoUsableListener, diag.Object{}, "", "no listener would serve: there is no Gateway of ours, no EdgeHost and no ForwardProxy among the objects",
		"Add one of them, or mend the findings about the ones that are there (class, selector, servers).")
	for _, b := range set.Broken() {
		if b.Kind == resource.KindEdgeHost || b.Kind == resource.KindForwardProxy || b.Kind == resource.KindGateway {
			d.Message = fmt.Sprintf("no listener would serve: %s %s", b.Object(), set.Unaccepted(b.Key))
			d.Fix = "Mend what is reported there."
			break
		}
	}
	if len(set.IstioGateways())+len(set.Gateways())+len(set.EdgeHosts())+len(set.ForwardProxies())+len(set.Broken()) == 0 {
		d.Severity = diag.Warning
	}
	return d
}
