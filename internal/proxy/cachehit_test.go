package proxy

import (
	"io"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// hitter asks a gateway for an answer of so many bytes, which it keeps, and reads what it sends.
func hitter(t testing.TB, secure bool, size int, settings setup) func() {
	o := steadyOrigin(t, sizedWith(strings.Repeat("x", size), "Cache-Control: max-age=3600\r\nETag: \"1\"\r\nContent-Type: text/plain\r\n"))
	settings.backend, settings.tls = o.addr, secure
	settings.routes = []*ir.Route{{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Cache: &ir.Cache{Name: "CachePolicy a/b"}}}
	g := start(t, settings)
	g.p.sink = noSink{}
	var c io.ReadWriter = g.dial()
	if secure {
		c = g.dialTLS()
	}
	request := []byte("GET /some/path?x=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, size+4096)
	return func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < size; {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	}
}

func sizedWith(body, fields string) string {
	return strings.Replace(sized(body), "\r\n", "\r\n"+fields, 1)
}

// BenchmarkCacheHit measures client and proxy together.
func BenchmarkCacheHit(b *testing.B) {
	for _, k := range []struct {
		name   string
		secure bool
		size   int
	}{{"plain", false, 1 << 10}, {"TLS", true, 1 << 10}, {"plain64K", false, 64 << 10}, {"TLS64K", true, 64 << 10}} {
		b.Run(k.name, func(b *testing.B) {
			ask := hitter(b, k.secure, k.size, setup{})
			ask()
			b.ReportAllocs()
			for b.Loop() {
				ask()
			}
		})
	}
}
