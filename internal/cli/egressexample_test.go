package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/testca"
)

// egressExample copies examples/egress to a folder and runs its script, with the company's CA if one is given.
func egressExample(t *testing.T, bump []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../examples/egress")); err != nil {
		t.Fatal(err)
	}
	args := []string{filepath.Join(dir, "certificates.sh"), dir}
	if bump != nil {
		file := filepath.Join(t.TempDir(), "company.crt")
		if err := os.WriteFile(file, bump, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.Command("sh", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// TestEgressExampleIsClean finds nothing to say about the example, with a CA of the script's or the company's.
func TestEgressExampleIsClean(t *testing.T) {
	alone(t)
	for name, bump := range map[string][]byte{"script's": nil, "company's": testca.New(t, testca.Spec{CommonName: "company"}).CertPEM()} {
		dir := egressExample(t, bump)
		if r := run(t, "", "check", dir, "--fail-on", "warning"); r.code != ExitOK {
			t.Errorf("%s CA: %d\n%s", name, r.code, r.out)
		}
	}
	r := run(t, "", "check", "../../examples/egress")
	for _, want := range []string{"UpstreamProxy egress/corp", "HK5843", "HK5109", "ForwardProxy egress/egress"} {
		if r.code != ExitFindings || !strings.Contains(r.out, want) {
			t.Errorf("without certificates %s is not named: %d\n%s", want, r.code, r.out)
		}
	}
}

// TestEgressExampleWithAnExpiredCA tells that the company's CA has ended, and the calendar has it.
func TestEgressExampleWithAnExpiredCA(t *testing.T) {
	alone(t)
	old := testca.New(t, testca.Spec{CommonName: "company", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	dir := egressExample(t, old.CertPEM())
	if r := run(t, "", "check", dir); r.code != ExitFindings || !strings.Contains(r.out, "ConfigMap egress/company-ca") || !strings.Contains(r.out, "expired") {
		t.Errorf("%d\n%s", r.code, r.out)
	}
	r := run(t, "", "cert", "calendar", "--config", dir)
	if !strings.Contains(r.out, "interception  CN=mesh egress CA") || !strings.Contains(r.out, "expired") || !strings.Contains(r.out, "CN=company") {
		t.Errorf("%d\n%s", r.code, r.out)
	}
}

// TestEgressExampleWithALeaf tells that the certificate of a site is no CA.
func TestEgressExampleWithALeaf(t *testing.T) {
	alone(t)
	ca := testca.New(t, testca.Spec{CommonName: "company"})
	dir := egressExample(t, ca.Issue(testca.Spec{CommonName: "example.com", DNS: []string{"example.com"}}).CertPEM())
	if r := run(t, "", "check", dir); !strings.Contains(r.out, "HK5847 UpstreamProxy egress/corp") {
		t.Errorf("%d\n%s", r.code, r.out)
	}
}

// TestObjectsOfAFixAreCopiedAsPrinted checks what attempts at a company's proxy are told to write, as it stands on the
// terminal, beside the CA.
func TestObjectsOfAFixAreCopiedAsPrinted(t *testing.T) {
	alone(t)
	dir := folder(t, `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: proxy}
spec:
  hosts: [my-company-proxy.com]
  addresses: [192.168.50.3/32]
  ports: [{number: 8080, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: proxy}
spec:
  host: my-company-proxy.com
  trafficPolicy: {tls: {mode: SIMPLE}}
`)
	r := run(t, "", "check", dir)
	_, objects, found := strings.Cut(r.out, "\napiVersion: hakone.dev/v1alpha1\nkind: UpstreamProxy\n")
	objects, _, end := strings.Cut(objects, "\nwarning ")
	if !found || !end {
		t.Fatalf("no objects from the margin on:\n%s", r.out)
	}
	ca := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: company-ca}\ndata:\n  ca.crt: |\n    " +
		strings.ReplaceAll(strings.TrimSpace(string(testca.New(t, testca.Spec{}).CertPEM())), "\n", "\n    ") + "\n---\n"
	if r := run(t, "", "check", folder(t, ca+"apiVersion: hakone.dev/v1alpha1\nkind: UpstreamProxy\n"+objects), "--fail-on", "warning"); r.code != ExitOK {
		t.Errorf("%d\n%s", r.code, r.out)
	}
}
