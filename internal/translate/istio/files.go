package istio

import (
	"slices"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// FilePaths returns the certificate files that the manifests of a set name, sorted, so that the home
// can read them into translate.Context.Files before it translates.
func FilePaths(set *resource.Set) []string {
	var paths []string
	for _, g := range set.IstioGateways() {
		for _, s := range g.Spec.GetServers() {
			tls := s.GetTls()
			paths = append(paths, tls.GetServerCertificate(), tls.GetPrivateKey(), tls.GetCaCertificates(), tls.GetCaCrl())
			for _, c := range tls.GetTlsCertificates() {
				paths = append(paths, c.GetServerCertificate(), c.GetPrivateKey(), c.GetCaCertificates())
			}
		}
	}
	client := func(tls *istio.ClientTLSSettings) {
		paths = append(paths, tls.GetClientCertificate(), tls.GetPrivateKey(), tls.GetCaCertificates(), tls.GetCaCrl())
	}
	policy := func(p *istio.TrafficPolicy) {
		client(p.GetTls())
		for _, l := range p.GetPortLevelSettings() {
			client(l.GetTls())
		}
	}
	for _, d := range set.DestinationRules() {
		policy(d.Spec.GetTrafficPolicy())
		for _, s := range d.Spec.GetSubsets() {
			policy(s.GetTrafficPolicy())
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	return slices.DeleteFunc(paths, func(p string) bool { return p == "" })
}
