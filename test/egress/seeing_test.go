//go:build e2e

package egress

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestTrace draws the way of a request: through the company's proxy, and through the gateway and that.
func TestTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.write("bump.crt", w.squid.CA.CertPEM())
	w.start(map[string]string{"egress.yaml": w.corp() + "---\n" + w.egress()})
	trace := func(args ...string) program.Result {
		return program.Run(w, w.workload.On(program.Command{Path: gateway.Binary(w), Dir: w.dir, Args: append([]string{"trace", "https://example.com"}, args...)}))
	}
	r := trace("--no-direct", "--via", "http://"+w.company.Address+":8080", "--interception-ca", "bump.crt")
	w.has("through Squid", r.Out, `^https://example\.com through http://10\.203\.0\.3:8080\n1 proxy 10\.203\.0\.3:8080\n`, `tcp +10\.203\.0\.1:\d+ to 10\.203\.0\.3:8080`,
		`connect +CONNECT example\.com:443: 200`, `2 destination example\.com:443, inside the tunnel of 10\.203\.0\.3:8080`, `hello +SNI example\.com, ALPN h2 http/1\.1`,
		`tls +TLS 1\.3`, `(?s)theirs .*issued by CN=Company proxy`, `for example\.com, www\.example\.com`, `verify +example\.com leads to CN=Company proxy,O=Company, by bump\.crt: intercepted`, `http +HTTP/1\.1 200 OK`, `title +Example Domain`)
	if r.Code != 0 {
		t.Errorf("through Squid: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if r := trace("--no-direct", "--via", "http://"+w.company.Address+":8080", "--interception-ca", "mesh.crt"); r.Code != 3 || !strings.Contains(r.Out, "HK3322") {
		t.Errorf("with another CA: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	r = trace("--no-direct", "--via", "http://"+w.hakone.Address+":3128", "--interception-ca", "mesh.crt", "--admin", w.g.Admin)
	w.has("through the gateway and Squid", r.Out, `^https://example\.com through http://10\.203\.0\.2:3128\n1 proxy 10\.203\.0\.2:3128\n`, `verify +example\.com leads to CN=The mesh's CA, by mesh\.crt: intercepted`,
		`(?s)title +Example Domain.*default/corp.*10\.203\.0\.3:8080.*CN=Company proxy`)
	if r.Code != 0 {
		t.Errorf("through the gateway: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
}

// TestExplainRequests has the story of a request of each way, from its ID.
func TestExplainRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startSquid(squid.Options{})
	w.start(map[string]string{"egress.yaml": w.corp() + "---\n" + w.egress()})
	for _, way := range []struct {
		name, listener string
		args           []string
	}{
		{"A", `\*:80`, []string{"http://example.com/seen"}},
		{"B", `\*:443`, []string{"--cacert", "mesh.crt", "https://example.com/seen"}},
		{"C", `\*:3128`, []string{"--cacert", "mesh.crt", "--proxy", "http://" + w.hakone.Address + ":3128", "https://example.com/seen"}},
		{"C plain", `\*:3128`, []string{"--proxy", "http://" + w.hakone.Address + ":3128", "http://example.com/seen"}},
	} {
		mark := w.g.Mark()
		if r := w.curl(way.args...); r.Code != 0 {
			t.Fatalf("%s: %s", way.name, r.Err)
		}
		record := w.g.AwaitLine(mark, "kind", "request", "method", "GET")
		r := w.hakoneRun("explain", record.S("id"))
		wants := []string{`example\.com`, way.listener, `default/corp`, `10\.203\.0\.3:8080`, `200`}
		if way.name != "C plain" {
			wants = append(wants, `CN=Company proxy`)
		}
		w.has("explain "+way.name, r.Out, wants...)
	}
}

// talk sends the bytes of a quoted text to an address and prints what comes back until the end, or for three seconds.
func talk(words []string) error {
	text, err := strconv.Unquote(strings.Join(words[1:], " "))
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", words[0], 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	b, err := io.ReadAll(conn)
	fmt.Print(string(b))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		fmt.Print("(still open)")
	}
	return nil
}

// TestWrongProtocols speaks to each port what it does not speak: the record names the mistake, and the client hears it
// in its own protocol where that can be.
func TestWrongProtocols(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{
		"egress.yaml": strings.Replace(w.egress(), "  interception:\n", "  - {name: way-c-tls, port: 3130, mode: Proxy, certificateRef: {name: proxy}}\n  - {name: balanced, port: 3131, mode: Proxy, proxyProtocol: true}\n  interception:\n", 1),
		"proxy.yaml":  testca.SecretYAML("default", "proxy", w.public.Issue(testcaSpec("proxy.test")).SecretData(testca.FormatTLS, nil, nil)),
	}
	w.start(files)
	hello, err := os.ReadFile(w.clientHello())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, port, send, answer, code string
	}{
		{"TLS to the proxy's plain port", "3128", string(hello), `^HTTP/1\.1 400 [\s\S]*HTTPS_PROXY=http://`, "HK4563"},
		{"SSH to the proxy's port", "3128", "SSH-2.0-OpenSSH_9.2\r\n", `^This port speaks HTTP proxy requests\.\r\n$`, "HK4562"},
		{"SSH to way A", "80", "SSH-2.0-OpenSSH_9.2\r\n", `^$`, "HK4522"},
		{"SSH to way B", "443", "SSH-2.0-OpenSSH_9.2\r\n", `^$`, "HK4522"},
		{"plain HTTP to a TLS proxy", "3130", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", `^HTTP/1\.1 400 `, "HK1101"},
		{"no PROXY header", "3131", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", ``, "HK4558"},
		{"an unwanted PROXY header", "3128", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nCONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", ``, "HK4560"},
		{"a path alone", "3128", "GET /index.html HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", `^HTTP/1\.1 400 [\s\S]*HK4501`, "HK4501"},
	} {
		mark := w.g.Mark()
		r := program.Run(w, w.workload.On(program.Command{Path: os.Args[0], Env: []string{"EGRESS_TEST_TALK=" + w.hakone.Address + ":" + c.port + " " + strconv.Quote(c.send)}}))
		w.has(c.name, r.Out, c.answer)
		if line := w.g.AwaitLine(mark, "code", c.code); line == nil {
			t.Errorf("%s: no record", c.name)
		}
	}
}

// clientHello returns a file with the first bytes of a TLS client.
func (w *world) clientHello() string {
	w.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	defer ln.Close()
	file := filepath.Join(w.TempDir(), "hello")
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		b := make([]byte, 8192)
		n, _ := c.Read(b)
		_ = os.WriteFile(file, b[:n], 0o600)
		c.Close()
	}()
	program.Run(w, program.Command{Path: program.Find(w, "curl"), Args: []string{"-sk", "--max-time", "5", "https://" + ln.Addr().String()}})
	return file
}
