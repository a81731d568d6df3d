package manifest

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// reachOf reads a ClientCertificatePolicy that was not accepted as far as to know what it covers: a slip
// in a policy must not open what it closes. What cannot be understood of what narrows a policy is left
// out, so that it covers more. nil if the policy closes nothing (action Open, mode Audit), or if
// neither hosts nor targets can be read.
func reachOf(key resource.Key, root *yaml.Node) *v1alpha1.ClientCertificatePolicySpec {
	if key.Group != resource.GroupHakone || key.Kind != resource.KindClientCertificatePolicy {
		return nil
	}
	spec := child(root, "spec")
	if textOf(child(spec, "action")) == string(v1alpha1.ActionOpen) || textOf(child(spec, "mode")) == string(v1alpha1.ModeAudit) {
		return nil
	}
	out := &v1alpha1.ClientCertificatePolicySpec{CaseSensitive: textOf(child(spec, "caseSensitive")) == "true"}
	out.Hosts, _ = texts(child(spec, "hosts"))
	if refs := child(spec, "targetRefs"); refs != nil && refs.Kind == yaml.SequenceNode {
		for _, ref := range refs.Content {
			t := v1alpha1.PolicyTarget{Group: textOf(child(ref, "group")), Kind: textOf(child(ref, "kind")), Namespace: textOf(child(ref, "namespace")),
				Name: textOf(child(ref, "name")), SectionName: textOf(child(ref, "sectionName"))}
			if t.Kind != "" && t.Name != "" {
				out.TargetRefs = append(out.TargetRefs, t)
			}
		}
	}
	if len(out.Hosts) == 0 && len(out.TargetRefs) == 0 {
		return nil
	}
	paths, whole := texts(child(spec, "paths"))
	for i, p := range paths {
		if !strings.HasPrefix(p, "/") {
			paths[i] = "/" + p
		}
	}
	if whole {
		out.Paths = paths
		out.Except, _ = texts(child(spec, "except"))
	}
	return out
}

// reachOfText is reachOf for a text that is no YAML: what stands before the fault is read.
func reachOfText(key resource.Key, text []byte) *v1alpha1.ClientCertificatePolicySpec {
	if key.Group != resource.GroupHakone || key.Kind != resource.KindClientCertificatePolicy {
		return nil
	}
	line, _ := breaks(text)
	rows := bytes.SplitAfter(text, []byte("\n"))
	for n := min(line, len(rows)); n > 0; n-- {
		var doc yaml.Node
		if yaml.Unmarshal(bytes.Join(rows[:n], nil), &doc) != nil || len(doc.Content) == 0 {
			continue
		}
		root, _ := normalize(doc.Content[0])
		reach := reachOf(key, root)
		if reach != nil {
			reach.Paths, reach.Except = nil, nil // more of them may stand behind the fault
		}
		return reach
	}
	return nil
}

// texts returns the texts of a list; false if not all of it is text, or there is none.
func texts(n *yaml.Node) (out []string, whole bool) {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil, false
	}
	whole = len(n.Content) > 0
	for _, item := range n.Content {
		if t := textOf(item); t != "" {
			out = append(out, t)
		} else {
			whole = false
		}
	}
	return out, whole
}
