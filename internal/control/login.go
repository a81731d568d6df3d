package control

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// kept remembers what logins or password files said when they could last be used.
type kept[T any] struct {
	last  map[ir.SecretRef]*T
	since map[ir.SecretRef]time.Time // of deletion
	over  map[ir.SecretRef]bool      // deleted and past the grace
}

func newKept[T any]() kept[T] {
	return kept[T]{last: map[ir.SecretRef]*T{}, since: map[ir.SecretRef]time.Time{}, over: map[ir.SecretRef]bool{}}
}

// wants says how kept looks at a T: whether it is good, and what stands for it with its fault noted or gone
// for good.
type wants[T any] struct {
	good      func(*T) bool
	withdrawn func(*T) *T
	gone      func(*T, *ir.Fault) *T
}

// applyLogins does for logins and password files what apply does for credentials: a Secret that was deleted
// serves on for the grace, and one that is there but broken serves what it last said.
func (g *graces) applyLogins(s *ir.Secrets, deleted func(ir.SecretRef) bool, now time.Time) (began []ir.SecretRef, next time.Time) {
	a, end1 := g.logins.apply(s.Logins, deleted, now, g.grace, wants[ir.Login]{
		good:      func(l *ir.Login) bool { return l.Fault == nil },
		withdrawn: func(l *ir.Login) *ir.Login { c := *l; c.Withdrawn = true; return &c },
		gone:      func(l *ir.Login, f *ir.Fault) *ir.Login { return &ir.Login{Origin: l.Origin, Fault: f} },
	})
	b, end2 := g.passwords.apply(s.Passwords, deleted, now, g.grace, wants[ir.Passwords]{
		good:      func(p *ir.Passwords) bool { return p.Fault == nil },
		withdrawn: func(p *ir.Passwords) *ir.Passwords { c := *p; c.Withdrawn = true; return &c },
		gone:      func(p *ir.Passwords, f *ir.Fault) *ir.Passwords { return &ir.Passwords{Origin: p.Origin, Fault: f} },
	})
	return append(a, b...), earliest(end1, end2)
}

// apply replaces what is gone or broken by what served before. It returns references that newly began a
// grace, and when the next one ends (zero: none runs).
func (k *kept[T]) apply(all map[ir.SecretRef]*T, deleted func(ir.SecretRef) bool, now time.Time, grace time.Duration, w wants[T]) (began []ir.SecretRef, next time.Time) {
	for _, ref := range slices.Sorted(maps.Keys(all)) {
		x := all[ref]
		if w.good(x) {
			k.last[ref] = x
			delete(k.since, ref)
			delete(k.over, ref)
			continue
		}
		good := k.last[ref]
		if good == nil {
			continue
		}
		if !deleted(ref) {
			if !k.over[ref] {
				all[ref] = good
				delete(k.since, ref)
			}
			continue
		}
		start, running := k.since[ref]
		if !running {
			start = now
			k.since[ref] = now
			began = append(began, ref)
		}
		if end := start.Add(grace); now.Before(end) {
			all[ref], next = w.withdrawn(good), earliest(next, end)
			continue
		}
		k.over[ref] = true
		all[ref] = w.gone(x, &ir.Fault{Code: diag.CredentialWithdrawn, Detail: fmt.Sprintf("the secret %s was deleted and its grace is over", ref)})
	}
	for ref := range k.last {
		if all[ref] == nil { // nothing refers to it any more
			delete(k.last, ref)
			delete(k.since, ref)
			delete(k.over, ref)
		}
	}
	return began, next
}

// logLogins names the logins and password files that changed, went or came back.
func (l *Loop) logLogins(last, next *ir.Secrets) {
	type seen struct {
		digest string
		fault  *ir.Fault
	}
	tell := func(what string, refs []ir.SecretRef, before, now func(ir.SecretRef) (seen, bool)) {
		for _, ref := range refs {
			b, known := before(ref)
			n, _ := now(ref)
			switch {
			case !known:
			case n.fault != nil && b.fault == nil:
				l.opts.Logger.Error(what+" is gone or broken", "secret", ref, "code", n.fault.Code, "cause", n.fault.Detail)
			case n.fault == nil && b.fault != nil:
				l.opts.Logger.Info(what+" is there", "secret", ref)
			case n.fault == nil && n.digest != b.digest:
				l.opts.Logger.Info(what+" was changed", "secret", ref, "code", diag.SecretRotated)
			}
		}
	}
	login := func(m map[ir.SecretRef]*ir.Login) func(ir.SecretRef) (seen, bool) {
		return func(ref ir.SecretRef) (seen, bool) {
			x := m[ref]
			if x == nil {
				return seen{}, false
			}
			return seen{x.Digest, x.Fault}, true
		}
	}
	file := func(m map[ir.SecretRef]*ir.Passwords) func(ir.SecretRef) (seen, bool) {
		return func(ref ir.SecretRef) (seen, bool) {
			x := m[ref]
			if x == nil {
				return seen{}, false
			}
			return seen{x.Digest, x.Fault}, true
		}
	}
	tell("login for an upstream proxy", slices.Sorted(maps.Keys(next.Logins)), login(last.Logins), login(next.Logins))
	tell("password file", slices.Sorted(maps.Keys(next.Passwords)), file(last.Passwords), file(next.Passwords))
}
