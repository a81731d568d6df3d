package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/test/testca"
)

// backend counts what is changed.
type backend struct {
	mu      sync.Mutex
	changes []TLSChange
	reloads int
	ended   int // slow explanations
	health  Health
	answer  error
}

func (b *backend) Status() Status { return Status{Version: "9.9.9", Namespace: "istio-system"} }
func (b *backend) Health() Health { return b.health }
func (b *backend) Dump(what string) (any, error) {
	if what == "certs" {
		return map[string]string{"secrets": "fingerprints"}, nil
	}
	return nil, ErrNoDump
}
func (b *backend) Explain(ctx context.Context, id string) (json.RawMessage, bool) {
	if id == "slow" {
		<-ctx.Done()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended++
	}
	return json.RawMessage(`{"code":"HK1005"}`), id == "known"
}
func (b *backend) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "# EOF\n") })
}
func (b *backend) SetTLSVersion(_ context.Context, c TLSChange) (TLSChanged, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes = append(b.changes, c)
	return TLSChanged{File: "f.yaml"}, b.answer
}
func (b *backend) Reload() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reloads++
}

func (b *backend) changed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.changes) + b.reloads
}

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// after waits for a word: a line is written when its request has been answered.
func (l *logged) after(word string) string {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, word) || time.Now().After(end) {
			return text
		}
	}
}

// serve answers on address until the test ends, and returns where, and the log.
func serve(t *testing.T, b Backend, address string, access Access) (string, *logged) {
	t.Helper()
	ln, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- NewServer(b, access, slog.New(slog.NewTextHandler(log, nil))).Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	if strings.HasPrefix(address, "unix:") {
		return address, log
	}
	return ln.Addr().String(), log
}

func socket(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "run", "admin.sock")
}

func TestUnixSocketIsPrivate(t *testing.T) {
	path := socket(t)
	ln, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 || st.Mode()&fs.ModeSocket == 0 {
		t.Errorf("%v, %v", st, err)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", st, err)
	}
	if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a live socket was taken: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the live socket is gone: %v", err)
	} else {
		c.Close()
	}
	ln.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays after Close: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close() // a process that was killed leaves its socket
	ln, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestFolderOfOthersIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[fs.FileMode]bool{0o700: true, 0o755: true, 0o777: false, 0o777 | fs.ModeSticky: true} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		ln, err := Listen("unix:" + filepath.Join(dir, "s"))
		if ok != (err == nil) {
			t.Errorf("mode %v: %v", mode, err)
		}
		if err == nil {
			ln.Close()
		}
	}
}

// do sends a request and returns status, media type and body.
func do(t *testing.T, c *http.Client, method, url, media, token, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestRoles(t *testing.T) {
	tokens := map[string]string{"v-token": "viewer", "o-token": "operator"}
	for _, c := range []struct {
		name        string
		access      Access
		token       string
		read, write int
	}{
		{"open", Access{}, "", 200, 403},
		{"open, with some token", Access{}, "x", 401, 401},
		{"tokens: an empty file", Access{Tokens: map[string]string{}}, "", 401, 401},
		{"tokens: none", Access{Tokens: tokens}, "", 401, 401},
		{"tokens: wrong", Access{Tokens: tokens}, "v-toke", 401, 401},
		{"tokens: viewer", Access{Tokens: tokens}, "v-token", 200, 403},
		{"tokens: operator", Access{Tokens: tokens}, "o-token", 200, 202},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &backend{health: Health{Live: true, Ready: true}}
			address, log := serve(t, b, "127.0.0.1:0", c.access)
			base := "http://" + address
			for _, path := range []string{"/status", "/metrics", "/dump/certs"} {
				if code, _, body := do(t, http.DefaultClient, "GET", base+path, "", c.token, ""); code != c.read {
					t.Errorf("GET %s: %d %s, want %d", path, code, body, c.read)
				}
			}
			if code, _, _ := do(t, http.DefaultClient, "GET", base+"/livez", "", "", ""); code != 200 {
				t.Errorf("probes need no token: %d", code)
			}
			profile := c.write // heaps may hold secrets, and profiles cost
			if profile == 202 {
				profile = 200
			}
			for _, path := range []string{"/debug/pprof/goroutine", "/explain/known", "/explain/1"} { // numbers of connections can be walked
				if code, _, _ := do(t, http.DefaultClient, "GET", base+path, "", c.token, ""); code != profile && (code != 404 || profile != 200) {
					t.Errorf("GET %s: %d, want %d", path, code, profile)
				}
			}
			code, _, body := do(t, http.DefaultClient, "POST", base+"/reload", "application/json", c.token, `{"secret":"of-the-body"}`)
			if code != c.write || b.changed() != map[bool]int{true: 1}[c.write == 202] {
				t.Errorf("POST /reload: %d %s, %d changes; want %d", code, body, b.changed(), c.write)
			}
			if text := log.after("msg=audit"); !strings.Contains(text, "msg=audit") || !strings.Contains(text, "path=/reload") || strings.Contains(text, "of-the-body") != (c.write == 202) {
				t.Errorf("audit log: %s", text)
			}
		})
	}
}

// Explanations may read all logs: they are few at once, and end with those who asked.
func TestExplanationsAreBounded(t *testing.T) {
	b := &backend{}
	address := "http://" + listen(t, NewServer(b, Access{}, slog.New(slog.DiscardHandler)).Handler(true))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range 5 {
		wg.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "GET", address+"/explain/slow", nil)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
			if refused.Add(1) == 3 {
				cancel()
			}
		})
	}
	wg.Wait()
	cancel()
	for until := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		n := b.ended
		b.mu.Unlock()
		if n == 2 && refused.Load() == 3 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d were refused, %d ended", refused.Load(), n)
		}
	}
	if code, _, _ := do(t, http.DefaultClient, "GET", address+"/explain/known", "", "", ""); code != 200 {
		t.Errorf("afterwards: %d", code)
	}
}

func TestEndpointsBoundTheirBodies(t *testing.T) {
	took := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	address := "http://" + listen(t, NewServer(&backend{}, Access{}, slog.New(slog.DiscardHandler),
		Endpoint{Method: "POST", Pattern: "/large", Role: "operator", MaxBody: 200 << 10, Handler: took}, Endpoint{Method: "POST", Pattern: "/usual", Role: "operator", Handler: took}).Handler(true))
	for _, c := range []struct {
		path       string
		size, code int
	}{{"/large", 200 << 10, 200}, {"/large", 201 << 10, 413}, {"/usual", 64 << 10, 200}, {"/usual", 65 << 10, 413}} {
		if code, _, body := do(t, http.DefaultClient, "POST", address+c.path, "application/json", "", strings.Repeat("x", c.size)); code != c.code {
			t.Errorf("%s, %d bytes: %d %s, want %d", c.path, c.size, code, body, c.code)
		}
	}
}

func TestReadsNeverChange(t *testing.T) {
	b := &backend{health: Health{Live: true, Ready: true}}
	handler := NewServer(b, Access{}, slog.New(slog.DiscardHandler)).Handler(true)
	address := "http://" + listen(t, handler)
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/", "/livez", "/readyz", "/healthz?verbose", "/metrics", "/status", "/dump/snapshot", "/dump/certs", "/explain/known",
			"/tls-version", "/tls-version?minVersion=1.0", "/reload", "/reload?now=1"} {
			do(t, http.DefaultClient, method, address+path, "application/json", "", `{"minVersion":"1.0"}`)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS"} {
		if code, _, _ := do(t, http.DefaultClient, method, address+"/tls-version", "application/json", "", `{"minVersion":"1.0"}`); code < 400 {
			t.Errorf("%s /tls-version: %d", method, code)
		}
	}
	if n := b.changed(); n != 0 {
		t.Errorf("%d changes by requests that only read", n)
	}
}

// listen serves a handler on loopback.
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

func TestChangesAreSentOnPurpose(t *testing.T) {
	b := &backend{}
	address := "http://" + listen(t, NewServer(b, Access{}, slog.New(slog.DiscardHandler)).Handler(true))
	for _, c := range []struct {
		media, body string
		code        int
	}{
		{"", `{"minVersion":"1.2"}`, 415},
		{"text/plain", `{"minVersion":"1.2"}`, 415},
		{"application/x-www-form-urlencoded", `minVersion=1.2`, 415},
		{"application/jsonp", `{"minVersion":"1.2"}`, 415},
		{"application/json", `{"minVersion":`, 400},
		{"application/json", `{"minVersion":"1.2","listner":"x"}`, 400},
		{"application/json", `{"minVersion":"` + strings.Repeat("1", 70<<10) + `"}`, 413},
	} {
		code, media, body := do(t, http.DefaultClient, "POST", address+"/tls-version", c.media, "", c.body)
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || code != c.code || media != "application/problem+json" || p.Status != code || p.Title == "" || p.Fix == "" {
			t.Errorf("%s %.40s: %d %s %s, want %d", c.media, c.body, code, media, body, c.code)
		}
	}
	if b.changed() != 0 {
		t.Error("a refused request changed something")
	}
	if code, _, body := do(t, http.DefaultClient, "POST", address+"/tls-version", "application/json; charset=utf-8", "", `{"minVersion":"1.2","host":"a.test"}`); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	if len(b.changes) != 1 || b.changes[0] != (TLSChange{MinVersion: "1.2", Host: "a.test"}) {
		t.Errorf("%+v", b.changes)
	}
}

func TestProblems(t *testing.T) {
	b := &backend{answer: &Problem{Status: 409, Code: diag.ReadOnlyFolder, Title: "cannot be written", Fix: "apply it", Object: "kind: TLSPolicy\n"}}
	path := "unix:" + socket(t)
	serve(t, b, path, Access{})
	c := NewClient(path, "", nil)
	err := c.Post(t.Context(), "/tls-version", TLSChange{MinVersion: "1.2"}, nil)
	var p *Problem
	if !errors.As(err, &p) || p.Status != 409 || p.Code != diag.ReadOnlyFolder || p.Object == "" || p.Error() != "cannot be written" {
		t.Errorf("%+v", err)
	}
	b.answer = errors.New("boom")
	if err := c.Post(t.Context(), "/tls-version", TLSChange{}, nil); !errors.As(err, &p) || p.Status != 500 {
		t.Errorf("%+v", err)
	}
	for _, path := range []string{"/dump/everything", "/explain/unknown", "/nowhere"} {
		if err := c.Get(t.Context(), path, nil); !errors.As(err, &p) || p.Status != 404 || p.Title == "" {
			t.Errorf("GET %s: %v", path, err)
		}
	}
	var st Status
	if err := c.Get(t.Context(), "/status", &st); err != nil || st.Version != "9.9.9" {
		t.Errorf("%+v, %v", st, err)
	}
	var raw []byte
	if err := c.Get(t.Context(), "/metrics", &raw); err != nil || string(raw) != "# EOF\n" {
		t.Errorf("%q, %v", raw, err)
	}
}

func TestClientSaysWhatIsWrong(t *testing.T) {
	if err := NewClient("unix:"+socket(t), "", nil).Get(t.Context(), "/status", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nothing there: %v", err)
	}
	other := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	var st Status
	if err := NewClient(other, "", nil).Get(t.Context(), "/status", &st); !errors.Is(err, ErrAnswer) {
		t.Errorf("another program: %v", err)
	}
	if err := NewClient("a b", "", nil).Get(t.Context(), "/status", nil); err == nil || !strings.Contains(err.Error(), `"a b"`) {
		t.Errorf("a bad address: %v", err)
	}
	secret := listen(t, NewServer(&backend{}, Access{Tokens: map[string]string{"t": "viewer"}}, slog.New(slog.DiscardHandler)).Handler(false))
	if err := NewClient(secret, "t", nil).Get(t.Context(), "/status", &st); err != nil {
		t.Errorf("with the token: %v", err)
	}
	var p *Problem
	if err := NewClient(secret, "", nil).Get(t.Context(), "/status", &st); !errors.As(err, &p) || p.Status != 401 {
		t.Errorf("without the token: %v", err)
	}
}

func TestClientCertificates(t *testing.T) {
	ca, foreign := testca.New(t, testca.Spec{}), testca.New(t, testca.Spec{})
	server := ca.Issue(testca.Spec{DNS: []string{"localhost"}, IPs: []string{"127.0.0.1"}}).TLS()
	b := &backend{}
	address, log := serve(t, b, "127.0.0.1:0", Access{Certificate: &server, ClientCAs: ca.Pool()})
	config := func(client *testca.Pair) *tls.Config {
		c := &tls.Config{RootCAs: ca.Pool()}
		if client != nil {
			c.Certificates = []tls.Certificate{client.TLS()}
		}
		return c
	}
	var st Status
	anyone := NewClient(address, "", config(nil))
	if err := anyone.Get(t.Context(), "/status", &st); err != nil {
		t.Errorf("a read without certificate: %v", err)
	}
	var p *Problem
	if err := anyone.Post(t.Context(), "/reload", struct{}{}, nil); !errors.As(err, &p) || p.Status != 403 {
		t.Errorf("a change without certificate: %v", err)
	}
	if err := NewClient(address, "", config(foreign.Issue(testca.Spec{CommonName: "admin"}))).Post(t.Context(), "/reload", struct{}{}, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a change with a certificate of another CA: %v", err)
	}
	if b.changed() != 0 {
		t.Fatal("somebody without the role changed something")
	}
	if err := NewClient("https://"+address, "", config(ca.Issue(testca.Spec{CommonName: "admin"}))).Post(t.Context(), "/reload", struct{}{}, nil); err != nil || b.changed() != 1 {
		t.Errorf("a change with a certificate of the CA: %v", err)
	}
	if text := log.after("CN=admin"); !strings.Contains(text, "CN=admin") {
		t.Errorf("the audit log does not name the caller: %s", text)
	}
	if err := NewClient(address, "", nil).Get(t.Context(), "/status", &st); err == nil {
		t.Error("the https address speaks plain HTTP")
	}
}

func TestHealth(t *testing.T) {
	b := &backend{}
	address := "http://" + listen(t, NewServer(b, Access{}, slog.New(slog.DiscardHandler)).Handler(false))
	ok, degraded, failed := Check{Name: "config", State: "ok"}, Check{Name: "certificates", State: "degraded", Detail: "soon"}, Check{Name: "listeners", State: "failed", Detail: "none"}
	for _, c := range []struct {
		health Health
		path   string
		code   int
		body   string
	}{
		{Health{Live: true, Ready: true, Checks: []Check{ok}}, "/readyz", 200, "ok\n"},
		{Health{Live: true, Ready: true, Checks: []Check{ok, degraded}}, "/healthz", 200, "degraded\n"},
		{Health{Live: true, Checks: []Check{failed}}, "/livez", 200, "degraded\n"},
		{Health{Live: true, Checks: []Check{failed}}, "/readyz", 503, "not ok\n"},
		{Health{Ready: true}, "/livez", 503, "not ok\n"},
		{Health{Live: true, Checks: []Check{ok, degraded, failed}}, "/healthz?verbose", 503, "[+]config ok\n[!]certificates degraded: soon\n[-]listeners failed: none\n"},
		{Health{Live: true, Ready: true, Checks: []Check{ok, degraded}}, "/healthz?verbose&exclude=certificates", 200, "[+]config ok\n[~]certificates excluded\n"},
	} {
		b.health = c.health
		if code, _, body := do(t, http.DefaultClient, "GET", address+c.path, "", "", ""); code != c.code || body != c.body {
			t.Errorf("%s with %+v: %d %q, want %d %q", c.path, c.health, code, body, c.code, c.body)
		}
	}
}

func TestDefaultAddress(t *testing.T) {
	t.Setenv("HAKONE_ADMIN", "unix:/x/y")
	if a := DefaultAddress(); a != "unix:/x/y" {
		t.Error(a)
	}
	t.Setenv("HAKONE_ADMIN", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	if a := DefaultAddress(); a != "unix:/run/user/7/hakone/admin.sock" {
		t.Error(a)
	}
}
