package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// appendJSON appends a checked node as JSON: keys by their canonical names and in alphabetical order,
// numbers in decimal, durations as protojson wants them. Equal content gives equal bytes, whatever the
// notation; the digest of an object is taken from them.
func appendJSON(b []byte, n *yaml.Node, s *shape) []byte {
	if isNull(n) {
		return append(b, "null"...)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return appendMapping(b, n, s)
	case yaml.SequenceNode:
		elem := s.elem
		if elem == nil {
			elem = s // formAny
		}
		b = append(b, '[')
		for i, item := range n.Content {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, item, elem)
		}
		return append(b, ']')
	}
	return appendScalar(b, n, s)
}

func appendMapping(b []byte, n *yaml.Node, s *shape) []byte {
	type entry struct {
		name  string
		value *yaml.Node
		shape *shape
	}
	entries := make([]entry, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := entry{n.Content[i].Value, n.Content[i+1], s}
		switch s.form {
		case formObject:
			if f := s.byName[e.name]; f != nil {
				e.name, e.shape = f.name, f.shape
			}
		case formMap:
			e.shape = s.elem
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	b = append(b, '{')
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, e.name)
		b = append(b, ':')
		b = appendJSON(b, e.value, e.shape)
	}
	return append(b, '}')
}

func appendScalar(b []byte, n *yaml.Node, s *shape) []byte {
	switch s.form {
	case formText:
		return appendString(b, n.Value)
	case formDuration:
		d, _ := parseDuration(n.Value)
		sign := ""
		if d < 0 {
			sign, d = "-", -d
		}
		return appendString(b, fmt.Sprintf("%s%d.%09ds", sign, d/1e9, d%1e9))
	case formBool:
		v, _ := boolOf(n)
		return strconv.AppendBool(b, v)
	}
	switch n.Tag {
	case "!!int":
		if v, ok := intOf(n); ok {
			return strconv.AppendInt(b, v, 10)
		}
	case "!!float":
		var v float64
		if err := n.Decode(&v); err == nil {
			if j, err := json.Marshal(v); err == nil {
				return append(b, j...)
			}
		}
	case "!!bool":
		v, _ := boolOf(n)
		return strconv.AppendBool(b, v)
	}
	return appendString(b, n.Value)
}

// appendString appends a JSON string. Most strings of manifests need no escape.
func appendString(b []byte, v string) []byte {
	if strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) < 0 {
		b = append(b, '"')
		b = append(b, v...)
		return append(b, '"')
	}
	j, _ := json.Marshal(v) // strings always marshal
	return append(b, j...)
}
