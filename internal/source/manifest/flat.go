package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// A document that is copied from a web page may lose its indentation: every line then stands at the
// left margin, and metadata and spec look empty. YAML reads that as something else or not at all, so
// it is recognised from the lines, before parsing. Knowing the kind's fields, the lines can be put
// back where they belong: each key goes to the innermost object that has such a field and not yet a
// value for it, each "- " to the innermost list whose items fit.

// row is a line of a flat document with content.
type row struct {
	line   int    // in the chunk, from 1
	indent int    // columns before the text
	text   string // without indentation and line end, comments kept
}

// rowsOf returns the lines with content.
func rowsOf(text string) []row {
	var rows []row
	line := 0
	for t := range strings.Lines(text) {
		line++
		t = strings.TrimRight(t, " \t\r\n")
		body := strings.TrimLeft(t, " \t")
		if body == "" || body[0] == '#' {
			continue
		}
		rows = append(rows, row{line, len(t) - len(body), body})
	}
	return rows
}

// keyOf splits "key: value # comment" into key and whether a value follows; ok is false for text that
// is no key. Quotes around the key are taken off.
func keyOf(text string) (key string, hasValue, ok bool) {
	key, rest, found := strings.Cut(text, ":")
	if !found || key == "" || rest != "" && rest[0] != ' ' && rest[0] != '\t' || strings.ContainsAny(key, " {[&*!|>%@`") {
		return "", false, false
	}
	rest = strings.TrimSpace(rest)
	return strings.Trim(key, `"'`), rest != "" && rest[0] != '#', true
}

// flat recognises a flat document: metadata or spec has no value, and the next line, at the same
// margin, is a key that does not belong beside them.
func (p *Parser) flat(text string) (resource.Key, *fault) {
	if !suspect(text, "metadata:") && !suspect(text, "spec:") {
		return resource.Key{}, nil
	}
	rows := rowsOf(text)
	spec := p.kinds[groupKindOf(rows)]
	top := func(key string) bool {
		switch key {
		case "apiVersion", "kind", "metadata", "spec", "status", "data", "stringData", "binaryData", "type":
			return true
		}
		return spec != nil && spec.root.byName[key] != nil
	}
	for i := 0; i+1 < len(rows); i++ {
		key, hasValue, ok := keyOf(rows[i].text)
		if !ok || hasValue || key != "metadata" && key != "spec" || rows[i].indent != rows[0].indent {
			continue
		}
		next := rows[i+1]
		nextKey, _, ok := keyOf(next.text)
		if next.indent != rows[i].indent || !ok || top(nextKey) {
			continue
		}
		if spec != nil && spec.kind == resource.KindSecret {
			nextKey = short(nextKey)
		}
		f := &fault{code: diag.FlatDocument, line: next.line, field: key,
			message: fmt.Sprintf("The document has lost its indentation: %s stands at the left margin, though it belongs under %s.", nextKey, key),
			fix:     "Indent the lines that belong under metadata and under spec by two spaces."}
		if spec != nil {
			tree := reindent(rows, spec.root)
			if hint := tree.summary(); hint != "" {
				f.fix = "Restore the indentation: " + hint + "."
			}
			name, namespace := tree.get("metadata", "name"), tree.get("metadata", "namespace")
			key := resource.Key{Group: spec.group, Kind: spec.kind, Namespace: namespaceOf(spec, namespace), Name: name}
			if spec.kind == resource.KindSecret {
				key, _ = discreet(key, nil)
			}
			return key, f
		}
		return p.guess(text), f
	}
	return resource.Key{}, nil
}

// suspect reports whether a line is nothing but key, and the next one is not indented either: a cheap
// test that spares well-formed documents the careful one.
func suspect(text, key string) bool {
	for rest := text; ; {
		i := strings.Index(rest, key)
		if i < 0 {
			return false
		}
		after := rest[i+len(key):]
		if i > 0 && rest[i-1] != '\n' {
			rest = after
			continue
		}
		for line := range strings.Lines(after) {
			if bare := strings.TrimSpace(line); bare != "" && bare[0] != '#' {
				if line[0] != ' ' && line[0] != '\t' {
					return true
				}
				break
			}
		}
		rest = after
	}
}

// Reindent restores the indentation of a flat document, and reports whether the text was one whose
// lines all found a place. Comments on lines of their own are dropped.
func (p *Parser) Reindent(text string) (string, bool) {
	if _, f := p.flat(text); f == nil {
		return "", false
	}
	rows := rowsOf(text)
	spec := p.kinds[groupKindOf(rows)]
	if spec == nil {
		return "", false
	}
	tree := reindent(rows, spec.root)
	if tree.lost > 0 {
		return "", false
	}
	return tree.text.String(), true
}

// groupKindOf reads apiVersion and kind from the lines at the first line's margin.
func groupKindOf(rows []row) groupKind {
	var gk groupKind
	for _, r := range rows {
		if r.indent != rows[0].indent {
			continue
		}
		if v, ok := strings.CutPrefix(r.text, "kind:"); ok && gk.kind == "" {
			gk.kind = plainValue(v)
		}
		if v, ok := strings.CutPrefix(r.text, "apiVersion:"); ok && gk.group == "" {
			if group, _, ok := strings.Cut(plainValue(v), "/"); ok {
				gk.group = group
			}
		}
	}
	return gk
}

// plainValue takes comment, spaces and quotes off a value.
func plainValue(v string) string {
	if i := strings.Index(v, " #"); i >= 0 {
		v = v[:i]
	}
	return strings.Trim(strings.TrimSpace(v), `"'`)
}

// guess reads kind, namespace and name from the lines of a text that does not parse, as well as that
// can be done.
func (p *Parser) guess(text string) resource.Key {
	rows := rowsOf(text)
	gk := groupKindOf(rows)
	key := resource.Key{Group: gk.group, Kind: gk.kind}
	within := -1
	for _, r := range rows {
		if r.text == "metadata:" && within < 0 {
			within = r.indent
			continue
		}
		if inner, ok := strings.CutPrefix(r.text, "metadata: {"); ok && within < 0 {
			inner, _, _ = strings.Cut(inner, "}")
			for entry := range strings.SplitSeq(inner, ",") {
				switch k, v, _ := strings.Cut(strings.TrimSpace(entry), ": "); k {
				case "name":
					key.Name = plainValue(v)
				case "namespace":
					key.Namespace = plainValue(v)
				}
			}
			break
		}
		if within < 0 {
			continue
		}
		if k, _, ok := keyOf(r.text); ok && r.indent <= within && k != "name" && k != "namespace" {
			break
		}
		if v, ok := strings.CutPrefix(r.text, "name:"); ok && key.Name == "" {
			key.Name = plainValue(v)
		}
		if v, ok := strings.CutPrefix(r.text, "namespace:"); ok && key.Namespace == "" {
			key.Namespace = plainValue(v)
		}
	}
	if spec := p.kinds[gk]; spec != nil {
		key.Namespace = namespaceOf(spec, key.Namespace)
	} else if slices.Contains(p.policies[gk.group], gk.kind) && key.Name != "" && key.Namespace == "" {
		key.Namespace = "default"
	}
	if key.Kind == resource.KindSecret {
		key, _ = discreet(key, nil)
	}
	return key
}

// layout is a flat document put back into shape.
type layout struct {
	text  strings.Builder
	lost  int // lines that fit nowhere
	under map[string][]string
	order []string // keys of under, as first met
	value map[string]string
}

// level is an open mapping or list while lines are placed.
type level struct {
	shape *shape
	path  string
	depth int // columns at which its keys or dashes stand
	taken map[string]bool
}

// reindent places every line.
func reindent(rows []row, root *shape) *layout {
	out := &layout{under: map[string][]string{}, value: map[string]string{}}
	stack := []*level{{shape: root, taken: map[string]bool{}}}
	for _, r := range rows {
		text, dashes := r.text, ""
		fits := true
		for strings.HasPrefix(text, "- ") && fits {
			rest := strings.TrimLeft(text[2:], " ")
			var at *level
			if stack, at, fits = openItem(stack, rest); fits {
				dashes += "- "
				text = rest
				stack = append(stack, &level{shape: at.shape.elem, path: at.path + "[]", depth: at.depth + 2, taken: map[string]bool{}})
			}
		}
		if fits {
			stack, fits = out.place(stack, dashes, text)
		}
		if !fits {
			out.lost++
		}
	}
	return out
}

// openItem closes levels down to the innermost list whose items look like text.
func openItem(stack []*level, text string) ([]*level, *level, bool) {
	key, _, isKey := keyOf(text)
	for i := len(stack) - 1; i >= 0; i-- {
		l := stack[i]
		if l.shape.form != formList {
			continue
		}
		fits := !isKey && l.shape.elem.form != formObject
		if isKey {
			fits = l.shape.elem.form == formObject && l.shape.elem.byName[key] != nil
		}
		if fits {
			return stack[:i+1], l, true
		}
	}
	return stack, nil, false
}

// place writes a line into the innermost level that takes it and opens what it begins.
func (out *layout) place(stack []*level, dashes, text string) ([]*level, bool) {
	top := stack[len(stack)-1]
	key, hasValue, isKey := keyOf(text)
	if !isKey || dashes != "" && top.shape.form != formObject {
		if dashes == "" {
			return stack, false
		}
		out.write(top.depth-len(dashes), dashes+text) // a plain item
		return stack[:len(stack)-1], true
	}
	at := -1
	for i := len(stack) - 1; i >= 0 && at < 0; i-- {
		if f := stack[i].shape.byName[key]; stack[i].shape.form == formObject && f != nil && !stack[i].taken[f.name] {
			at = i
		}
	}
	if at < 0 && top.shape.form == formMap {
		at = len(stack) - 1
	}
	if at < 0 {
		return stack, false
	}
	stack = stack[:at+1]
	l := stack[at]
	inner := l.shape.elem
	if f := l.shape.byName[key]; l.shape.form == formObject {
		inner = f.shape
		l.taken[f.name] = true
	}
	out.write(l.depth-len(dashes), dashes+text)
	if l.path != "" {
		if _, ok := out.under[l.path]; !ok {
			out.order = append(out.order, l.path)
		}
		if !slices.Contains(out.under[l.path], key) {
			out.under[l.path] = append(out.under[l.path], key)
		}
	}
	path := strings.TrimPrefix(l.path+"."+key, ".")
	if _, value, ok := strings.Cut(text, ":"); ok && hasValue {
		out.value[path] = plainValue(value)
		return stack, true
	}
	switch inner.form {
	case formObject, formMap:
		stack = append(stack, &level{shape: inner, path: path, depth: l.depth + 2, taken: map[string]bool{}})
	case formList:
		stack = append(stack, &level{shape: inner, path: path, depth: l.depth, taken: map[string]bool{}})
	}
	return stack, true
}

func (out *layout) write(depth int, text string) {
	out.text.WriteString(strings.Repeat(" ", max(depth, 0)) + text + "\n")
}

// get returns the value that a path got, or "".
func (out *layout) get(path ...string) string { return out.value[strings.Join(path, ".")] }

// summary says which keys go under which path: "name under metadata; selector, servers under spec".
func (out *layout) summary() string {
	const most = 12
	var parts []string
	for _, path := range out.order {
		parts = append(parts, strings.Join(out.under[path], ", ")+" under "+path)
	}
	if len(parts) > most {
		parts = append(parts[:most], "and so on")
	}
	return strings.Join(parts, "; ")
}
