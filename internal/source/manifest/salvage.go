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
	for i, h := range out.Hosts {
		out.Hosts[i] = hostOf(h)
	}
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
		if reach != nil {
			return reach
		}
		break
	}
	return scanned(string(text))
}

// scanned is reachOf where nothing can be read but words: the hosts that stand behind "hosts:", with every path.
func scanned(text string) *v1alpha1.ClientCertificatePolicySpec {
	var plain strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		plain.WriteString(line + "\n")
	}
	words := strings.FieldsFunc(plain.String(), func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]{}\"'", r) })
	out := &v1alpha1.ClientCertificatePolicySpec{}
	in := false
	for i, w := range words {
		before := words[max(i-1, 0)]
		switch {
		case before == "action:" && w == string(v1alpha1.ActionOpen), before == "mode:" && w == string(v1alpha1.ModeAudit):
			return nil
		case strings.HasSuffix(w, ":"):
			in = w == "hosts:"
		case in && w != "-":
			out.Hosts = append(out.Hosts, hostOf(w))
		}
	}
	if len(out.Hosts) == 0 {
		return nil
	}
	return out
}

// hostsOf returns the hosts that an object was to serve, of whatever kind that has some: what follows from
// its absence can then be told from a slip in a name.
func hostsOf(root *yaml.Node) []string {
	spec := child(root, "spec")
	out, _ := texts(child(spec, "hosts"))
	more, _ := texts(child(spec, "hostnames"))
	out = append(out, more...)
	for _, name := range []string{"servers", "listeners"} {
		list := child(spec, name)
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for _, item := range list.Content {
			more, _ = texts(child(item, "hosts"))
			out = append(out, more...)
			if h := textOf(child(item, "hostname")); h != "" {
				out = append(out, h)
			}
		}
	}
	return out
}

// hostOf returns the host of what may be a URL or have a port.
func hostOf(s string) string {
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s = rest
	}
	s, _, _ = strings.Cut(s, "/")
	s, _, _ = strings.Cut(s, ":")
	return strings.TrimSuffix(s, ".")
}

// texts returns the texts of a list, or of one text that stands where a list should; false if not all of it
// is text, or there is none.
func texts(n *yaml.Node) (out []string, whole bool) {
	if t := textOf(n); t != "" {
		return []string{t}, true
	}
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
