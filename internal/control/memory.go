package control

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// BrokenSecret is a secret (or pair of files) whose content cannot be used, and whose last good
// certificate goes on serving. A restart would not serve it.
type BrokenSecret struct {
	Ref         ir.SecretRef
	Origin      ir.Origin // of the certificate that serves
	Fingerprint string
	Code        diag.Code // what is wrong
	Detail      string
	Users       []string // chains and upstreams, by name
}

// memory is what the loop remembers of objects that broke, so that each break and each mending is
// told once. It is owned by the loop.
type memory struct {
	usable map[resource.Key]*resource.Secret // last version of each Secret that held a usable pair
	kept   map[resource.Key]resource.Broken  // objects that serve in their last good version
	told   map[resource.Key]bool             // those of kept that the log knows
	broken map[ir.SecretRef]BrokenSecret     // that the log knows
}

func newMemory() *memory {
	return &memory{usable: map[resource.Key]*resource.Secret{}, told: map[resource.Key]bool{}, broken: map[ir.SecretRef]BrokenSecret{}}
}

// lastGood returns the last good version of an object of the set before. Of a Secret that was unusable
// by content before it broke as an object, the pair is older than the rest: faults that stand in the
// file no more are not told again, and a CA that was taken away does not come back.
func (m *memory) lastGood(before *resource.Set) func(resource.Key) resource.Resource {
	if before == nil {
		return nil
	}
	return func(key resource.Key) resource.Resource {
		s, isSecret := before.Lookup(key).(*resource.Secret)
		if good := m.usable[key]; isSecret && good != nil && good.Version != s.Version {
			return credential.WithPairOf(s, good)
		}
		return before.Lookup(key)
	}
}

// keep notes which objects of a set serve in their last good version.
func (m *memory) keep(set *resource.Set, kept []resource.Key) {
	m.kept = make(map[resource.Key]resource.Broken, len(kept))
	for _, b := range set.Broken() {
		if slices.Contains(kept, b.Key) {
			m.kept[b.Key] = b
		}
	}
}

// note remembers the Secrets of a set whose pairs can be used, and forgets those that are gone.
func (m *memory) note(set *resource.Set, secrets *ir.Secrets) {
	for key := range m.usable {
		if set.Lookup(key) == nil {
			delete(m.usable, key)
		}
	}
	for ref, c := range secrets.ByRef {
		o := c.Origin.Object
		if c.Pair == nil || o.Kind != resource.KindSecret || string(ref) != o.Namespace+"/"+o.Name {
			continue
		}
		if s := set.Secret(o.Namespace, o.Name); s != nil {
			m.usable[s.Key] = s
		}
	}
}

// brokenSecrets lists what graces keep alive although it is there, by reference.
func brokenSecrets(s *ir.Snapshot, broken map[ir.SecretRef]*ir.Credential) []BrokenSecret {
	if len(broken) == 0 {
		return nil
	}
	users := map[ir.SecretRef][]string{}
	for _, u := range credentialsInUse(s).inOrder() {
		users[u.ref] = append(users[u.ref], u.user.name)
	}
	var out []BrokenSecret
	for _, ref := range slices.Sorted(maps.Keys(broken)) {
		c := broken[ref]
		out = append(out, BrokenSecret{Ref: ref, Origin: c.Origin, Fingerprint: c.Pair.Fingerprint, Detail: c.Detail,
			Code: cmp.Or(c.Cause, diag.FileReferenceUnread), Users: slices.Compact(users[ref])})
	}
	return out
}

// tell logs what broke and what is mended since the evaluation before.
func (m *memory) tell(log *slog.Logger, set *resource.Set, ds []diag.Diagnostic, s *ir.Snapshot, broken []BrokenSecret, back []ir.SecretRef) {
	now := make(map[ir.SecretRef]BrokenSecret, len(broken))
	for _, b := range broken {
		now[b.Ref] = b
		if before, known := m.broken[b.Ref]; !known || before.Code != b.Code {
			log.Warn("secret is broken, its last good certificate goes on serving", "secret", b.Ref, "fingerprint", b.Fingerprint,
				"listeners", b.Users, "code", b.Code, "cause", b.Detail)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(m.broken)) {
		c := s.Secrets.ByRef[ref]
		_, still := now[ref]
		if still || m.keeps(ref) || c == nil || c.Pair == nil || c.Withdrawn {
			continue
		}
		log.Info("secret is mended", "secret", ref, "fingerprint", c.Pair.Fingerprint, "listeners", m.broken[ref].Users)
	}
	for _, ref := range slices.Sorted(slices.Values(back)) {
		log.Info("secret is there again", "secret", ref, "fingerprint", s.Secrets.ByRef[ref].Pair.Fingerprint)
	}
	m.broken = now

	for _, key := range keysInOrder(m.kept) {
		if m.told[key] {
			continue
		}
		why := reasonOf(m.kept[key], ds)
		log.Warn("object is broken, its last good version goes on serving", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name,
			"code", why.Code, "at", why.Position.String(), "cause", why.Message, "fix", why.Fix)
	}
	for _, key := range keysInOrder(m.told) {
		_, still := m.kept[key]
		if _, content := now[ir.SecretRef(key.Namespace+"/"+key.Name)]; still || content && key.Kind == resource.KindSecret {
			continue
		}
		if set.Lookup(key) != nil {
			log.Info("object is mended", "kind", key.Kind, "namespace", key.Namespace, "name", key.Name)
		}
	}
	m.told = map[resource.Key]bool{}
	for key := range m.kept {
		m.told[key] = true
	}
}

// keeps reports whether the Secret of a reference serves in its last good version.
func (m *memory) keeps(ref ir.SecretRef) bool {
	for key := range m.kept {
		if key.Kind == resource.KindSecret && ir.SecretRef(key.Namespace+"/"+key.Name) == ref {
			return true
		}
	}
	return false
}

// reasonOf finds the diagnostic that says why an object is broken: its own, else its file's.
func reasonOf(b resource.Broken, ds []diag.Diagnostic) diag.Diagnostic {
	why := diag.Diagnostic{Code: b.Code, Position: b.Position}
	for _, d := range ds {
		switch {
		case d.Severity != diag.Error:
		case d.Object == b.Key.Object():
			return d
		case d.Object == (diag.Object{}) && d.Position.File == b.Position.File && why.Message == "":
			why = d
		}
	}
	return why
}

func keysInOrder[V any](m map[resource.Key]V) []resource.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b resource.Key) int { return cmp.Compare(a.String(), b.String()) })
}
