package control

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestKeepLastGood(t *testing.T) {
	first, _ := parse(gateway + secretOf("httpbin"))
	if set, kept := keepLastGood(nil, first); set != first || kept != nil {
		t.Error("the first set is taken as it is")
	}
	if set, kept := keepLastGood(first.Lookup, first); set != first || kept != nil {
		t.Error("a set without broken objects is taken as it is")
	}
	broken, ds := parse(strings.Replace(gateway, "selector:", "selecktor:", 1))
	if len(Failed(ds)) == 0 || len(broken.Broken()) != 1 {
		t.Fatalf("the gateway should be broken: %v", ds)
	}
	set, kept := keepLastGood(first.Lookup, broken)
	if len(kept) != 1 || set.IstioGateway("default", "gw") == nil {
		t.Fatalf("kept %v", kept)
	}
	if set.Secret("istio-system", "cert") != nil {
		t.Error("a deleted object is gone at once")
	}
	if again, kept := keepLastGood(set.Lookup, broken); len(kept) != 1 || again.IstioGateway("default", "gw") == nil {
		t.Error("a second reload with the same fault loses the object")
	}
	if set, kept := keepLastGood(broken.Lookup, broken); len(kept) != 0 || set.IstioGateway("default", "gw") != nil {
		t.Error("what was never good is not kept")
	}
	gone, _ := parse("")
	if set, kept := keepLastGood(first.Lookup, gone); len(kept) != 0 || set.Len() != 0 {
		t.Error("what was deleted is not kept")
	}
}

// snapshot returns one with a chain of the given floor, and of a host if its floor is not 0.
func snapshot(floor, host uint16) *ir.Snapshot {
	c := &ir.Chain{Name: "c", TLS: &ir.TLS{MinVersion: floor}}
	if host != 0 {
		p, _ := hostname.Parse("a.example.com")
		c.HostTLS = []ir.HostTLS{{Host: p, TLS: &ir.TLS{MinVersion: host}}}
	}
	s := &ir.Snapshot{
		Config:    &ir.Config{Listeners: []*ir.Listener{{Name: "*:443", TLS: true, Chains: []*ir.Chain{c}}}},
		Endpoints: &ir.Endpoints{}, Secrets: &ir.Secrets{}, Trust: &ir.Trust{},
	}
	s.Seal()
	return s
}

func TestWithdraws(t *testing.T) {
	const low, mid, high = tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
	for _, c := range []struct {
		name         string
		last, next   *ir.Snapshot
		want, shared bool
	}{
		{"first", nil, snapshot(mid, 0), false, false},
		{"equal", snapshot(mid, 0), snapshot(mid, 0), false, true},
		{"raised", snapshot(mid, 0), snapshot(high, 0), true, false},
		{"lowered", snapshot(mid, 0), snapshot(low, 0), false, false},
		{"raised for a host that had a floor of its own", snapshot(low, mid), snapshot(low, high), true, false},
		{"raised for a host that had the chain's", snapshot(mid, 0), snapshot(mid, high), true, false},
		{"lowered for a host", snapshot(mid, 0), snapshot(mid, low), false, false},
	} {
		share(c.last, c.next)
		if got := withdraws(c.last, c.next); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
		if c.last != nil && (c.last.Config == c.next.Config) != c.shared {
			t.Errorf("%s: configurations shared: %v", c.name, !c.shared)
		}
	}
	last, next := snapshot(mid, 0), snapshot(mid, 0)
	next.Trust = &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"default/ca": {Code: diag.TrustMissing}}}
	next.Seal()
	share(last, next)
	if !withdraws(last, next) {
		t.Error("other trust")
	}
}

// Two missing secrets of two namespaces never lend each other their last pair.
func TestGracesDoNotMixNamespaces(t *testing.T) {
	g := newGraces(10 * time.Second)
	set, _ := parse(gateway + secretOf("httpbin"))
	pair := Evaluate(set, testSettings(), nil).Snapshot.Secrets.ByRef["istio-system/cert"]
	if pair.Pair == nil {
		t.Fatal("no pair")
	}
	now := time.Unix(1000, 0)
	deleted := func(ir.SecretRef) bool { return true }
	g.apply(&ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"one/cert": pair}}, deleted, now)
	secrets := &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{
		"istio-system/cert|one/cert": {Code: diag.CredentialMissing, Sought: []ir.SecretRef{"istio-system/cert", "one/cert"}},
		"istio-system/cert|two/cert": {Code: diag.CredentialMissing, Sought: []ir.SecretRef{"istio-system/cert", "two/cert"}},
	}}
	began, next := g.apply(secrets, deleted, now)
	if len(began) != 1 || began[0] != "one/cert" || !next.Equal(now.Add(10*time.Second)) {
		t.Errorf("began %v, next %v", began, next)
	}
	if secrets.ByRef["istio-system/cert|one/cert"].Pair == nil || secrets.ByRef["istio-system/cert|two/cert"].Pair != nil {
		t.Errorf("%+v", secrets.ByRef)
	}
	if len(g.last) != 1 {
		t.Errorf("remembered %v", g.last)
	}
	g.apply(&ir.Secrets{}, deleted, now)
	if len(g.last)+len(g.since)+len(g.over) != 0 {
		t.Error("what nobody refers to is forgotten")
	}
}

func TestCheckFindsWhatSourceEvaluationAndLintFind(t *testing.T) {
	set, sourced := parse(strings.Replace(gateway, "kind: Service\n", "kind: Serivce\n", 1))
	lint := func(*ir.Snapshot, time.Time) []diag.Diagnostic {
		return []diag.Diagnostic{diag.New(diag.CertRSA, diag.Object{Kind: "Gateway", Namespace: "default", Name: "gw"}, "spec", "m", "f")}
	}
	ds := Check(set, sourced, testSettings(), lint, time.Now())
	found := map[diag.Code]diag.Diagnostic{}
	for _, d := range ds {
		found[d.Code] = d
	}
	for _, code := range []diag.Code{diag.KindMisspelt, diag.SecretNotFound, diag.CertRSA} {
		if d, ok := found[code]; !ok || d.Position.Line == 0 {
			t.Errorf("%s: %+v", code, d)
		}
	}
}
