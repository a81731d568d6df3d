package gatewayapi

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// admission is a listener's allowedRoutes, ready to be asked.
type admission struct {
	from     gatewayv1.FromNamespaces
	own      string // the Gateway's namespace
	selector labels.Selector
	kinds    []string // that may attach and are served; the API's supportedKinds
}

// admits reports whether a route of a kind and namespace may attach.
func (a *admission) admits(kind, namespace string, set *resource.Set) bool {
	if !slices.Contains(a.kinds, kind) {
		return false
	}
	switch a.from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return namespace == a.own
	case gatewayv1.NamespacesFromSelector:
		have, ok := set.NamespaceLabels(namespace)
		return ok && a.selector != nil && a.selector.Matches(labels.Set(have))
	}
	return false
}

// String says in words which namespaces are admitted.
func (a *admission) String() string {
	switch a.from {
	case gatewayv1.NamespacesFromSame:
		return "namespace " + a.own
	case gatewayv1.NamespacesFromSelector:
		if a.selector != nil {
			return "namespaces with " + a.selector.String()
		}
	case gatewayv1.NamespacesFromAll:
		return "every namespace"
	}
	return "no namespace"
}

// admission reads allowedRoutes of a listener whose protocol carries routes of the kinds served.
func (t *translator) admission(l *listener, served []string) {
	l.admission = admission{from: gatewayv1.NamespacesFromSame, own: l.gateway.Namespace, kinds: served}
	allowed := l.spec.AllowedRoutes
	if allowed == nil {
		return
	}
	if ns := allowed.Namespaces; ns != nil {
		if ns.From != nil && *ns.From != "" {
			l.admission.from = *ns.From
		}
		if l.admission.from == gatewayv1.NamespacesFromSelector {
			l.admission.selector = t.selector(l, ns.Selector)
		}
	}
	if len(allowed.Kinds) == 0 {
		return
	}
	l.admission.kinds = []string{}
	for i, k := range allowed.Kinds {
		group := gatewayv1.GroupName
		if k.Group != nil {
			group = string(*k.Group)
		}
		if group == gatewayv1.GroupName && slices.Contains(served, string(k.Kind)) {
			if !slices.Contains(l.admission.kinds, string(k.Kind)) {
				l.admission.kinds = append(l.admission.kinds, string(k.Kind))
			}
			continue
		}
		message := fmt.Sprintf("routes of kind %s (group %q) are not served by a listener of protocol %s", k.Kind, group, l.spec.Protocol)
		t.report(&l.gateway.Meta, diag.RefKindInvalid, fmt.Sprintf("%s.allowedRoutes.kinds[%d]", l.field, i), message, "Use kind HTTPRoute or GRPCRoute.")
		l.unresolved(gatewayv1.ListenerReasonInvalidRouteKinds, diag.RefKindInvalid, message)
	}
}

// selector returns the selector of allowedRoutes, or nil, which admits nothing, if it cannot be used.
func (t *translator) selector(l *listener, s *metav1.LabelSelector) labels.Selector {
	field := l.field + ".allowedRoutes.namespaces.selector"
	if s == nil {
		t.report(&l.gateway.Meta, diag.MissingField, field, "from is Selector, but there is no selector, so no route can attach", "Add selector, or use from: Same or All.")
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.report(&l.gateway.Meta, diag.BadValue, field, fmt.Sprintf("the selector cannot be used, so no route can attach: %v", err), "Correct the selector.")
		return nil
	}
	return selector
}
