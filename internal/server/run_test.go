package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/test/golden"
)

// lines is a log that a test reads while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// running is a server over a folder, asked through its admin socket.
type running struct {
	t      *testing.T
	dir    string
	log    lines
	client *admin.Client
}

// serve runs a server over manifests until the test ends. Declared ports are bound as portMap says.
func serve(t *testing.T, portMap map[uint16]uint16, text string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir()}
	socket := "unix:" + filepath.Join(t.TempDir(), "admin.sock")
	r.client = admin.NewClient(socket, "", nil)
	r.write("a.yaml", text)
	ready := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{
			Folders: []string{r.dir}, Address: "127.0.0.1", PortMap: portMap, Admin: socket, SecretGrace: 10 * time.Second, DrainTimeout: time.Second,
			AccessLog: AccessLog{Format: "off"}, Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Ready: func(admin.Status) { close(ready) },
			Settings: control.Settings{Context: translate.Context{Labels: map[string]string{"istio": "ingressgateway"}, Namespace: "istio-system"}},
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("%v\n%s", err, r.log.String())
	}
	return r
}

func (r *running) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(golden.Fill(text)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// page reads a page of the admin API.
func (r *running) page(path string) string {
	r.t.Helper()
	var b []byte
	if err := r.client.Get(r.t.Context(), path, &b); err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	return string(b)
}

// within waits until the page or log holds what it should.
func (r *running) within(what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never: %s\n%s", what, r.log.String())
		}
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// plainToo is a plain listener beside that of manifests.
const plainToo = manifests + `
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: plain, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com]}]
`

func TestBrokenSecretShowsEverywhere(t *testing.T) {
	r := serve(t, map[uint16]uint16{443: freePort(t)}, manifests)
	if m := r.page("/metrics"); !strings.Contains(m, "\nhakone_config_objects_kept 0") || !strings.Contains(m, "\nhakone_config_last_reload_success 1") || !strings.HasSuffix(m, "# EOF\n") {
		t.Errorf("metrics at the start:\n%s", m)
	}
	r.write("a.yaml", strings.Replace(manifests, "${httpbin.key}", "${other.key}", 1))
	r.within("degraded", func() bool { return strings.Contains(r.page("/healthz?verbose"), "[!]certificates degraded") })
	if h := r.page("/healthz?verbose"); !strings.Contains(h, "Secret istio-system/cert is broken: its last good certificate serves, a restart would not serve it") {
		t.Errorf("health:\n%s", h)
	}
	var st admin.Status
	if err := r.client.Get(t.Context(), "/status", &st); err != nil || len(st.Kept) != 1 || st.Kept[0] != "Secret istio-system/cert" {
		t.Errorf("kept %v, %v", st.Kept, err)
	}
	m := r.page("/metrics")
	for _, want := range []string{"\nhakone_config_objects_kept 1", "\nhakone_config_last_reload_success 0", `hakone_config_diagnostics{severity="error",code="HK5105"} 1`} {
		if !strings.Contains(m, want) && !strings.Contains(m, strings.Replace(want, `severity="error",code="HK5105"`, `code="HK5105",severity="error"`, 1)) {
			t.Errorf("%q is missing in\n%s", want, m)
		}
	}
	r.write("a.yaml", manifests)
	r.within("mended", func() bool { return strings.Contains(r.log.String(), "secret is mended") })
	r.within("well", func() bool { return strings.Contains(r.page("/metrics"), "\nhakone_config_objects_kept 0") })
}

func TestRefusedListenerDegradesHealth(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := serve(t, map[uint16]uint16{443: freePort(t), 80: uint16(taken.Addr().(*net.TCPAddr).Port)}, plainToo)
	h := r.page("/healthz?verbose")
	if !strings.Contains(h, "[!]listeners degraded: ") || !strings.Contains(h, "80 does not serve: HK6001") {
		t.Errorf("health:\n%s", h)
	}
	if !strings.Contains(r.log.String(), "msg=applied") || !strings.Contains(r.log.String(), "listeners=1 hosts=2 addresses=") {
		t.Errorf("a listener that does not serve counts:\n%s", r.log.String())
	}
	if m := r.page("/metrics"); !strings.Contains(m, "HK6001") {
		t.Errorf("metrics:\n%s", m)
	}
}

func TestSetTLSVersionReturnsOnceEvaluated(t *testing.T) {
	r := serve(t, map[uint16]uint16{443: freePort(t)}, manifests)
	post := func(change admin.TLSChange) (done admin.TLSChanged) {
		t.Helper()
		began := time.Now()
		if err := r.client.Post(t.Context(), "/tls-version", change, &done); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("%+v took %s", change, d)
		}
		return done
	}
	floors := func(st admin.Status) string {
		c := st.Listeners[0].Chains[0]
		return fmt.Sprint(c.MinVersion, c.HostFloors)
	}
	host := "httpbin.example.com"
	for i, c := range []struct {
		change                admin.TLSChange
		before, floors, holds string
	}{
		{admin.TLSChange{MinVersion: "1.2"}, "", "1.2[]", "minVersion: \"1.2\""}, // the snapshot stays as it is
		{admin.TLSChange{MinVersion: "1.3"}, "1.2", "1.3[]", "minVersion: \"1.3\""},
		{admin.TLSChange{MinVersion: "1.2", Host: host}, "", "1.3[{" + host + " 1.2}]", host},
		{admin.TLSChange{}, "1.3", "1.2[{" + host + " 1.2}]", "minVersion: \"1.3\""},
		{admin.TLSChange{}, "", "1.2[{" + host + " 1.2}]", ""},
		{admin.TLSChange{Host: host}, "1.2", "1.2[]", host},
		{admin.TLSChange{Listener: "default/gw"}, "", "1.2[]", ""},
	} {
		done := post(c.change)
		if got := floors(done.Status); done.Before != c.before || got != c.floors || !strings.Contains(done.Object, c.holds) || (c.holds == "") != (done.File == "") {
			t.Errorf("%d: before %q, floors %s, object\n%s", i, done.Before, got, done.Object)
		}
	}
	if b, err := os.ReadFile(filepath.Join(r.dir, "hakone-managed.yaml")); err != nil || strings.Contains(string(b), "TLSPolicy") {
		t.Errorf("%v\n%s", err, b)
	}
	if err := r.client.Post(t.Context(), "/tls-version", admin.TLSChange{MinVersion: "9"}, nil); err == nil {
		t.Error("9 is no version")
	}
}

func TestHangupTellsItsResult(t *testing.T) {
	r := serve(t, map[uint16]uint16{443: freePort(t)}, manifests)
	hup := func(want string) {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.within(want, func() bool { return strings.Contains(r.log.String(), want) })
	}
	hup(`msg="reloaded, nothing changed" kept=0 errors=0`)
}

func TestChangesNamesFamilies(t *testing.T) {
	gen := func(config, secrets ir.Revision) *ir.Generation {
		return &ir.Generation{Snapshot: &ir.Snapshot{Config: &ir.Config{Revision: config}, Endpoints: &ir.Endpoints{},
			Secrets: &ir.Secrets{Revision: secrets}, Trust: &ir.Trust{}}}
	}
	one := gen("a", "b")
	for _, c := range []struct {
		before, now *ir.Generation
		want        string
	}{{nil, nil, ""}, {one, one, ""}, {one, gen("a", "c"), "secrets"}, {one, gen("b", "c"), "config secrets"}, {nil, one, "config secrets"}} {
		if got := strings.Join(changes(c.before, c.now), " "); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
