package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// post is the head of a request with a body, of our own client.
func post(path, trailer string) *message.Request {
	req := &message.Request{Method: []byte("POST"), Authority: []byte("a.test"), Path: []byte(path), Body: message.Body{Kind: message.Chunked}}
	if trailer != "" {
		req.Fields.AddString("trailer", trailer)
	}
	return req
}

// TestRequestTrailers passes trailers on that were announced, as long as the upstream has not begun to
// answer.
func TestRequestTrailers(t *testing.T) {
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		_ = mux.New(mux.Config{Conn: c, Accept: func(s *mux.Stream) {
			go func() {
				defer s.Close()
				resp := message.Response{Status: 200, Body: message.Body{Kind: message.Chunked}}
				early := string(s.Request().Path) == "/early"
				if early {
					_ = s.WriteHead(&resp, false)
				}
				for {
					if _, err := s.Next(); err != nil {
						break
					}
				}
				if !early {
					_ = s.WriteHead(&resp, false)
				}
				got, _ := s.Trailers().Lookup([]byte("x-up"))
				_ = s.Write([]byte("got "+string(got)), true)
			}()
		}}).Serve()
	})
	g := start(t, setup{backend: o.addr, protocol: ir.UpstreamHTTP2})
	c := g.muxClient()
	for _, x := range []struct{ path, trailer, want string }{
		{"/late", "x-up", "got yes"},
		{"/late", "", "got "},
		{"/early", "x-up", "got "},
	} {
		s, err := c.Open(post(x.path, x.trailer), false)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Write([]byte("body"), false)
		var resp message.Response
		if x.path == "/early" {
			if err := s.ReadResponse(&resp); err != nil {
				t.Fatal(err)
			}
		}
		var f message.Fields
		f.AddString("x-up", "yes")
		_ = s.WriteTrailers(&f)
		if x.path != "/early" {
			if err := s.ReadResponse(&resp); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := io.ReadAll(&streamPipe{s: s}); string(got) != x.want || err != nil {
			t.Errorf("%s, announced %q: %q, %v", x.path, x.trailer, got, err)
		}
		s.Close()
	}
}

// TestLateTrailersHarmNobody has one client send trailers to requests that the upstream, net/http's server
// as in golang.org/x/net, has answered early. It ends the connection for trailers of a stream that it has
// ended; others have long answers on that connection.
func TestLateTrailersHarmNobody(t *testing.T) {
	t.Parallel()
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stream" {
			w.WriteHeader(401)
			return
		}
		for range 30 {
			_, _ = io.WriteString(w, "tick\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(40 * time.Millisecond)
		}
	})
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2})
	var wg sync.WaitGroup
	var broken atomic.Int32
	for range 5 {
		wg.Go(func() {
			resp, err := g.client(h1).Get(g.url(h1, "/stream"))
			if err != nil {
				broken.Add(1)
				return
			}
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || len(b) != 150 {
				broken.Add(1)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	r := g.raw(false)
	wg.Go(func() { _, _ = io.Copy(io.Discard, r.Conn) })
	for id, end := uint32(1), time.Now().Add(time.Second); time.Now().Before(end) && broken.Load() == 0; id += 2 {
		_ = r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block(":method", "POST", ":scheme", "http", ":path", "/x", ":authority", "a.test")})
		_ = r.WriteData(id, false, []byte("abc"))
		time.Sleep(time.Duration(id/2%20) * 50 * time.Microsecond)
		_ = r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block("x-t", "1")})
		time.Sleep(5 * time.Millisecond)
	}
	r.Conn.Close()
	wg.Wait()
	if n := broken.Load(); n > 0 {
		t.Errorf("%d of 5 clients lost their answers to another one's trailers", n)
	}
}

// TestTrailersThatEndConnections has an upstream that ends its connection for trailers: it gets no more.
func TestTrailersThatEndConnections(t *testing.T) {
	var ended atomic.Int32
	head := map[*xhttp2.Framer]uint32{} // the last request
	var mu sync.Mutex
	addr := rawHTTP2(t, func(fr *xhttp2.Framer, f xhttp2.Frame) bool {
		mu.Lock()
		defer mu.Unlock()
		id := f.Header().StreamID
		switch f := f.(type) {
		case *xhttp2.HeadersFrame:
			if head[fr] == id {
				ended.Add(1)
				_ = fr.WriteGoAway(id, xhttp2.ErrCodeProtocol, nil)
				return false
			}
			head[fr] = id
		case *xhttp2.DataFrame:
			if f.StreamEnded() {
				_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: []byte{0x88}})
			}
		}
		return true
	})
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2})
	c := g.muxClient()
	for i, want := range []int{502, 200, 200} {
		s, err := c.Open(post("/", "x-up"), false)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Write([]byte("body"), false)
		var f message.Fields
		f.AddString("x-up", "yes")
		_ = s.WriteTrailers(&f)
		var resp message.Response
		if err := s.ReadResponse(&resp); err != nil || resp.Status != want {
			t.Errorf("request %d: %d, %v", i, resp.Status, err)
		}
		s.Close()
		if a := g.record(); want == 502 && a.Code != diag.UpstreamGoAway {
			t.Errorf("request %d: record %+v", i, a.Access)
		}
		for end := time.Now().Add(5 * time.Second); i == 0 && g.reg.Stats()[0].Open > 0 && time.Now().Before(end); { // it is over
			time.Sleep(time.Millisecond)
		}
	}
	if n := ended.Load(); n != 1 {
		t.Errorf("%d connections ended", n)
	}
}
