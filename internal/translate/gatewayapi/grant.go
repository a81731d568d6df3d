package gatewayapi

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// grantFrom is who wants to refer to something.
type grantFrom struct{ group, kind, namespace string }

// grantTo is what is referred to.
type grantTo struct{ group, kind, namespace, name string }

// grants answers whether references into other namespaces are permitted (ReferenceGrant).
type grants struct {
	byNamespace map[string][]*gatewayv1.ReferenceGrantSpec // of the target
}

func newGrants(list []*resource.ReferenceGrant) grants {
	g := grants{map[string][]*gatewayv1.ReferenceGrantSpec{}}
	for _, r := range list {
		g.byNamespace[r.Namespace] = append(g.byNamespace[r.Namespace], r.Spec)
	}
	return g
}

// permits reports whether from may refer to to. Group and kind of both are compared exactly; a grant
// without a name covers every object of its kind. Within one namespace no grant is needed.
func (g grants) permits(from grantFrom, to grantTo) bool {
	if from.namespace == to.namespace {
		return true
	}
	for _, spec := range g.byNamespace[to.namespace] {
		if grantsFrom(spec, from) && grantsTo(spec, to) {
			return true
		}
	}
	return false
}

func grantsFrom(spec *gatewayv1.ReferenceGrantSpec, from grantFrom) bool {
	for _, f := range spec.From {
		if string(f.Group) == from.group && string(f.Kind) == from.kind && string(f.Namespace) == from.namespace {
			return true
		}
	}
	return false
}

func grantsTo(spec *gatewayv1.ReferenceGrantSpec, to grantTo) bool {
	for _, t := range spec.To {
		if string(t.Group) == to.group && string(t.Kind) == to.kind && (t.Name == nil || *t.Name == "" || string(*t.Name) == to.name) {
			return true
		}
	}
	return false
}

// refusal says that a reference is not permitted, without telling whether its target exists, and
// what grant would permit it.
func (t *translator) refusal(from grantFrom, to grantTo) (message, fix string) {
	message = fmt.Sprintf("no ReferenceGrant in namespace %s lets %s of namespace %s refer to %s %s", to.namespace, from.kind, from.namespace, to.kind, to.name)
	fix = fmt.Sprintf("Create a ReferenceGrant in namespace %s: from {group: %s, kind: %s, namespace: %s}, to {group: %q, kind: %s, name: %s}.",
		to.namespace, from.group, from.kind, from.namespace, to.group, to.kind, to.name)
	for _, b := range t.set.Broken() {
		if b.Group == resource.GroupGateway && b.Kind == resource.KindReferenceGrant && b.Namespace == to.namespace {
			message += fmt.Sprintf("; ReferenceGrant %s %s", b.Name, t.set.Unaccepted(b.Key))
			fix = "Mend what is reported there."
		}
	}
	return message, fix
}
