//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// routeTo is a VirtualService that answers a.test under one path prefix only, so that a test sees which
// version of it serves.
func routeTo(prefix string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: all\nspec:\n  hosts:\n  - a.test\n  gateways:\n  - gw\n  http:\n  - match:\n    - uri:\n        prefix: " + prefix +
		"\n    route:\n    - destination:\n        host: backend\n        port:\n          number: 8000\n"
}

// reloading is a gateway and a connection that stays open over all changes.
type reloading struct {
	*testing.T
	g    *gateway.Gateway
	site site
	open *client.Conn
}

func newReloading(t *testing.T, o gateway.Options) *reloading {
	t.Helper()
	r := &reloading{T: t, site: newSite(t, "a.test", "b.test", "c.test")}
	o.Files = with(map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "route.yaml": routeTo("/v1"),
		"secret.yaml": secretTLS("site", r.site.leaf)}, flatten(o.Files)...)
	o.Endpoints = []string{"backend.default:8000=" + httpbin.Start(t)}
	r.g = gateway.Start(t, o)
	r.open = client.DialTLS(t, r.g.Addr(443), r.site.config("a.test"))
	r.serves("/v1")
	return r
}

func flatten(m map[string]string) (out []string) {
	for k, v := range m {
		out = append(out, k, v)
	}
	return out
}

// serves checks that exactly this prefix is routed, on the open and on a new connection.
func (r *reloading) serves(prefix string) {
	r.Helper()
	for _, c := range []*client.Conn{r.open, client.DialTLS(r, r.g.Addr(443), r.site.config("a.test"))} {
		for _, p := range []string{"/v1", "/v2", "/v3", "/v4", "/v5"} {
			want := 404
			if p == prefix {
				want = 200
			}
			if resp, _ := c.Get("a.test", p+"/x"); resp.StatusCode != want {
				r.Errorf("%s: status %d, want %d", p, resp.StatusCode, want)
			}
		}
	}
}

// TestReloadWays changes a file in the ways in which editors and programs do.
func TestReloadWays(t *testing.T) {
	t.Parallel()
	r := newReloading(t, gateway.Options{})
	path := filepath.Join(r.g.Dir, "route.yaml")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, change := range []func(text string){
		func(text string) { r.g.Write("route.yaml", text) },                 // written beside and renamed over
		func(text string) { must(os.WriteFile(path, []byte(text), 0o644)) }, // in place
		func(text string) { // moved to a backup, then written anew, as vim does
			must(os.Rename(path, path+"~"))
			must(os.WriteFile(path, []byte(text), 0o644))
			must(os.Remove(path + "~"))
		},
		func(text string) { // deleted and created in a sub-folder
			must(os.Remove(path))
			r.g.Write("sub/deep/other-name.yaml", text)
		},
	} {
		before := r.g.Status().Epoch
		change(routeTo(fmt.Sprintf("/v%d", i+2)))
		for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if resp, _ := r.open.Get("a.test", fmt.Sprintf("/v%d/x", i+2)); resp.StatusCode == 200 {
				break
			}
		}
		r.serves(fmt.Sprintf("/v%d", i+2))
		if r.g.Status().Epoch == before {
			t.Errorf("change %d: no new generation", i)
		}
	}
}

// TestReloadKubernetesVolume swaps the ..data link of a mounted ConfigMap or Secret.
func TestReloadKubernetesVolume(t *testing.T) {
	t.Parallel()
	dir := gateway.Folder(t)
	s := newSite(t, "a.test")
	version := func(n int) {
		t.Helper()
		name := fmt.Sprintf("..2026_0%d", n)
		for file, text := range map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "route.yaml": routeTo(fmt.Sprintf("/v%d", n)), "secret.yaml": secretTLS("site", s.leaf)} {
			writeFile(t, filepath.Join(dir, name, file), text)
			if n == 1 {
				if err := os.Symlink(filepath.Join("..data", file), filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.Symlink(name, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		if n > 1 {
			os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_0%d", n-1)))
		}
	}
	version(1)
	g := gateway.Start(t, gateway.Options{Dir: dir, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	r := &reloading{t, g, s, client.DialTLS(t, g.Addr(443), s.config("a.test"))}
	r.serves("/v1")
	for n := 2; n <= 4; n++ {
		g.Change(func() { version(n) })
		r.serves(fmt.Sprintf("/v%d", n))
	}
	for _, d := range g.Status().Kept {
		t.Errorf("kept: %s", d)
	}
}

// TestBadReload breaks objects; what served goes on serving, and the object is named.
func TestBadReload(t *testing.T) {
	t.Parallel()
	r := newReloading(t, gateway.Options{})
	for _, c := range []struct{ name, file, text, object, code string }{
		{"an unknown field", "route.yaml", strings.Replace(routeTo("/v2"), "http:", "htpp:", 1), "VirtualService default/all", "HK50"},
		{"broken YAML", "route.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: all\nspec:\n  hosts: [a.test\n", "VirtualService default/all", "HK50"},
		{"a wrong type", "gateway.yaml", strings.Replace(istioGateway(istioServer{host: "a.test", secret: "site"}), "number: 443", "number: https", 1), "Gateway default/gw", "HK50"},
		{"a broken certificate", "secret.yaml", testca.SecretYAML("istio-system", "site", map[string][]byte{"tls.crt": []byte("nonsense"), "tls.key": r.site.leaf.KeyPEM()}), "Secret istio-system/site", ""},
	} {
		good, err := os.ReadFile(filepath.Join(r.g.Dir, c.file))
		if err != nil {
			t.Fatal(err)
		}
		at := len(r.g.Stderr())
		r.g.Write(c.file, c.text)
		deadline := time.Now().Add(15 * time.Second)
		for !strings.Contains(r.g.Stderr()[at:], c.file) || c.code != "" && !strings.Contains(r.g.Stderr()[at:], c.code) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: stderr names no %s:\n%s", c.name, c.file, r.g.Stderr()[at:])
			}
			time.Sleep(10 * time.Millisecond)
		}
		r.serves("/v1")
		status := r.g.Run("status")
		kept := slices.ContainsFunc(r.g.Status().Kept, func(k string) bool { return strings.Contains(k, strings.Fields(c.object)[1]) })
		if c.code != "" && (!kept || !strings.Contains(status.Out, "last good version serves")) {
			t.Errorf("%s: kept is %v\n%s", c.name, r.g.Status().Kept, status.Out)
		}
		if !strings.Contains(status.Out, strings.Fields(c.object)[1]) {
			t.Errorf("%s: status does not name %s:\n%s", c.name, c.object, status.Out)
		}
		r.g.Write(c.file, string(good))
		for end := time.Now().Add(15 * time.Second); len(r.g.Status().Kept) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: still kept after it was mended: %v", c.name, r.g.Status().Kept)
			}
		}
		r.serves("/v1")
	}
}

// TestHangup reloads on SIGHUP a file that lies behind a link out of the folder, where no watch has to
// see its change.
func TestHangup(t *testing.T) {
	t.Parallel()
	r := newReloading(t, gateway.Options{})
	outside := filepath.Join(t.TempDir(), "route.yaml")
	writeFile(t, outside, routeTo("/v1"))
	r.g.Remove("route.yaml")
	if err := os.Symlink(outside, filepath.Join(r.g.Dir, "route.yaml")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, outside, routeTo("/v2"))
	r.g.Signal(syscall.SIGHUP)
	r.g.AwaitStderr("reload asked for", "HUP")
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if resp, _ := r.open.Get("a.test", "/v2/x"); resp.StatusCode == 200 {
			break
		}
	}
	r.serves("/v2")
}

// TestDrain ends on SIGTERM after requests in flight.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := startSite(t, s, httpbin.Start(t), "a.test")
	idle := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	if resp, _ := idle.Get("a.test", "/status/200"); resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	busy := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	busy.Send("GET /delay/1500 HTTP/1.1\r\nHost: a.test\r\n\r\n")
	time.Sleep(200 * time.Millisecond) // the request is on its way
	g.Signal(syscall.SIGTERM)
	g.AwaitStderr("draining")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", g.Addr(443), time.Second)
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(end) {
			t.Fatal("new connections are still accepted")
		}
	}
	if status, _ := g.Ask("GET", "/readyz", ""); status != 503 {
		t.Errorf("readyz while draining: %d", status)
	}
	idle.Closed()
	resp, body := busy.Receive("GET")
	if resp.StatusCode != 200 || body != "late\n" || !resp.Close {
		t.Errorf("the request in flight: %d %q, close %v", resp.StatusCode, body, resp.Close)
	}
	if code := g.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	g.AwaitLine(0, "kind", "request", "target", "/delay/1500") // the log is written to its end
	if _, err := os.Stat(strings.TrimPrefix(g.Admin, "unix:")); !os.IsNotExist(err) {
		t.Errorf("the admin socket is left behind: %v", err)
	}
}

// TestDrainTimeout cuts what takes longer.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}),
		"route.yaml": routeAll("all", "*", "backend"), "secret.yaml": secretTLS("site", s.leaf)},
		Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}, Args: []string{"--drain-timeout", "500ms"}})
	busy := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	busy.Send("GET /delay/20000 HTTP/1.1\r\nHost: a.test\r\n\r\n")
	time.Sleep(200 * time.Millisecond)
	begin := time.Now()
	g.Signal(syscall.SIGTERM)
	if code := g.Wait(); code != 0 || time.Since(begin) > 5*time.Second {
		t.Errorf("exit code %d after %s", code, time.Since(begin))
	}
	g.AwaitStderr("drain timeout is over")
}

// TestNoListener exits with 2, or stays with --wait until there is something to serve.
func TestNoListener(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"secret.yaml": secretTLS("site", s.leaf)}, Unready: true})
	if code := g.Wait(); code != 2 || !strings.Contains(g.Stderr(), "no listener can serve (HK5206)") || !strings.Contains(g.Stderr(), "--wait") {
		t.Errorf("exit code %d\n%s", code, g.Stderr())
	}
	g = gateway.Start(t, gateway.Options{Files: map[string]string{"secret.yaml": secretTLS("site", s.leaf), "route.yaml": routeTo("/v1")}, Unready: true,
		Args: []string{"--wait"}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(strings.TrimPrefix(g.Admin, "unix:")); err == nil {
			break
		}
		if g.Ended() || time.Now().After(end) {
			t.Fatalf("no admin socket\n%s", g.Stderr())
		}
	}
	if status, _ := g.Ask("GET", "/readyz", ""); status != 503 {
		t.Errorf("readyz without a listener: %d", status)
	}
	if status, _ := g.Ask("GET", "/livez", ""); status != 200 {
		t.Errorf("livez without a listener: %d", status)
	}
	g.Write("gateway.yaml", istioGateway(istioServer{host: "a.test", secret: "site"}))
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if status, _ := g.Ask("GET", "/readyz", ""); status == 200 {
			break
		}
	}
	(&reloading{t, g, s, client.DialTLS(t, g.Addr(443), s.config("a.test"))}).serves("/v1")
}

// TestPortInUse names the flag that mends it, serves the other ports, and takes the port once it is free.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	files := map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "route.yaml": routeTo("/v1"), "secret.yaml": secretTLS("site", s.leaf)}
	g := gateway.Start(t, gateway.Options{Files: files, Ports: []int{80}, Args: []string{"--port-map", fmt.Sprintf("443=%d", port)}, Unready: true})
	if code := g.Wait(); code != 2 || !strings.Contains(g.Stderr(), "--port-map 443=") || !strings.Contains(g.Stderr(), fmt.Sprint(port)) {
		t.Errorf("with nothing else to serve: exit code %d\n%s", code, g.Stderr())
	}
	files["gateway.yaml"] += "  - port:\n      number: 80\n      name: http\n      protocol: HTTP\n    hosts:\n    - a.test\n"
	g = gateway.Start(t, gateway.Options{Files: files, Ports: []int{80}, Args: []string{"--port-map", fmt.Sprintf("443=%d", port)}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}, Unready: true})
	line := g.AwaitStderr("listener does not serve", "--port-map 443=")
	if !strings.Contains(line, "HK") {
		t.Error(line)
	}
	if a := client.Curl(t, g.Addr(80), "http://a.test/v1/x"); a.Status != 200 {
		t.Errorf("the other port: %d\n%s", a.Status, a.Err)
	}
	taken.Close()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.DialTimeout("tcp", taken.Addr().String(), time.Second); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("the port that came free was not taken")
		}
	}
	if a := client.Curl(t, taken.Addr().String(), "https://a.test/v1/x", "--cacert", s.caFile(t)); a.Status != 200 {
		t.Errorf("on the port that came free: %d\n%s", a.Status, a.Err)
	}
}

// TestOneBrokenSecret breaks one host's secret among several: only that host fails.
func TestOneBrokenSecret(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test", "c.test")
	other := s.ca.Issue(testca.Spec{DNS: []string{"b.test"}})
	mismatch := testca.SecretYAML("istio-system", "b", map[string][]byte{"tls.crt": s.leaf.ChainPEM(), "tls.key": other.KeyPEM()})
	g := gateway.Start(t, gateway.Options{Files: map[string]string{
		"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "a"}, istioServer{host: "b.test", secret: "b"}, istioServer{host: "c.test", secret: "c"}),
		"route.yaml":   routeAll("all", "*", "backend"), "a.yaml": secretTLS("a", s.leaf), "b.yaml": mismatch, "c.yaml": secretTLS("c", s.leaf),
	}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	serves := func(host string) bool {
		c, err := client.TryTLS(t, g.Addr(443), s.config(host))
		if err != nil {
			if !strings.Contains(err.Error(), "remote error: tls: internal error") {
				t.Errorf("%s: %v", host, err)
			}
			return false
		}
		resp, _ := c.Get(host, "/status/200")
		return resp.StatusCode == 200
	}
	if !serves("a.test") || !serves("c.test") || serves("b.test") {
		t.Error("a and c must serve, b must not")
	}
	g.AwaitLine(0, "kind", "handshake", "code", "HK2302", "sni", "b.test")
	r := gateway.Command(t, nil, "", "check", g.Dir)
	if r.Code != 3 || !strings.Contains(r.Out, "HK5501 Secret istio-system/b") || !strings.Contains(r.Out, "b.yaml:") || !strings.Contains(r.Out, "fix:") || strings.Count(r.Out, "error ") > 2 {
		t.Errorf("check: exit %d\n%s", r.Code, r.Out)
	}
	g.Change(func() { g.Write("b.yaml", secretTLS("b", s.leaf)) })
	if !serves("b.test") || !serves("a.test") {
		t.Error("after it was mended all must serve")
	}
}
