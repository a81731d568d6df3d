package resource

import (
	"strconv"
	"strings"
	"unique"

	"go.yaml.in/yaml/v3"
)

// Lines tells the line of a field path inside one document. It is built from YAML nodes, keeps none
// of them and none of the values, and is immutable. The nil Lines knows only line 1.
type Lines struct {
	nodes []lineNode // depth first; nodes[0] is the document
}

// lineNode is a field or item. Items of sequences have no key. child and next are indexes, 0 for none.
type lineNode struct {
	key         string
	line        int32
	child, next int32
}

// NewLines records the lines of root, a mapping or sequence without aliases. Nodes deeper than
// maxDepth levels are left out; their parents answer for them.
func NewLines(root *yaml.Node) *Lines {
	l := &Lines{nodes: make([]lineNode, 0, count(root, 0))}
	l.add("", root.Line, root, 0)
	return l
}

// count returns how many nodes add will make of n.
func count(n *yaml.Node, depth int) int {
	total := 1
	if depth >= maxDepth {
		return total
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			total += count(n.Content[i], depth+1)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			total += count(item, depth+1)
		}
	}
	return total
}

// maxDepth bounds the recursion of NewLines.
const maxDepth = 100

func (l *Lines) add(key string, line int, n *yaml.Node, depth int) int32 {
	self := int32(len(l.nodes))
	// The same few keys stand in every object: share them.
	l.nodes = append(l.nodes, lineNode{key: unique.Make(key).Value(), line: int32(line)})
	if depth >= maxDepth {
		return self
	}
	var last int32
	link := func(child int32) {
		if last == 0 {
			l.nodes[self].child = child
		} else {
			l.nodes[last].next = child
		}
		last = child
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			link(l.add(k.Value, k.Line, n.Content[i+1], depth+1))
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			link(l.add("", item.Line, item, depth+1))
		}
	}
	return self
}

// Line returns the line of a field path, or of the nearest parent that exists; the document's first
// line for "". Keys are compared as the JSON names of Protocol Buffers are: credential_name is found
// as credentialName.
func (l *Lines) Line(path string) int {
	line, _ := l.find(path)
	return line
}

// find is Line and the number of segments that were found.
func (l *Lines) find(path string) (line, depth int) {
	if l == nil || len(l.nodes) == 0 {
		return 1, 0
	}
	var at int32
	for path != "" {
		var seg string
		seg, path = nextSegment(path)
		child := l.descend(at, seg)
		if child == 0 {
			break
		}
		at = child
		depth++
	}
	return int(l.nodes[at].line), depth
}

// descend returns the child of a node that seg names, or 0.
func (l *Lines) descend(at int32, seg string) int32 {
	first := l.nodes[at].child
	if first == 0 {
		return 0
	}
	if index, err := strconv.Atoi(seg); err == nil && l.nodes[first].key == "" {
		for i := first; i != 0; i = l.nodes[i].next {
			if index == 0 {
				return i
			}
			index--
		}
		return 0
	}
	var loose int32
	for i := first; i != 0; i = l.nodes[i].next {
		key := l.nodes[i].key
		if key == seg {
			return i
		}
		if loose == 0 && strings.Contains(key, "_") && strings.EqualFold(strings.ReplaceAll(key, "_", ""), seg) {
			loose = i
		}
	}
	return loose
}

// nextSegment cuts the first segment off a path: "a.b" gives a, "[0].b" gives 0, "[tls.crt]" gives
// tls.crt. Quotes inside brackets are taken off.
func nextSegment(path string) (seg, rest string) {
	path = strings.TrimPrefix(path, ".")
	if inner, ok := strings.CutPrefix(path, "["); ok {
		seg, rest, _ = strings.Cut(inner, "]")
		return strings.Trim(seg, `"'`), rest
	}
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}
