//go:build e2e

package egress

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/testca"
)

// TestCurlThroughHTTPSProxy has curl speak TLS with the proxy, and be known by its certificate.
func TestCurlThroughHTTPSProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	people, front := testca.New(t, testca.Spec{CommonName: "People"}), testca.New(t, testca.Spec{CommonName: "Front"})
	proxy := front.Issue(testca.Spec{DNS: []string{"proxy.test"}})
	w.write("front.crt", front.CertPEM())
	for _, name := range []string{"alice", "bob"} {
		people.Issue(testca.Spec{CommonName: name}).Write(w.dir, name)
	}
	w.start(map[string]string{
		"front.yaml":  testca.SecretYAML("default", "front", proxy.SecretData(testca.FormatTLS, nil, nil)),
		"people.yaml": fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: people, namespace: default}\ndata:\n  ca.crt: |\n%s", indent(string(people.CertPEM()), 4)),
		"egress.yaml": strings.Replace(w.egress(), "  interception:\n", `  - name: secure
    port: 3443
    mode: Proxy
    certificateRef: {name: front}
    clientCARef: {kind: ConfigMap, name: people}
  acls:
  - {name: alice, type: user_cert, values: [CN, alice]}
  - {name: secure, type: myportname, values: [secure]}
  access:
  - {action: Deny, acls: [secure, "!alice"]}
  - {action: Allow, acls: [all]}
  interception:
`, 1)})
	ask := func(user string, more ...string) (out, errors string) {
		args := []string{"--resolve", "proxy.test:3443:" + w.hakone.Address, "--proxy", "https://proxy.test:3443", "--proxy-cacert", "front.crt", "--cacert", "mesh.crt"}
		if user != "" {
			args = append(args, "--proxy-cert", filepath.Join(w.dir, user+".crt"), "--proxy-key", filepath.Join(w.dir, user+".key"))
		}
		r := w.curl(append(args, more...)...)
		return r.Out, r.Err
	}
	for _, url := range []string{"https://example.com/", "http://example.com/"} {
		out, err := ask("alice", url)
		w.has("alice, "+url, out+err, `<title>Example Domain</title>`)
		out, err = ask("bob", "-w", "%{http_code} %{http_connect}", url)
		w.has("bob, "+url, out+err, `HK4502`, `deny secure !alice`, `403 (200|000)$`)
		out, err = ask("", url)
		w.has("nobody, "+url, out+err, `(?i)certificate required|alert|deny secure !alice`)
	}
	out, _ := ask("alice", "-T", "front.crt", "https://example.com/upload", "https://example.com/seen")
	w.has("an upload, then a request on the same connection", out, `\d+ bytes`, `GET /seen `)
}
