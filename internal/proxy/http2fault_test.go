package proxy

import (
	"bufio"
	"io"
	"net"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// TestFaultInBody has a client break the rules while the upstream already thinks about its request: the record
// names the fault, and does not say that the client left.
func TestFaultInBody(t *testing.T) {
	thinks := make(chan bool, 10)
	o := newOrigin(t, func(_ net.Conn, r *bufio.Reader) {
		readHead(r)
		thinks <- true
		_, _ = io.Copy(io.Discard, r)
	})
	g := start(t, setup{backend: o.addr})
	r := g.raw(false)
	for i, c := range []struct {
		send func(id uint32)
		code diag.Code
	}{
		{func(id uint32) { _ = r.WriteData(id, false, []byte("more than five")) }, diag.HTTP2ProtocolError},
		{func(id uint32) {
			_ = r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block(":path", "/")})
		}, diag.RequestMalformed},
	} {
		id := uint32(2*i + 1)
		_ = r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block(":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a.test", "content-length", "5")})
		<-thinks
		c.send(id)
		r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.RSTStreamFrame); return ok })
		if a := g.record(); a.Code != c.code || a.Detail == "" || a.Status != 499 {
			t.Errorf("stream %d: %s %q %d, want %s", id, a.Code, a.Detail, a.Status, c.code)
		}
	}
}
