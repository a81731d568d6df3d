// Package control is the loop between what is declared and what runs: it takes sets from a source,
// translates and compiles them, and hands generations to the data side.
//
// Evaluate is pure and is all that "hakone check" needs. Loop adds what needs time and memory: the
// last good version of an object that broke, the grace of a deleted secret, retries of refused ports.
// It knows no kind of any API by itself. Begin reading at Evaluate, then Loop.
package control

import (
	"slices"

	"github.com/hakone-gateway/hakone/internal/compile"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/backend"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
	"github.com/hakone-gateway/hakone/internal/translate/gatewayapi"
	"github.com/hakone-gateway/hakone/internal/translate/istio"
	"github.com/hakone-gateway/hakone/internal/translate/native"
)

// Settings are what the command line and the environment supply to an evaluation.
type Settings struct {
	translate.Context
	MinVersion uint16 // floor where nothing says otherwise; 0 means TLS 1.2
}

// Result is what one set evaluates to. Diagnostics are sorted and have positions.
type Result struct {
	Snapshot    *ir.Snapshot
	Diagnostics []diag.Diagnostic
	Status      *gatewayapi.Status
}

// Evaluate translates and compiles a set. It is pure: equal arguments give equal results. cache may
// be nil; with one, secrets that did not change are not parsed again.
func Evaluate(set *resource.Set, settings Settings, cache *credential.Cache) Result {
	ctx := settings.Context
	mesh := istio.Translate(set, ctx, cache)
	gateway, status := gatewayapi.Translate(set, ctx, cache)
	own := native.Translate(set, ctx, cache)
	snapshot, ds := compile.Compile(compile.Input{
		Fragments:  []*translate.Fragment{mesh, gateway, own},
		MinVersion: settings.MinVersion,
	})
	ds = append(ds, backend.UnusedFlags(ctx, snapshot.Endpoints.ByUpstream)...)
	return Result{Snapshot: snapshot, Diagnostics: set.Place(diag.Compact(ds)), Status: status}
}

// Failed returns the diagnostics that are errors.
func Failed(ds []diag.Diagnostic) []diag.Diagnostic {
	return slices.DeleteFunc(slices.Clone(ds), func(d diag.Diagnostic) bool { return d.Severity != diag.Error })
}
