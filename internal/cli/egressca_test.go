package cli

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

func TestEgressCA(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	at := []string{"--ca-dir", filepath.Join(dir, "ca")}
	do := func(want int, args ...string) result {
		t.Helper()
		got := run(t, "", append(append([]string{}, args...), at...)...)
		if got.code != want {
			t.Fatalf("%q: exit %d, want %d\n%s%s", args, got.code, want, got.out, got.err)
		}
		return got
	}
	do(ExitOK, "ca", "init")
	base := filepath.Join(dir, "ic")
	do(ExitOK, "egress", "ca", "create", "--permit", "example.com", "--permit", "*.www.example.com", "--permit", "EXAMPLE.org", "-o", "pem", "--out", base)
	pair := readPair(t, base)
	if c := pair.Leaf; !c.IsCA || !slices.Equal(c.PermittedDNSDomains, []string{"example.com", "example.org"}) || len(c.ExcludedIPRanges) != 2 || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Errorf("CA %v, permitted %v, excluded %v", c.IsCA, c.PermittedDNSDomains, c.ExcludedIPRanges)
	}
	do(ExitOK, "egress", "ca", "create", "--permit", "example.com", "--permit", "192.0.2.1", "-o", "pem", "--out", base, "--force")
	if c := readPair(t, base).Leaf; len(c.PermittedIPRanges) != 1 || c.PermittedIPRanges[0].String() != "192.0.2.1/32" || len(c.ExcludedIPRanges) != 0 {
		t.Errorf("permitted %v, excluded %v", c.PermittedIPRanges, c.ExcludedIPRanges)
	}
	do(ExitOK, "egress", "ca", "create", "--any-host", "-o", "pem", "--out", base, "--force")
	if c := readPair(t, base).Leaf; len(c.PermittedDNSDomains)+len(c.ExcludedIPRanges) != 0 {
		t.Errorf("--any-host: permitted %v, excluded %v", c.PermittedDNSDomains, c.ExcludedIPRanges)
	}
	got := do(ExitOK, "egress", "ca", "create", "--permit", "example.com", "--secret-name", "egress/mesh-ca")
	if !strings.Contains(got.out, "kind: Secret") || !strings.Contains(got.out, "namespace: egress") || !strings.Contains(got.err, "only example.com") {
		t.Errorf("%s%s", got.out, got.err)
	}
	do(ExitUsage, "egress", "ca", "create")
	do(ExitUsage, "egress", "ca", "create", "--permit", "192.0.2.1")
	do(ExitUsage, "egress", "ca", "create", "--permit", "example.com", "--any-host")
	do(ExitUsage, "egress", "ca", "create", "--hosts-from", "../../examples/egress", "--forward-proxy", "no/such")

	hosts := filepath.Join(dir, "hosts")
	if err := os.Mkdir(hosts, 0o700); err != nil {
		t.Fatal(err)
	}
	manifest := "apiVersion: hakone.dev/v1alpha1\nkind: UpstreamProxy\nmetadata: {name: corp, namespace: egress}\nspec:\n  urls: [\"http://10.0.0.8:3128\"]\n  hosts: [\"*.shop.test\", \"shop.test\", \"*\"]\n"
	if err := os.WriteFile(filepath.Join(hosts, "p.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	got = do(ExitOK, "egress", "ca", "create", "--hosts-from", hosts, "-o", "pem", "--out", base, "--force")
	if c := readPair(t, base).Leaf; !slices.Equal(c.PermittedDNSDomains, []string{"shop.test"}) || !strings.Contains(got.err, "left out") {
		t.Errorf("permitted %v\n%s", c.PermittedDNSDomains, got.err)
	}
}

func TestEgressCAConfigMap(t *testing.T) {
	alone(t)
	dir := t.TempDir()
	at := filepath.Join(dir, "ca")
	if got := run(t, "", "ca", "init", "--ca-dir", at); got.code != 0 {
		t.Fatal(got.err)
	}
	old := testca.New(t, testca.Spec{CommonName: "Old CA"})
	file, leaf := filepath.Join(dir, "old.pem"), filepath.Join(dir, "leaf.pem")
	for path, pem := range map[string][]byte{file: slices.Concat(old.CertPEM(), old.CertPEM()), leaf: old.Issue(testca.Spec{DNS: []string{"a.test"}}).CertPEM()} {
		if err := os.WriteFile(path, pem, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args  []string
		certs int
	}{{nil, 1}, {[]string{"--add", file}, 2}, {[]string{"--only-added", "--add", file}, 1}} {
		got := run(t, "", append([]string{"egress", "ca", "configmap", "--ca-dir", at, "--config-map", "shop/egress-ca"}, tc.args...)...)
		if n := strings.Count(got.out, "BEGIN CERTIFICATE"); got.code != 0 || n != tc.certs || !strings.Contains(got.out, "namespace: shop") || strings.Contains(got.out, "PRIVATE") {
			t.Errorf("%q: exit %d, %d certificates\n%s%s", tc.args, got.code, n, got.out, got.err)
		}
	}
	if got := run(t, "", "egress", "ca", "configmap", "--ca-dir", at, "--add", leaf); got.code != ExitUsage || !strings.Contains(got.err, "no CA") {
		t.Errorf("a leaf was handed out as a CA: exit %d %s", got.code, got.err)
	}
	if got := run(t, "", "egress", "ca", "configmap", "--only-added"); got.code != ExitUsage {
		t.Errorf("nothing to hand out: exit %d %s", got.code, got.err)
	}
}

func readPair(t *testing.T, base string) *secret.KeyPair {
	t.Helper()
	cert, err := os.ReadFile(base + ".crt")
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(base + ".key")
	if err != nil {
		t.Fatal(err)
	}
	pair, _, err := secret.ParseKeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}
