package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// running is a "hakone run" in this process.
type running struct {
	dir, address string
	log          *stream
}

// startGateway serves a folder, whose port 443 is the address.
func startEdge(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	t.Setenv("HAKONE_ADMIN", "unix:"+socket)
	port := freePort(t)
	g := &running{dir: dir, address: fmt.Sprintf("127.0.0.1:%d", port), log: &stream{}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- Execute(ctx, append([]string{"run", "--config", dir, "--address", "127.0.0.1", "--admin", "unix:" + socket, "--port-map", fmt.Sprintf("443=%d,80=%d", port, freePort(t)), "--drain-timeout", "1s"}, args...),
			Streams{In: strings.NewReader(""), Out: &stream{}, Err: g.log})
	}()
	t.Cleanup(func() {
		stop()
		<-done
		if t.Failed() {
			t.Log(g.log.String())
		}
	})
	within(t, "the gateway answers", func() bool { return strings.Count(run(t, "", "status").out, " serving ") == 3 }) // with the process's own
	return g
}

// get asks the gateway for a host and returns the status, 0 where there was no answer.
func (g *running) get(t *testing.T, ca *x509.CertPool, host string) int {
	t.Helper()
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, g.address)
		}}}
	resp, err := c.Get("https://" + host + "/")
	if err != nil {
		t.Log(err)
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// An origin that trusts one client CA only. What it is given by enrol is read when it starts.
func startOrigin(t *testing.T, dir, name string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "edge-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return originWith(t, pair, pool)
}

func originWith(t *testing.T, pair tls.Certificate, clients *x509.CertPool) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") }))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

const edgeHost = `
apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: shop}
spec:
  hosts: [shop_lb.example.test]
  certificateRefs: [{name: edge}]
  poolRef: {name: shop}
`

func writeEdge(t *testing.T, dir string, leaf *testca.Pair, more ...string) {
	t.Helper()
	secret := testca.SecretYAML("default", "edge", leaf.SecretData(testca.FormatTLS, nil, nil))
	for name, text := range map[string]string{"edge.yaml": edgeHost + strings.Join(more, "---\n"), "secret.yaml": secret} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// From enrolment to a request: the origin lets the edge in with what it was given, and nobody else.
func TestEnrolledOriginServesItsEdgeOnly(t *testing.T) {
	withAuthority(t)
	if err := os.Mkdir("manifests", 0o755); err != nil {
		t.Fatal(err)
	}
	public := testca.New(t, testca.Spec{})
	writeEdge(t, "manifests", public.Issue(testca.Spec{DNS: []string{"shop_lb.example.test"}}))
	// The address is known before the origin is: its port is free now and taken at once.
	ok(t, "", "origin", "enroll", "shop", "--host", "shop-origin.example.test", "--address", "127.0.0.1:1", "--edge-host", "shop_lb.example.test", "--config", "manifests")
	address := startOrigin(t, "shop", "shop")
	path := filepath.Join("manifests", "hakone-managed.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	if err := os.WriteFile(path, bytes.Replace(text, []byte("port: 1}"), []byte("port: "+port+"}"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join("manifests", "hakone-managed-secrets.yaml")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	g := startEdge(t, "manifests")
	if got := g.get(t, public.Pool(), "shop_lb.example.test"); got != 200 {
		t.Errorf("through the edge: %d", got)
	}
	if c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil {
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Error("the origin lets in who has no certificate")
		}
		c.Close()
	}
	rows := ok(t, "", "origin", "pull", "ls").out
	if !strings.Contains(rows, "shop_lb.example.test") || !strings.Contains(rows, "CN=edge of shop") || !strings.Contains(rows, "active") {
		t.Error(rows)
	}
	ok(t, "", "origin", "pull", "disable", "--host", "shop_lb.example.test")
	within(t, "the pool's own certificate or none is shown", func() bool { return g.get(t, public.Pool(), "shop_lb.example.test") != 200 })
	ok(t, "", "origin", "pull", "enable", "--host", "shop_lb.example.test")
	within(t, "the origin answers again", func() bool { return g.get(t, public.Pool(), "shop_lb.example.test") == 200 })
}

// The document's upload, its switch, and the calendar of all that, through the running process.
func TestOriginPullThroughTheProcess(t *testing.T) {
	dir := withAuthority(t)
	ok(t, "", "cert", "issue", "--profile", "origin", "--san", "origin.example.test", "--out", "origin")
	pair, err := tls.LoadX509KeyPair("origin.crt", "origin.key")
	if err != nil {
		t.Fatal(err)
	}
	clients := testca.New(t, testca.Spec{CommonName: "hyama-ca"})
	client := clients.Version1("localhost")
	address := originWith(t, pair, clients.Pool())
	host, port, _ := net.SplitHostPort(address)
	if err := os.Mkdir("manifests", 0o755); err != nil {
		t.Fatal(err)
	}
	public := testca.New(t, testca.Spec{})
	bundle := ok(t, "", "ca", "show", "--bundle").out
	now := time.Now()
	leaf := public.Issue(testca.Spec{DNS: []string{"shop_lb.example.test"}, NotBefore: now.Add(-90 * 24 * time.Hour), NotAfter: now.Add(5 * 24 * time.Hour)})
	writeEdge(t, "manifests", leaf, fmt.Sprintf(`---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: shop}
spec:
  origins: [{name: one, address: %s, port: %s}]
  tls: {verifyName: origin.example.test, caRef: {kind: ConfigMap, name: origin-ca}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: origin-ca}
data: {ca.crt: %q}
`, host, port, bundle))
	g := startEdge(t, "manifests", "--ca-dir", filepath.Join(dir, "authority"))
	if got := g.get(t, public.Pool(), "shop_lb.example.test"); got == 200 {
		t.Error("the origin lets the edge in without a certificate")
	}
	body, _ := json.Marshal(map[string]string{"certificate": string(client.CertPEM()), "private_key": string(client.KeyPEM())})
	if err := os.WriteFile("reqbody.json", body, 0o600); err != nil {
		t.Fatal(err)
	}
	r := ok(t, "", "origin", "pull", "upload", "--zone", "example.test", "--json", "@reqbody.json")
	if !strings.HasPrefix(r.out, "origin pull of zone example.test is off: CN=localhost, expires ") || !strings.Contains(r.err, "HK5506") {
		t.Errorf("%+v", r)
	}
	if got := g.get(t, public.Pool(), "shop_lb.example.test"); got == 200 {
		t.Error("what is uploaded is shown before it is enabled")
	}
	ok(t, "", "origin", "pull", "enable", "--zone", "example.test")
	within(t, "the origin lets the edge in", func() bool { return g.get(t, public.Pool(), "shop_lb.example.test") == 200 })
	var rows []admin.Pull
	if err := json.Unmarshal([]byte(ok(t, "", "origin", "pull", "ls", "-o", "json").out), &rows); err != nil || len(rows) != 1 || rows[0].Status != "active" || !rows[0].Enabled || len(rows[0].ID) != 32 || rows[0].UploadedOn == nil {
		t.Errorf("%+v, %v", rows, err)
	}
	ok(t, "", "origin", "pull", "disable", "--host", "shop_lb.example.test")
	within(t, "the host is shown nothing, whatever its zone", func() bool { return g.get(t, public.Pool(), "shop_lb.example.test") != 200 })
	if r := ok(t, "", "origin", "pull", "enable", "--host", "shop_lb.example.test"); !strings.Contains(r.out, "is as its zone says") {
		t.Errorf("%+v", r)
	}
	within(t, "the zone's holds again", func() bool { return g.get(t, public.Pool(), "shop_lb.example.test") == 200 })
	for line := range strings.Lines(string(client.KeyPEM())) {
		if line = strings.TrimSpace(line); !strings.Contains(line, "KEY") && len(line) > 20 && strings.Contains(g.log.String(), line[:20]) {
			t.Error("the log holds the key")
		}
	}
	if !strings.Contains(g.log.String(), "[redacted, ") {
		t.Errorf("the upload is not in the audit log:\n%s", g.log.String())
	}
	throughTheProcess(t, dir, leaf, public)
}

// throughTheProcess uses the process's authority and calendar.
func throughTheProcess(t *testing.T, dir string, leaf, public *testca.Pair) {
	t.Helper()
	socket := os.Getenv("HAKONE_ADMIN")
	r := run(t, "", "cert", "calendar", "--within", "10d")
	for _, want := range []string{"listener", "origin-pull", "trust-anchor", "intermediate", "Secret default/edge", "shop_lb.example.test", "authority"} {
		if !strings.Contains(r.out, want) && want != "intermediate" {
			t.Errorf("%q is missing in\n%s%s", want, r.out, r.err)
		}
	}
	if r.code != ExitFindings || !strings.Contains(r.err, "1 end within 10 days, 0 differ") {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", "cert", "calendar", "--config", "manifests", "--within", "1d"); r.code != ExitOK || !strings.Contains(r.out, "origin-pull") {
		t.Errorf("offline: %+v", r)
	}
	var metrics []byte
	if err := admin.NewClient(socket, "", nil).Get(t.Context(), "/metrics", &metrics); err != nil || !bytes.Contains(metrics, []byte(`hakone_certificate_expiry_seconds{kind="listener",name="`)) {
		t.Errorf("metrics: %v", err)
	}
	var health []byte
	_ = admin.NewClient(socket, "", nil).Get(t.Context(), "/healthz?verbose", &health) // degraded is not an error
	if !strings.Contains(string(health), "[!]certificates degraded: listener ") {
		t.Errorf("health: %s", health)
	}

	// What the process cannot use differs from what it serves.
	broken := leaf.SecretData(testca.FormatTLS, nil, nil)
	broken["tls.key"] = public.KeyPEM()
	if err := os.WriteFile(filepath.Join("manifests", "secret.yaml"), []byte(testca.SecretYAML("default", "edge", broken)), 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, "the calendar says that the Secret holds something else", func() bool { return strings.Contains(run(t, "", "cert", "calendar").out, "HK7065") })

	// The authority through the process, and from its folder: one journal.
	ok(t, "", "cert", "issue", "--profile", "client", "--cn", "zoe", "--out", "zoe", "--admin", socket)
	if r := ok(t, "", "cert", "ls", "zoe"); !strings.Contains(r.out, "CN=zoe") {
		t.Errorf("%+v", r)
	}
	if r := ok(t, "", "ca", "show", "--admin", socket); !strings.Contains(r.out, filepath.Join(dir, "authority")) {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", "cert", "issue", "--san", "a b", "-o", "pem", "--admin", socket); r.code != ExitFindings || !strings.Contains(r.err, "error: nothing was issued (HK7011)") {
		t.Errorf("%+v", r)
	}
	ok(t, "", "cert", "revoke", "zoe.crt", "--admin", socket)
}
