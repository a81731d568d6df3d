package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// fault is something wrong at a line of a chunk. Field is a path; it may be empty.
type fault struct {
	code         diag.Code
	line         int
	field        string
	message, fix string
}

// parseYAML returns the root node of a document, nil if it is empty.
func parseYAML(text []byte) (*yaml.Node, *fault) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, syntaxFault(text, err)
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// syntaxFault explains an error of the YAML parser.
func syntaxFault(text []byte, err error) *fault {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.HasPrefix(message, "unknown anchor") { // it quotes the text, which may be a password
		message = "an alias (a word that begins with *) refers to no anchor; put text in quotes"
	}
	line := 1
	if m := regexp.MustCompile(`^(?:\w+ error: )?line (\d+): `).FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	place := ""
	if at, remark := breaks(text); at > 0 && !(at < line && strings.Contains(message, "expected ','")) {
		line, place = at, remark
	}
	f := &fault{code: diag.YAMLSyntax, line: line, message: "The document is not valid YAML: " + strings.TrimSuffix(message, ".") + "." + place,
		fix: "Look at this line and the one before: indentation, a missing colon or quote."}
	rows := bytes.Split(text, []byte("\n"))
	// The parser names the line it stopped at; the tab may be one line off.
	for i := max(line-2, 0); i < min(line+1, len(rows)); i++ {
		indent := rows[i][:len(rows[i])-len(bytes.TrimLeft(rows[i], " \t"))]
		if bytes.ContainsRune(indent, '\t') {
			f.line = i + 1
			f.message = "The line is indented with a tab, which YAML forbids."
			f.fix = "Replace tabs by spaces."
			return f
		}
	}
	if bytes.Contains(text, []byte("{{")) {
		f.fix = "The text looks like a template; render it first (helm template, envsubst)."
	}
	return f
}

// parseJSON returns the root nodes of the JSON values of a text, one after the other, up to the first
// that is malformed.
func parseJSON(text []byte) ([]*yaml.Node, *fault) {
	r := &jsonReader{dec: json.NewDecoder(bytes.NewReader(text)), text: text, line: 1}
	r.dec.UseNumber()
	var roots []*yaml.Node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				r.advance(min(int(syntax.Offset), len(text)))
			}
			return roots, &fault{code: diag.YAMLSyntax, line: r.line, message: "The document is not valid JSON: " + err.Error() + ".",
				fix: "Look at this line and the one before: a comma, quote or bracket."}
		}
		roots = append(roots, n)
	}
}

// jsonReader makes YAML nodes of JSON tokens, so that both notations share everything that follows.
type jsonReader struct {
	dec  *json.Decoder
	text []byte
	pos  int // bytes of text that line has counted
	line int
}

// advance counts lines up to an offset.
func (r *jsonReader) advance(offset int) {
	if offset > r.pos {
		r.line += bytes.Count(r.text[r.pos:offset], []byte("\n"))
		r.pos = offset
	}
}

func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxNesting {
		return nil, fmt.Errorf("nested deeper than %d levels", maxNesting)
	}
	r.advance(int(r.dec.InputOffset()))
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line}
	switch t := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for r.dec.More() {
			child, err := r.value(depth + 1) // keys are string tokens
			if err != nil {
				return nil, noEOF(err)
			}
			n.Content = append(n.Content, child)
		}
		_, err = r.dec.Token() // the closing bracket
		return n, noEOF(err)
	case string:
		n.Tag, n.Value = "!!str", t
	case json.Number:
		n.Tag, n.Value = "!!int", t.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(t)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

// noEOF makes the end of the text inside a value an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// normalize resolves aliases and merge keys and reports keys that stand twice, so that what follows
// sees a finite tree of mappings, sequences and scalars. It works in place and stops at the bounds.
func normalize(root *yaml.Node) (*yaml.Node, []fault) {
	z := &normalizer{}
	root = z.node(root, 0)
	if z.bound != nil {
		return nil, []fault{*z.bound}
	}
	return root, z.faults
}

type normalizer struct {
	trail   trail
	faults  []fault
	bound   *fault // set once a bound is reached; everything stops
	inAlias int
	aliased int
}

func (z *normalizer) stop(n *yaml.Node, message, fix string) *yaml.Node {
	if z.bound == nil {
		z.bound = &fault{code: diag.YAMLSyntax, line: n.Line, message: message, fix: fix}
	}
	return n
}

func (z *normalizer) node(n *yaml.Node, depth int) *yaml.Node {
	if z.bound != nil {
		return n
	}
	if depth > maxNesting {
		return z.stop(n, fmt.Sprintf("The document is nested deeper than %d levels.", maxNesting), "Flatten it; an alias that contains itself has this effect too.")
	}
	if n.Kind == yaml.AliasNode {
		z.inAlias++
		defer func() { z.inAlias-- }()
		return z.node(n.Alias, depth+1)
	}
	if z.inAlias > 0 {
		if z.aliased++; z.aliased > maxAliased {
			return z.stop(n, fmt.Sprintf("Aliases repeat more than %d nodes.", maxAliased), "Write the values out, or use fewer aliases.")
		}
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			z.trail.index(i)
			n.Content[i] = z.node(item, depth+1)
			z.trail.pop()
		}
	case yaml.MappingNode:
		z.mapping(n, depth)
	}
	return n
}

func (z *normalizer) mapping(n *yaml.Node, depth int) {
	seen := make(map[string]bool, len(n.Content)/2)
	var merges []*yaml.Node
	kept := n.Content[:0:len(n.Content)]
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			z.stop(key, "A key is not a plain word.", "Look for a stray ? or bracket; {{ }} of a template must be rendered first.")
			return
		}
		if key.Tag == "!!merge" {
			merges = append(merges, z.node(value, depth+1))
			continue
		}
		z.trail.key(key.Value)
		if seen[key.Value] {
			z.faults = append(z.faults, fault{diag.DuplicateKey, key.Line, z.trail.String(),
				fmt.Sprintf("The key %q stands twice in one mapping.", key.Value),
				"Remove one of them; if they belong to different mappings, restore the indentation."})
		}
		seen[key.Value] = true
		kept = append(kept, key, z.node(value, depth+1))
		z.trail.pop()
	}
	n.Content = kept
	for _, m := range merges {
		z.merge(n, m, seen)
	}
}

// merge adds the entries of m, a mapping or a sequence of mappings, that n does not have itself.
func (z *normalizer) merge(n, m *yaml.Node, seen map[string]bool) {
	switch m.Kind {
	case yaml.SequenceNode:
		for _, item := range m.Content {
			z.merge(n, item, seen)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(m.Content); i += 2 {
			if key := m.Content[i].Value; !seen[key] {
				seen[key] = true
				n.Content = append(n.Content, m.Content[i], m.Content[i+1])
			}
		}
	default:
		z.stop(m, "A merge key (<<) needs a mapping.", "Refer to an anchor of a mapping.")
	}
}

// trail is the path to the node being walked.
type trail struct {
	segs []string
	cut  bool // names are cut short
}

func (t *trail) key(k string) {
	if t.cut {
		k = short(k)
	}
	switch {
	case strings.ContainsAny(k, ".[]/ ") || k == "":
		t.segs = append(t.segs, "["+k+"]")
	default:
		t.segs = append(t.segs, "."+k)
	}
}

func (t *trail) index(i int) { t.segs = append(t.segs, "["+strconv.Itoa(i)+"]") }
func (t *trail) pop()        { t.segs = t.segs[:len(t.segs)-1] }

// String returns the path, as in "spec.servers[0].tls".
func (t *trail) String() string { return strings.TrimPrefix(strings.Join(t.segs, ""), ".") }
