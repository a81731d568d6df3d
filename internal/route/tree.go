package route

import "bytes"

// tree is a radix tree over the literal paths of a host's routes. A node's lists hold indexes of
// routes whose path literal ends there, in rising order.
type tree struct {
	root node
	fold bool // keys are in lower case, paths are compared so
}

type node struct {
	label    []byte // bytes between the parent and this node
	firsts   []byte // first label byte of each child
	children []*node

	exact   []int32
	segment []int32 // literal without its trailing slash
	prefix  []int32
}

// at returns the node for a literal, making it if need be.
func (t *tree) at(literal []byte) *node {
	n := &t.root
	for len(literal) > 0 {
		i := bytes.IndexByte(n.firsts, literal[0])
		if i < 0 {
			c := &node{label: literal}
			n.firsts, n.children = append(n.firsts, literal[0]), append(n.children, c)
			return c
		}
		c := n.children[i]
		k := common(c.label, literal)
		if k < len(c.label) {
			upper := &node{label: c.label[:k:k], firsts: []byte{c.label[k]}, children: []*node{c}}
			c.label = c.label[k:]
			n.children[i] = upper
			c = upper
		}
		n, literal = c, literal[k:]
	}
	return n
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// search returns the lowest index below best of a route under n that matches. rest is what of the
// path follows n. The longest literal is tried first: it is likely the first in order, and cuts off
// the lists of the shorter ones. Depth is bounded by the configured literals, not by the peer.
func (h *host) search(n *node, rest []byte, fold bool, in *input, best int32) int32 {
	if len(rest) > 0 && len(n.children) > 0 {
		b := rest[0]
		if fold {
			b = lower(b)
		}
		if i := bytes.IndexByte(n.firsts, b); i >= 0 {
			if c := n.children[i]; hasPrefix(rest, c.label, fold) {
				best = h.search(c, rest[len(c.label):], fold, in, best)
			}
		}
	}
	if len(rest) == 0 && len(n.exact) > 0 {
		best = h.first(n.exact, in, best)
	}
	if len(n.segment) > 0 && (len(rest) == 0 || rest[0] == '/') {
		best = h.first(n.segment, in, best)
	}
	if len(n.prefix) > 0 {
		best = h.first(n.prefix, in, best)
	}
	return best
}

// hasPrefix compares with a prefix that is in lower case if fold.
func hasPrefix(s, prefix []byte, fold bool) bool {
	if !fold {
		return bytes.HasPrefix(s, prefix)
	}
	return len(s) >= len(prefix) && equalLower(s[:len(prefix)], prefix)
}

// equalLower compares s, of any case, with low, which is in lower case.
func equalLower(s, low []byte) bool {
	if len(s) != len(low) {
		return false
	}
	for i := range s {
		if lower(s[i]) != low[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func lowerAll(s string) []byte {
	b := []byte(s)
	for i := range b {
		b[i] = lower(b[i])
	}
	return b
}
