//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/rawupstream"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestTwoCertificates gives a host an RSA and an ECDSA certificate: each client gets the one it can use,
// and ECDSA where it has the choice.
func TestTwoCertificates(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	rsa := s.ca.Issue(testca.Spec{DNS: []string{"a.test"}, Key: testca.RSA2048})
	gateways := map[string]string{
		"istio": strings.Replace(istioGateway(istioServer{host: "a.test", secret: "x"}), "credentialName: x", "credentialNames:\n      - rsa\n      - ecdsa", 1),
		"gatewayapi": "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: gw\n  namespace: istio-system\nspec:\n  gatewayClassName: hakone\n  listeners:\n" +
			"  - name: https\n    hostname: a.test\n    port: 443\n    protocol: HTTPS\n    tls:\n      certificateRefs:\n      - name: rsa\n      - name: ecdsa\n",
	}
	eachFamily(t, func(t *testing.T, family string) {
		g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": gateways[family], "secret.yaml": secretTLS("rsa", rsa) + "---\n" + secretTLS("ecdsa", s.leaf)}})
		for _, c := range []struct{ args, signature string }{
			{"-tls1_3", "ECDSA"},
			{"-tls1_2", "ECDSA"},
			{"-tls1_3 -sigalgs RSA-PSS+SHA256:RSA+SHA256", "RSA"},
			{"-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", "RSA"},
		} {
			shake := client.SClient(t, g.Addr(443), "", append([]string{"-servername", "a.test"}, strings.Fields(c.args)...)...)
			if m := regexp.MustCompile(`Peer signature type: (\S+)`).FindStringSubmatch(shake.Text); m == nil || !strings.HasPrefix(m[1], c.signature) || shake.Protocol == "" {
				t.Errorf("%s: signature %v\n%s", c.args, m, shake.Text)
			}
		}
	})
}

// TestNegotiated shows what good clients get, as they and the access log see it: the hybrid group by
// default, and resumption.
func TestNegotiated(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := startSite(t, s, httpbin.Start(t), "a.test")
	config := s.config("a.test")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		mark := g.Mark()
		c := client.DialTLS(t, g.Addr(443), config)
		if c.TLS().CurveID != tls.X25519MLKEM768 || c.TLS().Version != tls.VersionTLS13 || c.TLS().NegotiatedProtocol != "http/1.1" || c.TLS().DidResume != (i == 1) {
			t.Errorf("connection %d: %+v", i, c.TLS())
		}
		if resp, _ := c.Get("a.test", fmt.Sprintf("/status/20%d", i)); resp.StatusCode != 200+i {
			t.Errorf("status %d", resp.StatusCode)
		}
		line := g.AwaitLine(mark, "kind", "request", "target", fmt.Sprintf("/status/20%d", i))
		resumed, _ := line["resumed"].(bool)
		if line.S("group") != "X25519MLKEM768" || line.S("tls") != "1.3" || line.S("cipher") == "" || resumed != (i == 1) {
			t.Errorf("access log: %v", line)
		}
		c.Close()
	}
	if g.Counter("hakone_tls_handshakes_total", `resumed="true"`, `side="downstream"`, `version="1.3"`) != 1 {
		t.Error("the metric does not count the resumed handshake")
	}
	old := s.config("a.test")
	old.CurvePreferences = []tls.CurveID{tls.CurveP256}
	if c := client.DialTLS(t, g.Addr(443), old); c.TLS().CurveID != tls.CurveP256 {
		t.Errorf("a client with P-256 only got %v", c.TLS().CurveID)
	}
}

// TestTLSSettings narrows versions, suites and groups by server and by TLSPolicy.
func TestTLSSettings(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test", "modern.test", "old.test", "group.test")
	policy := func(name, spec string) string {
		return "---\napiVersion: hakone.dev/v1alpha1\nkind: TLSPolicy\nmetadata:\n  name: " + name + "\nspec:\n  hosts:\n  - " + name + ".test\n" + indented("  ", []string{spec})
	}
	var servers []istioServer
	for _, h := range []string{"b.test", "modern.test", "old.test", "group.test"} {
		servers = append(servers, istioServer{host: h, secret: "site"})
	}
	servers = append(servers, istioServer{host: "a.test", secret: "site", tls: "minProtocolVersion: TLSV1_2\nmaxProtocolVersion: TLSV1_2\ncipherSuites:\n- ECDHE-ECDSA-AES256-GCM-SHA384"})
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(servers...), "secret.yaml": secretTLS("site", s.leaf), "route.yaml": routeAll("all", "*", "backend"),
		"policy.yaml": policy("modern", "preset: modern") + policy("old", "preset: old") + policy("group", "groups: [P-384]")}})
	if got := versions(t, g, "a.test"); got != "TLSv1.2" {
		t.Errorf("a.test: %s", got)
	}
	if got := client.SClient(t, g.Addr(443), "", "-servername", "a.test"); got.Cipher != "ECDHE-ECDSA-AES256-GCM-SHA384" {
		t.Errorf("a.test: %s", got.Cipher)
	}
	if got := client.SClient(t, g.Addr(443), "", "-servername", "a.test", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-tls1_2"); got.Alert != 40 {
		t.Errorf("another suite on a.test: alert %d", got.Alert)
	}
	for host, want := range map[string]string{"b.test": "TLSv1.2 TLSv1.3", "modern.test": "TLSv1.3", "old.test": "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"} {
		if got := versions(t, g, host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	if got := client.SClient(t, g.Addr(443), "", "-servername", "group.test", "-groups", "P-256"); got.Alert != 40 {
		t.Errorf("P-256 on group.test: alert %d", got.Alert)
	}
	if got := client.SClient(t, g.Addr(443), "", "-servername", "group.test", "-groups", "P-256:P-384"); got.Protocol != "TLSv1.3" || !strings.Contains(got.Text, "Server Temp Key: ECDH, secp384r1") {
		t.Errorf("P-384 on group.test:\n%s", got.Text)
	}
}

// TestOrigination sends requests on over TLS with a client certificate, which the upstream verifies, and
// with new material once the secret is rotated.
func TestOrigination(t *testing.T) {
	t.Parallel()
	s, ca := newSite(t, "a.test"), testca.New(t, testca.Spec{CommonName: "Upstream CA"})
	up := rawupstream.StartTLS(t, nil, &tls.Config{Certificates: []tls.Certificate{ca.Issue(testca.Spec{DNS: []string{"up.test"}}).TLS()},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})
	mine := ca.Issue(testca.Spec{CommonName: "gateway"})
	dir := gateway.Folder(t)
	cert, key := mine.Write(dir, "gateway")
	writeFile(t, filepath.Join(dir, "ca.crt"), string(ca.CertPEM()))
	rule := func(tls string) string {
		return routeAll("all", "*", "backend") + "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: backend\nspec:\n  host: backend\n  trafficPolicy:\n    tls:\n      mode: MUTUAL\n      sni: up.test\n" + indented("      ", []string{tls})
	}
	secret := func(ours *testca.Pair) string {
		return testca.SecretYAML("istio-system", "up", ours.SecretData(testca.FormatGeneric, ca.CertPEM(), nil))
	}
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "secret.yaml": secretTLS("site", s.leaf),
		"route.yaml": rule("clientCertificate: " + cert + "\nprivateKey: " + key + "\ncaCertificates: " + filepath.Join(dir, "ca.crt")), "up.yaml": secret(mine)},
		Endpoints: []string{"backend.default:8000=" + up.Addr}})
	c := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	for i, change := range []func(){
		func() {}, // files, as the DestinationRule names them
		func() { g.Change(func() { g.Write("route.yaml", rule("credentialName: up")) }) },
		func() {
			g.Change(func() { g.Write("up.yaml", secret(ca.Issue(testca.Spec{CommonName: "gateway 2"}))) })
		},
	} {
		change()
		for range 3 {
			if resp, body := c.Get("a.test", fmt.Sprintf("/%d", i)); resp.StatusCode != 200 {
				t.Errorf("step %d: %d %s", i, resp.StatusCode, body)
			}
		}
		if n := up.Connections(); n != i+1 {
			t.Errorf("step %d: %d upstream connections; kept ones must be used, with current material only", i, n)
		}
	}
	if g.Counter("hakone_tls_handshakes_total", `side="upstream"`) != 3 {
		t.Error("the metric does not count the handshakes")
	}
}

// TestEndpointSources resolves a service by every source of addresses.
func TestEndpointSources(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	up := rawupstream.Start(t, nil)
	var port int
	if _, err := fmt.Sscanf(up.Addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	service := "apiVersion: v1\nkind: Service\nmetadata:\n  name: backend\nspec:\n  ports:\n  - name: http\n    port: 8000\n"
	entry := func(resolution, address string) string {
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: backend\nspec:\n  hosts:\n  - ext.test\n  location: MESH_EXTERNAL\n  ports:\n  - number: 8000\n    name: http\n    protocol: HTTP\n    targetPort: %d\n  resolution: %s\n  endpoints:\n  - address: %s\n", port, resolution, address)
	}
	base := map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "secret.yaml": secretTLS("site", s.leaf)}
	g := gateway.Start(t, gateway.Options{Files: base})
	conn := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	for i, c := range []struct{ name, text, host string }{
		{"EndpointSlice", service + "---\n" + slice("backend", "127.0.0.1", port, true), "backend"},
		{"headless service", strings.Replace(service, "spec:\n", "spec:\n  clusterIP: None\n", 1) + "---\n" + slice("backend", "127.0.0.1", port, true), "backend.default.svc.cluster.local"},
		{"ServiceEntry STATIC", entry("STATIC", "127.0.0.1"), "ext.test"},
		{"ServiceEntry DNS", entry("DNS", "localhost"), "ext.test"},
		{"ExternalName", "apiVersion: v1\nkind: Service\nmetadata:\n  name: backend\nspec:\n  type: ExternalName\n  externalName: localhost\n  ports:\n  - name: http\n    port: 8000\n", "backend"},
	} {
		step := fmt.Sprintf("headers:\n  request:\n    set:\n      x-step: step-%d", i) // so that each is another configuration
		text := routeAll("all", "*", c.host, step) + "---\n" + c.text
		if c.name == "ExternalName" { // is a name only: the port is the one that the route asks for
			text = strings.ReplaceAll(text, "8000", fmt.Sprint(port))
		}
		g.Change(func() { g.Write("route.yaml", text) })
		path, status, body := fmt.Sprintf("/source-%d", i), 0, ""
		for end := time.Now().Add(10 * time.Second); status != 200 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			resp, text := conn.Get("a.test", path)
			status, body = resp.StatusCode, text
		}
		if status != 200 || body != "GET "+path+" HTTP/1.1\n" {
			t.Errorf("%s: %d %q", c.name, status, body)
			continue
		}
		if got := up.Messages(); got[len(got)-1].Field("x-step") != fmt.Sprintf("step-%d", i) {
			t.Errorf("%s: the upstream received %q", c.name, got[len(got)-1].Head)
		}
	}
}

// TestAccessLogFormats writes the text formats into a file, which is opened anew on SIGHUP.
func TestAccessLogFormats(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	for format, want := range map[string]*regexp.Regexp{
		"envoy": regexp.MustCompile(`^\[\S+Z\] "GET /status/418 HTTP/2" 418 - 0 \d+ \d+ \d+ "127\.0\.0\.1" "curl/\S+" "[0-9a-f-]{36}" "a\.test\S*" "127\.0\.0\.1:\d+" stream=1 upstream_protocol=HTTP/1\.1$`),
		"istio": regexp.MustCompile(`^\[\S+Z\] "GET /status/418 HTTP/2" 418 - \S+ - "-" 0 \d+ \d+ \d+ "127\.0\.0\.1" "curl/\S+" "[0-9a-f-]{36}" "a\.test\S*" "127\.0\.0\.1:\d+" `),
	} {
		file := filepath.Join(t.TempDir(), "access.log")
		g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "route.yaml": routeAll("all", "*", "backend"),
			"secret.yaml": secretTLS("site", s.leaf)}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}, Args: []string{"--access-log", file, "--access-log-format", format}})
		client.Curl(t, g.Addr(443), "https://a.test/status/418", "--cacert", s.caFile(t))
		client.SClient(t, g.Addr(443), "", "-servername", "unknown.test")
		var lines []string
		for end := time.Now().Add(10 * time.Second); len(lines) < 2 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines = strings.Split(strings.TrimSpace(string(b)), "\n")
		}
		if len(lines) != 2 || !want.MatchString(lines[0]) || !strings.Contains(lines[1], "HK1005") {
			t.Errorf("%s:\n%s", format, strings.Join(lines, "\n"))
		}
	}
}
