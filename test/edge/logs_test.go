//go:build e2e

package edge

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
)

// pulled is one line of a pull.
type pulled map[string]any

func (p pulled) text(field string) string { return fmt.Sprint(p[field]) }

// pullLines reads lines of JSON; each must be whole.
func pullLines(t *testing.T, out string) []pulled {
	t.Helper()
	if out != "" && !strings.HasSuffix(out, "\n") {
		t.Errorf("the last line is torn: %q", out[max(0, len(out)-80):])
	}
	var lines []pulled
	for line := range strings.Lines(out) {
		var p pulled
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		lines = append(lines, p)
	}
	return lines
}

// pull runs hakone logs pull against the gateway.
func (w *world) pull(args ...string) []pulled {
	w.Helper()
	r := w.g.Run(append([]string{"logs", "pull"}, args...)...)
	if r.Code != 0 {
		w.Fatalf("logs pull %s: exit %d %s", args, r.Code, r.Err)
	}
	return pullLines(w.T, r.Out)
}

// TestPull asks for ranges, fields, counts, samples and kinds of times, by the command and by curl.
func TestPull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.test", "b.test")
	w.files["policy.yaml"] = documents(policy("p", "hosts: [a.test]", "paths: [/secret]", trusts("a")), policy("r", "hosts: [b.test]", trusts("a"), "enforcement: RejectConnection"))
	w.start()
	browser := w.browser(true, "", nil)
	begin := time.Now().Truncate(time.Second)
	var rays []string
	for i := range 20 {
		rays = append(rays, w.get(browser, fmt.Sprintf("https://a.test/n/%d?q=1", i)).Header.Get("X-Request-Id"))
	}
	denied := w.get(browser, "https://a.test/secret")
	if denied.got() != "403 HK2101" {
		t.Fatal(denied.got())
	}
	if conn, err := tls.Dial("tcp", w.g.Addr(443), w.config("b.test", nil)); err == nil { // TLS 1.3 says it with the first read
		_, _ = conn.Read(make([]byte, 1))
		conn.Close()
	}
	await(t, "all records", func() bool { return len(w.pull()) >= 22 })
	end := time.Now().Add(2 * time.Second)

	all := w.pull()
	var got []string
	for _, p := range all {
		if id := p.text("RayID"); slices.Contains(rays, id) {
			got = append(got, id)
		}
	}
	slices.Sort(got)
	slices.Sort(rays)
	if !slices.Equal(got, rays) {
		t.Errorf("%d of %d requests were pulled", len(got), len(rays))
	}
	nine := []string{"ClientIP", "ClientRequestHost", "ClientRequestMethod", "ClientRequestURI", "EdgeEndTimestamp", "EdgeResponseBytes", "EdgeResponseStatus", "EdgeStartTimestamp", "RayID"}
	for _, p := range all {
		if len(p) != 9 {
			t.Errorf("fields of %v, want %v", p, nine)
			break
		}
		for _, name := range nine {
			if _, ok := p[name]; !ok {
				t.Errorf("%s is missing", name)
			}
		}
	}

	// Times with another offset, and borders: start belongs to the span, end does not.
	tokyo := time.FixedZone("", 9*3600)
	in := func(at time.Time) string { return at.In(tokyo).Format(time.RFC3339) }
	if n := len(w.pull("--start", in(begin), "--end", in(end))); n != len(all) {
		t.Errorf("with +09:00: %d, want %d", n, len(all))
	}
	if n := len(w.pull("--start", in(begin.Add(-time.Hour)), "--end", in(begin))); n != 0 {
		t.Errorf("before the beginning: %d", n)
	}
	if n := len(w.pull("--start", fmt.Sprint(begin.Unix()), "--end", fmt.Sprint(end.UnixNano()))); n != len(all) {
		t.Errorf("in Unix times: %d, want %d", n, len(all))
	}
	if n := len(w.pull("--start", "10m", "--count", "5")); n != 5 {
		t.Errorf("--count 5: %d", n)
	}
	half := w.pull("--sample", "0.5")
	if again := w.pull("--sample", "0.5"); fmt.Sprint(half) != fmt.Sprint(again) || len(half) == 0 || len(half) == len(all) {
		t.Errorf("--sample 0.5: %d and %d of %d", len(half), len(again), len(all))
	}
	for kind, form := range map[string]func(any) bool{
		"rfc3339": func(v any) bool {
			s, _ := v.(string)
			at, err := time.Parse(time.RFC3339, s)
			return err == nil && !at.Before(begin)
		},
		"unix": func(v any) bool { n, _ := v.(float64); return int64(n) >= begin.Unix() && int64(n) <= end.Unix() },
		"unixnano": func(v any) bool {
			n, _ := v.(float64)
			return int64(n) >= begin.UnixNano() && int64(n) <= end.UnixNano()
		},
	} {
		if p := w.pull("--timestamps", kind, "--fields", "EdgeEndTimestamp", "--count", "1"); len(p) != 1 || len(p[0]) != 1 || !form(p[0]["EdgeEndTimestamp"]) {
			t.Errorf("--timestamps %s: %v", kind, p)
		}
	}

	// What was refused, and why.
	p := w.pull("--status", "403", "--fields", "RayID,MTLSReason,MTLSPolicy,ClientTLSVersion,ClientTLSCipher,EdgeResponseStatus")
	if len(p) != 1 || p[0].text("RayID") != denied.Header.Get("X-Request-Id") || p[0].text("MTLSReason") != "client_cert_missing" || p[0].text("MTLSPolicy") != "default/p" || p[0].text("ClientTLSVersion") == "" {
		t.Errorf("the denied request: %v", p)
	}
	shakes := w.pull("--status", "0", "--fields", "Kind,ClientRequestHost,ReasonCode,RayID")
	if len(shakes) != 1 || shakes[0].text("Kind") != "handshake" || shakes[0].text("ClientRequestHost") != "b.test" || shakes[0].text("ReasonCode") != "HK2101" || shakes[0].text("RayID") != "" {
		t.Errorf("the refused handshake: %v", shakes)
	}
	if n := len(w.pull("b.test")); n != 1 {
		t.Errorf("of b.test: %d", n)
	}
	if one := w.pull("--rayid", rays[0]); len(one) != 1 || one[0].text("RayID") != rays[0] {
		t.Errorf("--rayid: %v", one)
	}
	for _, bad := range [][]string{{"--start", "yesterday"}, {"--start", "now", "--end", "1h"}, {"--fields", "NoSuchField"}, {"--sample", "2"}, {"--status", "abc"}, {"--rayid", "0f8fad5b-d9cb-469f-a165-70867728950e"}} {
		if r := w.g.Run(append([]string{"logs", "pull"}, bad...)...); r.Code == 0 || r.Err == "" || r.Out != "" {
			t.Errorf("%v: exit %d, %q %q", bad, r.Code, r.Out, r.Err)
		}
	}

	// The same in Cloudflare's shape, by curl.
	curl := func(path string) string {
		t.Helper()
		r := program.Run(t, program.Command{Path: program.Find(t, "curl"), Args: []string{"-sS", "--compressed", "-w", "\n%{http_code}", "--unix-socket", strings.TrimPrefix(w.g.Admin, "unix:"), "http://hakone/client/v4/zones/" + path}})
		if r.Code != 0 {
			t.Fatal(r.Err)
		}
		return r.Out
	}
	out, status, _ := strings.Cut(curl("a.test/logs/received?start="+begin.UTC().Format(time.RFC3339)+"&end="+end.UTC().Format(time.RFC3339)+"&fields=RayID,EdgeStartTimestamp&count=3"), "\n\n")
	if lines := pullLines(t, out+"\n"); status != "200" || len(lines) != 3 || len(lines[0]) != 2 {
		t.Errorf("curl: %s %q", status, out)
	} else if n, _ := lines[0]["EdgeStartTimestamp"].(float64); int64(n) < begin.UnixNano() {
		t.Errorf("times over HTTP are not in nanoseconds: %v", lines[0])
	}
	if out := curl("all/logs/rayids/" + rays[1]); !strings.Contains(out, rays[1]) || !strings.HasSuffix(out, "\n200") {
		t.Errorf("curl rayids: %s", out)
	}
	if out := curl("all/logs/received/fields"); !strings.Contains(out, `"RayID"`) || !strings.Contains(out, `"ClientSSLProtocol"`) {
		t.Errorf("curl fields: %.200s", out)
	}
	if out := curl("all/logs/received?start=never"); !strings.Contains(out, `"success": false`) || !strings.HasSuffix(out, "\n400") {
		t.Errorf("curl with a bad start: %s", out)
	}
}

// TestPullFollows streams what comes, and ends with its client.
func TestPullFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "a.test")
	w.start()
	cmd := exec.Command(gateway.Binary(t), "logs", "pull", "--follow", "--admin", w.g.Admin, "--fields", "RayID")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := make(chan string, 1000)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	browser := w.browser(true, "", nil)
	await(t, "the first followed line", func() bool { w.get(browser, "https://a.test/x"); return len(lines) > 0 })
	for range 5 {
		id := w.get(browser, "https://a.test/y").Header.Get("X-Request-Id")
		for late := time.After(10 * time.Second); ; {
			var line string
			select {
			case line = <-lines:
			case <-late:
				t.Fatalf("the line of %s does not come", id)
			}
			if strings.Contains(line, id) {
				break
			}
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for range lines { // to the end
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
	if a := w.get(browser, "https://a.test/z"); a.got() != "200" {
		t.Error(a.got())
	}
}

// TestLogsSurvive: after kill -9 under load the folder has whole records only, and all that are a second old;
// a new process tells the stories of the old one.
func TestLogsSurvive(t *testing.T) {
	t.Parallel()
	store := filepath.Join(gateway.Folder(t), "logs")
	w := newWorld(t, "a.test")
	w.start("--log-store", store)
	browser := w.browser(true, "", nil)
	var early []string
	for range 50 {
		early = append(early, w.get(browser, "https://a.test/early").Header.Get("X-Request-Id"))
	}
	load := w.startTraffic("https://a.test/load", 4)
	time.Sleep(1800 * time.Millisecond)
	w.g.Signal(syscall.SIGKILL)
	w.g.Wait()
	load.stop()
	offline := func(args ...string) (gateway.Result, []pulled) {
		t.Helper()
		r := gateway.Command(t, nil, "", append([]string{"logs", "pull", "--log-store", store}, args...)...)
		if r.Code != 0 {
			t.Fatalf("offline: %d %s", r.Code, r.Err)
		}
		return r, pullLines(t, r.Out)
	}
	_, lines := offline("--fields", "RayID,EdgeResponseStatus,ClientRequestHost")
	seen := map[string]bool{}
	for _, p := range lines {
		if seen[p.text("RayID")] {
			t.Errorf("%s is there twice", p.text("RayID"))
		}
		seen[p.text("RayID")] = true
		if p.text("ClientRequestHost") != "a.test" {
			t.Errorf("%v", p)
		}
	}
	for _, id := range early {
		if !seen[id] {
			t.Errorf("%s, over a second old, is lost", id)
		}
	}
	if len(lines) < len(early)+50 {
		t.Errorf("only %d records", len(lines))
	}
	if err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if r := gateway.Command(t, nil, "", "explain", "--log-store", store, early[0]); r.Code != 0 || !strings.Contains(r.Out, "a.test") {
		t.Errorf("explain from the folder: %d %s%s", r.Code, r.Out, r.Err)
	}
	w.start("--log-store", store)
	if r := w.g.Run("explain", early[0]); r.Code != 0 || !strings.Contains(r.Out, "/early") {
		t.Errorf("explain of a former process's request: %d %s%s", r.Code, r.Out, r.Err)
	}
	if a := w.get(w.browser(true, "", nil), "https://a.test/again"); a.got() != "200" {
		t.Error(a.got())
	}
	await(t, "records of both processes", func() bool { return len(w.pull("--fields", "RayID")) > len(lines) })
}

// incompressible is a part of a path that makes a large record.
func incompressible() string {
	b := make([]byte, 2800)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// TestLogsBounded: records go by age and by size, the oldest first.
func TestLogsBounded(t *testing.T) {
	t.Parallel()
	t.Run("age", func(t *testing.T) {
		t.Parallel()
		store := filepath.Join(gateway.Folder(t), "logs")
		w := newWorld(t, "a.test")
		w.start("--log-store", store, "--log-store-age", "3s")
		browser := w.browser(true, "", nil)
		old := w.get(browser, "https://a.test/old").Header.Get("X-Request-Id")
		await(t, "the record", func() bool { return w.g.Run("logs", "pull", "--rayid", old).Code == 0 })
		// Records go by whole segments, so nothing must come after it.
		await(t, "the end of an old record", func() bool { return w.g.Run("logs", "pull", "--rayid", old).Code != 0 })
	})
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		store := filepath.Join(gateway.Folder(t), "logs")
		w := newWorld(t, "a.test")
		w.start("--log-store", store, "--log-store-size", "4MiB")
		browser := w.browser(true, "", nil)
		old := w.get(browser, "https://a.test/old").Header.Get("X-Request-Id")
		for range 2500 {
			if a := w.get(browser, "https://a.test/"+incompressible()); a.got() != "200" {
				t.Fatal(a.got())
			}
		}
		await(t, "the end of the oldest record", func() bool { return w.g.Run("logs", "pull", "--rayid", old).Code != 0 })
		var size int64
		_ = filepath.WalkDir(store, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				if info, err := d.Info(); err == nil {
					size += info.Size()
				}
			}
			return nil
		})
		if size > 4<<20 || size < 1<<20 {
			t.Errorf("%d bytes are kept of 4 MiB", size)
		}
	})
}

// TestDiskFull: on a full disk traffic goes on, and the reason is told.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := gateway.Folder(t)
	w := newWorld(t, "a.test")
	port := gateway.FreePort(t)
	plain := gateway.FreePort(t)
	// A file system of 2 MiB, in a mount namespace of this process alone.
	script := fmt.Sprintf(`mount -t tmpfs -o size=2m tmpfs %s && exec "$@"`, dir)
	w.g = gateway.Start(t, gateway.Options{Files: w.files, Prefix: []string{program.Find(t, "unshare"), "--mount", "--propagation", "private", "sh", "-c", script, "sh"},
		Args: []string{"--address", "127.0.0.1", "--port-map", fmt.Sprintf("443=%d,80=%d", port, plain), "--log-store", filepath.Join(dir, "logs"), "--log-store-size", "64MiB"}})
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, w.public.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := w.browser(true, "", nil)
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	full := false
	for i := 0; i < 6000 && !full; i++ {
		if a := w.get(c, "https://a.test/"+incompressible()); a.got() != "200" {
			t.Fatalf("request %d: %s", i, a.got())
		}
		full = i%100 == 99 && strings.Contains(w.g.Stderr(), "HK6011")
	}
	w.g.AwaitStderr("HK6011")
	if a := client.Curl(t, addr, "https://a.test/x", "--cacert", ca); a.Status != 200 {
		t.Errorf("on a full disk: %d %s", a.Status, a.Err)
	}
	if h := w.g.Get("/healthz?verbose"); !strings.Contains(h, "HK6011") {
		t.Errorf("health says nothing:\n%s", h)
	}
	if w.g.Counter("hakone_log_store_dropped_total") == 0 {
		t.Error("nothing is counted as dropped")
	}
	if r := w.g.Run("logs", "pull", "--fields", "RayID"); r.Code != 0 || len(pullLines(t, r.Out)) == 0 {
		t.Errorf("what was kept before cannot be pulled: %d %s", r.Code, r.Err)
	}
}
