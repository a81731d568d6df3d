//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/rawupstream"
)

// httpWorld is a gateway in front of one raw upstream.
func httpWorld(t *testing.T, h rawupstream.Handler, args ...string) (*gateway.Gateway, *rawupstream.Upstream, site) {
	t.Helper()
	up, s := rawupstream.Start(t, h), newSite(t, "a.test")
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}),
		"route.yaml": routeAll("all", "*", "backend"), "secret.yaml": secretTLS("site", s.leaf)}, Endpoints: []string{"backend.default:8000=" + up.Addr}, Args: args})
	return g, up, s
}

// TestContinue uploads with curl, which waits for 100 Continue.
func TestContinue(t *testing.T) {
	t.Parallel()
	g, up, s := httpWorld(t, nil)
	file := filepath.Join(t.TempDir(), "upload")
	content := bytes.Repeat([]byte("0123456789abcdef"), 256<<10)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, c := range [][2]string{{"--http1.1", "HTTP/1.1 100 Continue\r\n"}, {"--http2", "HTTP/2 100 \r\n"}} {
		a := client.Curl(t, g.Addr(443), "https://a.test/upload", c[0], "--cacert", s.caFile(t), "-T", file, "-H", "Expect: 100-continue", "--expect100-timeout", "20", "-v")
		if a.Status != 200 || !strings.HasPrefix(a.Head, c[1]) || strings.Contains(a.Err, "Done waiting") {
			t.Errorf("%s: status %d, heads %q\n%s", c[0], a.Status, a.Head, a.Err)
		}
		if m := up.Await(i + 1)[i]; !bytes.Equal(m.Body, content) {
			t.Errorf("%s: the upstream received %d bytes, want %d", c[0], len(m.Body), len(content))
		}
	}
}

// earlyServer answers a request's head with 413 and closes, or goes on reading.
func earlyServer(t *testing.T, read bool) string {
	return rawServer(t, func(c net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Much\r\nContent-Length: 5\r\nConnection: close\r\n\r\nstop\n")
		if read {
			_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
		}
		_ = c.(*net.TCPConn).CloseWrite()
		time.Sleep(200 * time.Millisecond)
	})
}

// TestEarlyAnswer uploads what the upstream refuses at once.
func TestEarlyAnswer(t *testing.T) {
	t.Parallel()
	for _, read := range []bool{false, true} {
		s := newSite(t, "a.test")
		g := startSite(t, s, earlyServer(t, read), "a.test")
		file := filepath.Join(t.TempDir(), "upload")
		if err := os.WriteFile(file, make([]byte, 64<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, expect := range []string{"Expect:", "Expect: 100-continue"} {
			for _, version := range []string{"--http1.1", "--http2"} {
				a := client.Curl(t, g.Addr(443), "https://a.test/upload", version, "--cacert", s.caFile(t), "-T", file, "-H", expect)
				if a.Status != 413 || a.Body != "stop\n" || strings.Contains(a.Head, " 100 ") {
					t.Errorf("%s, upstream reads %v, %q: status %d, body %q, exit %d\n%s", version, read, expect, a.Status, a.Body, a.Exit, a.Err)
				}
			}
		}
	}
}

// TestBodyBound refuses what is larger than the bound, of known and unknown length.
func TestBodyBound(t *testing.T) {
	t.Parallel()
	g, up, s := httpWorld(t, nil, "--max-request-body", "1000")
	file := filepath.Join(t.TempDir(), "upload")
	if err := os.WriteFile(file, make([]byte, 1001), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{{"--http1.1"}, {"--http1.1", "-H", "Transfer-Encoding: chunked"}, {"--http2"}} {
		a := client.Curl(t, g.Addr(443), "https://a.test/upload", append([]string{"--cacert", s.caFile(t), "-T", file, "-H", "Expect:"}, more...)...)
		if a.Status != 413 || !strings.Contains(a.Field("Proxy-Status"), "HK4010") {
			t.Errorf("%v: status %d\n%s", more, a.Status, a.Head)
		}
	}
	for _, m := range up.Messages() {
		if m.Err == nil {
			t.Errorf("a whole request reached the upstream: %q", m.Head)
		}
	}
}

// TestChunkedAndTrailers passes chunked bodies and trailers both ways.
func TestChunkedAndTrailers(t *testing.T) {
	t.Parallel()
	g, up, s := httpWorld(t, func(m *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nTrailer: X-Sum, X-State\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Sum: 7\r\nX-State: done\r\n\r\n")
		return err == nil
	})
	c := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	for range 2 { // the connection lives on
		c.Send("POST /p HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Hash\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Hash: 42\r\n\r\n")
		resp, body := c.Receive("POST")
		if resp.StatusCode != 200 || body != "abcdefg" || resp.Trailer.Get("X-Sum") != "7" || resp.Trailer.Get("X-State") != "done" {
			t.Errorf("status %d, body %q, trailers %v", resp.StatusCode, body, resp.Trailer)
		}
	}
	for _, m := range up.Await(2) {
		if string(m.Body) != "hello world" || m.Trail != "X-Hash: 42\r\n" || m.Err != nil {
			t.Errorf("the upstream received body %q, trailers %q, %v", m.Body, m.Trail, m.Err)
		}
	}
	if n := up.Connections(); n != 1 {
		t.Errorf("%d upstream connections for two requests after each other", n)
	}
}

// TestHead asks for heads: the declared length is passed on, no body is awaited, nothing is left over.
func TestHead(t *testing.T) {
	t.Parallel()
	g, _, s := httpWorld(t, func(m *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
		if strings.HasPrefix(m.Head, "HEAD ") {
			framing := "Content-Length: 1234\r\n"
			if m.Path() == "/chunked" {
				framing = "Transfer-Encoding: chunked\r\n"
			}
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n"+framing+"\r\n")
			return err == nil
		}
		return rawupstream.Reply(c, 200, "", "body")
	})
	c := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	for range 2 {
		c.Send("HEAD /sized HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if resp, body := c.Receive("HEAD"); resp.ContentLength != 1234 || body != "" {
			t.Errorf("length %d, body %q", resp.ContentLength, body)
		}
		c.Send("HEAD /chunked HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if resp, body := c.Receive("HEAD"); resp.StatusCode != 200 || body != "" {
			t.Errorf("status %d, body %q", resp.StatusCode, body)
		}
		if resp, body := c.Get("a.test", "/"); resp.StatusCode != 200 || body != "body" {
			t.Errorf("GET after HEAD: %d %q", resp.StatusCode, body)
		}
	}
	if a := client.Curl(t, g.Addr(443), "https://a.test/sized", "--cacert", s.caFile(t), "-I"); a.Status != 200 || a.Field("Content-Length") != "1234" {
		t.Errorf("curl -I: %d\n%s", a.Status, a.Head)
	}
}

// TestWebSocket upgrades and echoes both ways, then ends each way.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	g, up, s := httpWorld(t, func(m *rawupstream.Message, c net.Conn, rest *bufio.Reader) bool {
		if !strings.EqualFold(m.Field("Upgrade"), "websocket") || !strings.EqualFold(m.Field("Connection"), "upgrade") {
			return rawupstream.Reply(c, 400, "", "no upgrade")
		}
		if m.Path() == "/no" {
			return rawupstream.Reply(c, 403, "", "not for you")
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello ")
		_, _ = io.Copy(c, rest)
		return false
	})
	c := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	upgrade := func(path string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	}
	c.Send(upgrade("/no"))
	if resp, body := c.Receive("GET"); resp.StatusCode != 403 || body != "not for you" {
		t.Fatalf("refused upgrade: %d %q", resp.StatusCode, body)
	}
	c.Send(upgrade("/ws") + "early ") // what follows the head belongs to the new protocol
	resp, _, err := c.TryReceive("GET")
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") == "" || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		t.Fatalf("upgrade: %v %v", resp, err)
	}
	expect := func(text string) {
		t.Helper()
		b := make([]byte, len(text))
		if _, err := io.ReadFull(c.R, b); err != nil || string(b) != text {
			t.Fatalf("received %q, %v; want %q", b, err, text)
		}
	}
	expect("hello early ")
	for i := range 5 {
		text := strings.Repeat(strconv.Itoa(i), 1<<(4*i)) // up to 64 KiB
		c.Send(text)
		expect(text)
	}
	c.Close()
	line := g.AwaitLine(0, "kind", "request", "target", "/ws")
	if line.N("status") != 101 || line.N("bytes_in") == 0 || line.N("bytes_out") == 0 {
		t.Errorf("access log: %v", line)
	}
	if m := up.Messages()[1]; m.Field("Sec-WebSocket-Key") == "" || m.Field("Sec-WebSocket-Version") != "13" {
		t.Errorf("the upstream received %q", m.Head)
	}
}

// residentKiB is the gateway's resident memory.
func residentKiB(t *testing.T, g *gateway.Gateway) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// TestBackPressure streams 256 MiB each way against a peer that does not read for a while: the sender is
// held up, and memory stays where it was.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	const total, bound = 256 << 20, 24 << 20 // socket buffers of two connections fit in the bound
	var sent, received atomic.Int64
	wait := make(chan struct{})
	up := rawServer(t, func(c net.Conn, r *bufio.Reader) {
		head, err := r.ReadString('\n')
		for line := ""; err == nil && line != "\r\n"; line, err = r.ReadString('\n') {
		}
		block := make([]byte, 64<<10)
		if strings.HasPrefix(head, "GET") {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", total)
			for sent.Load() < total {
				n, err := c.Write(block)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
			return
		}
		<-wait
		for received.Load() < total {
			n, err := r.Read(block)
			if received.Add(int64(n)); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, "HTTP/1.1 204 OK\r\n\r\n")
	})
	s := newSite(t, "a.test")
	g := startSite(t, s, up, "a.test")
	client.DialTLS(t, g.Addr(443), s.config("a.test")).Send("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
	before := residentKiB(t, g)
	settle := func(n *atomic.Int64) int64 {
		for last, end := int64(-1), time.Now().Add(20*time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			now := n.Load()
			if now == last && now > 0 {
				return now
			}
			last = now
		}
		t.Fatal("the sender is never held up, or sends nothing")
		return 0
	}

	down := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	down.Send("GET /download HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if n := settle(&sent); n > bound {
		t.Errorf("the upstream could send %d MiB to a client that does not read", n>>20)
	}
	if resp, _, err := readDiscarding(down); err != nil || resp != total {
		t.Errorf("downloaded %d, %v", resp, err)
	}

	upload := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	upload.Send(fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", total))
	var pushed atomic.Int64
	done := make(chan error, 1)
	go func() {
		block := make([]byte, 64<<10)
		for pushed.Load() < total {
			n, err := upload.Write(block)
			if pushed.Add(int64(n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	if n := settle(&pushed); n > bound {
		t.Errorf("the client could send %d MiB to an upstream that does not read", n>>20)
	}
	close(wait)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if resp, _ := upload.Receive("POST"); resp.StatusCode != 204 || received.Load() != total {
		t.Errorf("status %d, the upstream received %d", resp.StatusCode, received.Load())
	}
	if grown := residentKiB(t, g) - before; grown > 24<<10 {
		t.Errorf("memory grew by %d KiB", grown)
	}
}

// readDiscarding reads an answer and returns the length of its body.
func readDiscarding(c *client.Conn) (int64, string, error) {
	for {
		line, err := c.R.ReadString('\n')
		if err != nil {
			return 0, line, err
		}
		if line == "\r\n" {
			break
		}
	}
	n, err := io.Copy(io.Discard, io.LimitReader(c.R, 256<<20))
	return n, "", err
}

// TestHTTP10 serves clients of HTTP/1.0.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	g, up, s := httpWorld(t, func(m *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
		if m.Path() == "/sized" {
			return rawupstream.Reply(c, 200, "", "sized")
		}
		_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nchunk\r\n1\r\ns\r\n0\r\n\r\n")
		return err == nil
	})
	c := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	c.Send("GET /chunks HTTP/1.0\r\nHost: a.test\r\n\r\n")
	text, err := io.ReadAll(c.R)
	head, body, _ := strings.Cut(string(text), "\r\n\r\n")
	if err != nil || body != "chunks" || strings.Contains(strings.ToLower(head), "transfer-encoding") || !strings.HasPrefix(head, "HTTP/1.") {
		t.Errorf("%v: %q", err, text)
	}
	c = client.DialTLS(t, g.Addr(443), s.config("a.test"))
	for range 2 {
		c.Send("GET /sized HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n")
		if resp, body := c.Receive("GET"); body != "sized" || !strings.EqualFold(resp.Header.Get("Connection"), "keep-alive") {
			t.Errorf("keep-alive: %q, %v", body, resp.Header)
		}
	}
	if a := client.Curl(t, g.Addr(443), "https://a.test/chunks", "--cacert", s.caFile(t), "--http1.0"); a.Status != 200 || a.Body != "chunks" || a.Exit != 0 {
		t.Errorf("curl --http1.0: %d %q\n%s", a.Status, a.Body, a.Err)
	}
	for _, m := range up.Messages() {
		if m.Err != nil || !strings.HasSuffix(m.Line(), "HTTP/1.1") {
			t.Errorf("the upstream received %q, %v", m.Line(), m.Err)
		}
	}
}

// TestPipelining sends requests before their answers are there; the slow first one is answered first.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := startSite(t, s, httpbin.Start(t), "a.test")
	c := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	c.Send("GET /delay/300 HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabcGET /hello HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
	for i, want := range []string{"late\n", `"URL":"/x"`, "Hello version"} {
		if resp, body := c.Receive("GET"); resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("answer %d: %d %q", i+1, resp.StatusCode, body)
		}
	}
	c.Closed()
}

// TestIdentityFields strips what clients claim about themselves and adds what is true.
func TestIdentityFields(t *testing.T) {
	t.Parallel()
	g, up, s := httpWorld(t, nil)
	a := client.Curl(t, g.Addr(443), "https://a.test/", "--cacert", s.caFile(t), "-H", "X-Forwarded-For: 192.0.2.1", "-H", "X-Forwarded-Proto: http", "-H", "X-Forwarded-Host: evil.test",
		"-H", "X-Forwarded-Client-Cert: By=spiffe://x;Hash=1", "-H", "Client-Cert: :AAAA:", "-H", "Client-Cert-Chain: :AAAA:", "-H", "X-Request-Id: chosen-by-client", "-H", "Forwarded: for=192.0.2.1")
	if a.Status != 200 {
		t.Fatalf("status %d\n%s", a.Status, a.Err)
	}
	m := up.Await(1)[0]
	if m.Field("X-Forwarded-For") != "127.0.0.1" || m.Field("X-Forwarded-Proto") != "https" {
		t.Errorf("the upstream received\n%s", m.Head)
	}
	for _, name := range []string{"X-Forwarded-Client-Cert", "Client-Cert", "Client-Cert-Chain"} {
		if v := m.Field(name); v != "" {
			t.Errorf("%s: %q reached the upstream", name, v)
		}
	}
	if strings.Contains(m.Head, "192.0.2.1") || strings.Contains(m.Head, "evil.test") || strings.Contains(m.Head, "chosen-by-client") {
		t.Errorf("claims of the client reached the upstream:\n%s", m.Head)
	}
	line := g.AwaitLine(0, "kind", "request")
	if id := m.Field("X-Request-Id"); id == "" || id != line.S("id") {
		t.Errorf("request ID %q at the upstream, %q in the log", id, line.S("id"))
	}
}

// TestDeadlines lets clients be slow in every way.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	g, _, s := httpWorld(t, func(m *rawupstream.Message, c net.Conn, _ *bufio.Reader) bool {
		return rawupstream.Reply(c, 200, "", strings.Repeat("x", 16<<20))
	}, "--header-timeout", "1s", "--body-idle-timeout", "1s", "--write-timeout", "1s", "--idle-timeout", "1s")
	for _, c := range []struct{ name, send, code, status string }{
		{"head", "GET / HTTP/1.1\r\nHost: a.te", "HK4201", "408"},
		{"body", "POST /body HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc", "HK4202", "408"},
		{"reader", "GET /reader HTTP/1.1\r\nHost: a.test\r\n\r\n", "HK4204", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := client.DialTLS(t, g.Addr(443), s.config("a.test"))
			conn.Send(c.send)
			line := g.For(t).AwaitLine(0, "kind", "request", "code", c.code)
			if line.S("detail") == "" {
				t.Errorf("%v", line)
			}
			if c.status != "" {
				if resp, body := conn.Receive("GET"); resp.Status[:3] != c.status || !resp.Close || !strings.Contains(body, c.code) {
					t.Errorf("answer %s %q", resp.Status, body)
				}
				conn.Closed()
			}
		})
	}
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		conn := client.DialTLS(t, g.Addr(443), s.config("a.test"))
		if resp, body := conn.Get("a.test", "/"); resp.StatusCode != 200 || len(body) != 16<<20 {
			t.Errorf("status %d, %d bytes", resp.StatusCode, len(body))
		}
		begin := time.Now()
		conn.Closed()
		if d := time.Since(begin); d < 500*time.Millisecond || d > 5*time.Second {
			t.Errorf("closed after %s", d)
		}
	})
}
