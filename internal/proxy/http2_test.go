//lint:file-ignore SA1019 x/net's HTTP/2 takes single connections, which net/http does not

package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// version is what one side of a test speaks.
type version string

const (
	h1  version = "h1"
	h2c version = "h2c"
	h2  version = "h2"
)

// server serves handler as an upstream in HTTP/1.1 or h2c.
func server(t testing.TB, v version, handler http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if v == h1 {
		s := &http.Server{Handler: handler}
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(func() { s.Close() })
		return ln.Addr().String()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				(&xhttp2.Server{}).ServeConn(c, &xhttp2.ServeConnOpts{Handler: handler})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// protocol is what the gateway is told of an upstream.
func (v version) protocol() ir.UpstreamProtocol {
	if v == h1 {
		return ir.UpstreamHTTP1
	}
	return ir.UpstreamHTTP2
}

// client returns a client of the gateway.
func (g *gateway) client(v version) *http.Client {
	var rt http.RoundTripper
	switch v {
	case h1:
		tr := &http.Transport{DisableCompression: true}
		g.t.Cleanup(tr.CloseIdleConnections)
		rt = tr
	default:
		tr := &xhttp2.Transport{AllowHTTP: true, DisableCompression: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
			c, err := net.Dial("tcp", g.addr)
			if err != nil || v == h2c {
				return c, err
			}
			secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"h2"}})
			return secure, secure.HandshakeContext(ctx)
		}}
		g.t.Cleanup(tr.CloseIdleConnections)
		rt = tr
	}
	return &http.Client{Transport: rt, Timeout: 20 * time.Second}
}

// url is what a client asks for.
func (g *gateway) url(v version, path string) string {
	if v == h2 {
		return "https://a.test" + path
	}
	return "http://" + g.addr + path
}

// combination runs f for every pair of versions, all at once and beside other tests.
func combination(t *testing.T, f func(t *testing.T, client, origin version)) {
	t.Parallel()
	for _, client := range []version{h1, h2c, h2} {
		for _, origin := range []version{h1, h2c} {
			t.Run(string(client+"→"+origin), func(t *testing.T) {
				t.Parallel()
				f(t, client, origin)
			})
		}
	}
}

// mirror answers with a body of the length asked for, and says in trailers what it received.
func mirror(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum, X-Got")
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	h := sha256.New()
	_, _ = io.Copy(h, r.Body)
	_, _ = w.Write(pattern(n))
	w.Header().Set("X-Sum", fmt.Sprintf("%x", h.Sum(nil)))
	w.Header().Set("X-Got", r.Trailer.Get("X-Up"))
}

func pattern(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(b)
	return b
}

func TestBodiesBetweenVersions(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		g := start(t, setup{backend: server(t, origin, mirror), protocol: origin.protocol(), tls: client == h2})
		c := g.client(client)
		for _, up := range []int{0, 1, 64 << 10, 5 << 20} {
			for _, down := range []int{0, 1, 64 << 10, 5 << 20} {
				for _, sized := range []bool{true, false} {
					body := pattern(up)
					req, _ := http.NewRequest("POST", g.url(client, "/?n="+strconv.Itoa(down)), bytes.NewReader(body))
					if !sized {
						req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
						req.Trailer = http.Header{"X-Up": {"yes"}}
					}
					resp, err := c.Do(req)
					if err != nil {
						t.Fatalf("%d up, %d down, sized=%v: %v", up, down, sized, err)
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || !bytes.Equal(got, pattern(down)) || resp.StatusCode != 200 {
						t.Fatalf("%d up, %d down, sized=%v: %s, %d bytes, %v", up, down, sized, resp.Status, len(got), err)
					}
					if want := fmt.Sprintf("%x", sha256.Sum256(body)); resp.Trailer.Get("X-Sum") != want {
						t.Fatalf("%d up, %d down, sized=%v: the upstream got another body (trailers %v)", up, down, sized, resp.Trailer)
					}
					if want := map[bool]string{true: "", false: "yes"}[sized]; resp.Trailer.Get("X-Got") != want {
						t.Errorf("%d up, %d down, sized=%v: trailer of the request is %q", up, down, sized, resp.Trailer.Get("X-Got"))
					}
					a := g.record()
					wantProto := map[version]string{h1: "HTTP/1.1", h2c: "HTTP/2", h2: "HTTP/2"}
					if a.Code != 0 || a.BytesReceived != int64(up) || a.BytesSent != int64(down) || a.Proto != wantProto[client] ||
						a.UpstreamProto != wantProto[origin] || a.Attempts != 1 || (a.Stream != 0) != (client != h1) {
						t.Errorf("%d up, %d down: record %+v", up, down, a.Access)
					}
				}
			}
		}
	})
}

func TestHeadsBetweenVersions(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/204", "/304":
				code, _ := strconv.Atoi(r.URL.Path[1:])
				w.WriteHeader(code)
			case "/hints":
				w.Header().Set("Link", "</a>")
				w.WriteHeader(103)
				w.WriteHeader(200)
			case "/empty":
			default:
				w.Header().Set("X-Host", r.Host)
				w.Header().Set("X-Cookie", strings.Join(r.Header["Cookie"], "|"))
				w.Header().Set("X-Query", r.URL.RawQuery)
				w.Header().Add("Set-Cookie", "a=1")
				w.Header().Add("Set-Cookie", "b=2")
				_, _ = io.WriteString(w, "0123456789")
			}
		})
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2})
		c := g.client(client)
		do := func(method, path string) *http.Response {
			req, _ := http.NewRequest(method, g.url(client, path), nil)
			req.Host = "a.test"
			req.AddCookie(&http.Cookie{Name: "x", Value: "1"})
			req.AddCookie(&http.Cookie{Name: "y", Value: "2"})
			resp, err := c.Do(req)
			if err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatalf("%s %s: %v", method, path, err)
			}
			resp.Header.Set("Test-Body", string(body))
			if a := g.record(); a.Code != 0 || a.Status != resp.StatusCode {
				t.Errorf("%s %s: record %+v", method, path, a.Access)
			}
			return resp
		}
		for range 3 {
			r := do("GET", "/x?a=b")
			for name, want := range map[string]string{"X-Host": "a.test", "X-Cookie": "x=1; y=2", "X-Query": "a=b", "Test-Body": "0123456789"} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if got := r.Header["Set-Cookie"]; len(got) != 2 {
				t.Errorf("Set-Cookie: %q", got)
			}
			if r := do("HEAD", "/x"); r.ContentLength != 10 || r.Header.Get("Test-Body") != "" {
				t.Errorf("HEAD: length %d, body %q", r.ContentLength, r.Header.Get("Test-Body"))
			}
			for _, path := range []string{"/204", "/304"} {
				if r := do("GET", path); r.Status[:3] != path[1:] {
					t.Errorf("%s: %s", path, r.Status)
				}
			}
			do("GET", "/hints")
			if r := do("GET", "/empty"); r.ContentLength != 0 {
				t.Errorf("empty answer of length %d", r.ContentLength)
			}
			if r := do("POST", "/empty"); r.StatusCode != 200 {
				t.Errorf("POST without content: %s", r.Status)
			}
		}
	})
}

// TestFullDuplex has client and upstream talk in turns over one exchange.
func TestFullDuplex(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		if client == h1 || origin == h1 {
			return // neither net/http's client nor its server can in HTTP/1.1
		}
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			buf := make([]byte, 100)
			for {
				n, err := r.Body.Read(buf)
				_, _ = w.Write(buf[:n])
				_ = http.NewResponseController(w).Flush()
				if err != nil {
					return
				}
			}
		})
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2})
		body, feed := io.Pipe()
		req, _ := http.NewRequest("POST", g.url(client, "/"), body)
		resp, err := g.client(client).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			line := fmt.Sprintf("line %d", i)
			_, _ = io.WriteString(feed, line)
			got := make([]byte, len(line))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != line {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		feed.Close()
		if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		if a := g.record(); a.Code != 0 {
			t.Errorf("record %+v", a.Access)
		}
	})
}

func TestClientCancels(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		ended := make(chan struct{}, 2)
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/begun" {
				w.WriteHeader(200)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
			ended <- struct{}{}
		})
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2})
		c := g.client(client)
		for _, path := range []string{"/silent", "/begun"} {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(100*time.Millisecond, cancel)
			req, _ := http.NewRequestWithContext(ctx, "GET", g.url(client, path), nil)
			if resp, err := c.Do(req); err == nil {
				_, _ = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			cancel()
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Fatalf("%s: the upstream does not learn that the client is gone", path)
			}
			if a := g.record(); a.Code != diag.ClientClosed {
				t.Errorf("%s: record %+v", path, a.Access)
			}
		}
	})
}

func TestUpstreamBreaksOff(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/begun" {
				_, _ = w.Write(pattern(1000))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(50 * time.Millisecond)
			}
			panic(http.ErrAbortHandler)
		})
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2})
		c := g.client(client)
		resp, err := c.Post(g.url(client, "/"), "text/plain", nil)
		if err != nil || resp.StatusCode != 502 {
			t.Fatalf("before the answer: %v, %v", resp, err)
		}
		resp.Body.Close()
		want := map[version]diag.Code{h1: diag.UpstreamClosedEarly, h2c: diag.UpstreamStreamReset}[origin]
		if a := g.record(); a.Code != want && a.Code != diag.UpstreamReset || a.Status != 502 {
			t.Errorf("record %+v", a.Access)
		}
		resp, err = c.Get(g.url(client, "/begun"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil || len(got) != 1000 {
			t.Errorf("the client cannot tell that the answer is cut: %d bytes, %v", len(got), err)
		}
		if a := g.record(); a.Code == 0 {
			t.Errorf("record %+v", a.Access)
		}
	})
}

// TestSlowClientHoldsUp has an upstream that would send without end to a client that does not read.
func TestSlowClientHoldsUp(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		sent := make(chan int, 1)
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			n := 0
			defer func() { sent <- n }()
			piece := pattern(64 << 10)
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * time.Second))
			for n < 256<<20 {
				m, err := w.Write(piece)
				n += m
				if err != nil {
					return
				}
			}
		})
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2, limits: Limits{WriteTimeout: time.Second}})
		resp, err := g.client(client).Get(g.url(client, "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n := <-sent; n > 40<<20 {
			t.Errorf("the upstream could send %d MiB that nobody reads", n>>20)
		}
		if a := g.record(); a.Code != diag.ClientTooSlow && a.Code != diag.ClientClosed && a.Code != diag.UpstreamStreamReset && a.Code != diag.UpstreamBodyTruncated && a.Code != diag.UpstreamReset {
			t.Errorf("record %+v", a.Access)
		}
	})
}

func TestTimeoutsBetweenVersions(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		})
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2,
			routes: []*ir.Route{{Name: "r", Timeout: 300 * time.Millisecond, Forward: []ir.Backend{{Upstream: "u", Weight: 1}}}}})
		resp, err := g.client(client).Get(g.url(client, "/"))
		if err != nil || resp.StatusCode != 504 {
			t.Fatalf("%v, %v", resp, err)
		}
		resp.Body.Close()
		if a := g.record(); a.Code != diag.UpstreamTimeout {
			t.Errorf("record %+v", a.Access)
		}
	})
}
