//go:build e2e

package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
)

// cacheScore is what http-cache-tests found out about a cache.
type cacheScore struct {
	name  string
	tests map[string]struct {
		Kind   string `json:"kind"`
		Passed bool   `json:"passed"`
		Why    string `json:"why"`
	}
	took time.Duration
}

// count returns how many tests of a kind there are, and how many passed; "" is every kind.
func (s *cacheScore) count(kind string) (passed, all int) {
	for _, t := range s.tests {
		if kind == "" || t.Kind == kind {
			if all++; t.Passed {
				passed++
			}
		}
	}
	return passed, all
}

// TestHTTPCache runs http-cache-tests against Hakone and Debian's caches side by side. Ours passes at least as many
// as the best of them, of each kind, and no required test that is in the list fails.
func TestHTTPCache(t *testing.T) {
	t.Parallel()
	modules := []string{"NODE_PATH=" + program.NodeModules(t)}
	node := program.Find(t, "node")
	log := program.Start(t, program.Command{Path: node, Args: []string{"testdata/httpcache/server.mjs"}, Env: modules})
	port := awaitPort(t, log)
	dir := gateway.Folder(t)
	scores := []*cacheScore{{name: "hakone"}, {name: "squid"}, {name: "nginx"}, {name: "varnish"}}
	bases := []string{startCachingGateway(t, port), startSquidCache(t, dir, port), startNginxCache(t, dir, port), startVarnish(t, dir, port)}
	var wg sync.WaitGroup
	for i, s := range scores {
		wg.Go(func() {
			r := program.Run(t, program.Command{Path: node, Args: []string{"--no-warnings", "testdata/httpcache/run.mjs", bases[i]}, Env: modules, Limit: 5 * time.Minute})
			s.took = r.Took
			if err := json.Unmarshal([]byte(r.Out), &s.tests); err != nil {
				t.Errorf("%s: %v\n%s\n%s", s.name, err, program.Tail(r.Out, 1000), program.Tail(r.Err, 1000))
			}
		})
	}
	wg.Wait()
	ours := scores[0]
	for _, s := range scores {
		var line []string
		for _, kind := range []string{"required", "optimal", "check"} {
			passed, all := s.count(kind)
			line = append(line, fmt.Sprintf("%d of %d %s", passed, all, kind))
			if mine, _ := ours.count(kind); passed > mine {
				t.Errorf("%s passes %d tests of kind %s, Hakone %d", s.name, passed, kind, mine)
			}
		}
		t.Logf("http-cache-tests, %s: %s in %.0f s", s.name, strings.Join(line, ", "), s.took.Seconds())
	}
	if _, all := ours.count(""); all != 350 {
		t.Errorf("%d tests ran, want 350", all)
	}
	list, err := os.ReadFile("testdata/httpcache/required.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Fields(string(list))
	for id, r := range ours.tests {
		if r.Kind != "required" {
			continue
		}
		if listed := slices.Contains(known, id); listed && !r.Passed {
			t.Errorf("%s, which is required, fails: %s", id, r.Why)
		} else if !listed && r.Passed {
			t.Errorf("%s passes and is not in testdata/httpcache/required.txt: add it", id)
		}
	}
}

// awaitPort returns the port that the origin prints.
func awaitPort(t *testing.T, log func() string) string {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if m := regexp.MustCompile(`port (\d+)`).FindStringSubmatch(log()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("the origin of http-cache-tests did not start: %s", log())
	return ""
}

func startCachingGateway(t *testing.T, port string) string {
	g := gateway.Start(t, gateway.Options{Ports: []int{80}, Endpoints: []string{"backend.default:8000=127.0.0.1:" + port}, Files: map[string]string{"cache.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: istio
  listeners:
  - {name: web, port: 80, protocol: HTTP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs:
  - name: gw
  rules:
  - backendRefs:
    - {name: backend, port: 8000}
---
apiVersion: v1
kind: Service
metadata: {name: backend}
spec:
  ports:
  - {name: http, port: 8000}
---
apiVersion: hakone.dev/v1alpha1
kind: CachePolicy
metadata: {name: everything}
spec:
  targetRefs:
  - {kind: Gateway, name: gw}
`}})
	return fmt.Sprintf("http://127.0.0.1:%d", g.Port(80))
}

// startPeer starts a cache and waits until it listens.
func startPeer(t *testing.T, c program.Command, port int) string {
	t.Helper()
	log := program.Start(t, c)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return "http://" + addr
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen: %s", c.Path, log())
		}
	}
}

// writeConfig writes a peer's configuration, with PORT, ORIGIN and DIR replaced.
func writeConfig(t *testing.T, dir, name, text, origin string) (path string, port int) {
	t.Helper()
	port = gateway.FreePort(t)
	path = filepath.Join(dir, name)
	text = strings.NewReplacer("PORT", fmt.Sprint(port), "ORIGIN", origin, "DIR", dir).Replace(text)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { // Varnish runs as another user
		t.Fatal(err)
	}
	return path, port
}

func startSquidCache(t *testing.T, dir, origin string) string {
	if err := os.Chmod(dir, 0o777); err != nil { // Squid runs as another user
		t.Fatal(err)
	}
	path, port := writeConfig(t, dir, "squid.conf", `http_port 127.0.0.1:PORT accel defaultsite=localhost no-vhost
cache_peer 127.0.0.1 parent ORIGIN 0 no-query no-digest originserver default name=o
cache_peer_access o allow all
http_access allow all
cache_mem 256 MB
maximum_object_size_in_memory 4 MB
collapsed_forwarding on
access_log none
cache_log DIR/squid.log
pid_filename none
coredump_dir DIR
shutdown_lifetime 1 seconds
visible_hostname squid
pinger_enable off
`, origin)
	return startPeer(t, program.Command{Path: program.Find(t, "squid"), Args: []string{"-N", "-f", path}}, port)
}

func startNginxCache(t *testing.T, dir, origin string) string {
	path, port := writeConfig(t, dir, "nginx.conf", `daemon off;
worker_processes 1;
pid DIR/nginx.pid;
error_log DIR/nginx.log;
events {}
http {
  access_log off;
  client_body_temp_path DIR/nb; proxy_temp_path DIR/np; fastcgi_temp_path DIR/nf; uwsgi_temp_path DIR/nu; scgi_temp_path DIR/ns;
  proxy_cache_path DIR/nc levels=1:2 keys_zone=c:8m max_size=256m use_temp_path=off;
  upstream o { server 127.0.0.1:ORIGIN; keepalive 32; }
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache c; proxy_cache_revalidate on; proxy_cache_lock on; proxy_cache_background_update on;
      proxy_cache_use_stale error timeout invalid_header updating http_500 http_502 http_503 http_504;
    }
  }
}
`, origin)
	return startPeer(t, program.Command{Path: program.Find(t, "nginx"), Args: []string{"-c", path}}, port)
}

func startVarnish(t *testing.T, dir, origin string) string {
	path, port := writeConfig(t, dir, "default.vcl", `vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "ORIGIN"; }
sub vcl_backend_response { if (beresp.http.ETag || beresp.http.Last-Modified) { set beresp.keep = 1d; } }
`, origin)
	work := filepath.Join(dir, "varnish")
	return startPeer(t, program.Command{Path: program.Find(t, "varnishd"),
		Args: []string{"-F", "-n", work, "-a", fmt.Sprintf("127.0.0.1:%d", port), "-f", path, "-s", "malloc,256m"}}, port)
}
