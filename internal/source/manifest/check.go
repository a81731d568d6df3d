package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// check compares a normalized node with a shape and returns every fault. Of a discreet one's faults
// none shows a value, and names are cut short: keys get pasted into the wrong line.
func check(root *yaml.Node, s *shape, discreet bool) []fault {
	c := &checker{discreet: discreet, trail: trail{cut: discreet}}
	c.node(root, s)
	return c.faults
}

type checker struct {
	discreet bool
	trail    trail
	within   []*shape // objects around the node, outermost first
	faults   []fault
}

func (c *checker) report(code diag.Code, line int, message, fix string) {
	c.faults = append(c.faults, fault{code, line, c.trail.String(), message, fix})
}

// here names the place for a sentence.
func (c *checker) here() string {
	if path := c.trail.String(); path != "" {
		return path
	}
	return "The object"
}

func (c *checker) node(n *yaml.Node, s *shape) {
	if isNull(n) || s.form == formAny {
		return
	}
	switch s.form {
	case formObject:
		if n.Kind != yaml.MappingNode {
			c.wrong(n, "a mapping (key: value)", s)
			return
		}
		c.object(n, s)
	case formMap:
		if n.Kind != yaml.MappingNode {
			c.wrong(n, "a mapping (key: value)", s)
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			c.trail.key(n.Content[i].Value)
			c.item(n.Content[i+1], s.elem, s.sparse)
			c.trail.pop()
		}
	case formList:
		if n.Kind != yaml.SequenceNode {
			c.wrong(n, "a list (lines that begin with \"- \")", s)
			return
		}
		for i, item := range n.Content {
			c.trail.index(i)
			c.item(item, s.elem, false)
			c.trail.pop()
		}
	default:
		if n.Kind != yaml.ScalarNode {
			c.wrong(n, scalarWords(s), s)
			return
		}
		c.scalar(n, s)
	}
}

// item checks a member of a list or map, which may be empty only in the maps of core types.
func (c *checker) item(n *yaml.Node, s *shape, sparse bool) {
	if isNull(n) && !sparse && s.form != formAny {
		c.report(diag.WrongType, n.Line, c.here()+" has no value.", "Give it a value, or remove it.")
		return
	}
	c.node(n, s)
}

// object checks the fields of a mapping.
func (c *checker) object(n *yaml.Node, s *shape) {
	c.within = append(c.within, s)
	defer func() { c.within = c.within[:len(c.within)-1] }()
	set := make(map[string]*yaml.Node, len(n.Content)/2)
	groups := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f := s.byName[key.Value]
		if f == nil {
			c.unknown(key, s)
			continue
		}
		c.trail.key(f.name)
		if _, twice := set[f.name]; twice && f.alias != "" {
			c.report(diag.DuplicateKey, key.Line, fmt.Sprintf("%s is given twice, as %s and %s.", c.here(), f.name, f.alias), "Remove one of them.")
		}
		set[f.name] = value
		if f.group != "" && !isNull(value) {
			if other, taken := groups[f.group]; taken && other != f.name {
				c.report(diag.BadValue, key.Line, fmt.Sprintf("%s cannot be set beside %s; only one of them is allowed.", f.name, other), "Remove one of them.")
			}
			groups[f.group] = f.name
		}
		c.node(value, f.shape)
		c.trail.pop()
	}
	for _, f := range s.fields {
		if !f.required {
			continue
		}
		value, ok := set[f.name]
		if !ok || isNull(value) || f.nonzero && isZero(value, f.shape) {
			c.missing(n, f, value)
		}
	}
}

func (c *checker) missing(n *yaml.Node, f *field, value *yaml.Node) {
	where := c.here()
	c.trail.key(f.name)
	defer c.trail.pop()
	line := n.Line
	message := fmt.Sprintf("%s needs %s.", where, f.name)
	if value != nil {
		line = value.Line
		message = fmt.Sprintf("%s needs %s, which is empty.", where, f.name)
	}
	fix := "Add " + f.name + "."
	if f.shape.enum != nil {
		fix = "Add " + f.name + ": one of " + enumerate(f.shape.enum) + "."
	}
	c.report(diag.MissingField, line, message, fix)
}

// unknown reports a key that the object does not have.
func (c *checker) unknown(key *yaml.Node, s *shape) {
	where := c.here()
	c.trail.key(key.Value)
	defer c.trail.pop()
	word := key.Value
	if c.discreet {
		word = short(word)
	}
	message := fmt.Sprintf("%s has no field %s.", where, quote(word))
	names := s.names()
	if near := nearest(key.Value, names); near != "" {
		c.report(diag.UnknownField, key.Line, message, "Did you mean "+quote(near)+"?")
		return
	}
	// A right field at the wrong depth is a slip of indentation.
	for i := len(c.within) - 2; i >= 0; i-- {
		if c.within[i].byName[key.Value] != nil {
			c.report(diag.UnknownField, key.Line, message,
				fmt.Sprintf("%s is a field %s further out; check the indentation.", key.Value, levels(len(c.within)-1-i)))
			return
		}
	}
	for _, f := range s.fields {
		inner := f.shape
		if inner.form == formList {
			inner = inner.elem
		}
		if inner.form == formObject && inner.byName[key.Value] != nil {
			c.report(diag.UnknownField, key.Line, message, fmt.Sprintf("%s belongs under %s; check the indentation.", key.Value, f.name))
			return
		}
	}
	if near := longer(key.Value, names); near != "" {
		c.report(diag.UnknownField, key.Line, message, "Did you mean "+quote(near)+"?")
		return
	}
	c.report(diag.UnknownField, key.Line, message, "Remove it. Fields here: "+enumerate(names)+".")
}

func levels(n int) string {
	if n == 1 {
		return "one level"
	}
	return strconv.Itoa(n) + " levels"
}

// scalar checks a single value.
func (c *checker) scalar(n *yaml.Node, s *shape) {
	switch s.form {
	case formText, formDuration:
		if !isText(n) {
			c.wrong(n, scalarWords(s), s)
			return
		}
		if s.form == formDuration {
			if _, ok := parseDuration(n.Value); !ok {
				c.bad(n, s, "a duration such as 10s")
			}
		}
	case formBool:
		if _, ok := boolOf(n); !ok {
			c.wrong(n, scalarWords(s), s)
			return
		}
	case formInt:
		v, ok := intOf(n)
		if !ok {
			c.wrong(n, scalarWords(s), s)
			return
		}
		if v < s.min || v > s.max {
			c.bad(n, s, fmt.Sprintf("a whole number from %d to %d", s.min, s.max))
			return
		}
	case formNumber:
		if n.Tag != "!!int" && n.Tag != "!!float" {
			c.wrong(n, scalarWords(s), s)
			return
		}
	case formIntOrText:
		if v, isInt := intOf(n); isInt && v == int64(int32(v)) || isText(n) {
			break
		}
		c.wrong(n, scalarWords(s), s)
	case formQuantity:
		if n.Tag != "!!int" && n.Tag != "!!float" && !isText(n) {
			c.wrong(n, scalarWords(s), s)
		}
	}
	c.allowed(n, s)
}

// allowed checks a value of the right type against the list or pattern of its field.
func (c *checker) allowed(n *yaml.Node, s *shape) {
	if s.enum != nil {
		for _, v := range s.enum {
			if v == n.Value {
				return
			}
		}
		if s.open && strings.Contains(n.Value, "/") {
			return
		}
		value := quote(n.Value)
		if c.hides(s) {
			value = "the value given"
		}
		c.report(diag.UnknownEnum, n.Line, fmt.Sprintf("%s cannot be %s.", c.here(), value), alternatives(n.Value, s.enum, "Allowed"))
		return
	}
	if s.check != nil {
		if want := s.check(n.Value); want != "" {
			c.bad(n, s, want)
		}
	}
}

// bad reports a value of the right type that breaks the field's rules.
func (c *checker) bad(n *yaml.Node, s *shape, want string) {
	if c.hides(s) {
		c.report(diag.BadValue, n.Line, fmt.Sprintf("%s must be %s.", c.here(), want), "Write it as "+want+".")
		return
	}
	c.report(diag.BadValue, n.Line, fmt.Sprintf("%s must be %s, not %s.", c.here(), want, quote(n.Value)), c.better(n.Value, s))
}

// better is the fix of a value that breaks the field's rules.
func (c *checker) better(value string, s *shape) string {
	if slashed := "/" + value; s.check != nil && s.check(slashed) == "" && s.check("/") == "" {
		return "Write " + quote(slashed) + "."
	}
	return "Correct the value, or remove it."
}

// hides reports whether the values of a field must not be shown.
func (c *checker) hides(s *shape) bool { return c.discreet || s.sensitive }

// wrong reports a value of the wrong type.
func (c *checker) wrong(n *yaml.Node, want string, s *shape) {
	fix := "Write " + want + "."
	if n.Kind == yaml.ScalarNode && s.form == formText && !c.hides(s) {
		fix = fmt.Sprintf("Put it in quotes: %q.", n.Value)
		if s.check != nil && s.check(n.Value) != "" {
			fix = "Write " + s.check(n.Value) + "."
		}
	} else if s.form == formText && c.hides(s) {
		fix = "Put it in quotes."
		if n.Kind == yaml.ScalarNode && hiddenWords(n) == taggedWords {
			fix = "Remove the tag (a word that begins with !)."
		}
	}
	got := "a list"
	switch {
	case n.Kind == yaml.MappingNode:
		got = "a mapping"
	case n.Kind == yaml.ScalarNode && c.hides(s):
		got = hiddenWords(n)
	case n.Kind == yaml.ScalarNode:
		got = tagWords(n) + " " + quote(n.Value)
	}
	c.report(diag.WrongType, n.Line, fmt.Sprintf("%s must be %s, not %s.", c.here(), want, got), fix)
}

// scalarWords names the type of a single value.
func scalarWords(s *shape) string {
	switch s.form {
	case formBool:
		return "true or false"
	case formInt:
		return "a whole number"
	case formNumber:
		return "a number"
	case formIntOrText:
		return "a number or a name"
	case formQuantity:
		return "a quantity such as 100Mi"
	case formDuration:
		return "a duration such as 10s"
	}
	return "text"
}

// tagWords names the type that YAML sees in a scalar.
func tagWords(n *yaml.Node) string {
	if _, truth := boolOf(n); truth {
		return "the truth value"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "the number"
	case "!!str":
		return "the text"
	}
	return "the value"
}

const taggedWords = "a value with a tag of its own"

// hiddenWords names the type of a scalar whose value is not to be shown.
func hiddenWords(n *yaml.Node) string {
	if _, truth := boolOf(n); truth {
		return "a truth value"
	}
	switch n.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!str":
		return "text"
	}
	return taggedWords
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// isText reports whether Kubernetes takes the scalar for a string. YAML 1.1, which it reads, has more
// truth values than true and false; yes and no without quotes would be refused there.
func isText(n *yaml.Node) bool {
	if n.Tag != "!!str" && n.Tag != "!!timestamp" {
		return false
	}
	_, truth := boolOf(n)
	return !truth
}

// boolOf reads a truth value as YAML 1.1 does.
func boolOf(n *yaml.Node) (value, ok bool) {
	if n.Tag != "!!bool" && (n.Tag != "!!str" || n.Style != 0) {
		return false, false
	}
	switch n.Value {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
		return true, n.Style == 0
	case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
		return false, n.Style == 0
	}
	return false, false
}

// intOf reads a whole number in any of YAML's notations.
func intOf(n *yaml.Node) (int64, bool) {
	if n.Tag != "!!int" {
		return 0, false
	}
	if !strings.HasPrefix(n.Value, "0") {
		if v, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return v, true
		}
	}
	var v int64
	err := n.Decode(&v)
	return v, err == nil
}

// isZero reports whether a value is what the field would be without it.
func isZero(n *yaml.Node, s *shape) bool {
	switch n.Kind {
	case yaml.SequenceNode:
		return len(n.Content) == 0
	case yaml.ScalarNode:
		if s.form == formInt {
			v, ok := intOf(n)
			return ok && v == 0
		}
		return s.form == formText && n.Value == ""
	}
	return false
}
