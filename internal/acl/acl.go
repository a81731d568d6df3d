// Package acl holds the questions that rules of forward proxies ask about a request, with the types, values
// and meaning of Squid's ACLs (cf.data.pre, "acl").
//
// It knows no connection, no resolver and no clock: what is asked about is handed in as Facts. Begin reading
// at Compile, then Set.Rules and Rules.Decide; types.go lists the types.
package acl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Problem is an ACL, or a rule's reference to one, that cannot be used, or a part of it without effect.
type Problem struct {
	Name    string // of the ACL
	Index   int    // in the list given
	Message string // one sentence without full stop
	Fix     string
	Fatal   bool // the ACL cannot be used; else part of it has no effect
}

// Error implements error.
func (p *Problem) Error() string { return "acl " + p.Name + ": " + p.Message }

// Verify returns what is wrong with ACLs: unknown types, values that do not parse, ACLs that refer to others
// which do not exist or to themselves. Problems that are not Fatal leave the ACL usable.
func Verify(list []ir.ACL) []Problem {
	_, problems := build(list)
	return problems
}

// VerifyRules returns the names in rules that are neither in list nor built in, each once. Index is that of
// the rule.
func VerifyRules(list []ir.ACL, rules []ir.ForwardRule) []Problem {
	known := map[string]bool{}
	for _, a := range list {
		known[a.Name] = true
	}
	seen := map[string]bool{}
	var out []Problem
	for i, r := range rules {
		for _, ref := range r.ACLs {
			name := strings.TrimPrefix(ref, "!")
			if known[name] || Builtin(name) || seen[name] {
				continue
			}
			seen[name] = true
			out = append(out, Problem{Name: name, Index: i, Fatal: true, Message: fmt.Sprintf("there is no ACL of the name %q", name), Fix: unknownFix(name, known)})
		}
	}
	return out
}

// unknownFix names an ACL that is spelt the same but for case, if there is one.
func unknownFix(name string, known map[string]bool) string {
	candidates := slices.Clone(builtins())
	for k := range known {
		candidates = append(candidates, k)
	}
	slices.Sort(candidates)
	for _, k := range candidates {
		if strings.EqualFold(k, name) {
			return fmt.Sprintf("write %s: names are case-sensitive", k)
		}
	}
	return "define it in acls, or correct the name"
}

// Builtin reports whether name is one that Squid defines itself: all, localhost, to_localhost, to_linklocal,
// manager, CONNECT, and the classes of certificate errors (ssl::certHasExpired and so on).
func Builtin(name string) bool { return slices.Contains(builtins(), name) }

func builtins() []string {
	return []string{"all", "localhost", "to_localhost", "to_linklocal", "manager", "CONNECT",
		"ssl::certHasExpired", "ssl::certNotYetValid", "ssl::certDomainMismatch", "ssl::certUntrusted", "ssl::certSelfSigned"}
}

// builtinACLs are the definitions of the built-in names.
func builtinACLs() []ir.ACL {
	out := []ir.ACL{
		{Name: "all", Type: "src", Values: []string{"all"}},
		{Name: "localhost", Type: "src", Values: []string{"127.0.0.0/8", "::1"}},
		{Name: "to_localhost", Type: "dst", Values: []string{"127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128"}},
		{Name: "to_linklocal", Type: "dst", Values: []string{"169.254.0.0/16", "fe80::/10"}},
		{Name: "manager", Type: "url_regex", Options: []string{"-i"}, Values: []string{`^cache_object://`, `^https?://[^/]+/squid-internal-mgr/`}},
		{Name: "CONNECT", Type: "method", Values: []string{"CONNECT"}},
	}
	for _, class := range []string{"certHasExpired", "certNotYetValid", "certDomainMismatch", "certUntrusted", "certSelfSigned"} {
		out = append(out, ir.ACL{Name: "ssl::" + class, Type: "ssl_error", Values: []string{"ssl::" + class}})
	}
	return out
}

// Set holds compiled ACLs by name. It is immutable.
type Set struct {
	acls map[string]*question
}

// question is one ACL: it holds if any of its parts does.
type question struct {
	name  string
	auth  bool // of a type that asks who the user is
	parts []matcher
}

func (q *question) match(f *Facts) verdict {
	out := no
	for _, m := range q.parts {
		switch m.match(f) {
		case yes:
			return yes
		case unauthenticated:
			out = unauthenticated
		}
	}
	return out
}

// Compile makes a Set. What Verify calls fatal is an error, of type *Problem.
func Compile(list []ir.ACL) (*Set, error) {
	s, problems := build(list)
	for i := range problems {
		if problems[i].Fatal {
			return nil, &problems[i]
		}
	}
	return s, nil
}

// build compiles and collects problems. ACLs of one name and type are merged, so that a thousand lines of
// one value each are one table.
func build(list []ir.ACL) (*Set, []Problem) {
	b := builder{kinds: kinds(), set: &Set{acls: map[string]*question{}}, types: map[string]string{}, own: map[string]bool{}, parts: map[string]matcher{}}
	for i, a := range builtinACLs() {
		b.index = i
		b.add(&a)
	}
	for name := range b.types {
		b.own[name] = true
	}
	for i := range list {
		b.index = i
		b.add(&list[i])
	}
	b.joinAll()
	b.link()
	return b.set, b.problems
}

// verdict is the answer to a question.
type verdict uint8

const (
	no verdict = iota
	yes
	unauthenticated // cannot be told before the user has shown who they are
)

func truth(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// matcher is one test on facts. Matchers are immutable once built.
type matcher interface {
	match(*Facts) verdict
}

// adder is a matcher that takes further values.
type adder interface {
	matcher
	add(b *builder, values []string)
}

// builder is the state of one build.
type builder struct {
	kinds    map[string]kind
	set      *Set
	types    map[string]string
	own      map[string]bool    // names that are still as built in
	parts    map[string]matcher // by name, type and options, to merge
	groups   []*group
	unjoined []unjoined
	problems []Problem
	name     string
	index    int
}

func (b *builder) fatal(fix, format string, args ...any) {
	b.problems = append(b.problems, Problem{Name: b.name, Index: b.index, Message: fmt.Sprintf(format, args...), Fix: fix, Fatal: true})
}

func (b *builder) warn(fix, format string, args ...any) {
	b.problems = append(b.problems, Problem{Name: b.name, Index: b.index, Message: fmt.Sprintf(format, args...), Fix: fix})
}

// nearest asks whether the type was meant that is written most like an unknown one; empty if none is.
func (b *builder) nearest(unknown string) string {
	best, bound := "", max(1, len(unknown)/3)+1
	for _, t := range slices.Sorted(maps.Keys(b.kinds)) {
		if d := diag.Distance(strings.ToLower(unknown), strings.ToLower(t), bound); d < bound {
			best, bound = t, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q? ", best)
}

// add compiles one ACL.
func (b *builder) add(a *ir.ACL) {
	b.name = a.Name
	if a.Name == "" || strings.HasPrefix(a.Name, "!") || strings.ContainsAny(a.Name, " \t") {
		b.fatal("give it a name without blanks that does not begin with !", "%q is no name for an ACL", a.Name)
		return
	}
	kind, known := b.kinds[a.Type]
	if !known {
		b.fatal(b.nearest(a.Type)+"docs/forward-proxy.md has the types", "there is no ACL type %q", a.Type)
		return
	}
	if t, again := b.types[a.Name]; again && t != a.Type {
		if !b.own[a.Name] {
			b.fatal("give the two different names", "it is of type %s and of type %s", t, a.Type)
			return
		}
		delete(b.set.acls, a.Name) // a built-in one in other words, as configurations of old versions have it
		delete(b.own, a.Name)
	}
	opts, values := split(a)
	if !b.options(a.Type, kind, opts) {
		return
	}
	if len(values) == 0 && !kind.empty {
		b.fatal("add a value, or take the ACL out", "it has no value: it would match nothing")
		return
	}
	q := b.set.acls[a.Name]
	if q == nil {
		q = &question{name: a.Name}
		b.set.acls[a.Name] = q
	}
	b.types[a.Name] = a.Type
	q.auth = q.auth || kind.auth
	key := strings.Join(append([]string{a.Name, a.Type}, opts...), "\x00")
	if m, ok := b.parts[key].(adder); ok && !kind.perLine && slices.Contains(q.parts, matcher(m)) {
		m.add(b, values)
		return
	}
	m := kind.make(b, opts, values)
	if m == nil {
		return
	}
	if g, ok := m.(*group); ok {
		g.name, g.index = a.Name, b.index
		b.groups = append(b.groups, g)
	}
	b.parts[key] = m
	q.parts = append(q.parts, m)
}

// split tells options from values: values that look like options and come first are options, as on Squid's
// lines.
func split(a *ir.ACL) (opts, values []string) {
	opts = slices.Clone(a.Options)
	values = a.Values
	for len(values) > 0 && len(values[0]) > 1 && (values[0] == "-i" || values[0] == "+i" || values[0] == "-n" || values[0] == "-sha1" || strings.HasPrefix(values[0], "--")) {
		opts = append(opts, values[0])
		values = values[1:]
	}
	return opts, values
}

// options reports whether all options belong to the type.
func (b *builder) options(kind string, k kind, opts []string) bool {
	for _, o := range opts {
		if o == "--" || slices.Contains(k.flags, o) {
			continue
		}
		b.fatal("take the option out", "type %s has no option %s", kind, o)
		return false
	}
	return true
}
