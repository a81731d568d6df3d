package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestCacheHostileOrigins has origins answer what no cache must keep, or not as it stands.
func TestCacheHostileOrigins(t *testing.T) {
	var names []string
	for i := range 5000 {
		names = append(names, fmt.Sprintf("x-%d", i))
	}
	const fresh = "Cache-Control: max-age=600\r\n"
	ok := func(fields string) string {
		return "HTTP/1.1 200 OK\r\n" + fresh + fields + "Content-Length: 4\r\n\r\nbody"
	}
	for _, c := range []struct {
		name, answer string
		kept         int64
	}{
		{"plain", ok(""), 1},
		{"a part that nobody asked for", "HTTP/1.1 206 Partial Content\r\n" + fresh + "Content-Range: bytes 0-3/10\r\nContent-Length: 4\r\n\r\nbody", 0},
		{"304 that nobody asked for", "HTTP/1.1 304 Not Modified\r\n" + fresh + "\r\n", 0},
		{"416 that nobody asked for", "HTTP/1.1 416 Range Not Satisfiable\r\n" + fresh + "Content-Range: bytes */0\r\nContent-Length: 0\r\n\r\n", 1},
		{"varies by thousands of fields", ok("Vary: " + strings.Join(names, ",") + "\r\n"), 0},
		{"varies by everything", ok("Vary: accept\r\nVary: *\r\n"), 0},
		{"says two ages", ok("Age: 1\r\nAge: 2\r\n"), 0},
		{"age beyond numbers", ok("Age: 99999999999999999999999999\r\n"), 1}, // stale for ever
		{"lifetimes that disagree", "HTTP/1.1 200 OK\r\nCache-Control: max-age=600, no-store, public, max-age=9999999999999999999999\r\nContent-Length: 4\r\n\r\nbody", 0},
		{"quote without end", "HTTP/1.1 200 OK\r\nCache-Control: no-cache=\"a, max-age=600\r\nContent-Length: 4\r\n\r\nbody", 0},
		{"thousands of directives", ok("Cache-Control: " + strings.Repeat("private, ", 3000) + "x\r\n"), 0},
		{"chunks that break off", "HTTP/1.1 200 OK\r\n" + fresh + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", 0},
		{"chunks of nonsense", "HTTP/1.1 200 OK\r\n" + fresh + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\nzz\r\n", 0},
		{"end that is the connection's", "HTTP/1.1 200 OK\r\n" + fresh + "\r\nbody", 1},
		{"less than declared", "HTTP/1.1 200 OK\r\n" + fresh + "Content-Length: 10\r\n\r\nbody", 0},
		{"more than declared", ok("") + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 1},
		{"a location of another origin", ok("Content-Location: http://victim.test/\r\n"), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOrigin(t, func(conn net.Conn, r *bufio.Reader) {
				if readHead(r) != "" {
					_, _ = io.WriteString(conn, c.answer)
				}
			})
			settings := &ir.Cache{Name: "CachePolicy a/b"}
			g := start(t, setup{backend: o.addr, routes: []*ir.Route{{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Cache: settings}}})
			g.p.Caches().Open(settings)
			for range 2 {
				conn := g.dial()
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
				b, err := io.ReadAll(conn)
				if err != nil && len(b) == 0 {
					t.Errorf("no answer: %v", err)
				}
				if strings.Contains(string(b), "evil") {
					t.Errorf("an answer to nobody's request: %q", b)
				}
				conn.Close()
				if a := g.record(); a.Status == 500 {
					t.Errorf("%s %s", a.Code, a.Detail)
				}
			}
			awaitTotal(t, g, func(int64) bool { return g.p.Caches().All()[0].Stats().Objects == c.kept })
		})
	}
}
