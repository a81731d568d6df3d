package manifest

import (
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// checkMetadata checks what is common to all kinds beyond the shape: name and namespace.
func checkMetadata(root *yaml.Node, spec *kindSpec) []fault {
	md := child(root, "metadata")
	name := child(md, "name")
	if textOf(name) == "" {
		line := lineOf(root, "metadata")
		return []fault{{diag.MissingField, line, "metadata.name", "The object has no name.", "Add metadata.name."}}
	}
	var faults []fault
	bad := func(n *yaml.Node, field, want string) {
		message := fmt.Sprintf("%s must be %s, not %s.", field, want, quote(n.Value))
		if spec.kind == resource.KindSecret {
			message = fmt.Sprintf("%s must be %s.", field, want)
		}
		faults = append(faults, fault{diag.BadValue, n.Line, field, message, "Write " + want + "."})
	}
	if !validName(name.Value) {
		bad(name, "metadata.name", "lower-case letters, digits, hyphens and dots")
	}
	if ns := child(md, "namespace"); textOf(ns) != "" && !spec.cluster && !validNamespace(ns.Value) {
		bad(ns, "metadata.namespace", "lower-case letters, digits and hyphens")
	}
	return faults
}

// nameExpression is RFC 1123 as Kubernetes reads it: a subdomain of lower-case labels.
const nameExpression = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`

var nameRegexp = regexp.MustCompile(nameExpression) // fixed

func validName(s string) bool { return len(s) <= 253 && nameRegexp.MatchString(s) }

func validNamespace(s string) bool {
	if len(s) > 63 {
		return false
	}
	for _, r := range s {
		if r == '.' {
			return false
		}
	}
	return nameRegexp.MatchString(s)
}

// verify checks the rules between fields that the Gateway API's CRDs enforce and translators rely on.
// Lines are left 0.
func verify(r resource.Resource) []fault {
	switch r := r.(type) {
	case *resource.Gateway:
		return verifyGateway(r.Spec)
	case *resource.HTTPRoute:
		return verifyHTTPRoute(r.Spec)
	case *resource.GRPCRoute:
		return verifyGRPCRoute(r.Spec)
	case *resource.ClientCertificatePolicy:
		return verifyCertificatePolicy(r.Spec)
	case *resource.OriginPool:
		return verifyOriginPool(r.Spec)
	case *resource.ForwardProxy:
		return verifyForwardProxy(r.Spec)
	}
	return nil
}

func verifyGateway(g *gatewayv1.GatewaySpec) []fault {
	var faults []fault
	first := map[gatewayv1.SectionName]int{}
	for i, l := range g.Listeners {
		if j, twice := first[l.Name]; twice {
			field := fmt.Sprintf("spec.listeners[%d].name", i)
			faults = append(faults, fault{diag.BadValue, 0, field,
				fmt.Sprintf("Listener %d has the name %s of listener %d.", i, quote(string(l.Name)), j), "Give every listener its own name."})
			continue
		}
		first[l.Name] = i
	}
	return faults
}

func verifyHTTPRoute(h *gatewayv1.HTTPRouteSpec) []fault {
	var faults []fault
	for i, rule := range h.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		faults = append(faults, verifyFilters(at, rule.Filters)...)
		for j, b := range rule.BackendRefs {
			faults = append(faults, verifyFilters(fmt.Sprintf("%s.backendRefs[%d]", at, j), b.Filters)...)
		}
	}
	return faults
}

// verifyGRPCRoute checks filters, and that a method match names a service or a method.
func verifyGRPCRoute(g *gatewayv1.GRPCRouteSpec) []fault {
	var faults []fault
	for i, rule := range g.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		for j, m := range rule.Matches {
			if m.Method != nil && m.Method.Service == nil && m.Method.Method == nil {
				faults = append(faults, fault{diag.MissingField, 0, fmt.Sprintf("%s.matches[%d].method", at, j),
					"A method match needs service, method, or both.", "Add service: package.Service, or remove method to match every call."})
			}
		}
		faults = append(faults, verifyGRPCFilters(at, rule.Filters)...)
		for j, b := range rule.BackendRefs {
			faults = append(faults, verifyGRPCFilters(fmt.Sprintf("%s.backendRefs[%d]", at, j), b.Filters)...)
		}
	}
	return faults
}

func verifyGRPCFilters(at string, filters []gatewayv1.GRPCRouteFilter) []fault {
	var faults []fault
	for i, f := range filters {
		field := fmt.Sprintf("%s.filters[%d]", at, i)
		faults = append(faults, verifyBodies(field, string(f.Type), []filterBody{
			{"requestHeaderModifier", string(gatewayv1.GRPCRouteFilterRequestHeaderModifier), f.RequestHeaderModifier != nil},
			{"responseHeaderModifier", string(gatewayv1.GRPCRouteFilterResponseHeaderModifier), f.ResponseHeaderModifier != nil},
			{"requestMirror", string(gatewayv1.GRPCRouteFilterRequestMirror), f.RequestMirror != nil},
			{"extensionRef", string(gatewayv1.GRPCRouteFilterExtensionRef), f.ExtensionRef != nil},
		})...)
	}
	return faults
}

// verifyFilters checks that each filter has the body that its type names, and no other.
func verifyFilters(at string, filters []gatewayv1.HTTPRouteFilter) []fault {
	var faults []fault
	for i, f := range filters {
		field := fmt.Sprintf("%s.filters[%d]", at, i)
		faults = append(faults, verifyBodies(field, string(f.Type), []filterBody{
			{"requestHeaderModifier", string(gatewayv1.HTTPRouteFilterRequestHeaderModifier), f.RequestHeaderModifier != nil},
			{"responseHeaderModifier", string(gatewayv1.HTTPRouteFilterResponseHeaderModifier), f.ResponseHeaderModifier != nil},
			{"requestMirror", string(gatewayv1.HTTPRouteFilterRequestMirror), f.RequestMirror != nil},
			{"requestRedirect", string(gatewayv1.HTTPRouteFilterRequestRedirect), f.RequestRedirect != nil},
			{"urlRewrite", string(gatewayv1.HTTPRouteFilterURLRewrite), f.URLRewrite != nil},
			{"cors", string(gatewayv1.HTTPRouteFilterCORS), f.CORS != nil},
			{"externalAuth", string(gatewayv1.HTTPRouteFilterExternalAuth), f.ExternalAuth != nil},
			{"extensionRef", string(gatewayv1.HTTPRouteFilterExtensionRef), f.ExtensionRef != nil},
		})...)
	}
	return faults
}

// filterBody is one of the bodies that a filter can have: its field, the type that it belongs to, and
// whether it is there.
type filterBody struct {
	name, of string
	set      bool
}

func verifyBodies(field, typ string, bodies []filterBody) []fault {
	var faults []fault
	for _, body := range bodies {
		switch {
		case body.of == typ && !body.set:
			faults = append(faults, fault{diag.MissingField, 0, field + "." + body.name,
				fmt.Sprintf("A filter of type %s needs %s.", typ, body.name), "Add " + body.name + "."})
		case body.of != typ && body.set:
			faults = append(faults, fault{diag.BadValue, 0, field + "." + body.name,
				fmt.Sprintf("A filter of type %s cannot have %s.", typ, body.name), "Remove it, or set type: " + body.of + "."})
		}
	}
	return faults
}
