package calendar_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

const day = 24 * time.Hour

var now = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func spec(name string, before, after time.Duration) testca.Spec {
	return testca.Spec{CommonName: name, DNS: []string{name}, NotBefore: now.Add(before), NotAfter: now.Add(after)}
}

func pair(t *testing.T, ps ...*testca.Pair) *secret.KeyPair {
	t.Helper()
	var certs []byte
	for _, p := range ps {
		certs = append(certs, p.CertPEM()...)
	}
	k, _, err := secret.ParseKeyPair(certs, ps[0].KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func origin(name string) ir.Origin {
	return ir.Origin{Object: diag.Object{Kind: "Secret", Namespace: "ns", Name: name}}
}

// snapshot has one of each: a host, a pool, an upstream, a policy, a bundle with a list.
func snapshot(t *testing.T, listener *secret.KeyPair, bundle *secret.Bundle, crls []*secret.CRL) *ir.Snapshot {
	t.Helper()
	ca := testca.New(t, spec("CA", -10*day, 3650*day))
	host, err := hostname.Parse("a.test")
	if err != nil {
		t.Fatal(err)
	}
	credential := func(name string, p *secret.KeyPair) *ir.Credential {
		return &ir.Credential{Origin: origin(name), Pair: p}
	}
	leaf := func(name string) *secret.KeyPair { return pair(t, ca.Issue(spec(name, -10*day, 90*day))) }
	return &ir.Snapshot{
		Config: &ir.Config{
			Listeners: []*ir.Listener{{Chains: []*ir.Chain{{Hosts: []hostname.Pattern{host}, TLS: &ir.TLS{Certificates: []ir.SecretRef{"ns/host"}}}, {}}}},
			Upstreams: []*ir.Upstream{{Name: "pool", Origins: &ir.OriginPool{Name: "ns/pool"}, TLS: &ir.UpstreamTLS{Certificate: "ns/pull"}},
				{Name: "up", TLS: &ir.UpstreamTLS{Certificate: "file:/c|/k"}}, {Name: "plain"}},
			AccessPolicies: []*ir.AccessPolicy{{Name: "ns/policy", Session: &ir.Session{Key: "ns/session"}}},
		},
		Secrets: &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"ns/host": credential("host", listener), "ns/pull": credential("pull", leaf("pull")),
			"file:/c|/k": {Pair: leaf("files"), Origin: ir.Origin{Object: diag.Object{Kind: "DestinationRule", Name: "d"}, Field: "spec"}},
			"ns/session": credential("session", leaf("session")), "ns/unused": credential("unused", leaf("unused")), "ns/none": {}}},
		Trust: &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ns/ca": {Origin: origin("ca"), Bundle: bundle, CRLs: crls}, "ns/nothing": {}}},
	}
}

func lines(es []calendar.Entry) string {
	var out []string
	for _, e := range es {
		s := fmt.Sprintf("%s %s %s %d %s", e.Kind, e.Object, e.Name, e.Days, e.State)
		if e.Hosts != nil {
			s += " " + strings.Join(e.Hosts, ",")
		}
		if e.Covered {
			s += " covered"
		}
		if e.Source != "" {
			s += " " + e.Source
		}
		out = append(out, s)
	}
	return strings.Join(out, "\n")
}

func TestOf(t *testing.T) {
	root := testca.New(t, spec("Root", -100*day, 3000*day))
	inter := root.Intermediate(spec("Inter", -90*day, 10*day))
	old, next := testca.New(t, spec("Clients 1", -3000*day, 5*day)), testca.New(t, spec("Clients 2", -9*day, 4000*day))
	crls, err := secret.ParseCRLs(next.CRL(testca.CRLSpec{ThisUpdate: now.Add(-10 * time.Hour), NextUpdate: now.Add(-time.Hour)}))
	if err != nil {
		t.Fatal(err)
	}
	s := snapshot(t, pair(t, inter.Issue(spec("a.test", -70*day, 20*day)), inter), secret.NewBundle(old.Cert, next.Cert), crls)
	want := `crl Secret ns/ca CN=Clients 2 -1 expired
trust-anchor Secret ns/ca CN=Clients 1 5 due covered
intermediate Secret ns/host CN=Inter 10 soon
listener Secret ns/host CN=a.test 20 soon a.test
session-key Secret ns/session CN=session 90 ok ns/policy
origin-pull Secret ns/pull CN=pull 90 ok ns/pool
client file /c, /k CN=files 90 ok up
trust-anchor Secret ns/ca CN=Clients 2 4000 ok`
	got := calendar.Of(s, now)
	// Those that end together are ordered by kind.
	want = strings.Replace(want, "session-key Secret ns/session CN=session 90 ok ns/policy\norigin-pull Secret ns/pull CN=pull 90 ok ns/pool\nclient file /c, /k CN=files 90 ok up",
		"client file /c, /k CN=files 90 ok up\norigin-pull Secret ns/pull CN=pull 90 ok ns/pool\nsession-key Secret ns/session CN=session 90 ok ns/policy", 1)
	if lines(got) != want {
		t.Errorf("got\n%s\nwant\n%s", lines(got), want)
	}
	alarms := 0
	for _, e := range got {
		if e.Alarming() {
			alarms++
		}
	}
	if alarms != 1 {
		t.Errorf("%d alarms, want the list alone", alarms)
	}
	if n := len(calendar.Findings(got, 15*day, now)); n != 2 { // list and intermediate; the old root has its successor
		t.Errorf("%d findings", n)
	}
}

func TestCompare(t *testing.T) {
	ca := testca.New(t, spec("CA", -100*day, 3000*day))
	of := func(p *testca.Pair, b *secret.Bundle) []calendar.Entry {
		return calendar.Of(snapshot(t, pair(t, p), b, nil), now)
	}
	served := ca.Issue(spec("a.test", -10*day, 20*day))
	bundle := secret.NewBundle(ca.Cert)
	for _, tc := range []struct {
		name  string
		fresh []calendar.Entry
		want  string
	}{
		{"newer", of(ca.Issue(spec("a.test", -1*day, 90*day)), bundle), "newer"},
		{"older", of(ca.Issue(spec("a.test", -11*day, 90*day)), bundle), "older"},
		{"other", of(ca.Issue(spec("a.test", -10*day, 20*day)), bundle), "other"},
		{"gone", nil, "gone"},
	} {
		es := of(served, bundle)
		calendar.Compare(es, tc.fresh)
		for _, e := range es {
			if e.Kind == calendar.Listener && (e.Source != tc.want || (e.SourceNotAfter == nil) != (tc.name == "gone")) {
				t.Errorf("%s: %+v", tc.name, e)
			}
		}
	}
	es := of(served, bundle)
	calendar.Compare(es, es)
	if strings.Contains(lines(es), "other") {
		t.Error(lines(es))
	}
}
