package native

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/test/golden"
	"github.com/hakone-gateway/hakone/test/testca"
)

// found translates manifests and returns the fragment and the codes of what is found, sorted.
func found(t *testing.T, text string) (*translate.Fragment, []diag.Code) {
	t.Helper()
	set, ds := manifest.Set(map[string]string{"a.yaml": golden.Fill(text)})
	for _, d := range ds {
		t.Fatal(d)
	}
	f := Translate(set, translate.Context{}, nil)
	var codes []diag.Code
	for _, d := range f.Diagnostics {
		codes = append(codes, d.Code)
	}
	slices.Sort(codes)
	return f, codes
}

func TestOpenProxies(t *testing.T) {
	for access, open := range map[string]bool{
		"[]":                             true,
		"[{action: Allow}]":              true,
		"[{action: Allow, acls: [all]}]": true,
		"[{action: Deny, acls: [bad]}]":  true, // the opposite of the last one
		"[{action: Deny, acls: [bad]}, {action: Allow, acls: [all]}]":                                true,
		"[{action: Allow, acls: [net]}]":                                                             false,
		"[{action: Deny, acls: ['!net']}, {action: Allow, acls: [all]}]":                             false,
		"[{action: Deny, acls: ['!localhost']}, {action: Allow}]":                                    false,
		"[{action: Deny, acls: [bad]}, {action: Allow, acls: [net]}, {action: Deny, acls: [all]}]":   false,
		"[{action: Deny, acls: [all]}, {action: Allow, acls: [all]}]":                                false,
		"[{action: Allow, acls: [net]}, {action: Deny, acls: [bad, net]}]":                           false,
		"[{action: Allow, acls: [bad]}, {action: Allow, acls: [net]}, {action: Allow, acls: [all]}]": true,
	} {
		for bind, reachable := range map[string]bool{"": true, "10.0.0.1": true, "127.0.0.1": false, "'::1'": false} {
			spec := fmt.Sprintf("{listeners: [{name: a, port: 3128%s}], acls: [{name: net, type: src, values: [10.0.0.0/8]}, {name: bad, type: port, values: ['25']}], access: %s}",
				map[bool]string{true: ", bind: " + bind}[bind != ""], access)
			_, codes := found(t, "apiVersion: hakone.dev/v1alpha1\nkind: ForwardProxy\nmetadata: {name: p}\nspec: "+spec+"\n")
			if told := slices.Contains(codes, diag.ForwardProxyOpen); told != (open && reachable) || len(codes) > 1 {
				t.Errorf("access %s, bind %q: %v", access, bind, codes)
			}
		}
	}
}

func TestCAsOfInterception(t *testing.T) {
	good := testca.New(t, testca.Spec{CommonName: "mesh"})
	var many []byte
	for i := range 40 {
		pem, _ := golden.Certificate(fmt.Sprintf("public-%d-ca", i))
		many = append(many, pem...)
	}
	pair := func(p *testca.Pair) string {
		return testca.SecretYAML("default", "ca", p.SecretData(testca.FormatTLS, nil, nil))
	}
	bundle := func(pem []byte) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: ca}\ndata: {ca.crt: " + base64.StdEncoding.EncodeToString(pem) + "}\n"
	}
	forward := "kind: ForwardProxy\nmetadata: {name: p}\nspec: {listeners: [{name: a, port: 3128, bind: 127.0.0.1}], interception: {caRef: {name: ca}}}\n"
	upstream := "kind: UpstreamProxy\nmetadata: {name: p}\nspec: {urls: ['http://a'], hosts: ['*'], interception: {caRef: {name: ca}}}\n"
	for name, c := range map[string]struct {
		object, secret string
		want           []diag.Code
	}{
		"good":              {forward, pair(good), nil},
		"RSA":               {forward, pair(testca.New(t, testca.Spec{CommonName: "mesh", Key: testca.RSA2048})), []diag.Code{diag.SlowLeaves}},
		"bounded":           {forward, pair(testca.New(t, testca.Spec{CommonName: "mesh", PermittedDNS: []string{"example.com"}})), []diag.Code{diag.InterceptionCAUnwise}},
		"leaf":              {forward, pair(good.Issue(testca.Spec{CommonName: "leaf", DNS: []string{"leaf"}})), []diag.Code{diag.InterceptionCAUnusable}},
		"bundle":            {upstream, bundle(good.CertPEM()), nil},
		"public":            {upstream, bundle(many), []diag.Code{diag.InterceptionCAUnwise}},
		"bounded, upstream": {upstream, bundle(testca.New(t, testca.Spec{CommonName: "corp", PermittedDNS: []string{"example.com"}}).CertPEM()), []diag.Code{diag.InterceptionCAUnwise}},
	} {
		f, codes := found(t, "apiVersion: hakone.dev/v1alpha1\n"+c.object+"---\n"+c.secret)
		if !slices.Equal(codes, c.want) {
			t.Errorf("%s: %v, want %v", name, codes, c.want)
		}
		if c.object == forward {
			ca := f.Secrets[f.Forwards[0].Interception.CA]
			if usable := ca.Pair != nil; usable == slices.Contains(c.want, diag.InterceptionCAUnusable) || !usable && ca.Detail == "" {
				t.Errorf("%s: the CA is %+v", name, ca)
			}
		}
	}
}

func TestPasswordHashes(t *testing.T) {
	for hash, good := range map[string]bool{
		"$2y$05$" + strings.Repeat("a", 53): true, "$2a$10$" + strings.Repeat("a", 53): true, "$2b$10$" + strings.Repeat("a", 52): false,
		"$5$salt$" + strings.Repeat("a", 43): true, "$5$rounds=1000$salt$" + strings.Repeat("a", 43): true, "$5$x$salt$" + strings.Repeat("a", 43): false,
		"$6$salt$" + strings.Repeat("a", 86): true, "$6$salt$" + strings.Repeat("a", 43): false, "$5$": false,
		"$apr1$salt$" + strings.Repeat("a", 22): true, "$apr1$salt": false,
		"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=": true, "{SHA}": false, "{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=": false,
		"$1$salt$0123456789abcdefghijkl": false, "$y$j9T$x$y": false, "rqXexS6ZhobKA": false, "password": false, "": false,
	} {
		if fault := hashFault(hash); (fault == "") != good || len(hash) > 8 && strings.Contains(fault, hash) {
			t.Errorf("%q: %q", hash, fault)
		}
	}
}

func TestLoginsOfProxies(t *testing.T) {
	for name, c := range map[string]struct {
		url, data string
		want      []diag.Code
	}{
		"good":         {"https://proxy.example.com", "{username: anna, password: secret-word}", nil},
		"with a line":  {"https://proxy.example.com", `{username: "anna\n", password: "secret-word\r\n"}`, nil},
		"loopback":     {"http://127.0.0.1:3128", "{username: anna, password: secret-word}", nil},
		"in the clear": {"http://proxy.example.com", "{username: anna, password: secret-word}", []diag.Code{diag.LoginInClear}},
		"no user":      {"https://proxy.example.com", "{password: secret-word}", []diag.Code{diag.ProxyLoginInvalid}},
		"no password":  {"https://proxy.example.com", "{username: anna}", []diag.Code{diag.ProxyLoginInvalid}},
		"empty":        {"https://proxy.example.com", `{username: anna, password: ""}`, nil},
		"colon":        {"https://proxy.example.com", "{username: 'a:b', password: secret-word}", []diag.Code{diag.ProxyLoginInvalid}},
		"control":      {"https://proxy.example.com", `{username: anna, password: "secret\nword"}`, []diag.Code{diag.ProxyLoginInvalid}},
	} {
		f, codes := found(t, "apiVersion: hakone.dev/v1alpha1\nkind: UpstreamProxy\nmetadata: {name: p}\nspec: {urls: ['"+c.url+"'], hosts: ['*'], credentialsRef: {name: s}}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: "+c.data+"\n")
		if !slices.Equal(codes, c.want) {
			t.Errorf("%s: %v, want %v", name, codes, c.want)
		}
		login := f.Logins["default/s"]
		if bad := slices.Contains(c.want, diag.ProxyLoginInvalid); login == nil || (login.Fault != nil) != bad || !bad && (login.User != "anna" || strings.HasSuffix(string(login.Password.Expose()), "\n") || login.Digest == "") {
			t.Errorf("%s: %+v", name, login)
		}
		if text := fmt.Sprintf("%+v %v", login, f.Diagnostics); strings.Contains(text, "secret-word") {
			t.Errorf("%s: the password is shown: %s", name, text)
		}
	}
}
