package control

import (
	"fmt"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// keepLastGood returns next with the last good version of every object that stands in the source but
// broke, and the keys kept. lastGood returns that version, or nil; it may be nil itself.
func keepLastGood(lastGood func(resource.Key) resource.Resource, next *resource.Set) (*resource.Set, []resource.Key) {
	if lastGood == nil {
		return next, nil
	}
	var kept []resource.Key
	b := next.Rebuild()
	for _, broken := range next.Broken() {
		if r := lastGood(broken.Key); r != nil && next.Lookup(broken.Key) == nil {
			kept = append(kept, broken.Key)
			b.Add(r.Copy())
		}
	}
	if len(kept) == 0 {
		return next, nil
	}
	set, _ := b.Build()
	return set, kept
}

// graces remembers when secrets that served were found deleted or broken. It is owned by the loop.
type graces struct {
	grace time.Duration
	since map[ir.SecretRef]time.Time
	last  map[ir.SecretRef]*ir.Credential // the last that had a pair
	over  map[ir.SecretRef]bool           // deleted and past the grace: only a good pair brings it back

	logins    kept[ir.Login]
	passwords kept[ir.Passwords]

	// What the last apply found.
	broken map[ir.SecretRef]*ir.Credential // there, but unusable: the last good pair, which serves, with what is wrong
	back   []ir.SecretRef                  // created again within the grace
}

func newGraces(grace time.Duration) *graces {
	return &graces{grace: grace, since: map[ir.SecretRef]time.Time{}, last: map[ir.SecretRef]*ir.Credential{}, over: map[ir.SecretRef]bool{},
		logins: newKept[ir.Login](), passwords: newKept[ir.Passwords]()}
}

// apply replaces credentials that are gone by what served before. A secret that was deleted serves on
// for the grace and is then withdrawn; a secret that is there but cannot be used (broken) serves its
// last good pair until it is mended, because nothing that was serving stops for a typing error. What
// was withdrawn stays so until there is a good pair again. It returns references that newly began a grace, and when the next one ends (zero: none runs).
func (g *graces) apply(secrets *ir.Secrets, deleted func(ir.SecretRef) bool, now time.Time) (began []ir.SecretRef, next time.Time) {
	wanted := map[ir.SecretRef]bool{}
	g.broken, g.back = map[ir.SecretRef]*ir.Credential{}, nil
	for ref, c := range secrets.ByRef {
		wanted[ref] = true
		if c.Pair != nil {
			if _, running := g.since[ref]; running && !g.over[ref] {
				g.back = append(g.back, ref)
			}
			g.last[ref] = c
			delete(g.since, ref)
			delete(g.over, ref)
			continue
		}
		from, good := ref, g.last[ref]
		for _, other := range c.Sought {
			wanted[other] = true
			if good == nil {
				from, good = other, g.last[other]
			}
		}
		if good == nil {
			continue
		}
		kept := *good
		kept.Detail, kept.Cause = c.Detail, c.Cause
		if !deleted(from) {
			if !g.over[from] {
				secrets.ByRef[ref], g.broken[ref] = &kept, &kept
				delete(g.since, from) // a later deletion has a grace of its own
			}
			continue
		}
		start, running := g.since[from]
		if !running {
			start = now
			g.since[from] = now
			began = append(began, from)
		}
		if end := start.Add(g.grace); now.Before(end) {
			kept.Withdrawn = true
			secrets.ByRef[ref] = &kept
			if next.IsZero() || end.Before(next) {
				next = end
			}
			continue
		}
		g.over[from] = true
		secrets.ByRef[ref] = &ir.Credential{Origin: c.Origin, Code: diag.CredentialWithdrawn, Detail: fmt.Sprintf("the secret %s was deleted and its grace is over", ref)}
	}
	for ref := range g.last {
		if !wanted[ref] { // no listener refers to it any more
			delete(g.last, ref)
			delete(g.since, ref)
			delete(g.over, ref)
		}
	}
	return began, next
}
