package manifest

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// guard reads a BackendTLSPolicy as far as to know what it targets, and returns its full key. Whatever
// cannot be understood makes it a guard of the whole namespace: a slip in a policy must not open what
// it closes. Both targetRefs (v1) and targetRef (v1alpha2) are read.
func (out *Parsed) guard(key resource.Key, root *yaml.Node, faults []fault) resource.Key {
	if key.Namespace == "" {
		key.Namespace = "default"
	}
	g := &resource.BackendTLSPolicy{Meta: resource.Meta{Key: key, Place: resource.Place{Document: out.Documents - 1, Line: 1, Lines: resource.NewLines(root)}}}
	spec := child(root, "spec")
	refs := []*yaml.Node{child(spec, "targetRef")}
	if list := child(spec, "targetRefs"); list != nil {
		refs = append(refs[:0], list.Content...)
	}
	readable := len(faults) == 0
	for _, ref := range refs {
		t := resource.PolicyTarget{Group: textOf(child(ref, "group")), Kind: textOf(child(ref, "kind")),
			Name: textOf(child(ref, "name")), Section: textOf(child(ref, "sectionName"))}
		if t.Kind == "" || t.Name == "" {
			readable = false
			continue
		}
		g.Targets = append(g.Targets, t)
	}
	if !readable || len(g.Targets) == 0 {
		g.Targets = []resource.PolicyTarget{{}}
	}
	g.Version = fmt.Sprint(g.Targets)
	out.objects = append(out.objects, g)
	return key
}

// unenforced says of a kind that would deny or verify what is not done, and what to do instead.
func unenforced(kind string) (message, fix string) {
	switch kind {
	case resource.KindBackendTLSPolicy:
		return "The policy demands verified TLS towards its targets, and is not enforced by this version of Hakone; requests to its targets are refused (503) instead of being sent in plaintext.",
			"Write a DestinationRule of networking.istio.io/v1 with trafficPolicy.tls for the Service, and remove the policy."
	case "AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "SecurityPolicy":
		return kind + " would deny or verify requests, and is not enforced by this version of Hakone: they pass without it.",
			"Demand client certificates (tls.mode MUTUAL, or frontend validation), or enforce it at the backend; then move the object out of what Hakone reads."
	}
	return kind + " may deny, verify or limit traffic, and is not enforced by this version of Hakone: traffic passes without it.",
		"Do not rely on it; if nothing depends on it, move the object out of what Hakone reads."
}
