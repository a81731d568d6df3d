package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/testca"
)

// stream is written by a running process while a test reads it.
type stream struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func within(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestRunningProcess starts "hakone run" in this process and asks, changes and ends it by commands.
func TestRunningProcess(t *testing.T) {
	alone(t)
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{DNS: []string{"*.example.com"}})
	dir := folder(t, good[:strings.Index(good, "---\napiVersion: v1")])
	secret := testca.SecretYAML("istio-system", "cert", map[string][]byte{"tls.crt": leaf.ChainPEM(), "tls.key": leaf.KeyPEM()})
	if err := os.WriteFile(filepath.Join(dir, "secret.yaml"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "admin.sock")
	t.Setenv("HAKONE_ADMIN", "unix:"+socket)
	first, second := freePort(t), freePort(t)
	var out, log stream
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- Execute(ctx, []string{"run", "--config", dir, "--address", "127.0.0.1", "--admin", "unix:" + socket,
			"--port-map", fmt.Sprintf("443=%d,8443=%d", first, second)}, Streams{In: strings.NewReader(""), Out: &out, Err: &log})
	}()
	ended := false
	defer func() {
		stop()
		if !ended {
			<-done
		}
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	within(t, "two listeners serve", func() bool { return strings.Count(run(t, "", "status").out, " serving ") == 3 }) // with the process's own
	if mode, err := os.Stat(socket); err != nil || mode.Mode().Perm() != 0o600 {
		t.Errorf("admin socket: %v, %v", mode, err)
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", first))
		},
	}}
	get := func() {
		t.Helper()
		resp, err := client.Get("https://httpbin.example.com/status/418")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 418 {
			t.Errorf("answer %s", resp.Status)
		}
	}
	get()
	within(t, "an access log line", func() bool { return strings.Contains(out.String(), "/status/418") })
	if r := run(t, "", "dump", "certs"); r.code != ExitOK || !strings.Contains(r.out, "istio-system/cert") || strings.Contains(r.out, "PRIVATE") {
		t.Errorf("dump certs: %+v", r)
	}
	if r := run(t, "", "dump", "routes", "-o", "json"); r.code != ExitOK || !strings.Contains(r.out, `"status": 418`) {
		t.Errorf("dump routes: %+v", r)
	}
	if r := run(t, "", "tls-version", "show"); r.out != "TLS minimum version is 1.2\n" {
		t.Errorf("show: %+v", r)
	}

	r := run(t, "y\n", "tls-version", "set", "1.3", "--listener", "default/gw/https")
	for _, want := range []string{
		"Enabling TLSv1.3 will disable TLSv1.2 and below\n", "tlspolicy.hakone.dev patched in " + filepath.Join(dir, "hakone-managed.yaml"),
		"httpbin.example.com  refused (70)  refused (70)  refused (70)  ok\n", "undo: hakone tls-version unset --listener default/gw/https\n",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in\n%s%s", want, r.out, r.err)
		}
	}
	if _, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", first), &tls.Config{ServerName: "httpbin.example.com", RootCAs: ca.Pool(), MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 is still served")
	}
	get() // the connection that was open goes on
	if r := run(t, "", "tls-version", "show"); !strings.HasPrefix(r.out, "TLS minimum versions differ between listeners; the lowest is 1.2\n") {
		t.Errorf("show: %+v", r)
	}
	if r := run(t, "", "check", dir); r.code != ExitOK {
		t.Errorf("check after the change: %+v", r)
	}
	if r := run(t, "", "tls-version", "set", "1.2", "--listener", "default/gw/https", "--yes", "--no-probe"); r.code != ExitOK || !strings.Contains(r.out, "DANGER") {
		t.Errorf("undo: %+v", r)
	}
	if r := run(t, "", "tls-version", "show"); r.out != "TLS minimum version is 1.2\n" {
		t.Errorf("show after undo: %+v", r)
	}

	// A reload that breaks an object keeps it; status says so.
	path := filepath.Join(dir, "a.yaml")
	text, _ := os.ReadFile(path)
	if err := os.WriteFile(path, bytes.Replace(text, []byte("selector:"), []byte("selecktor:"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	within(t, "the broken object is named", func() bool {
		return strings.Contains(run(t, "", "status").out, "! Gateway default/gw is broken; its last good version serves")
	})
	get()
	if r := run(t, "", "check", dir); r.code != ExitFindings || !strings.Contains(r.out, "selector") {
		t.Errorf("check of the broken folder: %+v", r)
	}

	r = run(t, "", "run", "--config", dir, "--address", "127.0.0.1", "--admin", "unix:"+socket)
	if r.code != ExitUsage || !strings.Contains(r.err, "error: the admin address cannot be used\n  cause: ") {
		t.Errorf("a second process on the same socket: %+v", r)
	}

	stop()
	select {
	case code := <-done:
		ended = true
		if code != ExitOK {
			t.Errorf("run ended with %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("run does not end")
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the admin socket stays")
	}
	if r := run(t, "", "status"); r.code != ExitUnreachable {
		t.Errorf("status after the end: %+v", r)
	}
}

// The flag that mends a refused port is printed.
func TestRefusedPortNamesTheFlag(t *testing.T) {
	alone(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	r := run(t, "", "run", "--config", folder(t, good), "--address", "127.0.0.1", "--admin", "off", "--port-map", fmt.Sprintf("443=%d,8443=%d", port, port))
	if r.code != ExitUsage || !strings.Contains(r.err, "HK5212") && !strings.Contains(r.err, "no listener can serve") || !strings.Contains(r.err, "--port-map 443=") {
		t.Errorf("%+v", r)
	}
}
