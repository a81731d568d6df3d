package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestRetries(t *testing.T) {
	t.Parallel()
	for _, origin := range []version{h1, h2c} {
		t.Run(string(origin), func(t *testing.T) {
			t.Parallel()
			var n atomic.Int32
			fail := func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				times, _ := strconv.Atoi(r.URL.Query().Get("fail"))
				if int(n.Add(1)) > times {
					_, _ = w.Write(body)
					return
				}
				switch r.URL.Path {
				case "/503":
					w.WriteHeader(503)
				case "/grpc":
					w.Header().Set("Grpc-Status", "14")
				case "/reset":
					panic(http.ErrAbortHandler)
				case "/slow":
					select {
					case <-r.Context().Done():
					case <-time.After(3 * time.Second):
					}
				}
			}
			addr := server(t, origin, fail)
			route := &ir.Route{Name: "r", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, BackendTimeout: 400 * time.Millisecond,
				Retry: &ir.Retry{Attempts: 2, On: []ir.RetryCondition{ir.RetryGatewayError, ir.RetryReset, ir.RetryUnavailable}, Backoff: time.Millisecond}}
			g := start(t, setup{backend: addr, protocol: origin.protocol(), routes: []*ir.Route{route}})
			c := g.client(h2c)
			for _, x := range []struct {
				path     string
				body     int
				status   int
				attempts int
			}{
				{"/503?fail=2", 10, 200, 3},
				{"/503?fail=3", 10, 503, 3},
				{"/grpc?fail=1", 10, 200, 2},
				{"/reset?fail=2", 60_000, 200, 3},
				{"/reset?fail=1", 200_000, 502, 1}, // too long to be kept
				{"/slow?fail=1", 0, 200, 2},
				{"/ok?fail=1", 0, 200, 1},
			} {
				n.Store(0)
				body := pattern(x.body)
				resp, err := c.Post(g.url(h2c, x.path), "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Fatalf("%s %s: %v", origin, x.path, err)
				}
				got, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != x.status || x.status == 200 && x.attempts > 1 && !bytes.Equal(got, body) {
					t.Errorf("%s %s: %s with %d bytes, want %d", origin, x.path, resp.Status, len(got), x.status)
				}
				if a := g.record(); a.Attempts != x.attempts || (a.Code == 0) != (x.status != 502) {
					t.Errorf("%s %s: record %+v", origin, x.path, a.Access)
				}
			}
		})
	}
}

// TestRefusedStream has an upstream that refuses streams before it looks at them: any request is repeated.
func TestRefusedStream(t *testing.T) {
	var refused atomic.Int32
	addr := rawHTTP2(t, func(fr *xhttp2.Framer, f xhttp2.Frame) bool {
		if f, ok := f.(*xhttp2.DataFrame); ok && f.StreamEnded() {
			if refused.Add(1) <= 2 {
				_ = fr.WriteRSTStream(f.StreamID, xhttp2.ErrCodeRefusedStream)
				return true
			}
			_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: f.StreamID, EndHeaders: true, EndStream: true, BlockFragment: block(":status", "200")})
		}
		return true
	})
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2})
	for i, want := range []int{200, 200, 503} {
		if i == 2 {
			refused.Store(-100)
		}
		resp, err := g.client(h1).Post(g.url(h1, "/"), "text/plain", bytes.NewReader([]byte("body")))
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%d: %v, %v", i, resp, err)
		}
		resp.Body.Close()
		a := g.record()
		if want == 503 && (a.Code != diag.UpstreamRefusedStream || a.Attempts != 3) || want == 200 && a.Code != 0 {
			t.Errorf("%d: record %+v", i, a.Access)
		}
	}
}

// block is a header block without any table.
func block(pairs ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1], Sensitive: true})
	}
	return b.Bytes()
}

// rawHTTP2 is an upstream in HTTP/2 whose frames are answered by on, which returns false to close.
func rawHTTP2(t testing.TB, on func(*xhttp2.Framer, xhttp2.Frame) bool) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, len(xhttp2.ClientPreface))); err != nil {
					return
				}
				fr := xhttp2.NewFramer(c, c)
				_ = fr.WriteSettings()
				for {
					f, err := fr.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *xhttp2.SettingsFrame:
						if !f.IsAck() {
							_ = fr.WriteSettingsAck()
						}
					case *xhttp2.PingFrame:
						if !f.IsAck() {
							_ = fr.WritePing(true, f.Data)
						}
					default:
						if !on(fr, f) {
							return
						}
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}
