package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/message"
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

// BenchmarkStreams measures our own client, the proxy and our own server in one process.
func BenchmarkStreams(b *testing.B) {
	for _, origin := range []version{h1, h2c} {
		b.Run(string(origin), func(b *testing.B) {
			var addr string
			if origin == h1 {
				addr = steadyOrigin(b, sized(strings.Repeat("x", 1024))).addr
			} else {
				body := []byte(strings.Repeat("x", 1024))
				addr = newOrigin(b, func(c net.Conn, _ *bufio.Reader) {
					_ = mux.New(mux.Config{Conn: c, Accept: func(s *mux.Stream) {
						resp := message.Response{Status: 200, Body: message.Body{Kind: message.Sized, Length: int64(len(body))}}
						go func() {
							_ = s.WriteHead(&resp, false)
							_ = s.Write(body, true)
							s.Close()
						}()
					}}).Serve()
				}).addr
			}
			g := start(b, setup{backend: addr, protocol: origin.protocol()})
			g.p.sink = noSink{}
			c := g.muxClient()
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				req := message.Request{Method: []byte("GET"), Scheme: "http", Authority: []byte("a.test"), Path: []byte("/some/path")}
				var resp message.Response
				for pb.Next() {
					s, err := c.Open(&req, true)
					if err != nil {
						b.Error(err)
						return
					}
					if err := s.ReadResponse(&resp); err != nil || resp.Status != 200 {
						b.Error(resp.Status, err)
						return
					}
					for err == nil {
						_, err = s.Next()
					}
					s.Close()
				}
			})
		})
	}
}
