package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/testca"
)

// edgeExample copies the manifests of examples/edge to a folder.
func edgeExample(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("../../examples/edge/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	dir := t.TempDir()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func configMap(name string, pem []byte) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: edge}\ndata:\n  ca.crt: |\n    " + strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n    ") + "\n"
}

// TestEdgeExampleIsClean finds nothing to say about the example with certificates as they should be, and
// names each object that lacks its own.
func TestEdgeExampleIsClean(t *testing.T) {
	alone(t)
	dir := edgeExample(t)
	r := run(t, "", "check", dir)
	for _, want := range []string{"EdgeHost edge/mtls-lb", "OriginPool edge/mtls-pool", "OriginPull edge/mtls-test-net", "ClientCertificatePolicy edge/mtls-app"} {
		if r.code != ExitFindings || !strings.Contains(r.out, want) {
			t.Errorf("without certificates %s is not named: %d\n%s", want, r.code, r.out)
		}
	}
	clients, servers := testca.New(t, testca.Spec{CommonName: "mtls_ca"}), testca.New(t, testca.Spec{CommonName: "edge-ca"})
	write(t, dir, "ca.yaml", configMap("mtls-ca", clients.CertPEM())+"---\n"+configMap("origin-ca", servers.CertPEM()))
	host := servers.Issue(testca.Spec{CommonName: "mtls_lb.mtls-test.net", DNS: []string{"mtls_lb.mtls-test.net"}})
	write(t, dir, "host.yaml", testca.SecretYAML("edge", "mtls-lb-cert", host.SecretData(testca.FormatTLS, nil, nil)))
	pull := clients.Issue(testca.Spec{CommonName: "edge", DNS: []string{"edge.mtls-test.net"}})
	write(t, dir, "pull.yaml", testca.SecretYAML("edge", "origin-pull-cert", pull.SecretData(testca.FormatTLS, nil, nil)))
	if r := run(t, "", "check", dir, "--fail-on", "warning"); r.code != ExitOK {
		t.Errorf("%d\n%s", r.code, r.out)
	}
}

// TestEdgeExampleWithItsOwnScript runs the example's script: the client certificate of version 1 is worth
// warnings, and nothing an error.
func TestEdgeExampleWithItsOwnScript(t *testing.T) {
	alone(t)
	dir := edgeExample(t)
	script, err := filepath.Abs("../../examples/edge/certificates.sh")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := run(t, "", "check", dir)
	if r.code != ExitOK || !strings.Contains(r.out, "HK5506 Secret edge/origin-pull-cert") {
		t.Errorf("%d\n%s", r.code, r.out)
	}
	for line := range strings.Lines(r.out) {
		if strings.HasPrefix(line, "warning") && !strings.Contains(line, "Secret edge/origin-pull-cert") {
			t.Errorf("%s", line)
		}
	}
}
