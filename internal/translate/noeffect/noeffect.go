// Package noeffect finds the fields of an Istio spec that are set and that nothing here acts on, so
// that no setting is dropped in silence, not even one that a later version of the API adds.
//
// It knows no kind: a translator says which paths it handles, and everything else that is set is
// reported at its exact path. Begin reading at Report.
package noeffect

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Handled is the set of field paths that a translator acts on, as in "http.match.uri": JSON names
// without indices. A path stands for the whole of what is under it. The zero value handles nothing.
type Handled struct {
	leaves  map[string]bool
	parents map[string]bool
}

// Paths returns the set of the given paths. One of the form "a.b.{c,d}" stands for "a.b.c" and "a.b.d".
func Paths(paths ...string) Handled {
	h := Handled{map[string]bool{}, map[string]bool{}}
	for _, p := range paths {
		base, list, braced := strings.Cut(p, "{")
		if !braced {
			h.add(p)
			continue
		}
		for _, leaf := range strings.Split(strings.TrimSuffix(list, "}"), ",") {
			h.add(base + leaf)
		}
	}
	return h
}

func (h Handled) add(path string) {
	h.leaves[path] = true
	for i, c := range path {
		if c == '.' {
			h.parents[path[:i]] = true
		}
	}
}

// Report adds a FieldWithoutEffect diagnostic to out for every field of spec that is set and not
// handled.
func Report(out *translate.Fragment, obj diag.Object, spec proto.Message, handled Handled) {
	for _, field := range Unhandled(spec, "spec", handled) {
		out.Report(diag.FieldWithoutEffect, obj, field, fmt.Sprintf("%s is accepted but does nothing in this version", last(field)),
			"Do not rely on it; remove it to silence this.")
	}
}

// Unhandled returns the fields of a message, which stands at path, that are set and not handled, in
// the order of the API.
func Unhandled(m proto.Message, path string, handled Handled) []string {
	return unhandled(m.ProtoReflect(), "", path, handled)
}

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

func unhandled(m protoreflect.Message, pattern, path string, handled Handled) []string {
	var set []protoreflect.FieldDescriptor
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		set = append(set, fd)
		return true
	})
	slices.SortFunc(set, func(a, b protoreflect.FieldDescriptor) int { return a.Index() - b.Index() })
	var out []string
	for _, fd := range set {
		name := fd.JSONName()
		p := strings.TrimPrefix(pattern+"."+name, ".")
		at := path + "." + name
		switch {
		case handled.leaves[p]:
		case !handled.parents[p] || fd.Message() == nil || fd.IsMap():
			out = append(out, at)
		case fd.IsList():
			list := m.Get(fd).List()
			for i := range list.Len() {
				out = append(out, unhandled(list.Get(i).Message(), p, fmt.Sprintf("%s[%d]", at, i), handled)...)
			}
		default:
			out = append(out, unhandled(m.Get(fd).Message(), p, at, handled)...)
		}
	}
	return out
}
