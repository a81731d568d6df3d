package manifest

import (
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

// edgeTypeRules are the rules of the named types of our kinds of the edge. The CRDs say the same.
func edgeTypeRules() map[reflect.Type]rule {
	return map[reflect.Type]rule{
		reflect.TypeFor[v1alpha1.Duration]():         {check: checkDuration},
		reflect.TypeFor[v1alpha1.PolicyAction]():     {enum: []string{"Require", "Open"}},
		reflect.TypeFor[v1alpha1.Enforcement]():      {enum: []string{"Deny", "RejectConnection"}},
		reflect.TypeFor[v1alpha1.PolicyMode]():       {enum: []string{"Enforce", "Audit"}},
		reflect.TypeFor[v1alpha1.OnChange]():         {enum: []string{"Finish", "Now"}},
		reflect.TypeFor[v1alpha1.ForwardFormat]():    {enum: []string{"RFC9440", "XFCC", "Cloudflare", "None"}},
		reflect.TypeFor[v1alpha1.PolicyPreset]():     {enum: []string{"Hakone", "CloudflareAccess"}},
		reflect.TypeFor[v1alpha1.RevocationMode]():   {enum: []string{"Soft", "Hard"}},
		reflect.TypeFor[v1alpha1.RevocationSource](): {enum: []string{"Off", "Configured", "Fetch"}},
		reflect.TypeFor[v1alpha1.SessionAccept]():    {enum: []string{"Never", "Alone"}},
		reflect.TypeFor[v1alpha1.Steering]():         {enum: []string{"off", "random", "least-request", "hash", "geo"}},
		reflect.TypeFor[v1alpha1.MonitorType]():      {enum: []string{"none", "http", "https", "tcp"}},
	}
}

// edgeFieldRules are the rules of single fields of our kinds of the edge.
func edgeFieldRules() map[fieldID]fieldRule {
	rules := map[fieldID]fieldRule{}
	host := rule{check: pattern(`^(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*$`, 255, `a host name, or "*." and a host name`)}
	path := rule{check: checkPath}
	name := rule{check: pattern(nameExpression, 253, "a name of lower-case letters, digits, hyphens and dots")}
	namespace := rule{check: pattern(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, 63, "a namespace name: lower-case letters, digits and hyphens")}
	cookie := rule{check: pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 128, "a cookie name: letters, digits, hyphens and underscores")}
	field := rule{check: pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 256, "a header name")}
	port := rule{min: 1, max: 65535}
	count := rule{max: 1<<31 - 1}

	policyRules(rules, host, path)
	poolRules(rules, host, port, count, cookie, field)

	reference := reflect.TypeFor[v1alpha1.ObjectReference]()
	rules[fieldID{reference, "kind"}] = fieldRule{rule: rule{enum: []string{"Secret", "ConfigMap"}}}
	rules[fieldID{reference, "name"}] = fieldRule{nonzero: true, rule: name}
	rules[fieldID{reference, "namespace"}] = fieldRule{rule: namespace}
	rules[fieldID{reflect.TypeFor[v1alpha1.LocalReference](), "name"}] = fieldRule{nonzero: true, rule: name}

	target := reflect.TypeFor[v1alpha1.PolicyTarget]()
	rules[fieldID{target, "group"}] = fieldRule{rule: rule{enum: []string{"", "gateway.networking.k8s.io", "networking.istio.io", "hakone.dev"}}}
	rules[fieldID{target, "kind"}] = fieldRule{rule: rule{enum: []string{"Gateway", "EdgeHost", "HTTPRoute", "GRPCRoute", "VirtualService"}}}
	rules[fieldID{target, "name"}] = fieldRule{nonzero: true, rule: name}
	rules[fieldID{target, "namespace"}] = fieldRule{rule: namespace}

	edge := reflect.TypeFor[v1alpha1.EdgeHostSpec]()
	rules[fieldID{edge, "hosts"}] = fieldRule{nonzero: true, elem: host}
	rules[fieldID{edge, "certificateRefs"}] = fieldRule{nonzero: true}
	rules[fieldID{edge, "port"}] = fieldRule{rule: port}
	rules[fieldID{edge, "httpPort"}] = fieldRule{rule: port}
	rules[fieldID{edge, "http"}] = fieldRule{rule: rule{enum: []string{"redirect", "serve", "off"}}}
	rules[fieldID{reflect.TypeFor[v1alpha1.EdgeRoute](), "path"}] = fieldRule{nonzero: true, rule: path}

	rules[fieldID{reflect.TypeFor[v1alpha1.OriginPullSpec](), "hosts"}] = fieldRule{nonzero: true, elem: host}
	return rules
}

// policyRules adds the rules of ClientCertificatePolicies.
func policyRules(rules map[fieldID]fieldRule, host, path rule) {
	spec := reflect.TypeFor[v1alpha1.ClientCertificatePolicySpec]()
	rules[fieldID{spec, "hosts"}] = fieldRule{elem: host}
	rules[fieldID{spec, "paths"}] = fieldRule{elem: path}
	rules[fieldID{spec, "except"}] = fieldRule{elem: path}
	rules[fieldID{reflect.TypeFor[v1alpha1.ClientTrust](), "caRefs"}] = fieldRule{nonzero: true}

	spki, serial := rule{check: checkPin}, rule{check: checkHex(0, "a serial number in hexadecimal digits, such as 0F:A3")}
	certificate := reflect.TypeFor[v1alpha1.CertificateRule]()
	rules[fieldID{certificate, "fingerprints"}] = fieldRule{elem: rule{check: checkHex(32, "a SHA-256 fingerprint: 64 hexadecimal digits, colons or not")}}
	rules[fieldID{certificate, "spki"}] = fieldRule{elem: spki}
	rules[fieldID{certificate, "serials"}] = fieldRule{elem: serial}
	rules[fieldID{certificate, "extendedKeyUsages"}] = fieldRule{elem: rule{check: checkUsage}}
	rules[fieldID{reflect.TypeFor[v1alpha1.SubjectAltNames](), "ips"}] = fieldRule{elem: rule{check: checkRange}}

	revocation := reflect.TypeFor[v1alpha1.Revocation]()
	rules[fieldID{revocation, "ocsp"}] = fieldRule{rule: rule{enum: []string{"Off", "Fetch"}}}
	rules[fieldID{revocation, "spki"}] = fieldRule{elem: spki}
	rules[fieldID{revocation, "serials"}] = fieldRule{elem: serial}

	session := reflect.TypeFor[v1alpha1.IdentitySession]()
	rules[fieldID{session, "cookieName"}] = fieldRule{rule: rule{check: pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", 128, "a cookie name: letters, digits, hyphens and underscores")}}
	rules[fieldID{session, "algorithm"}] = fieldRule{rule: rule{enum: []string{"RS256", "ES256"}}}
	rules[fieldID{session, "sameSite"}] = fieldRule{rule: rule{enum: []string{"Lax", "Strict", "None"}}}
	rules[fieldID{session, "notBefore"}] = fieldRule{rule: rule{check: checkTime}}

	page := reflect.TypeFor[v1alpha1.DenyPage]()
	body := rule{check: func(v string) string {
		if len(v) > maxPage {
			return "at most 64 KiB"
		}
		return ""
	}}
	rules[fieldID{page, "status"}] = fieldRule{rule: rule{enum: []string{"401", "403", "404", "495", "496"}}}
	rules[fieldID{page, "html"}] = fieldRule{rule: body}
	rules[fieldID{page, "json"}] = fieldRule{rule: body}
	rules[fieldID{page, "redirectURL"}] = fieldRule{rule: rule{check: checkLocation}}
}

// maxPage is the longest body of a page, in bytes.
const maxPage = 64 << 10

// poolRules adds the rules of OriginPools.
func poolRules(rules map[fieldID]fieldRule, host, port, count, cookie, header rule) {
	spec := reflect.TypeFor[v1alpha1.OriginPoolSpec]()
	rules[fieldID{spec, "origins"}] = fieldRule{nonzero: true}
	rules[fieldID{spec, "minimumOrigins"}] = fieldRule{rule: count}
	rules[fieldID{spec, "protocol"}] = fieldRule{rule: rule{enum: []string{"http1", "http2", "auto"}}}

	origin := reflect.TypeFor[v1alpha1.Origin]()
	rules[fieldID{origin, "name"}] = fieldRule{nonzero: true}
	rules[fieldID{origin, "address"}] = fieldRule{nonzero: true, rule: rule{check: checkAddress(host)}}
	rules[fieldID{origin, "port"}] = fieldRule{rule: port}
	rules[fieldID{origin, "regions"}] = fieldRule{elem: rule{check: pattern(`^[A-Z]{2}$`, 2, "a country or continent in two capital letters, such as JP or AS")}}

	affinity := reflect.TypeFor[v1alpha1.Affinity]()
	rules[fieldID{affinity, "type"}] = fieldRule{rule: rule{enum: []string{"none", "cookie", "ip"}}}
	rules[fieldID{affinity, "cookieName"}] = fieldRule{rule: cookie}
	rules[fieldID{affinity, "sameSite"}] = fieldRule{rule: rule{enum: []string{"Auto", "Lax", "None", "Strict"}}}
	rules[fieldID{affinity, "secure"}] = fieldRule{rule: rule{enum: []string{"Auto", "Always", "Never"}}}
	rules[fieldID{affinity, "failover"}] = fieldRule{rule: rule{enum: []string{"temporary", "sticky", "none"}}}

	monitor := reflect.TypeFor[v1alpha1.Monitor]()
	rules[fieldID{monitor, "method"}] = fieldRule{rule: rule{check: pattern("^[A-Z]{1,16}$", 16, "a method such as GET or HEAD")}}
	rules[fieldID{monitor, "path"}] = fieldRule{rule: rule{check: checkTarget}}
	rules[fieldID{monitor, "port"}] = fieldRule{rule: port}
	rules[fieldID{monitor, "retries"}] = fieldRule{rule: rule{max: 10}}
	rules[fieldID{monitor, "consecutiveUp"}] = fieldRule{rule: count}
	rules[fieldID{monitor, "consecutiveDown"}] = fieldRule{rule: count}
	rules[fieldID{monitor, "expectedCodes"}] = fieldRule{rule: rule{check: pattern(`^ *[1-5]([0-9]{2}|xx)( *- *[1-5][0-9]{2})?( *, *[1-5]([0-9]{2}|xx)( *- *[1-5][0-9]{2})?)* *$`, 256, `statuses such as "200", "2xx" or "200-204,301"`)}}
	rules[fieldID{reflect.TypeFor[v1alpha1.HeaderValue](), "name"}] = fieldRule{nonzero: true, rule: header}
	rules[fieldID{reflect.TypeFor[v1alpha1.HeaderValue](), "value"}] = fieldRule{rule: rule{check: checkFieldValue}}

	passive := reflect.TypeFor[v1alpha1.PassiveHealth]()
	rules[fieldID{passive, "consecutiveFailures"}] = fieldRule{rule: count}
	rules[fieldID{passive, "maxEjectionPercent"}] = fieldRule{rule: rule{max: 100}}

	rules[fieldID{reflect.TypeFor[v1alpha1.OriginTLS](), "spki"}] = fieldRule{elem: rule{check: checkPin}}
}

func checkDuration(v string) string {
	if d, err := time.ParseDuration(v); v != "" && (err != nil || d < 0) {
		return "a duration such as 90s, 24h or 1h30m"
	}
	return ""
}

// checkPath wants a path as it stands in a request: what it means is found out in translation.
func checkPath(v string) string {
	if len(v) > 4096 || !strings.HasPrefix(v, "/") || strings.ContainsAny(v, "?#") || hasControl(v) {
		return `a path that begins with "/", without query`
	}
	return ""
}

// checkTarget wants a path that may have a query.
func checkTarget(v string) string {
	if len(v) > 4096 || !strings.HasPrefix(v, "/") || strings.ContainsAny(v, " #") || hasControl(v) {
		return `a path that begins with "/"`
	}
	return ""
}

func checkFieldValue(v string) string {
	if len(v) > 4096 || hasControl(v) {
		return "a header value: one line, at most 4096 characters"
	}
	return ""
}

func hasControl(v string) bool {
	return strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// checkLocation wants an absolute http or https URL, or a path.
func checkLocation(v string) string {
	u, err := url.Parse(v)
	if err != nil || hasControl(v) || len(v) > 4096 ||
		!(u.Scheme == "https" || u.Scheme == "http") && !(u.Scheme == "" && u.Host == "" && strings.HasPrefix(v, "/")) || u.Scheme != "" && u.Host == "" {
		return `a URL such as https://example.com/enroll, or a path that begins with "/"`
	}
	return ""
}

// checkAddress wants an IP address or a name without port.
func checkAddress(host rule) func(string) string {
	return func(v string) string {
		if _, err := netip.ParseAddr(v); err == nil {
			return ""
		}
		if strings.HasPrefix(v, "*") || host.check(v) != "" {
			return "an IP address or a DNS name, without a port"
		}
		return ""
	}
}

func checkRange(v string) string {
	if _, err := netip.ParseAddr(v); err == nil {
		return ""
	}
	if _, err := netip.ParsePrefix(v); err == nil {
		return ""
	}
	return "an IP address or a range such as 10.0.0.0/8"
}

// checkPin wants base64 of a SHA-256.
func checkPin(v string) string {
	if b, err := base64.StdEncoding.DecodeString(v); err != nil || len(b) != 32 {
		return "SHA-256 over a public key in base64: 44 characters"
	}
	return ""
}

// checkHex wants hexadecimal digits, with colons or not: of so many bytes, or of any number for 0.
func checkHex(bytes int, want string) func(string) string {
	return func(v string) string {
		digits := strings.ReplaceAll(v, ":", "")
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		if b, err := hex.DecodeString(digits); err != nil || len(b) == 0 || bytes > 0 && len(b) != bytes || len(b) > 32 {
			return want
		}
		return ""
	}
}

// checkUsage wants the name of an extended key usage or an OID.
func checkUsage(v string) string {
	switch v {
	case "clientAuth", "serverAuth", "emailProtection", "codeSigning":
		return ""
	}
	return pattern(`^[0-2](\.(0|[1-9][0-9]*))+$`, 128, "clientAuth, serverAuth, emailProtection, codeSigning, or an OID")(v)
}
