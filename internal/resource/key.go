// Package resource holds the configuration as it was declared: parsed objects of the upstream types,
// in an immutable Set that translators read.
//
// It refuses to know where objects come from (files, informers) and what they mean. A home fills a
// Builder and freezes it; the order of objects is fixed here and does not depend on the home. Begin
// reading at Set, then Object and Builder.
package resource

import (
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// API groups of the kinds in a Set. Core kinds have the empty group.
const (
	GroupCore      = ""
	GroupDiscovery = "discovery.k8s.io"
	GroupIstio     = "networking.istio.io"
	GroupGateway   = "gateway.networking.k8s.io"
	GroupHakone    = "hakone.dev"
)

// Kinds of a Set. Gateway is a kind of two groups.
const (
	KindBackendTLSPolicy = "BackendTLSPolicy"
	KindConfigMap        = "ConfigMap"
	KindDestinationRule  = "DestinationRule"
	KindEndpointSlice    = "EndpointSlice"
	KindGateway          = "Gateway"
	KindGatewayClass     = "GatewayClass"
	KindGRPCRoute        = "GRPCRoute"
	KindHTTPRoute        = "HTTPRoute"
	KindNamespace        = "Namespace"
	KindReferenceGrant   = "ReferenceGrant"
	KindSecret           = "Secret"
	KindService          = "Service"
	KindServiceEntry     = "ServiceEntry"
	KindSidecar          = "Sidecar"
	KindTLSPolicy        = "TLSPolicy"

	KindClientCertificatePolicy = "ClientCertificatePolicy"
	KindEdgeHost                = "EdgeHost"
	KindOriginPool              = "OriginPool"
	KindOriginPull              = "OriginPull"
	KindVirtualService          = "VirtualService"

	KindCachePolicy   = "CachePolicy"
	KindForwardProxy  = "ForwardProxy"
	KindUpstreamProxy = "UpstreamProxy"
)

// Key identifies an object whatever its version. Namespace is empty for cluster-scoped kinds.
type Key struct {
	Group     string
	Kind      string
	Namespace string
	Name      string
}

// Object returns the key as diagnostics name it, without the group.
func (k Key) Object() diag.Object {
	return diag.Object{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name}
}

// String returns "Kind.group namespace/name", without the parts that are empty. Unlike Object it
// tells the two kinds named Gateway apart.
func (k Key) String() string {
	kind := k.Kind
	if k.Group != "" {
		kind += "." + k.Group
	}
	if k.Namespace == "" {
		return kind + " " + k.Name
	}
	return kind + " " + k.Namespace + "/" + k.Name
}

// compareNames orders keys by namespace, name, kind and group.
func compareNames(a, b Key) int {
	for _, c := range [...]int{
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name),
		strings.Compare(a.Kind, b.Kind), strings.Compare(a.Group, b.Group),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}
