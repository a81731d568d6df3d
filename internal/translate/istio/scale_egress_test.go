package istio

import (
	"fmt"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

// TestManyEgressHosts keeps following the mesh's rules, and finding what is known of a host, from becoming
// quadratic.
func TestManyEgressHosts(t *testing.T) {
	const n = 5000
	const hop = "istio-egressgateway.istio-system.svc.cluster.local"
	meta := func(group, kind, name string) resource.Meta {
		return resource.Meta{Key: resource.Key{Group: group, Kind: kind, Namespace: "default", Name: name}, Version: "1"}
	}
	tls := &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE}
	to := func(host string, port uint32) []*networking.RouteDestination {
		return []*networking.RouteDestination{{Destination: &networking.Destination{Host: host, Port: &networking.PortSelector{Number: port}}}}
	}
	var b resource.Builder
	b.Add(&resource.IstioGateway{Meta: meta(resource.GroupIstio, resource.KindGateway, "gw"), Spec: &networking.Gateway{
		Selector: map[string]string{"istio": "egressgateway"},
		Servers: []*networking.Server{{Hosts: []string{"*.example.com"}, Port: &networking.Port{Number: 443, Name: "tls", Protocol: "TLS"},
			Tls: &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_PASSTHROUGH}}}}})
	b.Add(&resource.ForwardProxy{Meta: meta(resource.GroupHakone, resource.KindForwardProxy, "egress"), Spec: &v1alpha1.ForwardProxySpec{}})
	for i := range n {
		name := fmt.Sprintf("host-%d", i)
		host := name + ".example.com"
		b.Add(&resource.ServiceEntry{Meta: meta(resource.GroupIstio, resource.KindServiceEntry, name), Spec: &networking.ServiceEntry{Hosts: []string{host}, Resolution: networking.ServiceEntry_DNS,
			Ports: []*networking.ServicePort{{Number: 443, Name: "tls", Protocol: "TLS"}, {Number: 80, Name: "http", Protocol: "HTTP", TargetPort: 443}}}})
		b.Add(&resource.DestinationRule{Meta: meta(resource.GroupIstio, resource.KindDestinationRule, name), Spec: &networking.DestinationRule{Host: host,
			TrafficPolicy: &networking.TrafficPolicy{PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{{Port: &networking.PortSelector{Number: 80}, Tls: tls}}}}})
		b.Add(&resource.VirtualService{Meta: meta(resource.GroupIstio, resource.KindVirtualService, name), Spec: &networking.VirtualService{
			Hosts: []string{host}, Gateways: []string{mesh, "gw"}, Tls: []*networking.TLSRoute{
				{Match: []*networking.TLSMatchAttributes{{Gateways: []string{mesh}, Port: 443, SniHosts: []string{host}}}, Route: to(hop, 443)},
				{Match: []*networking.TLSMatchAttributes{{Gateways: []string{"gw"}, Port: 443, SniHosts: []string{host}}}, Route: to(host, 443)},
			}}})
	}
	set, _ := b.Build()
	start := time.Now()
	f := Translate(set, translate.Context{Labels: map[string]string{"istio": "egressgateway"}}, credential.NewCache())
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(f.Diagnostics) > 0 || len(f.Known) != 2*n || len(f.Listeners) != 1 || len(f.Listeners[0].Chain.TCP) != n {
		t.Fatalf("%d known, %d listeners, %v", len(f.Known), len(f.Listeners), f.Diagnostics)
	}
	for _, k := range f.Known {
		if want := fmt.Sprintf("%s:%d", k.Host, k.Port); k.Upstream != want {
			t.Fatalf("%s leads to %q", want, k.Upstream)
		}
	}
}
