package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestHangingUploadsHoldNobodyUp has one client fill the window of the connection to the upstream with bodies
// that nobody reads there. Bodies of other clients reach it all the same.
func TestHangingUploadsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-r.Context().Done()
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	})
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2})
	c := g.client(h1)
	post := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "POST", g.url(h1, "/up"), bytes.NewReader(make([]byte, 1000)))
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); string(got) != "ok" || err != nil {
			t.Fatalf("%s, %q, %v", resp.Status, got, err)
		}
	}
	post()
	r := g.raw(false)
	read := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, r.Conn); close(read) }()
	for id := uint32(1); id <= 9; id += 2 {
		_ = r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block(":method", "POST", ":scheme", "http", ":path", "/hang", ":authority", "a.test")})
		for range 15 {
			_ = r.WriteData(id, false, make([]byte, 16<<10))
		}
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		post()
	}
	r.Conn.Close()
	<-read
}
