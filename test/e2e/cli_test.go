//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// finding is a diagnostic as "hakone check -o json" prints it.
type finding struct {
	Code, Slug, Severity  string
	Kind, Namespace, Name string
	File, Field           string
	Line                  int
	Message, Fix          string
}

// check runs "hakone check -o json" on files.
func check(t *testing.T, files map[string]string, args ...string) ([]finding, gateway.Result) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	r := gateway.Command(t, nil, "", append([]string{"check", dir, "-o", "json"}, args...)...)
	var out struct{ Diagnostics []finding }
	if r.Code != 2 {
		if err := json.Unmarshal([]byte(r.Out), &out); err != nil {
			t.Fatalf("check printed no JSON: %v\n%s%s", err, r.Out, r.Err)
		}
	}
	return out.Diagnostics, r
}

// TestCheckExitCodes distinguishes good folders, findings and wrong usage.
func TestCheckExitCodes(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	good := map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "secret.yaml": secretTLS("site", s.leaf),
		"route.yaml":   routeAll("all", "a.test", "backend"),
		"service.yaml": "apiVersion: v1\nkind: Service\nmetadata:\n  name: backend\nspec:\n  ports:\n  - name: http\n    port: 8000\n---\n" + slice("backend", "192.0.2.1", 8000, true)}
	if ds, r := check(t, good); r.Code != 0 {
		t.Errorf("a good folder: exit %d, %+v", r.Code, ds)
	}
	if ds, r := check(t, good, "--fail-on", "warning"); r.Code != 0 {
		t.Errorf("a good folder, failing on warnings: exit %d, %+v", r.Code, ds)
	}
	soon := s.ca.Issue(testca.Spec{DNS: []string{"a.test"}, NotBefore: time.Now().Add(-90 * 24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)})
	warned := with(good, "secret.yaml", secretTLS("site", soon))
	if _, r := check(t, warned); r.Code != 0 {
		t.Errorf("warnings only: exit %d", r.Code)
	}
	if _, r := check(t, warned, "--fail-on", "warning"); r.Code != 3 {
		t.Errorf("warnings, failing on them: exit %d", r.Code)
	}
	if _, r := check(t, with(good, "secret.yaml", "kind: Secret\n")); r.Code != 3 {
		t.Errorf("errors: exit %d", r.Code)
	}
	for _, args := range [][]string{{"check"}, {"check", t.TempDir(), "--fail-on", "nonsense"}, {"check", t.TempDir(), "-o", "xml"}, {"check", filepath.Join(t.TempDir(), "nowhere")},
		{"check", t.TempDir(), "--nonsense"}, {"nonsense"}, {"run"}, {"run", "--config", t.TempDir(), "--port-map", "x"}} {
		r := gateway.Command(t, nil, "", args...)
		if r.Code != 2 || !strings.HasPrefix(r.Err, "error: ") || !strings.Contains(r.Err, "\n  fix:   ") || r.Out != "" {
			t.Errorf("%q: exit %d\n%s%s", args, r.Code, r.Out, r.Err)
		}
	}
}

// TestCheckFindings makes faults and reads code, place and remedy.
func TestCheckFindings(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	base := map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "secret.yaml": secretTLS("site", s.leaf), "route.yaml": routeAll("all", "a.test", "backend")}
	now := time.Now()
	issue := func(spec testca.Spec) string {
		if spec.DNS == nil && spec.CommonName == "" {
			spec.DNS = []string{"a.test"}
		}
		return secretTLS("site", s.ca.Issue(spec))
	}
	inter := s.ca.Intermediate(testca.Spec{CommonName: "Intermediate"}).Issue(testca.Spec{DNS: []string{"a.test"}})
	// An intermediate that is known from another secret, and not served with the certificate.
	alone := testca.SecretYAML("istio-system", "site", map[string][]byte{"tls.crt": inter.CertPEM(), "tls.key": inter.KeyPEM()})
	elsewhere := secretTLS("full", inter) + "---\n" + strings.Replace(istioGateway(istioServer{host: "full.test", secret: "full"}), "name: gw", "name: other", 1)
	for _, c := range []struct{ name, file, text, code, severity, object string }{
		{"key of another certificate", "secret.yaml", testca.SecretYAML("istio-system", "site", map[string][]byte{"tls.crt": s.leaf.ChainPEM(), "tls.key": inter.KeyPEM()}), "HK5501", "error", "site"},
		{"incomplete chain", "secret.yaml", alone + "---\n" + elsewhere, "HK5502", "warning", "site"},
		{"expired", "secret.yaml", issue(testca.Spec{NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour)}), "HK5503", "error", "site"},
		{"expires soon", "secret.yaml", issue(testca.Spec{NotBefore: now.Add(-90 * 24 * time.Hour), NotAfter: now.Add(24 * time.Hour)}), "HK5504", "warning", "site"},
		{"common name only", "secret.yaml", issue(testca.Spec{CommonName: "a.test"}), "HK5505", "warning", "site"},
		{"version 1", "secret.yaml", secretTLS("site", s.ca.Version1("a.test")), "HK5506", "warning", "site"},
		{"weak key", "secret.yaml", issue(testca.Spec{Key: testca.RSA1024}), "HK5507", "error", "site"},
		{"weak signature", "secret.yaml", issue(testca.Spec{SHA1: true}), "HK5508", "error", "site"},
		{"RSA", "secret.yaml", issue(testca.Spec{Key: testca.RSA2048}), "HK5509", "info", "site"},
		{"not valid yet", "secret.yaml", issue(testca.Spec{NotBefore: now.Add(24 * time.Hour), NotAfter: now.Add(48 * time.Hour)}), "HK5510", "error", "site"},
		{"another host", "secret.yaml", issue(testca.Spec{DNS: []string{"b.test"}}), "HK5511", "warning", ""},
		{"no secret", "secret.yaml", "", "HK5104", "error", "gw"},
		{"unknown field", "route.yaml", strings.Replace(base["route.yaml"], "route:", "rout:", 1), "", "error", "all"},
		{"wrong enumeration", "gateway.yaml", strings.Replace(base["gateway.yaml"], "mode: SIMPLE", "mode: SIMPEL", 1), "", "error", "gw"},
		{"foreign selector", "gateway.yaml", strings.Replace(base["gateway.yaml"], "ingressgateway", "othergateway", 1), "HK5204", "warning", "gw"},
		{"subset that is not there", "route.yaml", strings.Replace(base["route.yaml"], "host: backend", "host: backend\n        subset: v2", 1), "HK5603", "error", "all"},
	} {
		ds, r := check(t, with(base, c.file, c.text))
		found := false
		for _, d := range ds {
			if c.code != "" && d.Code != c.code || d.Severity != c.severity || c.object != "" && d.Name != c.object {
				continue
			}
			if c.code == "" && d.Line == 0 {
				continue
			}
			found = true
			if d.Message == "" || d.Fix == "" || d.Kind == "" || !strings.HasSuffix(d.File, ".yaml") || d.Line == 0 {
				t.Errorf("%s: incomplete: %+v", c.name, d)
			}
			if strings.HasPrefix(c.name, "unknown") && !strings.Contains(d.Message+d.Fix, `"route"`) {
				t.Errorf("%s: no suggestion: %+v", c.name, d)
			}
			if strings.HasPrefix(c.name, "wrong enum") && !strings.Contains(d.Message+d.Fix, "SIMPLE") {
				t.Errorf("%s: no suggestion: %+v", c.name, d)
			}
		}
		// A Gateway that selects another workload leaves nothing to serve, which is an error of its own.
		if want := map[bool]int{true: 3, false: 0}[c.severity == "error" || c.code == "HK5204"]; !found || r.Code != want {
			t.Errorf("%s: exit %d, want %d and %s %s on %q; got %+v", c.name, r.Code, want, c.severity, c.code, c.object, ds)
		}
	}
}

// TestExplain explains codes, slugs and requests.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"HK2101", "hk2101", "client_cert_missing"} {
		r := gateway.Command(t, nil, "", "explain", word)
		if r.Code != 0 || !strings.HasPrefix(r.Out, "HK2101 client_cert_missing: ") || !strings.Contains(r.Out, "\nfix: ") || !strings.Contains(r.Out, "116") {
			t.Errorf("explain %s: exit %d\n%s%s", word, r.Code, r.Out, r.Err)
		}
	}
	if r := gateway.Command(t, nil, "", "explain", "HK9999"); r.Code != 2 {
		t.Errorf("explain HK9999: %+v", r)
	}
	if r := gateway.Command(t, nil, "", "explain", "--all", "-o", "json"); r.Code != 0 || !json.Valid([]byte(r.Out)) || strings.Count(r.Out, `"code"`) < 100 {
		t.Errorf("explain --all: exit %d, %d codes", r.Code, strings.Count(r.Out, `"code"`))
	}
	if r := gateway.Command(t, []string{"HAKONE_ADMIN=unix:" + filepath.Join(t.TempDir(), "none.sock")}, "", "explain", "0f8fad5b-d9cb-469f-a165-70867728950e"); r.Code != 4 {
		t.Errorf("explain without a process: exit %d\n%s", r.Code, r.Err)
	}

	s := newSite(t, "a.test")
	g := startSite(t, s, refusedAddr(t), "a.test")
	a := client.Curl(t, g.Addr(443), "https://a.test/x", "--cacert", s.caFile(t))
	r := g.Run("explain", a.Field("X-Request-Id"))
	if r.Code != 0 || !strings.Contains(r.Out, "/x") || !strings.Contains(r.Out, "HK3201 upstream_connection_refused") || !strings.Contains(r.Out, "fix: ") {
		t.Errorf("explain %s: exit %d\n%s%s", a.Field("X-Request-Id"), r.Code, r.Out, r.Err)
	}
	if r := g.Run("explain", "0f8fad5b-d9cb-469f-a165-70867728950e"); r.Code != 1 {
		t.Errorf("a request that never was: %+v", r)
	}
}

// TestDump dumps every part, and looks for the private keys in everything that the process shows.
func TestDump(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	clients := testca.New(t, testca.Spec{CommonName: "Client CA"})
	up := testca.New(t, testca.Spec{}).Issue(testca.Spec{DNS: []string{"up.test"}, Key: testca.RSA2048})
	rule := "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: backend\nspec:\n  host: backend\n  trafficPolicy:\n    tls:\n      mode: MUTUAL\n      credentialName: up\n"
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site", mode: "MUTUAL"}),
		"route.yaml": routeAll("all", "*", "backend") + rule, "secret.yaml": testca.SecretYAML("istio-system", "site", s.leaf.SecretData(testca.FormatTLS, clients.CertPEM(), nil)),
		"up.yaml": testca.SecretYAML("istio-system", "up", up.SecretData(testca.FormatGeneric, up.Root().CertPEM(), nil))},
		Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}, Args: []string{"--log-level", "debug"}})
	_, _ = client.TryTLS(t, g.Addr(443), s.config("a.test"))
	everything := g.Get("/metrics") + g.Get("/status") + g.Get("/healthz?verbose")
	for _, part := range []string{"snapshot", "listeners", "routes", "upstreams", "certs"} {
		j, y := g.Run("dump", part, "-o", "json"), g.Run("dump", part)
		if j.Code != 0 || !json.Valid([]byte(j.Out)) || y.Code != 0 || len(y.Out) < 20 {
			t.Errorf("dump %s: %d %d\n%s", part, j.Code, y.Code, j.Err+y.Err)
		}
		everything += j.Out + y.Out
	}
	if r := g.Run("dump", "certs"); !strings.Contains(r.Out, "istio-system/site") || !strings.Contains(r.Out, "istio-system/up") {
		t.Errorf("dump certs names no secret:\n%s", r.Out)
	}
	if r := g.Run("dump", "keys"); r.Code != 2 {
		t.Errorf("dump keys: %+v", r)
	}
	g.Write("secret.yaml", testca.SecretYAML("istio-system", "site", map[string][]byte{"tls.crt": s.leaf.KeyPEM(), "tls.key": s.leaf.KeyPEM()})) // a key where a certificate belongs
	g.AwaitStderr("istio-system", "site", "HK5")
	everything += g.Run("status").Out + g.Run("status", "-o", "json").Out + g.Stderr() + gateway.Command(t, nil, "", "check", g.Dir).Out
	g.AwaitLine(0, "kind", "handshake")
	for _, l := range g.Lines() {
		text, _ := json.Marshal(l)
		everything += string(text)
	}
	for name, key := range map[string][]byte{"the host's": s.leaf.KeyPEM(), "the client's": up.KeyPEM()} {
		block, _ := pem.Decode(key)
		der := base64.StdEncoding.EncodeToString(block.Bytes)
		for i := 0; i+24 <= len(der); i += 12 {
			// The beginning of every PKCS #8 key is the same and no secret.
			if i >= 48 && strings.Contains(everything, der[i:i+24]) {
				t.Fatalf("%s private key is shown (base64 from byte %d)", name, i)
			}
		}
	}
	if strings.Contains(everything, "PRIVATE KEY--") {
		t.Error("a private key is shown")
	}
}

// TestVersionAndCompletion print what packagers and shells ask for.
func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()
	if r := gateway.Command(t, nil, "", "version"); r.Code != 0 || !regexp.MustCompile(`^hakone \d+\.\d+\.\d+ \(.*go1\.`).MatchString(r.Out) {
		t.Errorf("version: %+v", r)
	}
	var bom struct {
		BomFormat  string
		Components []struct{ Name, Version, Purl string }
	}
	r := gateway.Command(t, nil, "", "version", "--sbom")
	if err := json.Unmarshal([]byte(r.Out), &bom); err != nil || bom.BomFormat != "CycloneDX" || len(bom.Components) < 20 || !strings.Contains(r.Out, "pkg:golang/sigs.k8s.io/gateway-api@v") {
		t.Errorf("sbom: %v\n%.300s", err, r.Out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := gateway.Command(t, nil, "", "completion", shell)
		if r.Code != 0 || !strings.Contains(r.Out, "hakone") {
			t.Errorf("completion %s: exit %d", shell, r.Code)
		}
		if shell == "bash" {
			if out, err := exec.Command("bash", "-n", "-c", r.Out).CombinedOutput(); err != nil {
				t.Errorf("bash does not understand its completion: %v\n%s", err, out)
			}
		}
	}
	for _, args := range [][]string{{}, {"--help"}, {"run", "--help"}, {"tls-version", "set", "--help"}} {
		if r := gateway.Command(t, nil, "", args...); r.Code != 0 || !strings.Contains(r.Out, "hakone") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// TestAdmin asks the unix socket and a TCP address, which serves reads only.
func TestAdmin(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := startSite(t, s, httpbin.Start(t), "a.test")
	socket := strings.TrimPrefix(g.Admin, "unix:")
	if st, err := os.Stat(socket); err != nil || st.Mode()&os.ModeSocket == 0 || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v %v", st.Mode(), err)
	}
	for path, want := range map[string]string{"/livez": "ok", "/readyz": "ok", "/healthz?verbose": "[+]", "/metrics": "hakone_build_info{"} {
		if got := g.Get(path); !strings.Contains(got, want) {
			t.Errorf("%s: %.200s", path, got)
		}
	}
	if r := g.Run("status", "-o", "json"); r.Code != 0 || !json.Valid([]byte(r.Out)) || !strings.Contains(r.Out, "default/gw/https-a-test") {
		t.Errorf("status: %+v", r)
	}
	if status, body := g.Ask("POST", "/reload", "{}"); status != 202 {
		t.Errorf("POST /reload on the socket: %d %s", status, body)
	}
	g.AwaitStderr("audit", "/reload")
	for _, path := range []string{"/reload", "/tls-version"} {
		if status, _ := g.Ask("GET", path, ""); status == 200 || status == 202 {
			t.Errorf("GET %s: %d", path, status)
		}
	}

	tcp := gateway.Start(t, gateway.Options{Admin: net.JoinHostPort("127.0.0.1", gatewayPort(t)), Files: map[string]string{
		"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "route.yaml": routeAll("all", "*", "backend"), "secret.yaml": secretTLS("site", s.leaf)}})
	for _, path := range []string{"/livez", "/readyz", "/status", "/metrics", "/dump/snapshot"} {
		tcp.Get(path)
	}
	for _, path := range []string{"/reload", "/tls-version"} {
		if status, body := tcp.Ask("POST", path, `{"minVersion":"1.3"}`); status != 403 {
			t.Errorf("POST %s over TCP: %d %s", path, status, body)
		}
	}
	if r := tcp.Run("tls-version", "set", "1.3", "--yes"); r.Code != 5 || !strings.Contains(r.Err, "fix:") {
		t.Errorf("tls-version set over TCP: %+v", r)
	}
	if r := tcp.Run("tls-version", "show"); r.Out != "TLS minimum version is 1.2\n" {
		t.Errorf("after it: %+v", r)
	}
	if r := gateway.Command(t, []string{"HAKONE_ADMIN=unix:" + filepath.Join(t.TempDir(), "none.sock")}, "", "status"); r.Code != 4 || !strings.Contains(r.Err, "fix:") {
		t.Errorf("status without a process: %+v", r)
	}
}

// TestDemo runs the demo's script, which must leave nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	tmp, home := gateway.Folder(t), gateway.Folder(t)
	r := gateway.Command(t, []string{"TMPDIR=" + tmp, "HOME=" + home}, "", "demo", "--script", "--port", gatewayPort(t))
	m := regexp.MustCompile(`ready in (\S+)`).FindStringSubmatch(r.Out)
	if r.Code != 0 || strings.Contains(r.Out, "✗") || strings.Count(r.Out, "✓") < 10 || m == nil {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if d, err := time.ParseDuration(m[1]); err != nil || d > 3*time.Second {
		t.Errorf("ready in %s, %v", m[1], err)
	}
	for _, dir := range []string{tmp, home} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
}
