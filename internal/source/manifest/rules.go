package manifest

import (
	"reflect"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

// rule is what a CRD schema says about a value beyond its Go type.
type rule struct {
	enum     []string
	open     bool
	min, max int64 // both zero: no bounds
	check    func(string) string
}

func (r rule) apply(s *shape) {
	if r.enum != nil {
		s.enum, s.open = r.enum, r.open
	}
	if r.min != 0 || r.max != 0 {
		s.min, s.max = r.min, r.max
	}
	if r.check != nil {
		s.check = r.check
	}
}

// fieldID names a field by its struct type and JSON name.
type fieldID struct {
	owner reflect.Type
	name  string
}

// fieldRule is what is said about one field: elem about the items of its list; nonzero that it is
// required and may not be "" or empty either.
type fieldRule struct {
	required, nonzero bool
	rule, elem        rule
}

// typeRules are the rules of named types, wherever they occur. They repeat what the CRDs of the
// Gateway API, the API server and our own CRD enforce.
func typeRules() map[reflect.Type]rule {
	methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
	const label = `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
	const domain = label + `(\.` + label + `)*`
	return map[reflect.Type]rule{
		reflect.TypeFor[gatewayv1.ProtocolType]():                  {enum: []string{"HTTP", "HTTPS", "TLS", "TCP", "UDP"}, open: true},
		reflect.TypeFor[gatewayv1.TLSModeType]():                   {enum: []string{"Terminate", "Passthrough"}},
		reflect.TypeFor[gatewayv1.FromNamespaces]():                {enum: []string{"All", "Selector", "Same"}},
		reflect.TypeFor[gatewayv1.GatewayDefaultScope]():           {enum: []string{"All", "None"}},
		reflect.TypeFor[gatewayv1.FrontendValidationModeType]():    {enum: []string{"AllowValidOnly", "AllowInsecureFallback"}},
		reflect.TypeFor[gatewayv1.AddressType]():                   {enum: []string{"IPAddress", "Hostname", "NamedAddress"}, open: true},
		reflect.TypeFor[gatewayv1.PathMatchType]():                 {enum: []string{"Exact", "PathPrefix", "RegularExpression"}},
		reflect.TypeFor[gatewayv1.HeaderMatchType]():               {enum: []string{"Exact", "RegularExpression"}},
		reflect.TypeFor[gatewayv1.QueryParamMatchType]():           {enum: []string{"Exact", "RegularExpression"}},
		reflect.TypeFor[gatewayv1.HTTPMethod]():                    {enum: methods},
		reflect.TypeFor[gatewayv1.HTTPMethodWithWildcard]():        {enum: append([]string{"*"}, methods...)},
		reflect.TypeFor[gatewayv1.HTTPPathModifierType]():          {enum: []string{"ReplaceFullPath", "ReplacePrefixMatch"}},
		reflect.TypeFor[gatewayv1.HTTPRouteExternalAuthProtocol](): {enum: []string{"HTTP", "GRPC"}},
		reflect.TypeFor[gatewayv1.SessionPersistenceType]():        {enum: []string{"Cookie", "Header"}},
		reflect.TypeFor[gatewayv1.CookieLifetimeType]():            {enum: []string{"Permanent", "Session"}},
		reflect.TypeFor[gatewayv1.HTTPRouteFilterType](): {enum: []string{"RequestHeaderModifier", "ResponseHeaderModifier",
			"RequestMirror", "RequestRedirect", "URLRewrite", "ExtensionRef", "CORS", "ExternalAuth"}},
		reflect.TypeFor[gatewayv1.GRPCMethodMatchType](): {enum: []string{"Exact", "RegularExpression"}},
		reflect.TypeFor[gatewayv1.GRPCHeaderMatchType](): {enum: []string{"Exact", "RegularExpression"}},
		reflect.TypeFor[gatewayv1.GRPCRouteFilterType](): {enum: []string{"RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"}},

		reflect.TypeFor[gatewayv1.PortNumber]():               {min: 1, max: 65535},
		reflect.TypeFor[gatewayv1.HTTPRouteRetryStatusCode](): {min: 400, max: 599},

		reflect.TypeFor[gatewayv1.Hostname]():          {check: hostName(pattern(`^(\*\.)?`+domain+`$`, 253, `a DNS name in lower case, or "*." and a DNS name`))},
		reflect.TypeFor[gatewayv1.PreciseHostname]():   {check: pattern(`^`+domain+`$`, 253, "a DNS name in lower case")},
		reflect.TypeFor[gatewayv1.ObjectName]():        {check: pattern(`.`, 253, "a name of 1 to 253 characters")},
		reflect.TypeFor[gatewayv1.Namespace]():         {check: pattern(`^`+label+`$`, 63, "a namespace name: lower-case letters, digits and hyphens")},
		reflect.TypeFor[gatewayv1.SectionName]():       {check: pattern(`^`+domain+`$`, 253, "a name of lower-case letters, digits, hyphens and dots")},
		reflect.TypeFor[gatewayv1.Group]():             {check: pattern(`^(`+domain+`)?$`, 253, "an API group such as networking.istio.io, or empty for core kinds")},
		reflect.TypeFor[gatewayv1.Kind]():              {check: pattern(`^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$`, 63, "a kind such as Service")},
		reflect.TypeFor[gatewayv1.HTTPHeaderName]():    {check: pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 256, "a header name")},
		reflect.TypeFor[gatewayv1.GRPCHeaderName]():    {check: pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 256, "a header name")},
		reflect.TypeFor[gatewayv1.Duration]():          {check: pattern(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`, 100, "a duration such as 10s or 1m30s")},
		reflect.TypeFor[gatewayv1.GatewayController](): {check: pattern(`^`+domain+`/\S+$`, 253, "a name such as example.com/controller")},

		reflect.TypeFor[v1alpha1.TLSVersion](): {enum: []string{"1.0", "1.1", "1.2", "1.3"}},
		reflect.TypeFor[v1alpha1.Preset]():     {enum: []string{"modern", "intermediate", "old", "custom"}},

		reflect.TypeFor[corev1.ServiceType]():                  {enum: []string{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}},
		reflect.TypeFor[corev1.Protocol]():                     {enum: []string{"TCP", "UDP", "SCTP"}},
		reflect.TypeFor[discoveryv1.AddressType]():             {enum: []string{"IPv4", "IPv6", "FQDN"}},
		reflect.TypeFor[corev1.ServiceAffinity]():              {enum: []string{"ClientIP", "None"}},
		reflect.TypeFor[corev1.ServiceExternalTrafficPolicy](): {enum: []string{"Cluster", "Local"}},
	}
}

// fieldRules are the rules of single fields.
func fieldRules() map[fieldID]fieldRule {
	id := func(t reflect.Type, name string) fieldID { return fieldID{t, name} }
	port := rule{min: 1, max: 65535}
	return map[fieldID]fieldRule{
		id(reflect.TypeFor[metav1.LabelSelectorRequirement](), "key"):            {required: true},
		id(reflect.TypeFor[metav1.LabelSelectorRequirement](), "operator"):       {required: true, rule: rule{enum: []string{"In", "NotIn", "Exists", "DoesNotExist"}}},
		id(reflect.TypeFor[gatewayv1.ListenerNamespaces](), "from"):              {rule: rule{enum: []string{"All", "Selector", "Same", "None"}}},
		id(reflect.TypeFor[gatewayv1.HTTPRequestRedirectFilter](), "scheme"):     {rule: rule{enum: []string{"http", "https"}}},
		id(reflect.TypeFor[gatewayv1.HTTPRequestRedirectFilter](), "statusCode"): {rule: rule{enum: []string{"301", "302", "303", "307", "308"}}},
		id(reflect.TypeFor[gatewayv1.HTTPRequestMirrorFilter](), "percent"):      {rule: rule{max: 100}},
		id(reflect.TypeFor[gatewayv1.Fraction](), "numerator"):                   {rule: rule{max: 1<<31 - 1}},
		id(reflect.TypeFor[gatewayv1.Fraction](), "denominator"):                 {rule: rule{min: 1, max: 1<<31 - 1}},
		id(reflect.TypeFor[gatewayv1.BackendRef](), "weight"):                    {rule: rule{max: 1_000_000}},
		id(reflect.TypeFor[gatewayv1.HTTPBackendRef](), "weight"):                {rule: rule{max: 1_000_000}},
		id(reflect.TypeFor[gatewayv1.GRPCBackendRef](), "weight"):                {rule: rule{max: 1_000_000}},
		id(reflect.TypeFor[gatewayv1.HTTPCORSFilter](), "maxAge"):                {rule: rule{min: 1, max: 1<<31 - 1}},
		id(reflect.TypeFor[gatewayv1.HTTPRouteRetry](), "attempts"):              {rule: rule{min: 1, max: 1<<31 - 1}},
		id(reflect.TypeFor[gatewayv1.HTTPExternalAuthFilter](), "protocol"):      {required: true},
		id(reflect.TypeFor[gatewayv1.HTTPExternalAuthFilter](), "backendRef"):    {required: true},
		id(reflect.TypeFor[v1alpha1.TLSPolicyTarget](), "kind"):                  {rule: rule{enum: []string{"Gateway"}}},
		id(reflect.TypeFor[v1alpha1.TLSPolicyTarget](), "group"):                 {rule: rule{enum: []string{"", "networking.istio.io", "gateway.networking.k8s.io"}}},
		id(reflect.TypeFor[corev1.ServicePort](), "port"):                        {required: true, rule: port},
		id(reflect.TypeFor[discoveryv1.EndpointSlice](), "addressType"):          {required: true},
		id(reflect.TypeFor[discoveryv1.EndpointSlice](), "endpoints"):            {required: true},
		id(reflect.TypeFor[discoveryv1.Endpoint](), "addresses"):                 {required: true},
		id(reflect.TypeFor[discoveryv1.EndpointPort](), "port"):                  {rule: port},
	}
}

// pattern returns a check by regular expression and length.
func pattern(expression string, longest int, want string) func(string) string {
	re := regexp.MustCompile(expression)
	return func(v string) string {
		if len(v) > longest || !re.MatchString(v) {
			return want
		}
		return ""
	}
}

// hostName says of a name that fails for its underscores only what can hold it.
func hostName(check func(string) string) func(string) string {
	return func(v string) string {
		want := check(v)
		if want != "" && check(strings.ReplaceAll(v, "_", "x")) == "" {
			return "a DNS name without underscores (an EdgeHost of hakone.dev/v1alpha1 serves names that have them)"
		}
		return want
	}
}

// parseDuration reads a duration as Istio does: as Go's time.ParseDuration.
func parseDuration(v string) (time.Duration, bool) {
	d, err := time.ParseDuration(v)
	return d, err == nil
}
