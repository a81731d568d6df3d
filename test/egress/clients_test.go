//go:build e2e

package egress

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
)

// TestClients are programs that trust the mesh's CA and know nothing else: those that take the gateway for the
// destination (way B), and the same with a proxy in their environment (way C). Each gets the page, which comes from
// behind the company's proxy.
func TestClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.start(map[string]string{"egress.yaml": w.corp() + "---\n" + w.egress()})
	proxy := "http://" + w.hakone.Address + ":3128"
	mesh := filepath.Join(w.dir, "mesh.crt")
	java, store := w.java(mesh)
	script := func(name string) string {
		path, err := filepath.Abs("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(path string, env []string, args ...string) program.Command {
		return program.Command{Path: program.Find(t, path), Args: args, Env: append(env, "https_proxy="+strings.TrimPrefix(env[0], "HTTPS_PROXY="))}
	}
	const url = "https://example.com/"
	clients := map[string]func(env []string) program.Command{
		"curl": func(env []string) program.Command {
			return run("curl", append(env, "CURL_CA_BUNDLE="+mesh), "-sS", url)
		},
		"urllib": func(env []string) program.Command {
			return run("/usr/bin/python3", append(env, "SSL_CERT_FILE="+mesh), script("get.py"), "urllib", url)
		},
		"requests": func(env []string) program.Command {
			return run("/usr/bin/python3", append(env, "REQUESTS_CA_BUNDLE="+mesh), script("get.py"), "requests", url)
		},
		"Node": func(env []string) program.Command {
			return run("node", append(env, "NODE_EXTRA_CA_CERTS="+mesh), script("get.mjs"), url)
		},
		"Go": func(env []string) program.Command {
			return program.Command{Path: os.Args[0], Env: append(env, "SSL_CERT_FILE="+mesh, "SSL_CERT_DIR=/nonexistent", "EGRESS_TEST_GET="+url)}
		},
		"Java": func(env []string) program.Command {
			args := []string{"-XX:TieredStopAtLevel=1", "-Djavax.net.ssl.trustStore=" + store, "-Djavax.net.ssl.trustStorePassword=secret", "-cp", java, "Get", url}
			if strings.HasSuffix(env[0], "3128") {
				args = append(args, w.hakone.Address, "3128")
			}
			return run("java", env, args...)
		},
	}
	for _, way := range []struct{ name, names, env string }{{"C", "", "HTTPS_PROXY=" + proxy}, {"B", w.hakone.Address + " example.com\n", "HTTPS_PROXY="}} {
		w.workload.Names(way.names)
		for name, client := range clients {
			mark := w.g.Mark()
			r := program.Run(w, w.workload.On(client([]string{way.env})))
			if r.Code != 0 || !strings.Contains(r.Out, "<title>Example Domain</title>") {
				t.Errorf("%s in way %s: exit %d\n%s\n%s", name, way.name, r.Code, r.Out, r.Err)
				continue
			}
			w.g.AwaitLine(mark, "kind", "request", "method", "GET", "host", "example.com")
		}
	}
}

// java compiles the client and makes a trust store of a CA.
func (w *world) java(ca string) (classes, store string) {
	w.Helper()
	classes = w.TempDir()
	store = filepath.Join(classes, "mesh.p12")
	for _, c := range []program.Command{
		{Path: program.Find(w, "javac"), Args: []string{"-d", classes, "testdata/Get.java"}},
		{Path: program.Find(w, "keytool"), Args: []string{"-importcert", "-noprompt", "-alias", "mesh", "-file", ca, "-keystore", store, "-storetype", "PKCS12", "-storepass", "secret"}},
	} {
		if r := program.Run(w, c); r.Code != 0 {
			w.Fatalf("%s: %s%s", c.Path, r.Out, r.Err)
		}
	}
	return classes, store
}

// get is Go's client as a program: what it needs is in its environment.
func get(url string) error {
	resp, err := (&http.Client{Timeout: 20 * time.Second}).Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// browsed is what Chromium saw.
type browsed struct {
	URL, Title, Text, Echo, Error string
	Status                        int
}

// TestChromium is a person's browser behind the gateway as its proxy: pages, a WebSocket, the page that says why a
// host is refused, though the browser asked for it by CONNECT, and the page that hands the CA out.
func TestChromium(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{More: "http_upgrade_request_protocols websocket allow all\nhttp_upgrade_request_protocols OTHER allow all\n"}) // Squid takes Upgrade away otherwise
	w.start(map[string]string{"egress.yaml": w.corp() + "---\n" + w.egress(`  acls:
  - {name: www, type: dstdomain, values: [www.example.com]}
  access:
  - {action: Deny, acls: [www]}
  - {action: Allow, acls: [all]}
  pages: {contact: network@example.com}
`)})
	home := t.TempDir()
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][]string{{"-N", "-d", "sql:" + db, "--empty-password"}, {"-A", "-d", "sql:" + db, "-n", "mesh", "-t", "C,,", "-i", filepath.Join(w.dir, "mesh.crt")}} {
		if r := program.Run(t, program.Command{Path: program.Find(t, "certutil"), Args: step}); r.Code != 0 {
			t.Fatalf("certutil %v: %s%s", step, r.Out, r.Err)
		}
	}
	script, err := filepath.Abs("testdata/browse.js")
	if err != nil {
		t.Fatal(err)
	}
	urls := []string{"https://example.com/", "https://www.example.com/", "http://www.example.com/", "http://hakone.internal/"}
	r := program.Run(t, w.workload.On(program.Command{Path: program.Find(t, "node"), Limit: 2 * time.Minute, Env: []string{"HOME=" + home, "NODE_PATH=" + program.NodeModules(t)},
		Args: append([]string{script, filepath.Join(home, "profile"), program.Find(t, "chromium"), "http://" + w.hakone.Address + ":3128", "wss://example.com/chat"}, urls...)}))
	var pages []browsed
	if err := json.Unmarshal([]byte(r.Out), &pages); err != nil || len(pages) != len(urls) {
		t.Fatalf("Chromium: exit %d\n%s\n%s", r.Code, r.Out, r.Err)
	}
	for i, want := range []struct {
		status int
		text   string
	}{{200, "An example."}, {403, "HK4502"}, {403, "network@example.com"}, {200, "keytool"}} {
		if p := pages[i]; p.Status != want.status || !strings.Contains(p.Text, want.text) {
			t.Errorf("%s: want %d with %q, got %+v", urls[i], want.status, want.text, p)
		}
	}
	if pages[0].Echo != "hello" || pages[0].Title != "Example Domain" {
		t.Errorf("the page and its WebSocket: %+v\n%s\n%s", pages[0], w.lines(), strings.Join(w.squid.Log(), "\n"))
	}
}

// chat is a WebSocket (RFC 6455) that sends each short text back.
func chat(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	in := bufio.NewReader(rw)
	for {
		head := make([]byte, 6) // with a mask; no length is above 125
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		text := make([]byte, head[1]&0x7f)
		if _, err := io.ReadFull(in, text); err != nil {
			return
		}
		for i := range text {
			text[i] ^= head[2+i%4]
		}
		if _, err := conn.Write(append([]byte{head[0], byte(len(text))}, text...)); err != nil {
			return
		}
	}
}
