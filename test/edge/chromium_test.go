//go:build e2e

package edge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

const (
	shop  = "www.shop.test"
	plain = "plain.shop.test"
)

// shopPage is what Chromium saw.
type shopPage struct {
	URL, Protocol, Title, Text, Error string
	Status                            int
}

// startShop serves two hosts from one pool: one with paths for the clients of two CAs, one without.
func startShop(t *testing.T, public *testca.Pair, a, b *testca.Pair) *gateway.Gateway {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "<title>shop</title>seen %s", r.URL.Path) }))
	t.Cleanup(origin.Close)
	host, port, _ := strings.Cut(strings.TrimPrefix(origin.URL, "http://"), ":")
	policy := func(name, path string) string {
		return fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: ClientCertificatePolicy\nmetadata: {name: %s}\nspec:\n  hosts: [%s]\n  paths: [%s]\n  trust: {caRefs: [{kind: ConfigMap, name: %s}]}\n---\n", name, shop, path, name)
	}
	return gateway.Start(t, gateway.Options{Files: map[string]string{
		"hosts.yaml": fmt.Sprintf(`apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: shop}
spec:
  hosts: [%s, %s]
  certificateRefs: [{name: shop}]
  poolRef: {name: shop}
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: shop}
spec:
  origins: [{name: only, address: %s, port: %s}]
`, shop, plain, host, port),
		"policies.yaml": policy("staff", "/staff") + policy("partners", "/partners") + configMap("staff", string(a.CertPEM())) + "---\n" + configMap("partners", string(b.CertPEM())),
		"secret.yaml":   testca.SecretYAML("default", "shop", public.Issue(testca.Spec{DNS: []string{shop, plain}}).SecretData(testca.FormatTLS, nil, nil)),
	}})
}

// browse opens pages in a Chromium that has the client's certificate, if any, and gives it to every host
// that asks for one. What chooses it, a policy of the machine, lies in a mount namespace of its own.
func browse(t *testing.T, g *gateway.Gateway, public, client *testca.Pair, urls ...string) map[string]shopPage {
	t.Helper()
	home := gateway.Folder(t)
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	ca, _ := public.Write(home, "ca")
	steps := [][]string{{"certutil", "-N", "-d", "sql:" + db, "--empty-password"}, {"certutil", "-A", "-d", "sql:" + db, "-n", "ca", "-t", "C,,", "-i", ca}}
	if client != nil {
		cert, key := client.Write(home, "client")
		steps = append(steps, []string{"openssl", "pkcs12", "-export", "-name", "client", "-in", cert, "-inkey", key, "-passout", "pass:secret", "-out", filepath.Join(home, "client.p12")},
			[]string{"pk12util", "-d", "sql:" + db, "-i", filepath.Join(home, "client.p12"), "-W", "secret"})
	}
	for _, step := range steps {
		if r := program.Run(t, program.Command{Path: program.Find(t, step[0]), Args: step[1:]}); r.Code != 0 {
			t.Fatalf("%v: %s%s", step, r.Out, r.Err)
		}
	}
	policy := filepath.Join(home, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"AutoSelectCertificateForUrls":["{\"pattern\":\"*\",\"filter\":{}}"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("testdata/visit.js")
	if err != nil {
		t.Fatal(err)
	}
	unshare := "-m"
	if os.Getuid() != 0 {
		unshare = "-rm"
	}
	args := []string{unshare, "sh", "-c", `mount -t tmpfs none /etc/chromium && mkdir -p /etc/chromium/policies/managed && cp "$0" /etc/chromium/policies/managed/ && exec "$@"`,
		policy, program.Find(t, "node"), script, filepath.Join(home, "profile"), program.Find(t, "chromium"), "MAP *.shop.test 127.0.0.1, MAP * ~NOTFOUND"}
	for _, u := range urls {
		args = append(args, strings.Replace(u, ".test/", fmt.Sprintf(".test:%d/", g.Port(443)), 1))
	}
	r := program.Run(t, program.Command{Path: program.Find(t, "unshare"), Args: args, Env: []string{"HOME=" + home, "NODE_PATH=" + program.NodeModules(t)}, Limit: 2 * time.Minute})
	var pages []shopPage
	if err := json.Unmarshal([]byte(r.Out), &pages); err != nil || len(pages) != len(urls) {
		t.Fatalf("Chromium: exit %d\n%s\n%s", r.Code, r.Out, r.Err)
	}
	seen := map[string]shopPage{}
	for i, p := range pages {
		seen[urls[i]] = p
	}
	return seen
}

// TestChromium opens protected and open paths with and without a certificate.
func TestChromium(t *testing.T) {
	t.Parallel()
	public := testca.New(t, testca.Spec{CommonName: "Public"})
	staff, partners := testca.New(t, testca.Spec{CommonName: "Staff"}), testca.New(t, testca.Spec{CommonName: "Partners"})
	g := startShop(t, public, staff, partners)
	urls := []string{"https://" + shop + "/staff/x", "https://" + shop + "/partners", "https://" + shop + "/open", "https://" + plain + "/staff"}
	for _, tc := range []struct {
		name   string
		client *testca.Pair
		want   [4]int
		codes  [4]string
	}{
		{"with a certificate", staff.Issue(testca.Spec{CommonName: "vera"}), [4]int{200, 403, 200, 200}, [4]string{"", "HK2102", "", ""}},
		{"without one", nil, [4]int{403, 403, 200, 200}, [4]string{"HK2101", "HK2101", "", ""}},
	} {
		seen := browse(t, g, public, tc.client, urls...)
		for i, u := range urls {
			p := seen[u]
			if p.Status != tc.want[i] || p.Protocol != "h2" || !strings.Contains(p.Text, tc.codes[i]) || tc.want[i] == 200 && p.Title != "shop" {
				t.Errorf("%s: %s: want %d %s, got %+v", tc.name, u, tc.want[i], tc.codes[i], p)
			}
		}
	}
	for _, l := range g.Lines() {
		if l.S("kind") == "handshake" && l.S("sni") == plain && (l.S("peer_offered") != "" || l.S("peer_subject") != "") {
			t.Errorf("a host without a policy asked for a certificate: %v", l)
		}
	}
	g.AwaitLine(0, "kind", "request", "host", fmt.Sprintf("%s:%d", plain, g.Port(443)))
}
