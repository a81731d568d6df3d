package calendar_test

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

func TestCalendarOfEgress(t *testing.T) {
	mesh, corp := testca.New(t, spec("mesh", -10*day, 20*day)), testca.New(t, spec("corp", -10*day, 30*day))
	client := corp.Issue(spec("client", -10*day, 10*day))
	bundle := secret.NewBundle(corp.Cert)
	s := &ir.Snapshot{
		Config: &ir.Config{
			Proxies: []*ir.Proxy{{Name: "ns/corp", Interception: "ns/corp-ca", TLS: &ir.UpstreamTLS{Certificate: "ns/client"}}, {Name: "ns/plain"}},
			Forwards: []*ir.Forward{{Name: "ns/out", Interception: &ir.Interception{CA: "ns/mesh"}, Template: ir.Upstream{TLS: &ir.UpstreamTLS{Certificate: "ns/client"}}},
				{Name: "ns/bare"}},
		},
		Secrets: &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"ns/mesh": {Origin: origin("mesh"), Pair: pair(t, mesh)}, "ns/client": {Origin: origin("client"), Pair: pair(t, client)}}},
		Trust:   &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"ns/corp-ca": {Origin: origin("corp-ca"), Bundle: bundle}}},
	}
	es := calendar.Of(s, now)
	if len(es) != 3 {
		t.Fatalf("%+v", es)
	}
	for i, want := range []struct {
		kind calendar.Kind
		name string
		use  string
	}{{calendar.Client, "client", "ns/corp"}, {calendar.Interception, "mesh", "ns/out"}, {calendar.Anchor, "corp", ""}} {
		e := es[i]
		if e.Kind != want.kind || e.Name != "CN="+want.name || want.use != "" && e.Hosts[0] != want.use {
			t.Errorf("%d: %+v, want %+v", i, e, want)
		}
	}
	if hosts := es[0].Hosts; len(hosts) != 2 || hosts[1] != "ns/out" {
		t.Errorf("the client certificate is for %v", hosts)
	}
}
