package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/x509"

	"github.com/hakone-gateway/hakone/internal/cli/reach"
	"github.com/hakone-gateway/hakone/test/testca"
)

const edge = `
apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: lb}
spec:
  hosts: [mtls_lb.mtls-test.net, "*.other.test"]
  certificateRefs: [{name: cert}]
  poolRef: {name: pool}
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: pool}
spec: {origins: [{name: o, address: 127.0.0.1, port: 3000}]}
---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: one}
spec:
  displayName: "App #1"
  hosts: [mtls_lb.mtls-test.net]
  paths: [/test1]
  except: [/test1/health]
  trust: {caRefs: [{name: ca-a}]}
---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: two}
spec:
  hosts: [mtls_lb.mtls-test.net]
  paths: [/test2]
  trust: {caRefs: [{name: ca-b}]}
  allow: [{commonNames: [vera]}]
---
`

// edgeFolder writes the manifests above with real certificates, and returns the folder and the files of
// clients by name.
func edgeFolder(t *testing.T, more string) (dir string, clients map[string]string) {
	t.Helper()
	a, b := testca.New(t, testca.Spec{CommonName: "CA A"}), testca.New(t, testca.Spec{CommonName: "CA B"})
	dir, certs := t.TempDir(), t.TempDir()
	revoked := a.Issue(testca.Spec{CommonName: "mallory"})
	clients = map[string]string{}
	for name, p := range map[string]*testca.Pair{
		"a": a.Issue(testca.Spec{CommonName: "alice"}), "revoked": revoked, "expired": a.Issue(testca.Spec{CommonName: "old", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}),
		"vera": b.Issue(testca.Spec{CommonName: "vera"}), "b": b.Issue(testca.Spec{CommonName: "bob"}),
	} {
		clients[name] = filepath.Join(certs, name+".crt")
		if err := os.WriteFile(clients[name], p.ChainPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := a.Issue(testca.Spec{DNS: []string{"mtls_lb.mtls-test.net", "*.other.test"}})
	text := edge + more +
		testca.SecretYAML("default", "cert", map[string][]byte{"tls.crt": server.ChainPEM(), "tls.key": server.KeyPEM()}) + "---\n" +
		testca.SecretYAML("default", "ca-a", map[string][]byte{"ca.crt": a.CertPEM(), "ca.crl": a.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{revoked.Cert}})}) + "---\n" +
		testca.SecretYAML("default", "ca-b", map[string][]byte{"ca.crt": b.CertPEM()})
	if err := os.WriteFile(filepath.Join(dir, "edge.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, clients
}

func TestPolicyTest(t *testing.T) {
	alone(t)
	dir, clients := edgeFolder(t, "")
	for _, c := range []struct {
		client, path string
		code         int
		wants        []string
	}{
		{"", "/", ExitOK, []string{"allow", "no policy covers", "everybody is let in"}},
		{"", "/test1", ExitFindings, []string{"deny: a client without a certificate", "policy default/one (App #1)", "HK2101"}},
		{"", "/test10", ExitOK, []string{"no policy covers"}},
		{"", "/test1/health", ExitOK, []string{"no policy covers"}},
		{"a", "/test1", ExitOK, []string{"allow: the client CN=alice", "the policy lets the client in, to pool:default/pool"}},
		{"a", "/test2", ExitFindings, []string{"policy default/two", "HK2102"}},
		{"vera", "/test2/below?x=y", ExitOK, []string{"allow"}},
		{"vera", "/test1", ExitFindings, []string{"HK2102"}},
		{"b", "/test2", ExitFindings, []string{"HK2117"}},
		{"revoked", "/test1", ExitFindings, []string{"HK2106"}},
		{"expired", "/test1", ExitFindings, []string{"HK2103"}},
		{"", "/%74est1", ExitFindings, []string{"HK2101"}},
		{"", "//test1", ExitFindings, []string{"HK2101"}},
		{"", "/x/../test1", ExitFindings, []string{"HK2101"}},
		{"", "/test1;a", ExitFindings, []string{"HK2101"}},
		{"", "/test1/", ExitFindings, []string{"HK2101"}},
		{"", "/TEST1", ExitFindings, []string{"HK2101"}},
		{"", "/test1%2fx", ExitFindings, []string{"refuse", "HK4005"}},
	} {
		args := []string{"policy", "test", "--config", dir, "--host", "MTLS_LB.mtls-test.net", "--path", c.path}
		if c.client != "" {
			args = append(args, "--cert", clients[c.client])
		}
		r := run(t, "", args...)
		if r.code != c.code {
			t.Errorf("%s %s: exit %d\n%s%s", c.client, c.path, r.code, r.out, r.err)
		}
		if lines := strings.Count(r.out, "\n"); lines != 3 {
			t.Errorf("%s %s: %d lines", c.client, c.path, lines)
		}
		for _, want := range c.wants {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s %s: no %q in\n%s", c.client, c.path, want, r.out)
			}
		}
	}
}

func TestPolicyTestImaginesClients(t *testing.T) {
	alone(t)
	dir, _ := edgeFolder(t, "")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--subject", "CN=vera,O=Example"}, ExitOK, `as issued by CA B`},
		{[]string{"--subject", "CN=vera", "--issuer", "CA A"}, ExitFindings, "HK2102"},
		{[]string{"--subject", "CN=bob"}, ExitFindings, "any of the 2 CAs"},
		{[]string{"--issuer", "CA C"}, ExitUsage, "there are CA A, CA B"},
		{[]string{"--subject", "vera"}, ExitUsage, "no part of a subject"},
		{[]string{"--san", "vera.test"}, ExitUsage, "dns:NAME"},
		{[]string{"--port", "80", "--subject", "CN=vera"}, ExitOK, "redirect to https"},
		{[]string{"--port", "81"}, ExitUsage, "--port 443 or 80"},
	} {
		r := run(t, "", append([]string{"policy", "test", "--config", dir, "--host", "mtls_lb.mtls-test.net", "--path", "/test2"}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.out+r.err, c.want) {
			t.Errorf("%v: exit %d\n%s%s", c.args, r.code, r.out, r.err)
		}
	}
	if r := run(t, "", "policy", "test", "--config", dir, "--host", "nobody.test"); r.code != ExitUsage || !strings.Contains(r.err, "no listener serves host nobody.test") {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", "policy", "test", "--config", dir); r.code != ExitUsage || !strings.Contains(r.err, "--host") {
		t.Errorf("%+v", r)
	}
}

// TestPolicyOnAPortThatRedirects holds that a port which leads to https is not called open, and that a survey
// that rests on a broken policy proves nothing.
func TestPolicyOnAPortThatRedirects(t *testing.T) {
	alone(t)
	dir, _ := edgeFolder(t, "")
	r := run(t, "", "policy", "test", "--config", dir, "--host", "mtls_lb.mtls-test.net", "--path", "/test1", "--port", "80")
	if r.code != ExitOK || !strings.HasPrefix(r.out, "redirect to https: ") || strings.Contains(r.out, "let in") {
		t.Errorf("%+v", r)
	}
	dir, _ = edgeFolder(t, `apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: other}
spec: {hosts: ["*.other.test"], paths: [/test1, /test2], trust: {caRefs: [{name: nowhere}]}}
---
`)
	r = run(t, "", "policy", "reach", "--config", dir)
	if r.code != ExitFindings || strings.Contains(r.out, "none gets around") || !strings.Contains(r.out, "this proves nothing") || !strings.Contains(r.out, "policy default/two has no revocation list") ||
		strings.Contains(r.out, "policy default/one has no revocation list") {
		t.Errorf("%+v", r)
	}
}

func surveyOf(t *testing.T, dir string, code int) reach.Survey {
	t.Helper()
	r := run(t, "", "policy", "reach", "--config", dir, "-o", "json")
	var out struct{ Survey reach.Survey }
	if err := json.Unmarshal([]byte(r.out), &out); err != nil || r.code != code {
		t.Fatalf("exit %d %v\n%s%s", r.code, err, r.out, r.err)
	}
	return out.Survey
}

func TestPolicyReach(t *testing.T) {
	alone(t)
	dir, _ := edgeFolder(t, "")
	// The other host serves the same pool: a side door.
	v := surveyOf(t, dir, ExitFindings)
	doors := 0
	for _, f := range v.Findings {
		if f.Kind == "sideDoor" && f.Host == "*.other.test" && strings.HasPrefix(f.Path, "/test") {
			doors++
		} else if f.Grave {
			t.Errorf("%+v", f)
		}
	}
	if doors != 2 {
		t.Errorf("%d side doors: %+v", doors, v.Findings)
	}
	dir, _ = edgeFolder(t, `apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: other}
spec: {hosts: ["*.other.test"], paths: [/test1, /test2], trust: {caRefs: [{name: ca-b}]}}
---
`)
	v = surveyOf(t, dir, ExitOK)
	if len(v.Clients) != 7 || v.Probes < 80 {
		t.Errorf("%d clients, %d probes", len(v.Clients), v.Probes)
	}
	r := run(t, "", "policy", "reach", "--config", dir)
	for _, want := range []string{
		"443       mtls_lb.mtls-test.net  /              -              allow        allow        allow        -            -",
		"443       mtls_lb.mtls-test.net  /test1         default/one    deny HK2101  allow        deny HK2102  deny HK2106  deny HK2103",
		"443       mtls_lb.mtls-test.net  /test1/health  -              allow        allow        allow        -            -",
		"443       mtls_lb.mtls-test.net  /test2         default/two    deny HK2101  deny HK2102  allow*       allow (no list) deny HK2103",
		"443       *.other.test           /test1              default/other  deny HK2101  deny HK2102  allow        allow (no list)  deny HK2103",
		"none gets around a policy",
	} {
		if !strings.Contains(squeeze(r.out), squeeze(want)) {
			t.Errorf("no %q in\n%s", squeeze(want), r.out)
		}
	}
}

func TestPolicyReachFindsWaysAround(t *testing.T) {
	alone(t)
	const protect = `apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: other}
spec: {hosts: ["*.other.test"], paths: [/test1, /test2], trust: {caRefs: [{name: ca-b}]}}
---
`
	const rewritten = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: own}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /closed}}]
    backendRefs: [{group: hakone.dev, kind: OriginPool, name: pool}]
  - matches: [{path: {value: /hidden}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /closed}}}]
    backendRefs: [{group: hakone.dev, kind: OriginPool, name: pool}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: hakone
  listeners: [{name: h, port: 443, protocol: HTTPS, hostname: own.test, tls: {certificateRefs: [{name: cert}]}}]
---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: own}
spec: {hosts: [own.test], paths: [/closed], trust: {caRefs: [{name: ca-b}]}}
---
`
	for name, c := range map[string]struct{ more, kind, host string }{
		"rewrite of the same host": {rewritten, "sideDoor", "own.test"},
		"plain": {`apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: plain}
spec: {hosts: [plain.test], certificateRefs: [{name: cert}], poolRef: {name: pool}, http: serve, httpPort: 8080}
---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: tls-only}
spec: {targetRefs: [{kind: EdgeHost, name: plain, sectionName: https}], trust: {caRefs: [{name: ca-b}]}}
---
`, "plain", "plain.test"},
		"rewrite": {`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: hakone
  listeners: [{name: h, port: 443, protocol: HTTPS, hostname: re.test, tls: {certificateRefs: [{name: cert}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{path: {value: /hidden}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /test1}}}]
    backendRefs: [{group: hakone.dev, kind: OriginPool, name: pool}]
---
`, "sideDoor", "re.test"},
	} {
		dir, _ := edgeFolder(t, protect+c.more)
		v := surveyOf(t, dir, ExitFindings)
		found := false
		for _, f := range v.Findings {
			found = found || f.Kind == c.kind && f.Grave && f.Host == c.host
		}
		if !found {
			t.Errorf("%s: %+v", name, v.Findings)
		}
	}
}

// A policy on one rule of a route holds for the spellings too that another rule takes.
func TestPolicyReachProvesRulesOfRoutes(t *testing.T) {
	alone(t)
	dir, _ := edgeFolder(t, `apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: other}
spec: {hosts: ["*.other.test"], trust: {caRefs: [{name: ca-b}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: hakone
  listeners: [{name: h, port: 443, protocol: HTTPS, hostname: route.test, tls: {certificateRefs: [{name: cert}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  rules:
  - name: secret
    matches: [{path: {type: Exact, value: /secret}}, {path: {value: /admin}}]
    backendRefs: [{group: hakone.dev, kind: OriginPool, name: app}]
  - backendRefs: [{group: hakone.dev, kind: OriginPool, name: app}]
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: app}
spec: {origins: [{name: o, address: 127.0.0.1, port: 4000}]}
---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: rule}
spec: {targetRefs: [{kind: HTTPRoute, name: r, sectionName: secret}], trust: {caRefs: [{name: ca-a}]}}
---
`)
	r := run(t, "", "policy", "reach", "--config", dir, "-o", "json")
	var out struct{ Survey reach.Survey }
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		t.Fatal(err, r.err)
	}
	closed := 0
	for _, row := range out.Survey.Rows {
		if row.Host == "route.test" && row.Answers[0].Outcome == reach.Deny {
			closed++
		}
	}
	if closed != 2 {
		t.Errorf("%d rows of route.test are closed\n%s", closed, r.out)
	}
	for _, f := range out.Survey.Findings {
		if f.Host == "route.test" && f.Grave {
			t.Errorf("%+v", f)
		}
	}
}

// squeeze makes one space of each run of them.
func squeeze(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}
