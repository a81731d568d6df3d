package manifest

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	istio "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"google.golang.org/protobuf/proto"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// kindSpec is a kind that is read: how it is written and how an object is made of it.
type kindSpec struct {
	group, kind string
	versions    []string // newest first
	cluster     bool     // cluster-scoped: no namespace
	root        *shape
	build       func(*document) resource.Resource
}

// apiVersions returns the versions as they stand in apiVersion.
func (k *kindSpec) apiVersions() []string {
	if k.group == "" {
		return k.versions
	}
	var out []string
	for _, v := range k.versions {
		out = append(out, k.group+"/"+v)
	}
	return out
}

type groupKind struct{ group, kind string }

// knownKinds makes the table of the kinds that are read.
func knownKinds() map[groupKind]*kindSpec {
	b := &shapes{memo: map[reflect.Type]*shape{}, rules: typeRules(), exact: fieldRules()}
	maps.Copy(b.rules, edgeTypeRules())
	maps.Copy(b.exact, edgeFieldRules())
	maps.Copy(b.exact, egressFieldRules())
	metadata := b.of(reflect.TypeFor[metav1.ObjectMeta]())
	pb := protoShapes{}
	istioRoot := func(m proto.Message) *shape {
		s := &shape{form: formObject}
		for _, f := range []*field{
			{name: "apiVersion", shape: &shape{form: formText}},
			{name: "kind", shape: &shape{form: formText}},
			{name: "metadata", shape: metadata},
			{name: "spec", shape: pb.message(m.ProtoReflect().Descriptor()), required: true},
			{name: "status", shape: &shape{}},
		} {
			s.add(f)
		}
		return s
	}
	istioVersions := []string{"v1", "v1beta1", "v1alpha3"}
	gatewayVersions := []string{"v1", "v1beta1"}
	core := []string{"v1"}
	all := []*kindSpec{
		{resource.GroupIstio, resource.KindGateway, istioVersions, false, istioRoot(&istio.Gateway{}), buildProto[*istio.Gateway]},
		{resource.GroupIstio, resource.KindVirtualService, istioVersions, false, istioRoot(&istio.VirtualService{}), buildProto[*istio.VirtualService]},
		{resource.GroupIstio, resource.KindDestinationRule, istioVersions, false, istioRoot(&istio.DestinationRule{}), buildProto[*istio.DestinationRule]},
		{resource.GroupIstio, resource.KindServiceEntry, istioVersions, false, istioRoot(&istio.ServiceEntry{}), buildProto[*istio.ServiceEntry]},
		{resource.GroupIstio, resource.KindSidecar, istioVersions, false, istioRoot(&istio.Sidecar{}), buildProto[*istio.Sidecar]},

		{resource.GroupGateway, resource.KindGatewayClass, gatewayVersions, true, b.of(reflect.TypeFor[gatewayv1.GatewayClass]()), buildSpec(noDefaults[gatewayv1.GatewayClassSpec])},
		{resource.GroupGateway, resource.KindGateway, gatewayVersions, false, b.of(reflect.TypeFor[gatewayv1.Gateway]()), buildSpec(defaultGateway)},
		{resource.GroupGateway, resource.KindHTTPRoute, gatewayVersions, false, b.of(reflect.TypeFor[gatewayv1.HTTPRoute]()), buildSpec(defaultHTTPRoute)},
		{resource.GroupGateway, resource.KindGRPCRoute, []string{"v1"}, false, b.of(reflect.TypeFor[gatewayv1.GRPCRoute]()), buildSpec(defaultGRPCRoute)},
		{resource.GroupGateway, resource.KindReferenceGrant, gatewayVersions, false, b.of(reflect.TypeFor[gatewayv1.ReferenceGrant]()), buildSpec(noDefaults[gatewayv1.ReferenceGrantSpec])},

		{resource.GroupHakone, resource.KindTLSPolicy, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.TLSPolicy]()), buildSpec(noDefaults[v1alpha1.TLSPolicySpec])},
		{resource.GroupHakone, resource.KindClientCertificatePolicy, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.ClientCertificatePolicy]()), buildSpec(noDefaults[v1alpha1.ClientCertificatePolicySpec])},
		{resource.GroupHakone, resource.KindEdgeHost, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.EdgeHost]()), buildSpec(noDefaults[v1alpha1.EdgeHostSpec])},
		{resource.GroupHakone, resource.KindOriginPool, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.OriginPool]()), buildSpec(noDefaults[v1alpha1.OriginPoolSpec])},
		{resource.GroupHakone, resource.KindOriginPull, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.OriginPull]()), buildSpec(noDefaults[v1alpha1.OriginPullSpec])},
		{resource.GroupHakone, resource.KindUpstreamProxy, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.UpstreamProxy]()), buildSpec(noDefaults[v1alpha1.UpstreamProxySpec])},
		{resource.GroupHakone, resource.KindForwardProxy, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.ForwardProxy]()), buildSpec(noDefaults[v1alpha1.ForwardProxySpec])},
		{resource.GroupHakone, resource.KindCachePolicy, []string{v1alpha1.Version}, false, b.of(reflect.TypeFor[v1alpha1.CachePolicy]()), buildSpec(noDefaults[v1alpha1.CachePolicySpec])},

		{resource.GroupCore, resource.KindSecret, core, false, secretShape(b), buildSecret},
		{resource.GroupCore, resource.KindConfigMap, core, false, b.of(reflect.TypeFor[corev1.ConfigMap]()), buildConfigMap},
		{resource.GroupCore, resource.KindService, core, false, b.of(reflect.TypeFor[corev1.Service]()), buildSpec(defaultService)},
		{resource.GroupCore, resource.KindNamespace, core, true, b.of(reflect.TypeFor[corev1.Namespace]()), buildNamespace},
		{resource.GroupDiscovery, resource.KindEndpointSlice, core, false, b.of(reflect.TypeFor[discoveryv1.EndpointSlice]()), buildEndpointSlice},
	}
	table := make(map[groupKind]*kindSpec, len(all))
	for _, k := range all {
		table[groupKind{k.group, k.kind}] = k
	}
	return table
}

// withoutEffect lists kinds of the groups we serve, and kinds that configure ingress elsewhere, of
// which this version does nothing.
func withoutEffect() map[string][]string {
	return map[string][]string{
		"networking.istio.io":         {"ProxyConfig", "WorkloadEntry", "WorkloadGroup"},
		"telemetry.istio.io":          {"Telemetry"},
		"install.istio.io":            {"IstioOperator"},
		"gateway.networking.k8s.io":   {"ListenerSet", "TCPRoute", "TLSRoute", "UDPRoute"},
		"gateway.networking.x-k8s.io": {"XBackend", "XBackendTrafficPolicy", "XListenerSet", "XMesh"},
		"networking.k8s.io":           {"Ingress", "IngressClass"},
		"extensions":                  {"Ingress"},
		"hakone.dev":                  {},
		"certificates.k8s.io":         {"ClusterTrustBundle"},
		"":                            {"Endpoints"},
	}
}

// notEnforced lists the kinds, ours and those of other gateways, that deny or verify traffic, and of
// which this version does nothing: without them traffic would be less safe than was asked for.
func notEnforced() map[string][]string {
	return map[string][]string{
		"networking.istio.io":       {"EnvoyFilter"},
		"security.istio.io":         {"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"},
		"extensions.istio.io":       {"TrafficExtension", "WasmPlugin"},
		"gateway.networking.k8s.io": {resource.KindBackendTLSPolicy},
		"gateway.envoyproxy.io":     {"BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyExtensionPolicy", "EnvoyPatchPolicy", "SecurityPolicy"},
	}
}

// ignoredCore lists core kinds that have nothing to do with a gateway.
func ignoredCore() []string {
	return []string{"Pod", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "ReplicationController", "Node", "Event",
		"LimitRange", "ResourceQuota", "PodTemplate", "Binding", "ComponentStatus"}
}

// ignoredGroup reports whether all kinds of a group are other people's business: workloads, access
// rights, storage, CRDs and the tools that stand beside manifests.
func ignoredGroup(group string) bool {
	switch group {
	case "apps", "batch", "autoscaling", "policy", "extensions":
		return true
	case "monitoring.coreos.com", "cert-manager.io", "acme.cert-manager.io", "argoproj.io", "kustomize.config.k8s.io", "kind.x-k8s.io":
		return true
	case "gateway.networking.k8s.io", "gateway.networking.x-k8s.io":
		return false
	}
	return strings.HasSuffix(group, ".k8s.io")
}

// homes returns the apiVersions under which a kind name is known, sorted.
func (p *Parser) homes(kind string) []string {
	var out []string
	for gk, k := range p.kinds {
		if gk.kind == kind {
			out = append(out, k.apiVersions()[0])
		}
	}
	for group, kinds := range p.policies {
		if slices.Contains(kinds, kind) {
			out = append(out, group)
		}
	}
	slices.Sort(out)
	return out
}

// kindNames returns every kind name that is known in a group, sorted.
func (p *Parser) kindNames(group string) []string {
	names := slices.Concat(p.idle[group], p.policies[group])
	for gk := range p.kinds {
		if gk.group == group {
			names = append(names, gk.kind)
		}
	}
	if group == "" {
		names = append(names, ignoredCore()...)
	}
	slices.Sort(names)
	return names
}
