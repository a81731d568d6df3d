package compile

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// mendThere is the fix of what follows from an object that has findings of its own.
const mendThere = "Mend what is reported there."

// unaccepted says why a target is not served although it stands in the source; "" if that is not so.
func (c *compiler) unaccepted(t translate.AccessTarget) string {
	for _, u := range c.unread {
		if u.Object == t.Object {
			return fmt.Sprintf("%s %s", u.Object, u.Stands)
		}
	}
	for _, r := range c.idle {
		if r.Object == t.Object && r.Section == t.Section {
			return fmt.Sprintf("the rule %q of %s was not accepted: it can match no request", r.Section, r.Object)
		}
	}
	return ""
}

// unacceptedHost names an object that was to serve a host and was not accepted; "" if there is none.
func (c *compiler) unacceptedHost(host hostname.Pattern) string {
	for _, u := range c.unread {
		if u.Object.Kind != "EdgeHost" && u.Object.Kind != "Gateway" && !isRoute(u.Object.Kind) {
			continue
		}
		for _, h := range u.Hosts {
			if _, meets := hostname.Intersect(h, host); meets {
				return fmt.Sprintf("%s %s", u.Object, u.Stands)
			}
		}
	}
	return ""
}
