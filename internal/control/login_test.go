package control

import (
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestLoginsServeOnForTheGrace(t *testing.T) {
	g := newGraces(time.Minute)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	gone := false
	deleted := func(ref ir.SecretRef) bool { return gone }
	fault := &ir.Fault{Code: diag.ProxyLoginInvalid, Detail: "it is not there"}
	apply := func(after time.Duration, f *ir.Fault, user string) (*ir.Login, *ir.Passwords, []ir.SecretRef, time.Time) {
		s := &ir.Secrets{Logins: map[ir.SecretRef]*ir.Login{"a/l": {User: user, Fault: f}}, Passwords: map[ir.SecretRef]*ir.Passwords{"a/p": {Digest: user, Fault: f}}}
		began, next := g.applyLogins(s, deleted, start.Add(after))
		return s.Logins["a/l"], s.Passwords["a/p"], began, next
	}
	if l, p, _, _ := apply(0, fault, ""); l.Fault == nil || p.Fault == nil {
		t.Error("what never was good serves")
	}
	apply(0, nil, "anna")
	if l, p, began, next := apply(time.Second, fault, ""); l.User != "anna" || p.Digest != "anna" || l.Withdrawn || began != nil || !next.IsZero() {
		t.Errorf("a broken one serves what it last said: %+v %+v %v %v", l, p, began, next)
	}
	gone = true
	l, p, began, next := apply(2*time.Second, fault, "")
	if l.User != "anna" || !l.Withdrawn || !p.Withdrawn || len(began) != 2 || next != start.Add(62*time.Second) {
		t.Errorf("a deleted one serves for the grace: %+v %+v %v %v", l, p, began, next)
	}
	if _, _, began, _ := apply(3*time.Second, fault, ""); began != nil {
		t.Error("a grace begins once")
	}
	l, p, _, next = apply(63*time.Second, fault, "")
	if l.Fault == nil || l.Fault.Code != diag.CredentialWithdrawn || l.User != "" || p.Fault == nil || !next.IsZero() {
		t.Errorf("the grace ends: %+v %+v %v", l, p, next)
	}
	gone = false
	if l, _, _, _ := apply(64*time.Second, fault, ""); l.Fault == nil {
		t.Error("what was withdrawn comes back broken and serves")
	}
	if l, _, _, _ := apply(65*time.Second, nil, "bert"); l.User != "bert" || l.Fault != nil {
		t.Errorf("a good one is back: %+v", l)
	}
	g.applyLogins(&ir.Secrets{}, deleted, start)
	if len(g.logins.last)+len(g.passwords.last) != 0 {
		t.Error("what nothing refers to is remembered")
	}
}

// What egress lets through and no more does so for members that lag behind.
func TestEgressThatIsClosedWithdraws(t *testing.T) {
	trust := &ir.Trust{}
	snapshot := func(f, p string) *ir.Snapshot {
		return &ir.Snapshot{Trust: trust, Config: &ir.Config{Forwards: []*ir.Forward{{Revision: ir.Revision(f)}}, Proxies: []*ir.Proxy{{Name: p}}}}
	}
	for _, c := range []struct {
		f, p string
		want bool
	}{{"1", "a", false}, {"2", "a", true}, {"1", "b", true}} {
		if got := withdraws(snapshot("1", "a"), snapshot(c.f, c.p)); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
