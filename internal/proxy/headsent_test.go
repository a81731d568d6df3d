package proxy

import (
	"io"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"
)

// TestHeadBytes compares what the record says of heads with what went over the wire.
func TestHeadBytes(t *testing.T) {
	t.Parallel()
	const interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
	for _, c := range []struct {
		name, answer, request string
		framing               int // bytes of chunks' framing and of the last chunk
		status                int
	}{
		{name: "sized", answer: sized("hello"), status: 200},
		{name: "interim", answer: interim + sized("hello"), status: 200},
		{name: "chunked", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", framing: len("5\r\n\r\n0\r\n\r\n"), status: 200},
		{name: "trailers", answer: "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n", framing: len("5\r\n\r\n0\r\n\r\n"), status: 200},
		{name: "page", answer: sized("x"), request: "TRACE / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", status: 405},
		{name: "broken upstream", answer: "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", status: 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := start(t, setup{backend: answering(t, c.answer).addr})
			conn := g.dial()
			if c.request == "" {
				c.request = "GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n"
			}
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			wire, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			a := g.record()
			if got := a.HeadSent + a.BytesSent + int64(c.framing); got != int64(len(wire)) || a.Status != c.status || a.HeadReceived != int64(len(c.request)) {
				t.Errorf("head %d, body %d, framing %d; %d came:\n%s\nrecord: %d, head received %d of %d", a.HeadSent, a.BytesSent, c.framing, len(wire), wire, a.Status, a.HeadReceived, len(c.request))
			}
			if c.name == "interim" && !strings.Contains(string(wire), "103") {
				t.Errorf("no interim answer: %s", wire)
			}
		})
	}
}

// TestHTTP2HeadBytes does the same on a stream, where heads are compressed.
func TestHTTP2HeadBytes(t *testing.T) {
	t.Parallel()
	o := answering(t, "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n")
	g := start(t, setup{backend: o.addr})
	r := g.raw(false)
	var heads int64
	for id := uint32(1); id < 7; id += 2 {
		r.request(id, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a.test", "te", "trailers")
		heads = 0
		if r.until(func(f xhttp2.Frame) bool {
			if f.Header().Type == xhttp2.FrameHeaders {
				heads += int64(f.Header().Length) + 9
			}
			return f.Header().StreamID == id && f.Header().Flags.Has(1) && f.Header().Type <= xhttp2.FrameHeaders
		}) == nil {
			t.Fatal("the connection ended")
		}
		if a := g.record(); a.HeadSent != heads || a.BytesSent != 5 || a.HeadReceived < 10 || a.UpstreamStatus != 200 {
			t.Errorf("stream %d: head %d of %d, body %d, head received %d", id, a.HeadSent, heads, a.BytesSent, a.HeadReceived)
		}
	}
}
