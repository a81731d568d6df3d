package squidconf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// listed are the types whose lines of one name are one list of values.
func listed(kind string) bool {
	return slices.Contains([]string{"src", "dst", "localip", "port", "localport", "dstdomain", "srcdomain", "ssl::server_name", "method", "proto", "myportname", "http_status", "proxy_auth"}, kind)
}

// patterned are the types whose values are expressions.
func patterned(kind string) bool {
	return strings.HasSuffix(kind, "_regex") || slices.Contains([]string{"browser", "req_header", "rep_header", "req_mime_type", "rep_mime_type"}, kind)
}

// acl reads "acl NAME TYPE [options] values...".
func (c *converter) acl(st *statement) {
	if len(st.words) < 3 {
		c.refuse("Write acl NAME TYPE VALUES.", "the line has no name or no type")
		if len(st.words) == 2 {
			c.bad[st.words[1]] = true
		}
		return
	}
	name, kind := st.words[1], st.words[2]
	words := st.words
	if patterned(kind) {
		words, _ = split(st.text, false, true) // Squid does not take expressions in quotes either
	}
	a := v1alpha1.ACL{Name: name, Type: kind}
	rest := words[3:]
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") && len(rest[0]) > 1 {
		a.Options, rest = append(a.Options, rest[0]), rest[1:]
	}
	ok := true
	if a.Values, ok = c.values(rest); !ok {
		c.bad[name] = true
		return
	}
	if kind == "myportname" {
		for i, v := range a.Values {
			if listener := c.ports[v]; listener != "" {
				a.Values[i] = listener
			}
		}
	}
	if strings.HasPrefix(kind, "proxy_auth") && (c.proxy.Spec.Authentication == nil || c.proxy.Spec.Authentication.HtpasswdRef == nil) {
		c.refuse("Put the users into a file of htpasswd and use basic_ncsa_auth.", "clients cannot be asked who they are, since no auth_param line could be taken over")
		c.bad[name] = true
		return
	}
	c.defined[name] = true
	c.acls, c.aclLines = append(c.acls, a), append(c.aclLines, st.line)
	c.honour("spec.acls %s", name)
}

// verify drops ACLs that cannot be asked, with all lines of their names and groups that ask for them, and joins
// lines that are one list.
func (c *converter) verify() {
	own := len(c.acls) - len(c.aclLines) // ACLs of no line come first
	for dropped := true; dropped; {
		dropped = false
		var list []ir.ACL
		for _, a := range c.acls {
			list = append(list, ir.ACL{Name: a.Name, Type: a.Type, Values: a.Values, Options: a.Options})
		}
		problems := acl.Verify(list)
		for _, p := range problems {
			if p.Fatal && p.Index >= own {
				c.line = &c.result.Lines[c.aclLines[p.Index-own]]
				c.refuse(p.Fix, "%s", p.Message)
				c.bad[p.Name] = true
			}
		}
		kept, lines := slices.Clone(c.acls[:own]), []int(nil)
		for i, a := range c.acls[own:] {
			if !c.bad[a.Name] {
				kept, lines = append(kept, a), append(lines, c.aclLines[i])
				continue
			}
			dropped = true
			if c.line = &c.result.Lines[c.aclLines[i]]; c.line.Outcome != Refused {
				c.refuse("Correct the other line.", "another line of ACL %s cannot be used", a.Name)
			}
		}
		if !dropped {
			for _, p := range problems {
				if p.Index < own {
					continue
				}
				c.line = &c.result.Lines[c.aclLines[p.Index-own]]
				c.note("%s", p.Message)
			}
		}
		c.acls, c.aclLines = kept, lines
	}
	c.join()
}

// join makes one ACL of lines that are one list.
func (c *converter) join() {
	first := map[string]int{}
	var out []v1alpha1.ACL
	for _, a := range c.acls {
		key := fmt.Sprint(a.Name, " ", a.Type, " ", a.Options)
		toggles := slices.Contains(a.Values, "-i") || slices.Contains(a.Values, "+i")
		if i, ok := first[key]; ok && !toggles {
			out[i].Values = append(out[i].Values, a.Values...)
			continue
		}
		if listed(a.Type) || strings.HasSuffix(a.Type, "_regex") && !toggles {
			first[key] = len(out)
		}
		out = append(out, a)
	}
	c.acls, c.aclLines = out, nil
}

// known reports whether rules may ask for an ACL.
func (c *converter) known(name string) bool {
	name = strings.TrimPrefix(name, "!")
	return !c.bad[name] && (c.defined[name] || acl.Builtin(name))
}

// asks returns the ACLs of a rule, and those that cannot be asked.
func (c *converter) asks(words []string) (acls, missing []string) {
	for _, w := range words {
		if c.known(w) {
			acls = append(acls, w)
		} else {
			missing = append(missing, w)
		}
	}
	return acls, missing
}

// rules is a list of "allow|deny acl ...".
type rules struct {
	given bool // there was a line
	kept  []v1alpha1.AccessRule
	last  string // action of the last line, if that was left out
}

func (l *rules) add(r v1alpha1.AccessRule) {
	l.kept, l.last, l.given = append(l.kept, r), "", true
}

func (l *rules) leaveOut(action string) { l.last, l.given = action, true }

// list returns the rules. What holds where none matches, the opposite of the last line, is written down where that
// line was left out.
func (l *rules) list() []v1alpha1.AccessRule {
	switch l.last {
	case "Allow":
		return append(slices.Clone(l.kept), v1alpha1.AccessRule{Action: "Deny", ACLs: []string{"all"}})
	case "Deny":
		return append(slices.Clone(l.kept), v1alpha1.AccessRule{Action: "Allow", ACLs: []string{"all"}})
	}
	return l.kept
}

// rule reads "allow|deny acl ..." into a list. A rule of the action that opens which asks for something that is not
// there is left out; one of the other action is kept without that question, so that it closes more. It reports
// whether the rule was kept.
func (c *converter) rule(l *rules, opens string, words []string) bool {
	if len(words) == 0 {
		c.refuseClosing("Write allow or deny and ACLs.", "the line has no action")
		return false
	}
	action := map[string]string{"allow": "Allow", "deny": "Deny"}[words[0]]
	if action == "" {
		c.refuseClosing("Write allow or deny.", "%q is neither allow nor deny", words[0])
		return false
	}
	acls, missing := c.asks(words[1:])
	if len(missing) > 0 {
		c.refuse("Define the ACL, or leave the line out.", "it asks for %s, which cannot be asked here", strings.Join(missing, ", "))
		if action == opens {
			c.note("the rule is left out")
			l.leaveOut(action)
			return false
		}
		c.note("the rule holds without asking for that")
	}
	l.add(v1alpha1.AccessRule{Action: action, ACLs: acls})
	return true
}

// onlyAllowing says a list with allowing rules alone: each asks also that no denying rule before it holds.
func (c *converter) onlyAllowing(l *rules) [][]string {
	var out [][]string
	var except []string
	list := l.list()
	for _, r := range list {
		every := len(r.ACLs) == 0 || slices.Equal(r.ACLs, []string{"all"})
		switch {
		case r.Action == "Allow" && every && len(except) > 0:
			return append(out, slices.Clone(except))
		case r.Action == "Allow":
			out = append(out, slices.Concat(r.ACLs, except))
			if every {
				return out
			}
		case every:
			return out
		default:
			except = append(except, negated(c.allOf(r.ACLs)))
		}
	}
	if n := len(list); n > 0 && list[n-1].Action == "Deny" {
		out = append(out, slices.Clone(except))
	}
	return out
}

// allOf returns the name of an ACL that holds if all of some do.
func (c *converter) allOf(acls []string) string {
	if len(acls) == 1 {
		return acls[0]
	}
	for _, a := range c.acls {
		if a.Type == "all-of" && slices.Equal(a.Values, acls) {
			return a.Name
		}
	}
	c.groups++
	name := c.unique(fmt.Sprintf("together-%d", c.groups), c.defined)
	c.acls = append(c.acls, v1alpha1.ACL{Name: name, Type: "all-of", Values: acls})
	c.defined[name] = true
	return name
}

// unique returns name, with a number behind it if it is taken.
func (c *converter) unique(name string, taken map[string]bool) string {
	out := name
	for i := 2; taken[out]; i++ {
		out = fmt.Sprintf("%s-%d", name, i)
	}
	return out
}

func negated(acl string) string {
	if name, ok := strings.CutPrefix(acl, "!"); ok {
		return name
	}
	return "!" + acl
}

func httpAccess(c *converter, words []string) {
	if c.rule(&c.access, "Allow", words) {
		c.honour("spec.access[%d]", len(c.access.kept)-1)
	}
}

func alwaysDirect(c *converter, words []string) {
	if c.rule(&c.always, "Allow", words) {
		c.honour("spec.direct, before what never_direct says")
	}
}

func neverDirect(c *converter, words []string) {
	if c.rule(&c.never, "Deny", words) {
		c.honour("spec.direct")
	}
}

func cacheRule(c *converter, words []string) {
	if !c.rule(&c.caching, "Allow", words) {
		return
	}
	if len(c.caching.kept) == 1 {
		if r := c.caching.kept[0]; r.Action == "Deny" && slices.Equal(r.ACLs, []string{"all"}) {
			c.noCache = true
		}
	}
	if c.noCache {
		c.honour("no spec.cache")
		return
	}
	c.honour("spec.cache.rules[%d]", len(c.caching.kept)-1)
}
