package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

// steadyOrigin answers without allocating.
func steadyOrigin(t testing.TB, answer string) *rawOrigin {
	return newOrigin(t, func(c net.Conn, _ *bufio.Reader) {
		buf, bytes := make([]byte, 4096), []byte(answer)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(bytes); err != nil {
				return
			}
		}
	})
}

// BenchmarkKeepAlive measures client, proxy and upstream together; its allocations are the proxy's.
func BenchmarkKeepAlive(b *testing.B) {
	for _, secure := range []bool{false, true} {
		name := "plain"
		if secure {
			name = "TLS"
		}
		b.Run(name, func(b *testing.B) {
			o := steadyOrigin(b, sized(strings.Repeat("x", 1024)))
			g := start(b, setup{backend: o.addr, tls: secure})
			g.p.sink = noSink{}
			var c io.ReadWriter = g.dial()
			if secure {
				c = g.dialTLS()
			}
			request := []byte("GET /some/path?x=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n")
			buf := make([]byte, 8192)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
