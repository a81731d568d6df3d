package native

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/test/golden"
)

const authorities = `---
apiVersion: v1
kind: Secret
metadata: {name: ca, namespace: default}
data: {ca.crt: "${ca.crt}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: map, namespace: default}
data:
  pasted: |
    ${otherca.pem}
---
apiVersion: v1
kind: Secret
metadata: {name: broken, namespace: default}
stringData: {ca.crt: "nothing"}
---
apiVersion: v1
kind: Secret
metadata: {name: far, namespace: elsewhere}
data: {ca.crt: "${ca.crt}"}
---
apiVersion: v1
kind: Secret
metadata: {name: granted, namespace: open}
data: {ca.crt: "${ca.crt}"}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: open}
spec:
  from: [{group: hakone.dev, kind: ClientCertificatePolicy, namespace: default}]
  to: [{group: "", kind: Secret}]
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: default}
type: kubernetes.io/tls
data: {tls.crt: "${key.crt}", tls.key: "${key.key}"}
---
apiVersion: v1
kind: Secret
metadata: {name: edkey, namespace: default}
type: kubernetes.io/tls
data: {tls.crt: "${edkey.crt}", tls.key: "${edkey.key}"}
`

// policyOf translates one policy of the given spec, beside the authorities above.
func policyOf(t *testing.T, spec string) (*translate.Fragment, []diag.Diagnostic) {
	t.Helper()
	text := golden.Fill("apiVersion: hakone.dev/v1alpha1\nkind: ClientCertificatePolicy\nmetadata: {name: p, namespace: default}\nspec: " + spec + "\n" + authorities)
	set, ds := manifest.Set(map[string]string{"a.yaml": text})
	f := Translate(set, translate.Context{}, nil)
	return f, append(ds, f.Diagnostics...)
}

func codesOf(ds []diag.Diagnostic) []diag.Code {
	var out []diag.Code
	for _, d := range ds {
		if d.Object.Kind == "ClientCertificatePolicy" {
			out = append(out, d.Code)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestAccessPolicies(t *testing.T) {
	const trust = "hosts: [a.test], trust: {caRefs: [{name: ca}]}"
	audience := fmt.Sprintf("%x", sha256.Sum256([]byte("default/p")))
	for name, c := range map[string]struct {
		spec  string
		want  []string // in the policy's JSON; "!" and a text that is not
		codes []diag.Code
	}{
		"defaults": {"{" + trust + "}", []string{`"name":"default/p"`, `"trust":"default/ca"`, `"forward":["rfc9440","xfcc"]`, "!session", `!"fault"`, "!revocation"}, nil},
		"session": {"{" + trust + ", session: {}}", []string{`"cookie":"HK_Authorization"`, `"algorithm":"RS256"`, `"duration":86400000000000`,
			`"audience":"AUDIENCE"`}, nil},
		"cloudflare":           {"{" + trust + ", preset: CloudflareAccess}", []string{`"cookie":"CF_Authorization"`, `"forward":["cloudflare"]`, `"preset":"cloudflare"`}, nil},
		"preset yields":        {"{" + trust + ", preset: CloudflareAccess, forward: [XFCC, RFC9440, XFCC], session: {cookieName: mine, duration: 1h}}", []string{`"cookie":"mine"`, `"forward":["rfc9440","xfcc"]`, `"duration":3600000000000`}, nil},
		"nothing told":         {"{" + trust + ", forward: [None]}", []string{`"forward":[]`}, nil},
		"none of it":           {"{" + trust + ", forward: [None, XFCC]}", []string{`"forward":[]`}, []diag.Code{diag.BadValue}},
		"key":                  {"{" + trust + ", session: {algorithm: ES256, keyRef: {name: key}, accept: Alone, notBefore: \"2026-01-02T15:04:05+09:00\", sameSite: Lax}}", []string{`"key":"default/key"`, `"alone":true`, `"notBefore":"2026-01-02T06:04:05Z"`, `"sameSite":"Lax"`}, nil},
		"key of another kind":  {"{" + trust + ", session: {keyRef: {name: key}}}", []string{"!session", `!"fault"`}, []diag.Code{diag.SessionKeyUnusable}},
		"key of no kind":       {"{" + trust + ", session: {algorithm: ES256, keyRef: {name: edkey}}}", []string{"!session"}, []diag.Code{diag.SessionKeyUnusable}},
		"no key":               {"{" + trust + ", session: {keyRef: {name: nobody}}}", []string{"!session", `!"fault"`}, []diag.Code{diag.SecretNotFound, diag.SessionKeyUnusable}},
		"bundle of two":        {"{hosts: [a.test], trust: {caRefs: [{name: ca}, {kind: ConfigMap, name: map, key: pasted}]}}", []string{`"trust":"default/ca+configmap:default/map#pasted"`, `!"fault"`}, nil},
		"one of two is broken": {"{hosts: [a.test], trust: {caRefs: [{name: ca}, {name: broken}]}}", []string{`"trust":"default/ca"`, `!"fault"`}, []diag.Code{diag.CAInvalid}},
		"broken":               {"{hosts: [a.test], trust: {caRefs: [{name: broken}]}}", []string{`"fault":{"code":"HK2124"`}, []diag.Code{diag.CAInvalid, diag.AccessTrustUnusable}},
		"not granted":          {"{hosts: [a.test], trust: {caRefs: [{namespace: elsewhere, name: far}]}}", []string{`"fault":`}, []diag.Code{diag.RefNotPermitted, diag.AccessTrustUnusable}},
		"granted":              {"{hosts: [a.test], trust: {caRefs: [{namespace: open, name: granted}]}}", []string{`"trust":"open/granted"`, `!"fault"`}, nil},
		"missing list":         {"{hosts: [a.test], trust: {caRefs: [{name: ca}], crlRefs: [{name: lists}]}}", []string{`"fault":`}, []diag.Code{diag.CRLInvalid, diag.AccessTrustUnusable}},
		"list without":         {"{hosts: [a.test], trust: {caRefs: [{name: ca}], crlRefs: [{name: ca}]}}", []string{`"fault":`}, []diag.Code{diag.CRLInvalid, diag.AccessTrustUnusable}},
		"rules": {"{" + trust + `, allow: [{commonNames: [vera], subjectAltNames: {dns: ["*.Vera.test"], ips: [10.0.0.0/8]}, fingerprints: ["` + strings.Repeat("AB:", 31) + `AB"], serials: ["00:0F"], extendedKeyUsages: [clientAuth, 1.2.3], maxValidity: 24h}], deny: [{issuers: [O=Bad]}]}`,
			[]string{`"dns":["*.vera.test"]`, `"fingerprints":["` + strings.Repeat("ab", 32) + `"]`, `"serials":["f"]`, `"usages":["1.3.6.1.5.5.7.3.2","1.2.3"]`, `"maxValidity":86400000000000`, `"deny":[{"issuers":["O=Bad"]}]`}, nil},
		"empty rule":           {"{" + trust + ", allow: [{}]}", []string{`"allow":[{}]`}, []diag.Code{diag.AccessRuleEmpty}},
		"unusable rule":        {"{" + trust + ", allow: [{subjectAltNames: {}}, {commonNames: [vera]}]}", []string{`"allow":[{"commonNames":["vera"]}]`, `!"fault"`}, []diag.Code{diag.AccessRuleUnreadable}},
		"unreadable subject":   {"{" + trust + ", allow: [{subjects: [no equals sign]}, {commonNames: [vera]}]}", []string{`"allow":[{"commonNames":["vera"]}]`, `!"fault"`}, []diag.Code{diag.AccessRuleUnreadable}},
		"unreadable issuer":    {"{" + trust + ", deny: [{issuers: [FOO=bar]}]}", []string{`"fault":`}, []diag.Code{diag.AccessTrustUnusable, diag.AccessRuleUnreadable}},
		"number too large":     {"{" + trust + ", deny: [{extendedKeyUsages: [2.999999999999999999999.1]}]}", []string{`"fault":`}, []diag.Code{diag.AccessTrustUnusable, diag.AccessRuleUnreadable}},
		"only unusable rules":  {"{" + trust + ", allow: [{subjectAltNames: {}}]}", []string{`"fault":`}, []diag.Code{diag.AccessTrustUnusable, diag.AccessRuleUnreadable}},
		"unusable denial":      {"{" + trust + ", deny: [{subjectAltNames: {}}]}", []string{`"fault":`}, []diag.Code{diag.AccessTrustUnusable, diag.AccessRuleUnreadable}},
		"revocation":           {"{" + trust + ", revocation: {mode: Hard, crl: Fetch, ocsp: Fetch, leafOnly: true, serials: [0A]}}", []string{`"revocation":{"hard":true,"fetchCRL":true,"ocsp":true,"leafOnly":true,"serials":["a"]}`}, nil},
		"switches":             {"{" + trust + ", enforcement: RejectConnection, onChange: Now, caseSensitive: true, displayName: \"a b\"}", []string{`"reject":true`, `"closeNow":true`, `"caseSensitive":true`, `"display":"a b"`}, nil},
		"audit":                {"{" + trust + ", mode: Audit}", []string{`"audit":true`}, nil},
		"open":                 {"{hosts: [a.test], paths: [/x], action: Open}", []string{`"open":true`, `"forward":[]`, `!"fault"`}, nil},
		"open with more":       {"{" + trust + ", action: Open, mode: Audit, session: {}}", []string{`"open":true`, "!audit", "!session"}, []diag.Code{diag.FieldWithoutEffect}},
		"page":                 {"{" + trust + `, denyPage: {status: 404, html: "<b>${code} ${requestID} ${x"}}`, []string{`"status":404`}, []diag.Code{diag.DenyPagePlaceholder}},
		"page and redirection": {"{" + trust + `, denyPage: {html: x, redirectURL: /enroll}}`, []string{`"redirect":"/enroll"`}, []diag.Code{diag.FieldWithoutEffect}},
		"kind and group":       {"{hosts: [a.test], targetRefs: [{kind: EdgeHost, group: networking.istio.io, name: x}, {kind: Gateway, name: g}], trust: {caRefs: [{name: ca}]}}", nil, []diag.Code{diag.RefKindInvalid}},
	} {
		t.Run(name, func(t *testing.T) {
			f, ds := policyOf(t, c.spec)
			if len(f.Access) != 1 {
				t.Fatalf("%d policies: %v", len(f.Access), ds)
			}
			b, _ := json.Marshal(f.Access[0].Policy)
			for _, want := range c.want {
				want = strings.ReplaceAll(want, "AUDIENCE", audience)
				if not, ok := strings.CutPrefix(want, "!"); ok == strings.Contains(string(b), strings.TrimPrefix(want, "!")) {
					t.Errorf("%s (not %q) in %s", want, not, b)
				}
			}
			slices.Sort(c.codes)
			if got := codesOf(ds); !slices.Equal(got, c.codes) {
				t.Errorf("%v, want %v: %v", got, c.codes, ds)
			}
		})
	}
}

func TestAccessPaths(t *testing.T) {
	for _, c := range []struct {
		paths, except string
		want          []string
		out           []string
		bad           bool
	}{
		{"[]", "[]", nil, nil, false},
		{"[/]", "[]", nil, nil, false},
		{"[/test1]", "[]", []string{"/test1"}, nil, false},
		{"[/test1/]", "[/test1/ping/]", []string{"/test1"}, []string{"/test1/ping"}, false},
		{"[/%74est1]", "[]", []string{"/test1"}, nil, false},
		{"[//test1]", "[]", []string{"/test1"}, nil, false},
		{"[/x/../test1]", "[]", []string{"/test1"}, nil, false},
		{"[/./test1//a/.]", "[]", []string{"/test1/a"}, nil, false},
		{"[/a%2fb]", "[/c%2fd]", nil, []string{}, true},
		{"[/x/a%2fb, /y]", "[]", []string{"/x", "/y"}, nil, true},
		{`["/x/a\\b"]`, "[]", []string{"/x"}, nil, true},
		{"[/../a]", "[]", nil, nil, true},
		{"[/x/%zz/y]", "[]", []string{"/x"}, nil, true},
		{`["/a b", /ä]`, "[]", []string{"/%C3%A4", "/a%20b"}, nil, false},
		{`["/x/*"]`, "[/x/health/*]", []string{"/x"}, []string{}, true},
		{`["/x*"]`, "[]", nil, nil, true},
		{`["/x/y*/z", /q]`, "[]", []string{"/q", "/x"}, nil, true},
		{"[/b%3b, /b;x]", "[]", []string{"/b%3B", "/b;x"}, nil, false},
	} {
		f, ds := policyOf(t, "{hosts: [a.test], paths: "+c.paths+", except: "+c.except+", trust: {caRefs: [{name: ca}]}}")
		a := f.Access[0]
		if !slices.Equal(a.Paths, c.want) || !slices.Equal(a.Except, c.out) {
			t.Errorf("%s: %q but %q", c.paths, a.Paths, a.Except)
		}
		if bad := slices.Contains(codesOf(ds), diag.AccessPathInvalid); bad != c.bad || !bad && len(codesOf(ds)) > 0 {
			t.Errorf("%s: %v", c.paths, ds)
		}
	}
	if f, _ := policyOf(t, "{hosts: [a.test], paths: [/a%2fb], action: Open}"); len(f.Access) != 0 {
		t.Errorf("a bad path opens %+v", f.Access)
	}
}

// A policy that was not accepted, and has no earlier version, closes what it covers.
func TestPoliciesThatCannotBeReadClose(t *testing.T) {
	for name, c := range map[string]struct {
		spec         string
		hosts, paths string // none: it closes nothing
	}{
		"no trust":         {"{hosts: [a.test], paths: [/x]}", "a.test", "/x"},
		"misspelt field":   {"{hosts: [a.test], path: [/x], trust: {caRefs: [{name: ca}]}}", "a.test", ""},
		"misspelt action":  {"{hosts: [a.test], paths: [/x], action: Opn}", "a.test", "/x"},
		"path of no path":  {"{hosts: [a.test], paths: [x], trust: {caRefs: [{name: ca}]}}", "a.test", "/x"},
		"one path is none": {"{hosts: [a.test], paths: [/x, {}], trust: {caRefs: [{name: ca}]}}", "a.test", ""},
		"not YAML":         {"{hosts: [a.test], paths: [/x, trust: {caRefs: [{name: ca}]}}", "a.test", ""},
		"no YAML at all":   {"[\n  hosts:\n  - a.test # ours\n  - \"*.b.test\"\n\tpaths: [/x]\n", "a.test *.b.test", ""},
		"open, not YAML":   {"[\n  hosts: [a.test]\n  action: Open\n", "", "none"},
		"hosts of URLs":    {"{hosts: [\"https://a.test/x\", \"b.test:443\"], paths: [/x], trust: {caRefs: [{name: ca}]}}", "a.test b.test", "/x"},
		"text for lists":   {"{hosts: a.test, paths: /x, trust: {caRefs: [{name: ca}]}}", "a.test", "/x"},
		"half YAML":        {"\n  hosts: [a.test]\n  paths: [/x]\n  trust: {caRefs: [\n", "a.test", ""},
		"open":             {"{hosts: [a.test], action: Open, nonsense: 1}", "", "none"},
		"audit":            {"{hosts: [a.test], mode: Audit, nonsense: 1, trust: {caRefs: [{name: ca}]}}", "", "none"},
		"about nothing":    {"{paths: [/x], trust: {caRefs: [{name: ca}]}}", "", "none"},
	} {
		f, ds := policyOf(t, c.spec)
		if c.paths == "none" {
			if len(f.Access) != 0 {
				t.Errorf("%s: %+v", name, f.Access[0])
			}
			continue
		}
		if len(f.Access) != 1 {
			t.Errorf("%s: %d policies %v", name, len(f.Access), ds)
			continue
		}
		a := f.Access[0]
		var hosts []string
		for _, h := range a.Hosts {
			hosts = append(hosts, h.String())
		}
		if strings.Join(hosts, " ") != c.hosts || strings.Join(a.Paths, " ") != c.paths || a.Policy.Fault == nil || a.Policy.Fault.Code != diag.PolicyBroken {
			t.Errorf("%s: %v %v %+v", name, hosts, a.Paths, a.Policy)
		}
		if !slices.Contains(codesOf(ds), diag.AccessPolicyUnread) {
			t.Errorf("%s: %v", name, ds)
		}
	}
}

func TestAccessTargets(t *testing.T) {
	f, ds := policyOf(t, "{targetRefs: [{kind: Gateway, name: g, sectionName: s}, {kind: Gateway, group: networking.istio.io, namespace: ns, name: g}, {kind: EdgeHost, name: e}, {kind: GRPCRoute, name: r}, {kind: VirtualService, name: v}], trust: {caRefs: [{name: ca}]}}")
	var got []string
	for _, x := range f.Access[0].Targets {
		got = append(got, x.Object.String()+" "+x.Section+" "+[]string{"any", "gateway", "istio", "native"}[x.Family])
	}
	want := []string{"Gateway default/g s any", "Gateway ns/g  istio", "EdgeHost default/e  native", "GRPCRoute default/r  gateway", "VirtualService default/v  istio"}
	if !slices.Equal(got, want) || len(codesOf(ds)) > 0 {
		t.Errorf("%q %v", got, ds)
	}
	if f, ds = policyOf(t, "{targetRefs: [{kind: HTTPRoute, group: hakone.dev, name: g}], trust: {caRefs: [{name: ca}]}}"); len(f.Access) != 0 || !slices.Contains(codesOf(ds), diag.AccessCoversNothing) {
		t.Errorf("%+v %v", f.Access, ds)
	}
}
