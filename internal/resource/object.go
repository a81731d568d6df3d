package resource

import (
	"cmp"
	"strings"
	"time"

	istio "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Resource is any object of a Set: one of the pointer types below, and nothing else.
type Resource interface {
	// Info returns what all kinds have in common.
	Info() *Meta
	// Copy returns a shallow copy: its Meta is its own, its body is shared.
	Copy() Resource
}

// Object is an object whose body is a spec of an upstream type. Spec is never nil and never to be
// changed. Gateway API specs carry the API server's defaults.
type Object[T any] struct {
	Meta
	Spec T
}

// Copy implements Resource.
func (o *Object[T]) Copy() Resource {
	c := *o
	return &c
}

// Kinds that consist of metadata and a spec. Istio's three versions share one Go type.
type (
	IstioGateway    = Object[*istio.Gateway]
	VirtualService  = Object[*istio.VirtualService]
	DestinationRule = Object[*istio.DestinationRule]
	ServiceEntry    = Object[*istio.ServiceEntry]
	Sidecar         = Object[*istio.Sidecar]

	GatewayClass   = Object[*gatewayv1.GatewayClassSpec]
	Gateway        = Object[*gatewayv1.GatewaySpec]
	HTTPRoute      = Object[*gatewayv1.HTTPRouteSpec]
	GRPCRoute      = Object[*gatewayv1.GRPCRouteSpec]
	ReferenceGrant = Object[*gatewayv1.ReferenceGrantSpec]

	TLSPolicy               = Object[*v1alpha1.TLSPolicySpec]
	ClientCertificatePolicy = Object[*v1alpha1.ClientCertificatePolicySpec]
	EdgeHost                = Object[*v1alpha1.EdgeHostSpec]
	OriginPool              = Object[*v1alpha1.OriginPoolSpec]
	OriginPull              = Object[*v1alpha1.OriginPullSpec]
	UpstreamProxy           = Object[*v1alpha1.UpstreamProxySpec]
	ForwardProxy            = Object[*v1alpha1.ForwardProxySpec]
	CachePolicy             = Object[*v1alpha1.CachePolicySpec]
	Service                 = Object[*corev1.ServiceSpec]
)

// Secret is a Secret with data and stringData merged.
type Secret struct {
	Meta
	Type string
	Data map[string]Sensitive
}

// Copy implements Resource.
func (s *Secret) Copy() Resource {
	c := *s
	return &c
}

// ConfigMap is a ConfigMap.
type ConfigMap struct {
	Meta
	Data       map[string]string
	BinaryData map[string][]byte
}

// Copy implements Resource.
func (m *ConfigMap) Copy() Resource {
	c := *m
	return &c
}

// EndpointSlice is an EndpointSlice; its Service is named by the label kubernetes.io/service-name.
type EndpointSlice struct {
	Meta
	AddressType discoveryv1.AddressType
	Endpoints   []discoveryv1.Endpoint
	Ports       []discoveryv1.EndpointPort
}

// Copy implements Resource.
func (e *EndpointSlice) Copy() Resource {
	c := *e
	return &c
}

// Namespace is a namespace that exists. Its labels always hold kubernetes.io/metadata.name.
type Namespace struct {
	Meta
}

// Copy implements Resource.
func (n *Namespace) Copy() Resource {
	c := *n
	return &c
}

// Meta is what all objects have in common. The maps are never to be changed.
type Meta struct {
	Key

	Created     time.Time // zero where the home knows none
	Generation  int64
	Version     string // changes with the content: a digest for files, the resourceVersion in Kubernetes
	Labels      map[string]string
	Annotations map[string]string

	// Rank is the object's place in the order of its Set: the older of two objects has the smaller
	// one. Set by Builder.Build.
	Rank int

	// Place says where the object stands; zero in Kubernetes.
	Place Place
}

// Place is where an object was read. Line is the line of the file at which its document begins,
// counted from 1, and Lines counts from there.
type Place struct {
	File     string
	Document int // index in the file, from 0; items of a List count on
	Line     int
	Lines    *Lines
}

// Info implements Resource.
func (m *Meta) Info() *Meta { return m }

// Position returns the place of the object's first line.
func (m *Meta) Position() diag.Position { return m.At("") }

// At returns the place of a field such as "spec.servers[0].tls.credentialName" or "data[tls.crt]",
// or of its nearest parent that is written down. The zero Position means that no file is known.
func (m *Meta) At(field string) diag.Position {
	p, _ := m.at(field)
	return p
}

// at is At and the number of path segments that were found.
func (m *Meta) at(field string) (diag.Position, int) {
	if m.Place.File == "" {
		return diag.Position{}, 0
	}
	line, depth := m.Place.Lines.find(field)
	if rest, ok := strings.CutPrefix(field, "data["); ok && m.Kind == KindSecret && depth < 2 {
		if l, d := m.Place.Lines.find("stringData[" + rest); d > depth {
			line, depth = l, d
		}
	}
	return diag.Position{File: m.Place.File, Line: m.Place.Line + line - 1}, depth
}

// Diag returns a diagnostic about a field of the object, with its position.
func (m *Meta) Diag(code diag.Code, field, message, fix string) diag.Diagnostic {
	d := diag.New(code, m.Object(), field, message, fix)
	d.Position = m.At(field)
	return d
}

// Compare orders objects: those with a creation time first, the older before the younger, then by
// name; the others by file, place in the file, and name. It never returns 0 for different keys.
func Compare(a, b *Meta) int {
	switch {
	case !a.Created.IsZero() && b.Created.IsZero():
		return -1
	case a.Created.IsZero() && !b.Created.IsZero():
		return 1
	case !a.Created.IsZero():
		if c := cmp.Or(a.Created.Compare(b.Created), compareNames(a.Key, b.Key)); c != 0 {
			return c
		}
	}
	return cmp.Or(
		strings.Compare(a.Place.File, b.Place.File),
		cmp.Compare(a.Place.Document, b.Place.Document),
		compareNames(a.Key, b.Key),
	)
}
