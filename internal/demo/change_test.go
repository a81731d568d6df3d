package demo

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/server"
)

func within(t *testing.T, out *output, want string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never %q:\n%s", want, out.String())
		}
	}
}

func edit(t *testing.T, path, old, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("%s: %v, %q in it: %v", path, err, old, strings.Contains(string(b), old))
	}
	if err := os.WriteFile(path+".new", []byte(strings.Replace(string(b), old, text, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestChangesShow edits the manifests as the demo proposes.
func TestChangesShow(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	var out, log output
	opts := options(&out, &log)
	opts.Port = 20543
	done := make(chan error, 1)
	go func() { done <- Run(ctx, opts) }()
	within(t, &out, "Ctrl-C ends the demo")
	dir := regexp.MustCompile(`manifests +(\S+)`).FindStringSubmatch(out.String())[1]
	within(t, &out, "export HAKONE_ADMIN=unix:"+filepath.Dir(dir))

	istio, secrets := filepath.Join(dir, "istio.yaml"), filepath.Join(dir, "secrets.yaml")
	edit(t, istio, "  selector:\n", "  selecktor:\n")
	within(t, &out, " ! istio.yaml:7: Gateway default/mygateway is broken: ")
	within(t, &out, "; its last good version serves — fix: ")
	if strings.Contains(out.String(), "reloaded") {
		t.Errorf("nothing was applied:\n%s", out.String())
	}
	edit(t, istio, "  selecktor:\n", "  selector:\n")
	within(t, &out, " ✓ Gateway default/mygateway is mended\n")

	away := filepath.Join(t.TempDir(), "gateway-api.yaml")
	if err := os.Rename(filepath.Join(dir, "gateway-api.yaml"), away); err != nil {
		t.Fatal(err)
	}
	within(t, &out, " ! served no longer: helloworld.localhost\n")
	within(t, &out, " ✓ reloaded: 2 hosts on https://*.localhost:")
	if err := os.Rename(away, filepath.Join(dir, "gateway-api.yaml")); err != nil {
		t.Fatal(err)
	}
	within(t, &out, " ✓ new: helloworld.localhost\n")
	within(t, &out, " ✓ reloaded: 3 hosts on https://*.localhost:")

	edit(t, secrets, "name: httpbin-credential", "name: another")
	within(t, &out, " ! Secret istio-system/httpbin-credential was deleted; its certificate serves new handshakes")
	edit(t, secrets, "name: another", "name: httpbin-credential")
	within(t, &out, " ✓ Secret istio-system/httpbin-credential is there again\n")
	if s := out.String(); strings.Contains(s, "level=") || strings.Contains(s, "is gone") {
		t.Errorf("a raw line, or no grace:\n%s", s)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if log.String() != "" {
		t.Errorf("errors:\n%s", log.String())
	}
}

func TestPortMustBeOne(t *testing.T) {
	for _, port := range []int{-1, 0, 65536, 99999} {
		var out, log output
		opts := options(&out, &log)
		opts.Port = port
		var bad *server.ConfigError
		if err := Run(t.Context(), opts); !errors.As(err, &bad) || !strings.Contains(bad.What, "is no port") {
			t.Errorf("%d: %v", port, err)
		}
	}
}

// TestFolderGoesWhenTheOutputBreaks runs the demo in a process of its own, as "hakone demo | head -1".
func TestFolderGoesWhenTheOutputBreaks(t *testing.T) {
	if os.Getenv("DEMO_INTO_PIPE") != "" {
		opts := options(nil, nil)
		opts.Port, opts.Out, opts.Err = 20643, os.Stdout, os.Stderr
		if err := Run(t.Context(), opts); err != nil {
			t.Error(err)
		}
		return
	}
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFolderGoesWhenTheOutputBreaks$")
	cmd.Env = append(os.Environ(), "DEMO_INTO_PIPE=1", "TMPDIR="+tmp)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var log output
	cmd.Stdout, cmd.Stderr = w, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	dir, lines := "", bufio.NewScanner(r)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C ends the demo") {
		if m := regexp.MustCompile(`manifests +(/\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			dir = m[1]
		}
	}
	r.Close()
	edit(t, filepath.Join(dir, "istio.yaml"), "    - httpbin.localhost", "    - other.localhost") // the next line finds nobody
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // the test's own last word may meet the closed pipe
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
		t.Error("the demo goes on although nobody reads it")
	}
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left behind: %v\n%s", left, log.String())
	}
}

func TestLinesOfTheLogAreForPeople(t *testing.T) {
	var out output
	h := newLogHandler(&out, io.Discard, false, "https://x")
	log := slog.New(h).With("listener", "l")
	log.Warn("early")
	h.shared.all.Store(true)
	log.Info("draining")
	log.Warn("tls handshake refused", "code", "HK2101")
	log.WithGroup("g").Warn("closing failed", "err", errors.New("a\x1b[31m\nb"))
	log.Error("the key does not fit.", "code", "HK5501", "at", "/tmp/x/secrets.yaml:3", "fix", "Pair them.")
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, line[len("15:04:05 "):])
	}
	want := "! closing failed (listener l, err a [31m b)\n! secrets.yaml:3: the key does not fit. — fix: Pair them.\n"
	if strings.Join(got, "") != want {
		t.Errorf("got\n%s", out.String())
	}
}
