// Package grant answers whether an object may refer to another one in a namespace that is not its own:
// the Gateway API's ReferenceGrant, which our own kinds keep to as well.
//
// It reads ReferenceGrants and reports nothing by itself. Begin reading at Grants.
package grant

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// From is who wants to refer to something.
type From struct{ Group, Kind, Namespace string }

// To is what is referred to.
type To struct{ Group, Kind, Namespace, Name string }

// Grants are all ReferenceGrants of a set.
type Grants struct {
	set         *resource.Set
	byNamespace map[string][]*gatewayv1.ReferenceGrantSpec // of the target
}

// New returns the grants of a set.
func New(set *resource.Set) Grants {
	g := Grants{set, map[string][]*gatewayv1.ReferenceGrantSpec{}}
	for _, r := range set.ReferenceGrants() {
		g.byNamespace[r.Namespace] = append(g.byNamespace[r.Namespace], r.Spec)
	}
	return g
}

// Permits reports whether from may refer to to. Group and kind of both are compared exactly; a grant
// without a name covers every object of its kind. Within one namespace no grant is needed.
func (g Grants) Permits(from From, to To) bool {
	if from.Namespace == to.Namespace {
		return true
	}
	for _, spec := range g.byNamespace[to.Namespace] {
		if grantsFrom(spec, from) && grantsTo(spec, to) {
			return true
		}
	}
	return false
}

func grantsFrom(spec *gatewayv1.ReferenceGrantSpec, from From) bool {
	for _, f := range spec.From {
		if string(f.Group) == from.Group && string(f.Kind) == from.Kind && string(f.Namespace) == from.Namespace {
			return true
		}
	}
	return false
}

func grantsTo(spec *gatewayv1.ReferenceGrantSpec, to To) bool {
	for _, t := range spec.To {
		if string(t.Group) == to.Group && string(t.Kind) == to.Kind && (t.Name == nil || *t.Name == "" || string(*t.Name) == to.Name) {
			return true
		}
	}
	return false
}

// Refusal says that a reference is not permitted, without telling whether its target exists, and
// what grant would permit it.
func (g Grants) Refusal(from From, to To) (message, fix string) {
	message = fmt.Sprintf("no ReferenceGrant in namespace %s lets %s of namespace %s refer to %s %s", to.Namespace, from.Kind, from.Namespace, to.Kind, to.Name)
	fix = fmt.Sprintf("Create a ReferenceGrant in namespace %s: from {group: %s, kind: %s, namespace: %s}, to {group: %q, kind: %s, name: %s}.",
		to.Namespace, from.Group, from.Kind, from.Namespace, to.Group, to.Kind, to.Name)
	for _, b := range g.set.Broken() {
		if b.Group == resource.GroupGateway && b.Kind == resource.KindReferenceGrant && b.Namespace == to.Namespace {
			message += fmt.Sprintf("; ReferenceGrant %s %s", b.Name, g.set.Unaccepted(b.Key))
			fix = "Mend what is reported there."
		}
	}
	return message, fix
}
