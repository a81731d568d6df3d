package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Builder collects objects for a Set. The zero value is ready. It is owned by one goroutine.
type Builder struct {
	// AssumeNamespaces makes every namespace exist that an object stands in, and default. A folder
	// has no other way to say so; in Kubernetes namespaces are objects.
	AssumeNamespaces bool

	objects []Resource
	broken  []Broken
}

// Broken names an object that stands in the source but could not be accepted, and why. Whether the
// last good version goes on serving is for the control loop to decide.
type Broken struct {
	Key
	Position diag.Position
	Code     diag.Code

	// Reach is what a ClientCertificatePolicy covers, as far as that could be read: targets, hosts,
	// paths and exceptions. nil for other kinds, and where it closes nothing or nothing is known.
	Reach *v1alpha1.ClientCertificatePolicySpec

	// Hosts are those that a gateway, EdgeHost or route names, as they are written.
	Hosts []string
}

// Add puts an object into the set. The builder owns r from now on; its body may be shared with other
// sets. r must be one of the kinds of this package.
func (b *Builder) Add(r Resource) { b.objects = append(b.objects, r) }

// Break notes an object that could not be accepted.
func (b *Builder) Break(broken Broken) { b.broken = append(b.broken, broken) }

// Build freezes what was added, in the order that Compare gives. Of two objects with the same key the
// first is kept and the other gets a DuplicateObject diagnostic.
func (b *Builder) Build() (*Set, []diag.Diagnostic) {
	slices.SortStableFunc(b.objects, func(x, y Resource) int { return Compare(x.Info(), y.Info()) })
	s := &Set{
		byKey:      make(map[Key]Resource, len(b.objects)),
		byObject:   make(map[diag.Object][]*Meta, len(b.objects)),
		slices:     map[Key][]*EndpointSlice{},
		namespaces: map[string]*Namespace{},
		assume:     b.AssumeNamespaces,
	}
	var ds []diag.Diagnostic
	digest := sha256.New()
	for _, r := range b.objects {
		m := r.Info()
		if first, ok := s.byKey[m.Key]; ok {
			ds = append(ds, duplicate(m, first.Info()))
			continue
		}
		m.Rank = len(s.all)
		s.all = append(s.all, r)
		s.byKey[m.Key] = r
		s.byObject[m.Object()] = append(s.byObject[m.Object()], m)
		s.file(r)
		fmt.Fprintf(digest, "%s\x00%s\x00", m.Key, m.Version)
	}
	s.digest = hex.EncodeToString(digest.Sum(nil)[:8])
	s.broken = slices.DeleteFunc(b.broken, func(x Broken) bool { return s.byKey[x.Key] != nil })
	slices.SortStableFunc(s.broken, func(x, y Broken) int { return compareNames(x.Key, y.Key) })
	s.broken = slices.CompactFunc(s.broken, func(x, y Broken) bool { return x.Key == y.Key })
	s.nameNamespaces()
	return s, ds
}

// duplicate says that again defines what first already did.
func duplicate(again, first *Meta) diag.Diagnostic {
	where := first.Position().String()
	if where == "" {
		where = "an older object"
	}
	return again.Diag(diag.DuplicateObject, "metadata.name",
		fmt.Sprintf("%s is already defined in %s, which is used; this one is left out.", again.Object(), where),
		"Remove or rename one of them.")
}

// file puts r into the list of its kind.
func (s *Set) file(r Resource) {
	switch r := r.(type) {
	case *IstioGateway:
		s.istioGateways = append(s.istioGateways, r)
	case *VirtualService:
		s.virtualServices = append(s.virtualServices, r)
	case *DestinationRule:
		s.destinationRules = append(s.destinationRules, r)
	case *Sidecar:
		s.sidecars = append(s.sidecars, r)
	case *ServiceEntry:
		s.serviceEntries = append(s.serviceEntries, r)
	case *GatewayClass:
		s.gatewayClasses = append(s.gatewayClasses, r)
	case *Gateway:
		s.gateways = append(s.gateways, r)
	case *HTTPRoute:
		s.httpRoutes = append(s.httpRoutes, r)
	case *GRPCRoute:
		s.grpcRoutes = append(s.grpcRoutes, r)
	case *ReferenceGrant:
		s.referenceGrants = append(s.referenceGrants, r)
	case *BackendTLSPolicy:
		s.backendTLSPolicies = append(s.backendTLSPolicies, r)
	case *TLSPolicy:
		s.tlsPolicies = append(s.tlsPolicies, r)
	case *ClientCertificatePolicy:
		s.certificatePolicies = append(s.certificatePolicies, r)
	case *EdgeHost:
		s.edgeHosts = append(s.edgeHosts, r)
	case *OriginPool:
		s.originPools = append(s.originPools, r)
	case *OriginPull:
		s.originPulls = append(s.originPulls, r)
	case *UpstreamProxy:
		s.upstreamProxies = append(s.upstreamProxies, r)
	case *ForwardProxy:
		s.forwardProxies = append(s.forwardProxies, r)
	case *CachePolicy:
		s.cachePolicies = append(s.cachePolicies, r)
	case *Service:
		s.services = append(s.services, r)
	case *Secret:
		s.secrets = append(s.secrets, r)
	case *ConfigMap:
		s.configMaps = append(s.configMaps, r)
	case *EndpointSlice:
		s.endpointSlices = append(s.endpointSlices, r)
		if service := r.Labels["kubernetes.io/service-name"]; service != "" {
			key := Key{Kind: KindService, Namespace: r.Namespace, Name: service}
			s.slices[key] = append(s.slices[key], r)
		}
	case *Namespace:
		labels := maps.Clone(r.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels[corev1.LabelMetadataName] = r.Name
		r.Labels = labels
		s.namespaces[r.Name] = r
	}
}

// nameNamespaces adds the namespaces that are assumed, and orders them all by name.
func (s *Set) nameNamespaces() {
	if s.assume {
		s.assumeNamespace("default")
		for _, r := range s.all {
			if ns := r.Info().Namespace; ns != "" {
				s.assumeNamespace(ns)
			}
		}
	}
	s.namespaceList = slices.SortedFunc(maps.Values(s.namespaces), func(a, b *Namespace) int {
		return strings.Compare(a.Name, b.Name)
	})
}

func (s *Set) assumeNamespace(name string) {
	if s.namespaces[name] == nil {
		s.namespaces[name] = &Namespace{Meta: Meta{
			Key: Key{Kind: KindNamespace, Name: name}, Labels: map[string]string{corev1.LabelMetadataName: name}}}
	}
}

// Rebuild returns a Builder that holds everything of the set, for a set that differs in little.
// Objects are copied, their bodies shared.
func (s *Set) Rebuild() *Builder {
	b := &Builder{AssumeNamespaces: s.assume, broken: slices.Clone(s.broken), objects: make([]Resource, 0, len(s.all)+1)}
	for _, r := range s.all {
		b.objects = append(b.objects, r.Copy())
	}
	return b
}
