package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/test/golden"
)

func TestPolicyNamesAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, scope := range []string{"tls-minimum", "tls-minimum a b", "tls-minimum a-b", "tls-minimum a b https#2", "tls-minimum a b https-2",
		"tls-minimum host *.a.test", "tls-minimum host any.a.test", "tls-minimum a b host a.test", "tls-minimum a b-host a.test",
		"tls-minimum host " + strings.Repeat("a.", 120) + "test"} {
		name := policyName(strings.Fields(scope))
		if other := seen[name]; other != "" {
			t.Errorf("%q and %q are both called %s", other, scope, name)
		}
		seen[name] = scope
		if len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || name != policyName(strings.Fields(scope)) {
			t.Errorf("%q: %s", scope, name)
		}
	}
	if seen["tls-minimum"] == "" {
		t.Error("the policy for everything has a plain name")
	}
}

const manifests = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [httpbin.example.com, other.example.org], tls: {mode: MUTUAL, credentialName: cert}}
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: istio-system}
type: kubernetes.io/tls
data: {tls.crt: "${httpbin.crt}", tls.key: "${httpbin.key}", ca.crt: "${ca.crt}"}
`

func evaluated(t *testing.T) *ir.Snapshot {
	t.Helper()
	set, bad := manifest.Set(map[string]string{"a.yaml": golden.Fill(manifests)})
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	return control.Evaluate(set, control.Settings{Context: translate.Context{Labels: map[string]string{"istio": "ingressgateway"}, Namespace: "istio-system"}}, nil).Snapshot
}

// Certificates of package golden are valid throughout 2026.
func TestLintFollowsTheClock(t *testing.T) {
	s := evaluated(t)
	for _, c := range []struct {
		at     time.Time
		has    []diag.Code
		hasNot []diag.Code
	}{
		{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), []diag.Code{diag.CertHostMismatch}, []diag.Code{diag.CertExpiresSoon, diag.CertExpired, diag.CertNotYetValid, diag.CAExpired}},
		{time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC), []diag.Code{diag.CertExpiresSoon}, []diag.Code{diag.CertExpired}},
		{time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC), []diag.Code{diag.CertExpired, diag.CAExpired}, []diag.Code{diag.CertNotYetValid}},
		{time.Date(2025, 2, 1, 0, 0, 0, 0, time.UTC), []diag.Code{diag.CertNotYetValid}, []diag.Code{diag.CertExpired}},
	} {
		found := map[diag.Code]bool{}
		for _, d := range Lint(s, c.at) {
			found[d.Code] = true
			if d.Object != (diag.Object{Kind: "Secret", Namespace: "istio-system", Name: "cert"}) {
				t.Errorf("%s is about %s", d.Code, d.Object)
			}
		}
		for _, code := range c.has {
			if !found[code] {
				t.Errorf("%s: %s is missing", c.at.Format(time.DateOnly), code)
			}
		}
		for _, code := range c.hasNot {
			if found[code] {
				t.Errorf("%s: %s is too much", c.at.Format(time.DateOnly), code)
			}
		}
	}
}

// What serves only for a grace is not judged: it is on its way out.
func TestLintLeavesWithdrawnCertificates(t *testing.T) {
	s := evaluated(t)
	s.Secrets.ByRef["istio-system/cert"].Withdrawn = true
	for _, d := range Lint(s, time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)) {
		if d.Code == diag.CertExpired {
			t.Error(d)
		}
	}
}

func TestHealthNamesACertificateNearItsEnd(t *testing.T) {
	s := evaluated(t)
	if got := expiring(s, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)); got != "" {
		t.Errorf("in spring: %s", got)
	}
	if got := expiring(s, time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC)); got != "listener CN=httpbin (Secret istio-system/cert) expires 2027-01-01T00:00:00Z (and 1 more: hakone cert calendar)" {
		t.Errorf("in December: %s", got)
	}
	s.Secrets.ByRef["istio-system/cert"] = &ir.Credential{Code: diag.CredentialMissing, Pair: (*secret.KeyPair)(nil)}
	if got := expiring(s, time.Now()); got != "istio-system/cert: credential_missing" {
		t.Errorf("missing: %s", got)
	}
}

func TestAdminTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	for text, want := range map[string]int{
		"": 0, "# nobody\n\n": 0, "viewer:a\noperator:b:c\n": 2, " operator:x \n": 1, "operator:\n": -1, "root:x\n": -1, "x\n": -1,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := (&Config{AdminTokenFile: path}).adminAccess()
		if want < 0 && err == nil || want >= 0 && (err != nil || len(a.Tokens) != want) {
			t.Errorf("%q: %v, %v", text, a.Tokens, err)
		}
		if err == nil && a.Tokens == nil {
			t.Errorf("%q: a token file, even an empty one, closes the address to those without", text)
		}
		if strings.Contains(text, "b:c") && a.Tokens["b:c"] != "operator" {
			t.Errorf("%v", a.Tokens)
		}
	}
}
