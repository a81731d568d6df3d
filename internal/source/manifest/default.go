package manifest

import (
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// The defaults that an API server would fill in from the CRDs' schemas, so that translators see the
// same objects from a folder as from Kubernetes. Exactly these:
//
//	Gateway     listeners[].allowedRoutes.namespaces.from Same, listeners[].allowedRoutes.kinds[].group,
//	            listeners[].tls.mode Terminate, certificateRefs[] and backend clientCertificateRef of
//	            the core group and kind Secret, addresses[].type IPAddress,
//	            allowedListeners.namespaces.from None, frontend validation mode AllowValidOnly
//	HTTPRoute   rules: one that matches everything; rules[].matches: path prefix /; path type and
//	            value; header and query match type Exact; parentRefs[] group and kind Gateway;
//	            backendRefs[] and mirror's and external authorisation's backendRef of the core group
//	            and kind Service; weight 1; redirect statusCode 302; CORS maxAge 5; mirror's fraction
//	            denominator 100; session persistence type Cookie, cookie lifetimeType Session
//	GRPCRoute   rules: one that matches everything; rules[].matches: one that matches everything;
//	            method and header match type Exact; parentRefs[], backendRefs[], mirror and session
//	            persistence as in an HTTPRoute
//	Service     type ClusterIP, ports[].protocol TCP
//	EndpointSlice  ports[].protocol TCP, ports[].name ""
func fallback[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

func defaultGateway(g *gatewayv1.GatewaySpec) {
	for i := range g.Listeners {
		l := &g.Listeners[i]
		fallback(&l.AllowedRoutes, gatewayv1.AllowedRoutes{})
		fallback(&l.AllowedRoutes.Namespaces, gatewayv1.RouteNamespaces{})
		fallback(&l.AllowedRoutes.Namespaces.From, gatewayv1.NamespacesFromSame)
		for j := range l.AllowedRoutes.Kinds {
			fallback(&l.AllowedRoutes.Kinds[j].Group, gatewayv1.GroupName)
		}
		if l.TLS != nil {
			fallback(&l.TLS.Mode, gatewayv1.TLSModeTerminate)
			for j := range l.TLS.CertificateRefs {
				defaultSecretRef(&l.TLS.CertificateRefs[j])
			}
		}
	}
	for i := range g.Addresses {
		fallback(&g.Addresses[i].Type, gatewayv1.IPAddressType)
	}
	if a := g.AllowedListeners; a != nil {
		fallback(&a.Namespaces, gatewayv1.ListenerNamespaces{})
		fallback(&a.Namespaces.From, gatewayv1.NamespacesFromNone)
	}
	if g.TLS == nil {
		return
	}
	if b := g.TLS.Backend; b != nil && b.ClientCertificateRef != nil {
		defaultSecretRef(b.ClientCertificateRef)
	}
	if f := g.TLS.Frontend; f != nil {
		defaultValidation(f.Default.Validation)
		for i := range f.PerPort {
			defaultValidation(f.PerPort[i].TLS.Validation)
		}
	}
}

func defaultValidation(v *gatewayv1.FrontendTLSValidation) {
	if v != nil && v.Mode == "" {
		v.Mode = gatewayv1.AllowValidOnly
	}
}

func defaultSecretRef(r *gatewayv1.SecretObjectReference) {
	fallback(&r.Group, "")
	fallback(&r.Kind, resource.KindSecret)
}

func defaultBackendRef(r *gatewayv1.BackendObjectReference) {
	fallback(&r.Group, "")
	fallback(&r.Kind, resource.KindService)
}

func defaultHTTPRoute(h *gatewayv1.HTTPRouteSpec) {
	defaultParents(h.ParentRefs)
	if h.Rules == nil {
		h.Rules = []gatewayv1.HTTPRouteRule{{}}
	}
	for i := range h.Rules {
		r := &h.Rules[i]
		if r.Matches == nil {
			r.Matches = []gatewayv1.HTTPRouteMatch{{}}
		}
		for j := range r.Matches {
			defaultMatch(&r.Matches[j])
		}
		defaultFilters(r.Filters)
		for j := range r.BackendRefs {
			b := &r.BackendRefs[j]
			defaultBackendRef(&b.BackendObjectReference)
			fallback(&b.Weight, 1)
			defaultFilters(b.Filters)
		}
		defaultPersistence(r.SessionPersistence)
	}
}

func defaultParents(refs []gatewayv1.ParentReference) {
	for i := range refs {
		fallback(&refs[i].Group, gatewayv1.GroupName)
		fallback(&refs[i].Kind, resource.KindGateway)
	}
}

func defaultPersistence(p *gatewayv1.SessionPersistence) {
	if p == nil {
		return
	}
	fallback(&p.Type, gatewayv1.CookieBasedSessionPersistence)
	if p.CookieConfig != nil {
		fallback(&p.CookieConfig.LifetimeType, gatewayv1.SessionCookieLifetimeType)
	}
}

func defaultGRPCRoute(g *gatewayv1.GRPCRouteSpec) {
	defaultParents(g.ParentRefs)
	if g.Rules == nil {
		g.Rules = []gatewayv1.GRPCRouteRule{{}}
	}
	for i := range g.Rules {
		r := &g.Rules[i]
		if r.Matches == nil {
			r.Matches = []gatewayv1.GRPCRouteMatch{{}}
		}
		for j := range r.Matches {
			m := &r.Matches[j]
			if m.Method != nil {
				fallback(&m.Method.Type, gatewayv1.GRPCMethodMatchExact)
			}
			for k := range m.Headers {
				fallback(&m.Headers[k].Type, gatewayv1.GRPCHeaderMatchExact)
			}
		}
		defaultGRPCFilters(r.Filters)
		for j := range r.BackendRefs {
			b := &r.BackendRefs[j]
			defaultBackendRef(&b.BackendObjectReference)
			fallback(&b.Weight, 1)
			defaultGRPCFilters(b.Filters)
		}
		defaultPersistence(r.SessionPersistence)
	}
}

func defaultGRPCFilters(filters []gatewayv1.GRPCRouteFilter) {
	for i := range filters {
		if m := filters[i].RequestMirror; m != nil {
			defaultMirror(m)
		}
	}
}

func defaultMirror(m *gatewayv1.HTTPRequestMirrorFilter) {
	defaultBackendRef(&m.BackendRef)
	if m.Fraction != nil {
		fallback(&m.Fraction.Denominator, 100)
	}
}

func defaultMatch(m *gatewayv1.HTTPRouteMatch) {
	fallback(&m.Path, gatewayv1.HTTPPathMatch{})
	fallback(&m.Path.Type, gatewayv1.PathMatchPathPrefix)
	fallback(&m.Path.Value, "/")
	for i := range m.Headers {
		fallback(&m.Headers[i].Type, gatewayv1.HeaderMatchExact)
	}
	for i := range m.QueryParams {
		fallback(&m.QueryParams[i].Type, gatewayv1.QueryParamMatchExact)
	}
}

func defaultFilters(filters []gatewayv1.HTTPRouteFilter) {
	for i := range filters {
		f := &filters[i]
		if f.RequestRedirect != nil {
			fallback(&f.RequestRedirect.StatusCode, 302)
		}
		if f.RequestMirror != nil {
			defaultMirror(f.RequestMirror)
		}
		if f.CORS != nil && f.CORS.MaxAge == 0 {
			f.CORS.MaxAge = 5
		}
		if f.ExternalAuth != nil {
			defaultBackendRef(&f.ExternalAuth.BackendRef)
		}
	}
}

func defaultService(s *corev1.ServiceSpec) {
	if s.Type == "" {
		s.Type = corev1.ServiceTypeClusterIP
	}
	for i := range s.Ports {
		if s.Ports[i].Protocol == "" {
			s.Ports[i].Protocol = corev1.ProtocolTCP
		}
	}
}

func defaultEndpointSlice(e *resource.EndpointSlice) {
	for i := range e.Ports {
		fallback(&e.Ports[i].Protocol, corev1.ProtocolTCP)
		fallback(&e.Ports[i].Name, "")
	}
}
