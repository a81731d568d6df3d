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

// misspelt returns the key that an object with a misspelt kind was meant to have, so that its last
// good version goes on serving; false if that is in doubt.
func (p *Parser) misspelt(key resource.Key) (resource.Key, bool) {
	near := nearest(key.Kind, p.kindNames(key.Group))
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
