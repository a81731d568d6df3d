package server

import (
	"fmt"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// soon is how near the end of an interception CA's life has to be for a warning: leaves of it end no later,
// and every workload has to be given the next one before.
const soon = 30 * 24 * time.Hour

// lintInterception judges the CAs that forward proxies sign leaves with at a time. That they can sign at all
// is found in translation.
func lintInterception(s *ir.Snapshot, now time.Time) []diag.Diagnostic {
	var ds []diag.Diagnostic
	for _, f := range s.Config.Forwards {
		if f.Interception == nil {
			continue
		}
		c := s.Secrets.ByRef[f.Interception.CA]
		if c == nil || c.Pair == nil {
			continue
		}
		leaf, field := c.Pair.Leaf, "spec.interception.caRef"
		end := leaf.NotAfter.UTC().Format(time.RFC3339)
		switch {
		case now.After(leaf.NotAfter):
			ds = append(ds, diag.New(diag.InterceptionCAUnusable, f.Origin.Object, field, fmt.Sprintf("the CA of %s expired on %s, so no client believes a leaf of it; TLS that would be looked into is refused", c.Origin.Object, end),
				"Make a new CA and hand it out: hakone egress ca create."))
		case now.Before(leaf.NotBefore):
			ds = append(ds, diag.New(diag.InterceptionCAUnusable, f.Origin.Object, field, fmt.Sprintf("the CA of %s is not valid before %s", c.Origin.Object, leaf.NotBefore.UTC().Format(time.RFC3339)),
				"Compare the clocks."))
		case leaf.NotAfter.Sub(now) < soon:
			ds = append(ds, diag.New(diag.InterceptionCAUnwise, f.Origin.Object, field, fmt.Sprintf("the CA of %s ends on %s, and leaves with it", c.Origin.Object, end),
				"Make the next CA now, hand it out beside this one, then name it here."))
		}
	}
	return ds
}

// usesOfEgress adds client certificates that proxies and destinations of forward proxies are shown.
func usesOfEgress(s *ir.Snapshot, get func(ir.SecretRef) *use) {
	for _, p := range s.Config.Proxies {
		if p.TLS != nil && p.TLS.Certificate != "" {
			get(p.TLS.Certificate).client = true
		}
	}
	for _, f := range s.Config.Forwards {
		if t := f.Template.TLS; t != nil && t.Certificate != "" {
			get(t.Certificate).client = true
		}
	}
}
