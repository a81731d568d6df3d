package manifest

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// stranger says what is to be thought of a kind that is not read.
func (p *Parser) stranger(group, kind string, root *yaml.Node) fault {
	f := fault{line: lineOf(root, "kind"), field: "kind"}
	switch {
	case slices.Contains(p.policies[group], kind):
		f.code = diag.PolicyNotEnforced
		f.message, f.fix = unenforced(kind)
		return f
	case slices.Contains(p.idle[group], kind):
		f.code = diag.KindWithoutEffect
		f.message = fmt.Sprintf("%s has no effect in this version of Hakone.", kind)
		f.fix = "Do not rely on it."
		switch {
		case group == "" && kind == "Endpoints":
			f.fix = "Write an EndpointSlice of discovery.k8s.io/v1."
		case kind == "Ingress":
			f.fix = "Write a Gateway and an HTTPRoute of gateway.networking.k8s.io/v1."
		}
		return f
	case group == "" && slices.Contains(ignoredCore(), kind), ignoredGroup(group) && p.homes(kind) == nil:
		if own, ok := sidecarAnnotation(root); ok {
			return own
		}
		f.code = diag.IgnoredKind
		f.message = fmt.Sprintf("%s is read over; it has nothing to do with a gateway.", kind)
		return f
	}
	f.code = diag.UnknownKind
	in := "the core group"
	if group != "" {
		in = "group " + group
	}
	f.message = fmt.Sprintf("The kind %s is not known in %s.", quote(kind), in)
	if homes := p.homes(kind); homes != nil {
		f.field, f.line = "apiVersion", lineOf(root, "apiVersion")
		f.fix = fmt.Sprintf("%s is a kind of %s.", kind, strings.Join(homes, " and of "))
		if p.knownGroup(group) || slices.ContainsFunc(homes, func(home string) bool {
			home, _, _ = strings.Cut(home, "/")
			return diag.Distance(group, home, 4) < 4 // a slip of the pen
		}) {
			f.code = diag.KindMisspelt
		}
		return f
	}
	if group == resource.GroupHakone {
		f.code, f.fix = diag.KindMisspelt, "Did you mean "+quote(p.own(kind, root))+"?"
		return f
	}
	if near := nearest(kind, p.kindNames(group)); near != "" {
		f.fix = "Did you mean " + quote(near) + "?"
		if p.meant(group, near) {
			f.code = diag.KindMisspelt
		}
		return f
	}
	f.fix = "Remove it, or correct apiVersion and kind."
	return f
}

// meant reports whether a kind changes what is served, or refuses something.
func (p *Parser) meant(group, kind string) bool {
	return p.kinds[groupKind{group, kind}] != nil || slices.Contains(p.policies[group], kind)
}

// knownGroup reports whether any kind of a group is meant for a gateway.
func (p *Parser) knownGroup(group string) bool {
	if len(p.policies[group]) > 0 {
		return true
	}
	for gk := range p.kinds {
		if gk.group == group {
			return true
		}
	}
	return false
}

// own returns the kind of ours that an object with another kind was most likely meant to have: the one of
// nearly that name, unless more of its spec is of another kind. Of equals a ClientCertificatePolicy is
// taken, because the slip must not open what it closes.
func (p *Parser) own(kind string, root *yaml.Node) string {
	names := p.kindNames(resource.GroupHakone)
	near := nearest(kind, names)
	if near == resource.KindClientCertificatePolicy {
		return near
	}
	best, most := near, p.fits(near, root)
	for _, name := range append([]string{resource.KindClientCertificatePolicy}, names...) {
		if n := p.fits(name, root); n > most {
			best, most = name, n
		}
	}
	if best != "" {
		return best
	}
	const far = 64
	for _, name := range names {
		if d := diag.Distance(strings.ToLower(kind), strings.ToLower(name), far); best == "" || d < most {
			best, most = name, d
		}
	}
	return best
}

// fits counts the fields of an object's spec that a kind of ours has; 0 if none is there of those that the
// kind requires.
func (p *Parser) fits(kind string, root *yaml.Node) (n int) {
	known := p.kinds[groupKind{resource.GroupHakone, kind}]
	if known == nil {
		return 0
	}
	spec := known.root.byName["spec"].shape
	required, met := 0, 0
	for _, f := range spec.fields {
		if f.required {
			required++
		}
	}
	eachEntry(child(root, "spec"), func(key string, _ *yaml.Node) {
		if f := spec.byName[key]; f != nil {
			n++
			if f.required {
				met++
			}
		}
	})
	if required > 0 && met == 0 {
		return 0
	}
	return n
}

// misspelt returns the key that an object with a misspelt kind was meant to have, so that its last
// good version goes on serving; false if that is in doubt.
func (p *Parser) misspelt(key resource.Key, root *yaml.Node) (resource.Key, bool) {
	near := nearest(key.Kind, p.kindNames(key.Group))
	switch {
	case key.Group == resource.GroupHakone:
		near = p.own(key.Kind, root)
	case key.Kind == resource.KindClientCertificatePolicy: // a kind of ours alone, so its group is the slip
		key.Group, near = resource.GroupHakone, key.Kind
	}
	if !p.meant(key.Group, near) {
		return key, false
	}
	key.Kind = near
	spec := p.kinds[groupKind{key.Group, near}]
	if spec == nil {
		spec = &kindSpec{}
	}
	key.Namespace = namespaceOf(spec, key.Namespace)
	return key, true
}

// unnamed is misspelt for an object that lacks apiVersion or kind: of ours alone can be told what was meant.
func (p *Parser) unnamed(key resource.Key, version string, root *yaml.Node) (resource.Key, bool) {
	group, _, _ := strings.Cut(version, "/")
	switch {
	case group == resource.GroupHakone:
		key.Kind = p.own("", root)
	case version != "" || key.Kind != resource.KindClientCertificatePolicy:
		return key, false
	}
	key.Group = resource.GroupHakone
	key.Namespace = namespaceOf(&kindSpec{}, key.Namespace)
	return key, key.Name != ""
}
