//go:build e2e

package egress

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
)

// directly is a ForwardProxy whose destinations are reached without another proxy.
func (w *world) directly(more ...string) map[string]string {
	return map[string]string{"egress.yaml": w.egress(more...)}
}

// TestProtocols are WebSocket, HTTP/2, gRPC and bodies in each way, with what the destination sees of them.
func TestProtocols(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.directly())
	proxy := "http://" + w.hakone.Address + ":3128"
	ways := []struct {
		name string
		args []string // of curl
		url  string
	}{
		{"A", nil, "http://example.com"},
		{"B", []string{"--cacert", "mesh.crt"}, "https://example.com"},
		{"C", []string{"--cacert", "mesh.crt", "--proxy", proxy}, "https://example.com"},
		{"C plain", []string{"--proxy", proxy}, "http://example.com"},
	}
	for _, way := range ways {
		seen := w.curl(append(way.args, way.url+"/seen?q=1")...)
		w.has(way.name, seen.Out, `^GET /seen\?q=1 HTTP/(1\.1|2\.0) host=example\.com`, `Proxy-Authorization=\[\]`, `Proxy-Connection=\[\]`, `X-Request-Id=\[\]`, `X-Forwarded-Proto=\[\]`)
		if way.name != "C plain" {
			w.has(way.name, seen.Out, `TLS 1\.3 example\.com`)
		}
		if n := len(w.curl(append(way.args, way.url+"/big?n=3000000")...).Out); n != 3000000 {
			w.Errorf("%s: %d bytes of a body, want 3000000", way.name, n)
		}
		w.write("up", []byte(strings.Repeat("0123456789", 200_000)))
		w.has(way.name, w.curl(append(way.args, "-T", "up", way.url+"/upload")...).Out, `^2000000 bytes`)
		w.has(way.name, w.curl(append(way.args, "-i", way.url+"/status?n=418")...).Out, `^(HTTP/1.1 200[^\n]*\r\n\r\n)?HTTP/\S+ 418`)
	}
	for _, way := range ways[1:3] {
		r := w.curl(append(way.args, "--http2", "-i", way.url+"/seen")...)
		w.has(way.name+" in HTTP/2", r.Out, `(?m)^HTTP/2 200`, `(?m)^GET /seen HTTP/2\.0`)
	}
	for _, way := range ways {
		w.socket(way.name, way.args, way.url)
	}
}

// socket opens a WebSocket with curl's help: curl upgrades, and what is sent comes back.
func (w *world) socket(name string, args []string, url string) {
	w.Helper()
	r := program.Run(w, w.workload.On(program.Command{Path: os.Args[0], Dir: w.dir, Env: []string{"EGRESS_TEST_SOCKET=" + strings.Join(append(args, url), " "), "EGRESS_TEST_GATEWAY=" + w.hakone.Address}}))
	if r.Code != 0 || !strings.Contains(r.Out, "echoed") {
		w.Errorf("WebSocket %s: exit %d\n%s%s", name, r.Code, r.Out, r.Err)
	}
}

// openSocket is the workload's program: it reads curl-like words from the environment.
func openSocket(words []string) error {
	url := words[len(words)-1]
	scheme, host, _ := strings.Cut(url, "://")
	gatewayAddress, proxy, ca := os.Getenv("EGRESS_TEST_GATEWAY"), "", ""
	for i, word := range words {
		switch word {
		case "--proxy":
			proxy = strings.TrimPrefix(words[i+1], "http://")
		case "--cacert":
			ca = words[i+1]
		}
	}
	port := map[string]string{"http": "80", "https": "443"}[scheme]
	address := net.JoinHostPort(gatewayAddress, port)
	if proxy != "" {
		address = proxy
	}
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	target := "/ws"
	switch {
	case proxy != "" && scheme == "https":
		fmt.Fprintf(conn, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", host, host)
		if err := expect(bufio.NewReaderSize(conn, 16), http.StatusOK); err != nil {
			return err
		}
	case proxy != "":
		target = url + "/ws"
	}
	if scheme == "https" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		conn = tls.Client(conn, &tls.Config{ServerName: host, RootCAs: pool, NextProtos: []string{"http/1.1"}})
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", target, host)
	r := bufio.NewReader(conn)
	if err := expect(r, http.StatusSwitchingProtocols); err != nil {
		return err
	}
	fmt.Fprint(conn, "\x81\x85\x00\x00\x00\x00hello")
	got := make([]byte, 11)
	if _, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	if string(got[6:]) != "hello" {
		return fmt.Errorf("echo: %q", got)
	}
	fmt.Println("echoed")
	return nil
}

// expect reads a head with a status. CONNECT's answer is read byte for byte: what follows is not ours.
func expect(r *bufio.Reader, status int) error {
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("answered %s, want %d", resp.Status, status)
	}
	return nil
}

// TestPlainRewrites are answers of an https destination to a client that asked in the clear.
func TestPlainRewrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(w.directly())
	r := w.curl("-i", "http://example.com/redirect")
	w.has("A", r.Out, `(?im)^location: http://example\.com/seen`, `(?im)^set-cookie: a=1; Path=/\s*$`)
	if field(r.Out, "strict-transport-security") != "" {
		t.Errorf("HSTS to a client that asked in the clear:\n%s", r.Out)
	}
	r = w.curl("-i", "--cacert", "mesh.crt", "https://example.com/redirect")
	w.has("B", r.Out, `(?im)^location: https://example\.com/seen`, `(?im)^set-cookie: a=1; Secure; Path=/`, `(?im)^strict-transport-security: `)
}

// TestDecisions are splice, bump and terminate by rules, and what each client then sees.
func TestDecisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.start(map[string]string{"egress.yaml": w.corp() + "---\n" + strings.Replace(w.egress(), "    caRef: {name: mesh-ca}\n", `    caRef: {name: mesh-ca}
    rules:
    - {action: Peek, acls: [step1]}
    - {action: Terminate, acls: [forbidden]}
    - {action: Splice, acls: [pinned]}
    - {action: Bump, acls: [all]}
  acls:
  - {name: step1, type: at_step, values: [SslBump1]}
  - {name: pinned, type: "ssl::server_name", values: [.pinned.test]}
  - {name: forbidden, type: "ssl::server_name", values: [.other.test]}
  - {name: www, type: dstdomain, values: [www.example.com]}
  access:
  - {action: Deny, acls: [www]}
  - {action: Allow, acls: [all]}
`, 1)})
	w.write("bump.crt", w.squid.CA.CertPEM())
	proxy := "http://" + w.hakone.Address + ":3128"
	c := func(args ...string) program.Result { return w.curl(append([]string{"--proxy", proxy}, args...)...) }
	w.title(c("--cacert", "mesh.crt", "https://example.com/"))
	w.title(c("--cacert", "bump.crt", "https://pinned.test/")) // spliced: the company's proxy is seen
	if r := c("--cacert", "mesh.crt", "https://pinned.test/"); r.Code != 60 {
		t.Errorf("a spliced host shows our certificate: exit %d\n%s", r.Code, r.Err)
	}
	if r := c("--cacert", "mesh.crt", "https://other.test/"); r.Code == 0 || r.Code == 60 {
		t.Errorf("a terminated host: exit %d\n%s", r.Code, r.Out)
	}
	r := c("-i", "--cacert", "mesh.crt", "https://www.example.com/")
	w.has("a denied host", r.Out+r.Err, `403`)
	w.has("egress explain", w.hakoneRun("egress", "explain", "pinned.test").Out, `(?i)splice`)
	out := w.hakoneRun("egress", "ls").Out
	w.has("egress ls", out, `example\.com.*bump`, `pinned\.test.*splice`, `other\.test.*terminate`)
}

// TestTransparent takes connections on their way, by nftables, and asks the kernel where they were going.
func TestTransparent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(map[string]string{"egress.yaml": strings.Replace(w.egress(), "  interception:\n", "  - {name: taken, port: 3129, mode: Transparent}\n  interception:\n", 1)})
	for _, line := range []string{"add table ip nat", "add chain ip nat pre { type nat hook prerouting priority dstnat ; }", "add rule ip nat pre tcp dport { 80, 443 } ip daddr != " + w.hakone.Address + " redirect to :3129"} {
		if r := program.Run(w, w.hakone.On(program.Command{Path: program.Find(w, "nft"), Args: strings.Fields(line)})); r.Code != 0 {
			t.Fatalf("nft %s: %s", line, r.Err)
		}
	}
	ip := program.Find(w, "ip")
	program.Run(w, w.hakone.On(program.Command{Path: program.Find(w, "sysctl"), Args: []string{"-qw", "net.ipv4.ip_forward=1"}}))
	if r := program.Run(w, w.workload.On(program.Command{Path: ip, Args: []string{"route", "add", w.dest.Address + "/32", "via", w.hakone.Address}})); r.Code != 0 {
		t.Fatal(r.Err)
	}
	get := func(args ...string) program.Result {
		return program.Run(w, w.workload.On(program.Command{Path: program.Find(w, "curl"), Dir: w.dir, Args: append([]string{"-sS", "--max-time", "20", "--resolve", "example.com:80:" + w.dest.Address, "--resolve", "example.com:443:" + w.dest.Address}, args...)}))
	}
	w.title(get("http://example.com/"))
	w.title(get("--cacert", "mesh.crt", "https://example.com/"))
	if r := get("--cacert", "public.crt", "https://example.com/"); r.Code != 60 {
		t.Errorf("the connection was not taken: exit %d\n%s", r.Code, r.Err)
	}
}

// TestOnlyThatProxy shows that the company's CA is believed through the company's proxy alone.
func TestOnlyThatProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	impostor := w.net.Host() // somebody on the way with the company's key
	w.origin(impostor, w.squid.CA.Issue(testcaSpec("other.test")))
	w.hakone.Names(w.dest.Address + " example.com\n" + impostor.Address + " other.test\n")
	w.start(map[string]string{"egress.yaml": w.corp("  except: [other.test]\n") + "---\n" + w.egress()})
	w.title(w.curl("http://example.com/"))
	r := w.curl("-i", "http://other.test/")
	w.has("a direct connection with the company's CA", r.Out, "HK3320", "unexpected_interception")

	w.squid = nil
	splicing := newWorld(t)
	splicing.startSquid(squid.Options{Config: strings.NewReplacer("ssl_bump peek step1\nssl_bump bump all", "ssl_bump splice all").Replace(squid.Document)})
	splicing.start(map[string]string{"egress.yaml": splicing.corp() + "---\n" + splicing.egress()})
	r = splicing.curl("-i", "http://example.com/")
	splicing.has("a proxy that does not intercept", r.Out, "HK3321", "interception_missing")
}
