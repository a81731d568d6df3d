package istio

import (
	"fmt"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// manyHosts returns a set with n hosts, each a server of one Gateway with a secret and a VirtualService
// of its own; the secret of host broken has a key that does not fit.
func manyHosts(t *testing.T, n, broken int) *resource.Set {
	t.Helper()
	crt, key, other := cert(t, "ecdsa.crt"), cert(t, "ecdsa.key"), cert(t, "helloworld.key")
	meta := func(group, kind, ns, name string) resource.Meta {
		return resource.Meta{Key: resource.Key{Group: group, Kind: kind, Namespace: ns, Name: name}, Version: "1"}
	}
	var b resource.Builder
	gw := &networking.Gateway{}
	for i := range n {
		name := fmt.Sprintf("host-%d", i)
		gw.Servers = append(gw.Servers, &networking.Server{Name: name, Hosts: []string{name + ".example.com"},
			Port: &networking.Port{Number: 443, Name: "https", Protocol: "HTTPS"},
			Tls:  &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: name}})
		s := &resource.Secret{Meta: meta("", resource.KindSecret, "default", name), Data: map[string]resource.Sensitive{"tls.crt": crt, "tls.key": key}}
		if i == broken {
			s.Data["tls.key"] = other
		}
		b.Add(s)
		b.Add(&resource.VirtualService{Meta: meta(resource.GroupIstio, resource.KindVirtualService, "default", name), Spec: &networking.VirtualService{
			Hosts: []string{name + ".example.com"}, Gateways: []string{"gw"},
			Http: []*networking.HTTPRoute{{DirectResponse: &networking.HTTPDirectResponse{Status: 200}}}}})
	}
	b.Add(&resource.IstioGateway{Meta: meta(resource.GroupIstio, resource.KindGateway, "default", "gw"), Spec: gw})
	set, _ := b.Build()
	return set
}

// TestOneBrokenSecretHarmsItsHostOnly also keeps the translation from becoming quadratic: a product of
// servers and VirtualServices would take minutes here.
func TestOneBrokenSecretHarmsItsHostOnly(t *testing.T) {
	const n, broken = 10_000, 4321
	f := Translate(manyHosts(t, n, broken), translate.Context{}, credential.NewCache())
	if len(f.Listeners) != n {
		t.Fatalf("%d listeners", len(f.Listeners))
	}
	for _, l := range f.Listeners {
		c := f.Secrets[l.Chain.TLS.Certificates[0]]
		if want := l.Section != fmt.Sprintf("host-%d", broken); (c.Pair != nil) != want || len(l.Chain.VirtualHosts) != 1 {
			t.Fatalf("%s: pair %v, %d virtual hosts", l.Section, c.Pair, len(l.Chain.VirtualHosts))
		}
	}
	if len(f.Diagnostics) != 2 {
		t.Errorf("%d diagnostics, want one at the Secret and one at the field: %v", len(f.Diagnostics), f.Diagnostics)
	}
}
