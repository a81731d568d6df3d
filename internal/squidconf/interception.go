package squidconf

import (
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

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
		c.refuse("Define the ACL.", "it asks for %s, which cannot be asked here", strings.Join(missing, ", "))
		if action == "Splice" || action == "Peek" { // after peek, nothing can be bumped
			c.note("the rule is left out")
			return
		}
		c.note("the rule holds without asking for that")
	}
	i := c.interception()
	i.Rules = append(i.Rules, v1alpha1.InterceptionRule{Action: action, ACLs: acls})
	c.honour("spec.interception.rules[%d]", len(i.Rules)-1)
	if old := strings.ToLower(action); old != words[0] {
		c.note("%s is %s today", words[0], old)
	}
}

func certError(c *converter, words []string) {
	if !c.rule(&c.certErrors, "Allow", words) {
		return
	}
	c.interception()
	n := len(c.certErrors.kept) - 1
	c.honour("spec.interception.certificateErrors[%d]", n)
	if r := c.certErrors.kept[n]; r.Action == "Allow" && (len(r.ACLs) == 0 || slices.Equal(r.ACLs, []string{"all"})) {
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
	acls, missing := c.asks(words[1:])
	if sign == "" || len(missing) > 0 {
		c.refuse("Write signTrusted, signUntrusted or signSelf, and ACLs that are there.", "%s cannot be said here; the rule is left out", strings.Join(words, " "))
		return
	}
	i := c.interception()
	i.Sign = append(i.Sign, v1alpha1.SignRule{Sign: sign, ACLs: acls})
	c.honour("spec.interception.sign[%d]", len(i.Sign)-1)
}

// certAdapt reads "sslproxy_cert_adapt setCommonName{NAME} acl...".
func certAdapt(c *converter, words []string) {
	if len(words) == 0 {
		c.refuse("Write setValidAfter, setValidBefore or setCommonName, and ACLs.", "the line has no action")
		return
	}
	adapt, value, _ := strings.Cut(strings.TrimSuffix(words[0], "}"), "{")
	acls, missing := c.asks(words[1:])
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
