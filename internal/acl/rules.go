package acl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Rules is a compiled list of rules. It is immutable.
type Rules struct {
	directive string
	list      []rule
	fallback  Decision
}

type rule struct {
	action string
	value  string
	text   string
	refs   []ref
}

// ref is a question, or its opposite.
type ref struct {
	q      *question
	negate bool
}

// Decision is what rules say. Index is -1 where none matched.
type Decision struct {
	Action string
	Value  string
	Index  int
	Text   string // for people: "access rule 2 (deny CONNECT !SSL_ports)"

	// Authenticate says that the client must show who it is, or as somebody else: the answer is 407. Action
	// is then "deny".
	Authenticate bool
}

// Allowed reports whether the action is allow.
func (d *Decision) Allowed() bool { return d.Action == "allow" }

// Rules compiles rules; directive is the word for them in texts. The error is a *Problem whose Index is that
// of the rule. Where the actions are allow and deny, no match means the opposite of the last rule.
func (s *Set) Rules(directive string, list []ir.ForwardRule) (*Rules, error) {
	r := &Rules{directive: directive, fallback: Decision{Index: -1, Text: "no " + directive + " rule matches"}}
	for i, in := range list {
		out := rule{action: in.Action, value: in.Value}
		for _, name := range in.ACLs {
			bare, negate := strings.CutPrefix(name, "!")
			q := s.acls[bare]
			if q == nil {
				return nil, &Problem{Name: bare, Index: i, Message: fmt.Sprintf("there is no ACL of the name %q", bare), Fix: "define it in acls, or correct the name", Fatal: true}
			}
			out.refs = append(out.refs, ref{q, negate})
		}
		words := append([]string{in.Action}, in.ACLs...)
		out.text = directive + " rule " + strconv.Itoa(i+1) + " (" + strings.Join(words, " ") + ")"
		r.list = append(r.list, out)
	}
	if n := len(list); n > 0 {
		switch list[n-1].Action {
		case "allow":
			r.fallback.Action = "deny"
		case "deny":
			r.fallback.Action = "allow"
		}
		if r.fallback.Action != "" {
			r.fallback.Text = fmt.Sprintf("no %s rule matches: %s, the opposite of the last", directive, r.fallback.Action)
		}
	}
	return r, nil
}

// Len returns how many rules there are; nil has none.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.list)
}

// Decide returns what the first rule says whose questions all hold and whose action is not among banned. It
// may wait for DNS (Facts.Lookup). Rules of nil decide nothing: Action is "".
func (r *Rules) Decide(f *Facts, banned ...string) Decision {
	if r == nil {
		return Decision{Index: -1}
	}
	for i := range r.list {
		rule := &r.list[i]
		if slices.Contains(banned, rule.action) {
			continue
		}
		switch rule.match(f) {
		case yes:
			d := Decision{Action: rule.action, Value: rule.value, Index: i, Text: rule.text}
			// As in Squid, a denial whose last question was about the user asks for another one.
			d.Authenticate = d.Action == "deny" && f.CanAuthenticate && rule.asksUser()
			return d
		case unauthenticated:
			// Where nobody can be asked, an unknown user is let in by no rule and kept out by those about users.
			if f.CanAuthenticate || rule.action == "deny" {
				return Decision{Action: "deny", Index: i, Text: rule.text, Authenticate: f.CanAuthenticate}
			}
		}
	}
	return r.fallback
}

// match asks in order and stops at the first question that does not hold.
func (r *rule) match(f *Facts) verdict {
	for _, ref := range r.refs {
		v := ref.q.match(f)
		if v == unauthenticated {
			return unauthenticated
		}
		if (v == yes) == ref.negate {
			return no
		}
	}
	return yes
}

func (r *rule) asksUser() bool {
	n := len(r.refs)
	return n > 0 && r.refs[n-1].q.auth
}

// Match reports whether all named questions hold: a list of names without an action, as of ForwardVia.
func (s *Set) Match(names []string, f *Facts) bool {
	for _, name := range names {
		bare, negate := strings.CutPrefix(name, "!")
		q := s.acls[bare]
		if q == nil || (q.match(f) == yes) == negate {
			return false
		}
	}
	return true
}
