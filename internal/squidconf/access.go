package squidconf

import (
	"fmt"
	"slices"
	"strings"

	internal "github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/ir"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

// acl reads "acl NAME TYPE [options] values...".
func acl(c *converter, words []string) {
	if len(words) < 2 {
		c.refuse("Write acl NAME TYPE VALUES.", "the line has no name or no type")
		return
	}
	name, kind := words[0], strings.ToLower(words[1])
	if kind == "ssl::server_name" || kind == "ssl::server_name_regex" || strings.Contains(words[1], "::") {
		kind = words[1]
	}
	a := v1alpha1.ACL{Name: name, Type: kind}
	for i, w := range words[2:] {
		if i == len(a.Options) && strings.HasPrefix(w, "-") && len(w) > 1 {
			a.Options = append(a.Options, w)
			continue
		}
		a.Values = append(a.Values, c.values([]string{w})...)
	}
	for _, p := range internal.Verify([]ir.ACL{{Name: a.Name, Type: a.Type, Values: a.Values, Options: a.Options}}) {
		if p.Fatal {
			c.refuse(p.Fix, "%s", p.Message)
			c.bad[name] = true
			return
		}
		c.noEffect("%s", p.Message)
	}
	if c.line.Outcome == Refused { // a file of values is missing
		c.bad[name] = true
		return
	}
	key := fmt.Sprint(name, " ", kind, " ", a.Options)
	if before := c.acls[key]; before != nil {
		before.Values = append(before.Values, a.Values...)
	} else {
		c.acls[key] = &a
		c.order = append(c.order, key)
	}
	c.honour("spec.acls %s", name)
}

func httpAccess(c *converter, words []string) {
	if r, ok := c.rule(words); ok {
		c.spec().Access = append(c.spec().Access, r)
		c.honour("spec.access[%d]", len(c.spec().Access)-1)
	}
}

func direct(action string) directive {
	return func(c *converter, words []string) {
		r, ok := c.rule(words)
		if !ok {
			return
		}
		if r.Action == "Deny" { // what it names is not decided by the rules after it
			if len(r.ACLs) != 1 {
				c.refuse("Write the exceptions into the allowing lines, with \"!\".", "a denying line with several ACLs cannot be said here")
				return
			}
			if c.except == nil {
				c.except = map[string][]string{}
			}
			c.except[action] = append(c.except[action], negated(r.ACLs[0]))
			c.honour("an exception in the lines that follow")
			return
		}
		r.Action = action
		r.ACLs = append(r.ACLs, c.except[action]...)
		c.spec().Direct = append(c.spec().Direct, r)
		c.honour("spec.direct[%d]", len(c.spec().Direct)-1)
	}
}

func negated(acl string) string {
	if name, ok := strings.CutPrefix(acl, "!"); ok {
		return name
	}
	return "!" + acl
}

func cacheRule(c *converter, words []string) {
	r, ok := c.rule(words)
	if !ok {
		return
	}
	if r.Action == "Deny" && slices.Equal(r.ACLs, []string{"all"}) && len(c.cache().Rules) == 0 {
		c.noCache = true
		c.honour("no spec.cache")
		return
	}
	c.cache().Rules = append(c.cache().Rules, r)
	c.honour("spec.cache.rules[%d]", len(c.cache().Rules)-1)
}

// sslBump reads "ssl_bump ACTION acl...". Old actions mean what Squid makes of them today.
func sslBump(c *converter, words []string) {
	if len(words) == 0 {
		c.refuse("Write peek, splice, stare, bump or terminate, and ACLs.", "the line has no action")
		return
	}
	action := map[string]string{"peek": "Peek", "splice": "Splice", "stare": "Stare", "bump": "Bump", "terminate": "Terminate",
		"none": "Splice", "client-first": "Bump", "server-first": "Bump", "allow": "Bump", "deny": "Splice"}[words[0]]
	if action == "" {
		c.refuse("Write peek, splice, stare, bump or terminate.", "%q is no action of ssl_bump", words[0])
		return
	}
	acls, missing := c.asks(words[1:])
	if len(missing) > 0 {
		c.refuse("Define the ACL.", "it asks for %s, which cannot be asked here; the rule is left out", strings.Join(missing, ", "))
		return
	}
	i := c.interception()
	i.Rules = append(i.Rules, v1alpha1.InterceptionRule{Action: action, ACLs: acls})
	c.honour("spec.interception.rules[%d]", len(i.Rules)-1)
	if old := strings.ToLower(action); old != words[0] {
		c.note("%s is %s today", words[0], old)
	}
}

func certError(c *converter, words []string) {
	r, ok := c.rule(words)
	if !ok {
		return
	}
	i := c.interception()
	i.CertificateErrors = append(i.CertificateErrors, r)
	c.honour("spec.interception.certificateErrors[%d]", len(i.CertificateErrors)-1)
	if r.Action == "Allow" && (len(r.ACLs) == 0 || slices.Equal(r.ACLs, []string{"all"})) {
		c.warn("Remove the line: certificates of destinations are then verified. Allow single errors of single hosts where it must be.",
			"certificates of destinations are not verified at all: whoever sits between the proxy and a destination is believed, and clients cannot see it")
	}
}

func certSign(c *converter, words []string) {
	if len(words) == 0 {
		c.refuse("Write signTrusted, signUntrusted or signSelf, and ACLs.", "the line has no action")
		return
	}
	sign := map[string]string{"signTrusted": "Trusted", "signUntrusted": "Untrusted", "signSelf": "Self"}[words[0]]
	acls, missing := c.asksErrors(words[1:])
	if sign == "" || len(missing) > 0 {
		c.refuse("Write signTrusted, signUntrusted or signSelf, and ACLs that are there.", "%s cannot be said here; the rule is left out", strings.Join(words, " "))
		return
	}
	i := c.interception()
	i.Sign = append(i.Sign, v1alpha1.SignRule{Sign: sign, ACLs: acls})
	c.honour("spec.interception.sign[%d]", len(i.Sign)-1)
}

// asksErrors is asks for rules that may name Squid's classes of certificate errors as if they were ACLs. They
// become some.
func (c *converter) asksErrors(words []string) (acls, missing []string) {
	for _, w := range words {
		name, class, _ := strings.Cut(strings.TrimPrefix(w, "!"), "::")
		if name == "ssl" && class != "" && !c.known(w) {
			c.acls[w+" ssl_error []"] = &v1alpha1.ACL{Name: strings.TrimPrefix(w, "!"), Type: "ssl_error", Values: []string{strings.TrimPrefix(w, "!")}}
			c.order = append(c.order, w+" ssl_error []")
		}
	}
	return c.asks(words)
}

// certAdapt reads "sslproxy_cert_adapt setCommonName{NAME} acl...".
func certAdapt(c *converter, words []string) {
	if len(words) == 0 {
		c.refuse("Write setValidAfter, setValidBefore or setCommonName, and ACLs.", "the line has no action")
		return
	}
	adapt, value, _ := strings.Cut(strings.TrimSuffix(words[0], "}"), "{")
	acls, missing := c.asksErrors(words[1:])
	if !slices.Contains([]string{"setValidAfter", "setValidBefore", "setCommonName"}, adapt) || len(missing) > 0 {
		c.refuse("Write setValidAfter, setValidBefore or setCommonName, and ACLs that are there.", "%s cannot be said here; the rule is left out", strings.Join(words, " "))
		return
	}
	i := c.interception()
	i.Adapt = append(i.Adapt, v1alpha1.AdaptRule{Adapt: adapt, Value: value, ACLs: acls})
	c.honour("spec.interception.adapt[%d]", len(i.Adapt)-1)
}

// certProgram reads the bounds of "sslcrtd_program PATH -s DIR -M SIZE".
func certProgram(c *converter, words []string) {
	i := c.interception()
	for n := 1; n+1 < len(words); n++ {
		switch words[n] {
		case "-s":
			i.DiskPath = strings.TrimSuffix(words[n+1], "/") + "-hakone"
			c.honour("spec.interception.diskPath %s: certificates are made by the process itself and kept beside Squid's", i.DiskPath)
		case "-M":
			size, err := parseSize(words[n+1])
			if err != nil {
				c.refuse("Write a size such as 4MB.", "%v", err)
				return
			}
			i.DiskBytes = size
			c.honour("spec.interception.diskBytes %d", size)
		}
	}
}

func unsupportedProtocol(c *converter, words []string) {
	if len(words) > 0 && (words[0] == "tunnel" || words[0] == "respond") {
		if acls := words[1:]; len(acls) > 0 && !slices.Equal(acls, []string{"all"}) {
			c.refuse("Write all.", "one answer holds for all clients here; the line is left out")
			return
		}
		c.interception().OnUnsupportedProtocol = map[string]string{"tunnel": "Tunnel", "respond": "Respond"}[words[0]]
		c.honour("spec.interception.onUnsupportedProtocol")
		return
	}
	c.refuse("Write tunnel or respond.", "%s cannot be said here", strings.Join(words, " "))
}

func signHash(c *converter, words []string) {
	if len(words) == 1 && strings.EqualFold(words[0], "sha256") {
		c.honour("SHA-256 is what certificates are signed with")
		return
	}
	c.noEffect("certificates are signed with SHA-256")
}
