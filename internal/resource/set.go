package resource

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Set is everything that was declared, parsed and frozen. Lists are in the order of Compare; lists,
// objects and maps are shared by all readers and never to be changed. The zero value is an empty set.
type Set struct {
	all      []Resource
	byKey    map[Key]Resource
	byObject map[diag.Object][]*Meta
	broken   []Broken
	digest   string
	assume   bool

	istioGateways       []*IstioGateway
	virtualServices     []*VirtualService
	destinationRules    []*DestinationRule
	serviceEntries      []*ServiceEntry
	sidecars            []*Sidecar
	gatewayClasses      []*GatewayClass
	gateways            []*Gateway
	httpRoutes          []*HTTPRoute
	grpcRoutes          []*GRPCRoute
	referenceGrants     []*ReferenceGrant
	tlsPolicies         []*TLSPolicy
	certificatePolicies []*ClientCertificatePolicy
	edgeHosts           []*EdgeHost
	originPools         []*OriginPool
	originPulls         []*OriginPull
	upstreamProxies     []*UpstreamProxy
	forwardProxies      []*ForwardProxy
	cachePolicies       []*CachePolicy
	secrets             []*Secret
	configMaps          []*ConfigMap
	services            []*Service
	endpointSlices      []*EndpointSlice
	slices              map[Key][]*EndpointSlice // by the key of their Service
	namespaces          map[string]*Namespace
	namespaceList       []*Namespace
	backendTLSPolicies  []*BackendTLSPolicy
}

// All returns every object, in order. Namespaces that are only assumed are not among them.
func (s *Set) All() []Resource { return s.all }

// Len returns how many objects the set holds.
func (s *Set) Len() int { return len(s.all) }

// IstioGateways returns the Gateways of networking.istio.io.
func (s *Set) IstioGateways() []*IstioGateway { return s.istioGateways }

// VirtualServices returns Istio's VirtualServices.
func (s *Set) VirtualServices() []*VirtualService { return s.virtualServices }

// DestinationRules returns Istio's DestinationRules.
func (s *Set) DestinationRules() []*DestinationRule { return s.destinationRules }

// ServiceEntries returns Istio's ServiceEntries.
func (s *Set) ServiceEntries() []*ServiceEntry { return s.serviceEntries }

// Sidecars returns Istio's Sidecars.
func (s *Set) Sidecars() []*Sidecar { return s.sidecars }

// GatewayClasses returns the GatewayClasses of the Gateway API.
func (s *Set) GatewayClasses() []*GatewayClass { return s.gatewayClasses }

// Gateways returns the Gateways of the Gateway API.
func (s *Set) Gateways() []*Gateway { return s.gateways }

// HTTPRoutes returns the HTTPRoutes.
func (s *Set) HTTPRoutes() []*HTTPRoute { return s.httpRoutes }

// GRPCRoutes returns the GRPCRoutes.
func (s *Set) GRPCRoutes() []*GRPCRoute { return s.grpcRoutes }

// ReferenceGrants returns the ReferenceGrants.
func (s *Set) ReferenceGrants() []*ReferenceGrant { return s.referenceGrants }

// TLSPolicies returns our TLSPolicies.
func (s *Set) TLSPolicies() []*TLSPolicy { return s.tlsPolicies }

// ClientCertificatePolicies returns our ClientCertificatePolicies.
func (s *Set) ClientCertificatePolicies() []*ClientCertificatePolicy { return s.certificatePolicies }

// EdgeHosts returns our EdgeHosts.
func (s *Set) EdgeHosts() []*EdgeHost { return s.edgeHosts }

// OriginPools returns our OriginPools.
func (s *Set) OriginPools() []*OriginPool { return s.originPools }

// OriginPulls returns our OriginPulls.
func (s *Set) OriginPulls() []*OriginPull { return s.originPulls }

// OriginPool returns an OriginPool, or nil.
func (s *Set) OriginPool(namespace, name string) *OriginPool {
	return get[*OriginPool](s, Key{GroupHakone, KindOriginPool, namespace, name})
}

// UpstreamProxies returns our UpstreamProxies.
func (s *Set) UpstreamProxies() []*UpstreamProxy { return s.upstreamProxies }

// ForwardProxies returns our ForwardProxies.
func (s *Set) ForwardProxies() []*ForwardProxy { return s.forwardProxies }

// CachePolicies returns our CachePolicies.
func (s *Set) CachePolicies() []*CachePolicy { return s.cachePolicies }

// UpstreamProxy returns an UpstreamProxy, or nil.
func (s *Set) UpstreamProxy(namespace, name string) *UpstreamProxy {
	return get[*UpstreamProxy](s, Key{GroupHakone, KindUpstreamProxy, namespace, name})
}

// Secrets returns the Secrets.
func (s *Set) Secrets() []*Secret { return s.secrets }

// ConfigMaps returns the ConfigMaps.
func (s *Set) ConfigMaps() []*ConfigMap { return s.configMaps }

// Services returns the Services.
func (s *Set) Services() []*Service { return s.services }

// EndpointSlices returns the EndpointSlices.
func (s *Set) EndpointSlices() []*EndpointSlice { return s.endpointSlices }

// EndpointSlicesOf returns the EndpointSlices of one Service.
func (s *Set) EndpointSlicesOf(namespace, service string) []*EndpointSlice {
	return s.slices[Key{Kind: KindService, Namespace: namespace, Name: service}]
}

// Namespaces returns the namespaces that exist, ordered by name.
func (s *Set) Namespaces() []*Namespace { return s.namespaceList }

// NamespaceLabels returns the labels of a namespace, with kubernetes.io/metadata.name among them,
// and whether the namespace exists. In a folder every namespace does.
func (s *Set) NamespaceLabels(name string) (map[string]string, bool) {
	if ns := s.namespaces[name]; ns != nil {
		return ns.Labels, true
	}
	if s.assume && name != "" {
		return map[string]string{corev1.LabelMetadataName: name}, true
	}
	return nil, false
}

// Secret returns a Secret, or nil.
func (s *Set) Secret(namespace, name string) *Secret {
	return get[*Secret](s, Key{GroupCore, KindSecret, namespace, name})
}

// ConfigMap returns a ConfigMap, or nil.
func (s *Set) ConfigMap(namespace, name string) *ConfigMap {
	return get[*ConfigMap](s, Key{GroupCore, KindConfigMap, namespace, name})
}

// Service returns a Service, or nil.
func (s *Set) Service(namespace, name string) *Service {
	return get[*Service](s, Key{GroupCore, KindService, namespace, name})
}

// IstioGateway returns a Gateway of networking.istio.io, or nil.
func (s *Set) IstioGateway(namespace, name string) *IstioGateway {
	return get[*IstioGateway](s, Key{GroupIstio, KindGateway, namespace, name})
}

// Gateway returns a Gateway of the Gateway API, or nil.
func (s *Set) Gateway(namespace, name string) *Gateway {
	return get[*Gateway](s, Key{GroupGateway, KindGateway, namespace, name})
}

// GatewayClass returns a GatewayClass, or nil.
func (s *Set) GatewayClass(name string) *GatewayClass {
	return get[*GatewayClass](s, Key{GroupGateway, KindGatewayClass, "", name})
}

// Lookup returns any object by its key, or nil.
func (s *Set) Lookup(key Key) Resource { return s.byKey[key] }

func get[R Resource](s *Set, key Key) R {
	r, _ := s.byKey[key].(R)
	return r
}

// Broken returns the objects that stand in the source but were not accepted and are not in the set,
// ordered by name.
func (s *Set) Broken() []Broken { return s.broken }

// Unaccepted says where an object stands that was not accepted, as in "stands in a.yaml:3 but was not
// accepted (HK5003)"; "" if there is no such object.
func (s *Set) Unaccepted(key Key) string {
	i, ok := slices.BinarySearchFunc(s.broken, key, func(b Broken, key Key) int { return compareNames(b.Key, key) })
	if !ok {
		return ""
	}
	return fmt.Sprintf("stands in %s but was not accepted (%s)", s.broken[i].Position, s.broken[i].Code)
}

// Digest identifies the content and order of the set: 16 hex digits. Places (files, lines) do not
// count. The empty set made by a Builder has one too.
func (s *Set) Digest() string { return s.digest }

// ObjectVersions returns the version of every object by Key.String, for ir.Generation.
func (s *Set) ObjectVersions() map[string]string {
	versions := make(map[string]string, len(s.all))
	for _, r := range s.all {
		m := r.Info()
		versions[m.Key.String()] = m.Version
	}
	return versions
}

// Locate returns the place of a field of an object, or of its nearest parent that is written down;
// the zero Position if the object is not known. diag.Object does not tell Istio's Gateway from the
// Gateway API's: where both have the name, the one in which more of the path exists is taken, and of
// equals the first. Meta.At has no such doubt.
func (s *Set) Locate(obj diag.Object, field string) diag.Position {
	var best diag.Position
	deepest := -1
	for _, m := range s.byObject[obj] {
		if p, depth := m.at(field); depth > deepest {
			best, deepest = p, depth
		}
	}
	return best
}

// Place fills in the position of every diagnostic that has none yet, in place, and returns ds.
func (s *Set) Place(ds []diag.Diagnostic) []diag.Diagnostic {
	for i := range ds {
		if ds[i].Position == (diag.Position{}) {
			ds[i].Position = s.Locate(ds[i].Object, ds[i].Field)
		}
	}
	return ds
}
