package cli

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/testca"
)

func TestTrace(t *testing.T) {
	alone(t)
	t.Setenv("HAKONE_ADMIN", "")
	ca := testca.New(t, testca.Spec{CommonName: "Test Root"})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	cert := ca.Issue(testca.Spec{DNS: []string{"www.example.test"}})
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS()}}
	srv.StartTLS()
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	to := "www.example.test:443:" + host + ":" + port
	url := "https://www.example.test/"

	got := run(t, "", "trace", url, "--cacert", file, "--connect-to", to)
	if got.code != ExitOK || !strings.Contains(got.out, "leads to CN=Test Root, by "+file) || !strings.Contains(got.out, "200 OK") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	got = run(t, "", "trace", "https://www.example.test:"+port, "--resolve", "www.example.test:"+port+":"+host, "--cacert", file, "-o", "json")
	var picture struct {
		Hops []struct {
			TLS struct{ Verification struct{ Anchor string } }
		}
		Answer struct{ Status int }
	}
	if err := json.Unmarshal([]byte(got.out), &picture); err != nil || got.code != ExitOK || len(picture.Hops) != 1 || picture.Hops[0].TLS.Verification.Anchor != "CN=Test Root" || picture.Answer.Status != 200 {
		t.Errorf("exit %d, %v\n%s%s", got.code, err, got.out, got.err)
	}
	if got = run(t, "", "trace", url, "--connect-to", to); got.code != ExitFindings || !strings.Contains(got.out, "HK3101") {
		t.Errorf("an unknown CA: exit %d\n%s%s", got.code, got.out, got.err)
	}
	if got = run(t, "", "trace", url, "--connect-to", to, "-k"); got.code != ExitOK || !strings.Contains(got.out, "200 OK") {
		t.Errorf("-k: exit %d\n%s%s", got.code, got.out, got.err)
	}
	srv.Close()
	if got = run(t, "", "trace", url, "--connect-to", to); got.code != ExitUnreachable {
		t.Errorf("nobody there: exit %d\n%s%s", got.code, got.out, got.err)
	}
}

func TestTraceUsage(t *testing.T) {
	alone(t)
	for _, args := range [][]string{
		{"ftp://example.test"}, {"https://"}, {"https://a.test", "--via", "socks5://p:1"}, {"https://a.test", "--via", "http://vera:s3cret@"}, {"https://a.test", "--via", "http://vera:s3%zzcret@p:1"},
		{"https://a.test", "--resolve", "a.test:443"}, {"https://a.test", "--resolve", "a.test:443:name"}, {"https://a.test", "--connect-to", "a.test:443:b.test"},
		{"https://a.test", "--cacert", "/nonexistent"}, {"https://a.test", "--direct", "--no-direct"}, {"https://a.test", "--tls-min", "4"}, {"https://a.test", "-L", "99"},
		{"https://a.test", "--proxy-cacert", "x"}, {"https://a.test", "--key", "x"}, {"https://a.test", "-o", "png"}, {"https://a.test", "--timeout", "1ms"},
	} {
		got := run(t, "", append([]string{"trace"}, args...)...)
		if got.code != ExitUsage || !strings.Contains(got.err, "fix:") || strings.Contains(got.err, "s3cret") {
			t.Errorf("%q: exit %d: %s", args, got.code, got.err)
		}
	}
}

// TestTraceConfigured takes the proxy from manifests.
func TestTraceConfigured(t *testing.T) {
	alone(t)
	t.Setenv("HAKONE_ADMIN", "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	asked := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		asked <- string(b[:n])
		io.WriteString(c, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
	}()
	corp := testca.New(t, testca.Spec{CommonName: "Corp CA"})
	dir := t.TempDir()
	manifest := `apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: corp, namespace: egress}
spec:
  urls: ["http://` + ln.Addr().String() + `"]
  hosts: ["*.example.test"]
  credentialsRef: {name: login}
  interception: {caRef: {kind: ConfigMap, name: corp-ca}}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: egress}
stringData: {username: vera, password: s3cret}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: corp-ca, namespace: egress}
data:
  ca.crt: |
    ` + strings.ReplaceAll(strings.TrimSpace(string(corp.CertPEM())), "\n", "\n    ") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "proxy.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	got := run(t, "", "trace", "https://www.example.test", "--config", dir, "--no-direct")
	if got.code != ExitFindings || !strings.Contains(got.out, "HK3301") || strings.Contains(got.out+got.err, "s3cret") {
		t.Fatalf("exit %d\n%s%s", got.code, got.out, got.err)
	}
	if request := <-asked; !strings.Contains(request, "CONNECT www.example.test:443 ") || !strings.Contains(request, "Proxy-Authorization: Basic dmVyYTpzM2NyZXQ=") {
		t.Errorf("the proxy was asked %q", request)
	}
	if got = run(t, "", "trace", "https://localhost:1", "--config", dir); got.code != ExitUnreachable || !strings.Contains(got.err, "no UpstreamProxy") {
		t.Errorf("a host that no proxy serves: exit %d\n%s%s", got.code, got.out, got.err)
	}
}
