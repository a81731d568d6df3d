package manifest

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Expressions of egress; the CRDs repeat them.
const (
	hostExpression   = `^(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*$`
	exactExpression  = `^[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*$`
	headerExpression = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
	aclExpression    = `^[^\s!"#][^\s]*$`
)

// maxBytes bounds sizes of stores: 1 PiB, far above what anybody means.
const maxBytes = 1 << 50

// egressFieldRules are the rules of single fields of UpstreamProxies, ForwardProxies and CachePolicies.
func egressFieldRules() map[fieldID]fieldRule {
	rules := map[fieldID]fieldRule{}
	proxyRules(rules)
	forwardRules(rules)
	interceptionRules(rules)
	cacheRules(rules)
	return rules
}

// proxyRules adds the rules of UpstreamProxies.
func proxyRules(rules map[fieldID]fieldRule) {
	host := rule{check: pattern(exactExpression, 255, "a host name without wildcard")}
	spec := reflect.TypeFor[v1alpha1.UpstreamProxySpec]()
	rules[fieldID{spec, "urls"}] = fieldRule{nonzero: true, elem: rule{check: checkProxyURL}}
	rules[fieldID{spec, "hosts"}] = fieldRule{elem: rule{check: checkDestination}}
	rules[fieldID{spec, "except"}] = fieldRule{elem: rule{check: checkException}}
	rules[fieldID{spec, "fallback"}] = fieldRule{rule: rule{enum: []string{"none", "direct"}}}

	rules[fieldID{reflect.TypeFor[v1alpha1.ProxyHopTLS](), "serverName"}] = fieldRule{rule: host}
	rules[fieldID{reflect.TypeFor[v1alpha1.ProxyInterception](), "expect"}] = fieldRule{rule: rule{enum: []string{"Always", "Sometimes"}}}

	probe := reflect.TypeFor[v1alpha1.ProxyProbe]()
	rules[fieldID{probe, "target"}] = fieldRule{nonzero: true, rule: rule{check: checkHostPort}}
	rules[fieldID{probe, "healthyThreshold"}] = fieldRule{rule: rule{max: 100}}
	rules[fieldID{probe, "unhealthyThreshold"}] = fieldRule{rule: rule{max: 100}}

	header := reflect.TypeFor[v1alpha1.ProxyHeader]()
	rules[fieldID{header, "name"}] = fieldRule{nonzero: true, rule: rule{check: pattern(headerExpression, 256, "a header name")}}
	rules[fieldID{header, "value"}] = fieldRule{rule: rule{check: checkFieldValue}}
}

// forwardRules adds the rules of ForwardProxies, those of Interception apart.
func forwardRules(rules map[fieldID]fieldRule) {
	port := rule{min: 1, max: 65535}
	version := rule{enum: []string{"1.0", "1.1", "1.2", "1.3"}}
	host := rule{check: pattern(exactExpression, 255, "a host name without wildcard")}
	access := rule{enum: []string{"Allow", "Deny"}}

	spec := reflect.TypeFor[v1alpha1.ForwardProxySpec]()
	rules[fieldID{spec, "listeners"}] = fieldRule{nonzero: true}
	rules[fieldID{spec, "outboundTrafficPolicy"}] = fieldRule{rule: rule{enum: []string{"AllowAny", "RegistryOnly"}}}
	rules[fieldID{spec, "visibleHostname"}] = fieldRule{rule: host}

	listener := reflect.TypeFor[v1alpha1.ForwardListener]()
	rules[fieldID{listener, "name"}] = fieldRule{nonzero: true, rule: rule{check: pattern(nameExpression, 253, "a name of lower-case letters, digits, hyphens and dots")}}
	rules[fieldID{listener, "port"}] = fieldRule{required: true, rule: port}
	rules[fieldID{listener, "bind"}] = fieldRule{rule: rule{check: checkIP}}
	rules[fieldID{listener, "mode"}] = fieldRule{rule: rule{enum: []string{"Proxy", "Transparent", "TProxy", "Gateway"}}}
	rules[fieldID{listener, "originatePort"}] = fieldRule{rule: port}

	acl := reflect.TypeFor[v1alpha1.ACL]()
	rules[fieldID{acl, "name"}] = fieldRule{nonzero: true, rule: rule{check: pattern(aclExpression, 253, `a name without spaces that does not begin with "!"`)}}
	rules[fieldID{acl, "type"}] = fieldRule{nonzero: true}
	rules[fieldID{reflect.TypeFor[v1alpha1.AccessRule](), "action"}] = fieldRule{nonzero: true, rule: access}

	upstream := reflect.TypeFor[v1alpha1.ForwardUpstream]()
	rules[fieldID{upstream, "minVersion"}] = fieldRule{rule: version}
	rules[fieldID{upstream, "maxVersion"}] = fieldRule{rule: version}
	rules[fieldID{upstream, "protocol"}] = fieldRule{rule: rule{enum: []string{"auto", "http1"}}}
	rules[fieldID{reflect.TypeFor[v1alpha1.ProxyRule](), "proxyRefs"}] = fieldRule{nonzero: true}

	headers := reflect.TypeFor[v1alpha1.ForwardHeaders]()
	rules[fieldID{headers, "forwardedFor"}] = fieldRule{rule: rule{enum: []string{"on", "off", "transparent", "delete", "truncate"}}}
	rules[fieldID{headers, "remove"}] = fieldRule{elem: rule{check: pattern(headerExpression, 256, "a header name")}}

	pages := reflect.TypeFor[v1alpha1.ForwardPages]()
	rules[fieldID{pages, "html"}] = fieldRule{rule: rule{check: func(v string) string {
		if len(v) > maxPage {
			return "at most 64 KiB"
		}
		return ""
	}}}
	rules[fieldID{pages, "trustHost"}] = fieldRule{rule: host}
	rules[fieldID{reflect.TypeFor[v1alpha1.ProxyAuthentication](), "realm"}] = fieldRule{rule: rule{check: checkFieldValue}}
}

// interceptionRules adds the rules of ForwardProxies' interception.
func interceptionRules(rules map[fieldID]fieldRule) {
	version := rule{enum: []string{"1.0", "1.1", "1.2", "1.3"}}
	bytes := rule{max: maxBytes}
	i := reflect.TypeFor[v1alpha1.Interception]()
	rules[fieldID{i, "keyType"}] = fieldRule{rule: rule{enum: []string{"ECDSA", "RSA", "Mimic"}}}
	rules[fieldID{i, "memoryBytes"}] = fieldRule{rule: bytes}
	rules[fieldID{i, "diskBytes"}] = fieldRule{rule: bytes}
	rules[fieldID{i, "diskPath"}] = fieldRule{rule: rule{check: checkFolder}}
	rules[fieldID{i, "minVersion"}] = fieldRule{rule: version}
	rules[fieldID{i, "onUnsupportedProtocol"}] = fieldRule{rule: rule{enum: []string{"Respond", "Tunnel"}}}
	rules[fieldID{reflect.TypeFor[v1alpha1.InterceptionRule](), "action"}] = fieldRule{nonzero: true, rule: rule{enum: []string{"Peek", "Splice", "Stare", "Bump", "Terminate"}}}
	rules[fieldID{reflect.TypeFor[v1alpha1.SignRule](), "sign"}] = fieldRule{nonzero: true, rule: rule{enum: []string{"Trusted", "Untrusted", "Self"}}}
	rules[fieldID{reflect.TypeFor[v1alpha1.AdaptRule](), "adapt"}] = fieldRule{nonzero: true, rule: rule{enum: []string{"setValidAfter", "setValidBefore", "setCommonName"}}}
}

// cacheRules adds the rules of caches, of CachePolicies and ForwardProxies.
func cacheRules(rules map[fieldID]fieldRule) {
	rules[fieldID{reflect.TypeFor[v1alpha1.CachePolicySpec](), "targetRefs"}] = fieldRule{nonzero: true}
	bytes := rule{max: maxBytes}
	c := reflect.TypeFor[v1alpha1.Cache]()
	rules[fieldID{c, "memoryBytes"}] = fieldRule{rule: bytes}
	rules[fieldID{c, "maxObjectBytes"}] = fieldRule{rule: bytes}
	rules[fieldID{c, "diskBytes"}] = fieldRule{rule: bytes}
	rules[fieldID{c, "diskPath"}] = fieldRule{rule: rule{check: checkFolder}}
	rules[fieldID{c, "purgeFrom"}] = fieldRule{elem: rule{check: checkRange}}

	pattern := reflect.TypeFor[v1alpha1.RefreshPattern]()
	rules[fieldID{pattern, "pattern"}] = fieldRule{nonzero: true, rule: rule{check: checkExpression}}
	rules[fieldID{pattern, "percent"}] = fieldRule{rule: rule{max: 1<<31 - 1}}
}

// checkProxyURL wants "http://HOST" or "https://HOST", with a port or not.
func checkProxyURL(v string) string {
	const want = `a proxy's URL such as http://10.0.0.8:8080 or https://proxy.example.com, without user, path or query`
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" || len(v) > 1024 || strings.HasSuffix(u.Host, ":") {
		return want
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return want
		}
	}
	if checkHost(u.Hostname()) != "" {
		return want
	}
	return ""
}

// checkHost wants an IP address or an exact name.
func checkHost(v string) string {
	if _, err := netip.ParseAddr(v); err == nil {
		return ""
	}
	return pattern(exactExpression, 255, "an IP address or a DNS name")(v)
}

// checkDestination wants a name, "*." and a name, or "*".
func checkDestination(v string) string {
	if v == "*" {
		return ""
	}
	return pattern(hostExpression, 255, `a host name, "*." and a host name, or "*"`)(v)
}

// checkException wants what checkDestination does, an address or a network.
func checkException(v string) string {
	if checkRange(v) == "" || checkDestination(v) == "" {
		return ""
	}
	return `a host name, "*." and a host name, an IP address, or a network such as 10.0.0.0/8`
}

// checkHostPort wants host:port.
func checkHostPort(v string) string {
	host, port, err := net.SplitHostPort(v)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || checkHost(host) != "" {
		return "a destination with its port, such as www.example.com:443"
	}
	return ""
}

func checkIP(v string) string {
	if _, err := netip.ParseAddr(v); err != nil {
		return "an IP address"
	}
	return ""
}

// checkFolder wants an absolute path.
func checkFolder(v string) string {
	if len(v) > 1024 || !strings.HasPrefix(v, "/") || hasControl(v) {
		return `a folder's path that begins with "/"`
	}
	return ""
}

// checkExpression wants a regular expression that RE2 knows.
func checkExpression(v string) string {
	if len(v) > 1024 {
		return "a regular expression of at most 1024 characters"
	}
	if _, err := regexp.Compile(v); err != nil {
		return "a regular expression (RE2: no backreferences, no lookaround)"
	}
	return ""
}

// verifyForwardProxy checks the names of listeners.
func verifyForwardProxy(p *v1alpha1.ForwardProxySpec) []fault {
	var faults []fault
	first := map[string]int{}
	for i, l := range p.Listeners {
		if j, twice := first[l.Name]; twice {
			faults = append(faults, fault{diag.BadValue, 0, fmt.Sprintf("spec.listeners[%d].name", i),
				fmt.Sprintf("Listener %d has the name %s of listener %d.", i, quote(l.Name), j), "Give every listener its own name."})
			continue
		}
		first[l.Name] = i
	}
	return faults
}
