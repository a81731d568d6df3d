package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// TestClientGoneWhileQueued has clients that leave the queue for a connection: their place is free at once
// for a stream that is reset, and after a look or two of the sweeper for a connection that is closed.
func TestClientGoneWhileQueued(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			<-release
			_, _ = io.WriteString(c, sized("x"))
		}
	})
	g := start(t, setup{backend: o.addr, pool: ir.Pool{MaxConnections: 1, MaxPendingRequests: 1}})
	busy := g.dial()
	_, _ = io.WriteString(busy, get)
	for g.reg.Stats()[0].Active == 0 {
		time.Sleep(time.Millisecond)
	}
	queued := func(ask func() (leave func())) {
		t.Helper()
		leave := ask()
		time.Sleep(50 * time.Millisecond)
		if got := readAnswer(t, g.dial(), get); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Fatalf("the queue has room: %q", got)
		}
		if a := g.record(); a.Code != diag.UpstreamPoolOverflow {
			t.Errorf("record %+v", a.Access)
		}
		left := time.Now()
		leave()
		if a := g.record(); a.Code != diag.ClientClosed || a.Status != 499 || time.Since(left) > 4*time.Second {
			t.Errorf("after %v: record %+v", time.Since(left), a.Access)
		}
	}
	c := g.muxClient()
	queued(func() func() {
		req := message.Request{Method: []byte("GET"), Scheme: "http", Authority: []byte("a.test"), Path: []byte("/")}
		s, err := c.Open(&req, true)
		if err != nil {
			t.Fatal(err)
		}
		return func() { s.Reset(http2.Cancel); s.Close() }
	})
	queued(func() func() {
		c := g.dial()
		_, _ = io.WriteString(c, get)
		return func() { c.Close() }
	})
	if n := g.reg.Stats()[0].Overflows; n != 2 {
		t.Errorf("%d overflows, want those of the clients that stayed", n)
	}
	close(release)
	if _, body := readResponse(t, busy); body != "x" {
		t.Errorf("the first request got %q", body)
	}
}

func readResponse(t *testing.T, c net.Conn) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	return resp, string(b)
}

// TestMaxRetries lets one request be repeated at a time; the failure of others is their answer.
func TestMaxRetries(t *testing.T) {
	release := make(chan struct{})
	second := make(chan struct{}, 1)
	seen := make(map[string]bool)
	turn := make(chan struct{}, 1)
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		turn <- struct{}{}
		again := seen[r.URL.Path]
		seen[r.URL.Path] = true
		<-turn
		if again {
			second <- struct{}{}
			<-release
			return
		}
		w.WriteHeader(503)
	})
	route := &ir.Route{Name: "r", Forward: []ir.Backend{{Upstream: "u", Weight: 1}},
		Retry: &ir.Retry{Attempts: 2, On: []ir.RetryCondition{ir.RetryGatewayError}, Backoff: time.Nanosecond}}
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2, routes: []*ir.Route{route}, pool: ir.Pool{MaxRetries: 1}})
	c := g.client(h2c)
	first := make(chan int, 1)
	go func() {
		resp, err := c.Post(g.url(h2c, "/a"), "text/plain", bytes.NewReader([]byte("x")))
		if err != nil {
			t.Error(err)
			first <- 0
			return
		}
		resp.Body.Close()
		first <- resp.StatusCode
	}()
	<-second
	ask := func(path string, status, attempts int) {
		t.Helper()
		resp, err := c.Get(g.url(h2c, path))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if a := g.record(); resp.StatusCode != status || a.Attempts != attempts {
			t.Errorf("%s: %s after %d attempts, want %d after %d", path, resp.Status, a.Attempts, status, attempts)
		}
	}
	ask("/b", 503, 1)
	if s := g.reg.Stats()[0]; s.Retries != 1 || s.RetryOverflow != 1 {
		t.Errorf("stats %+v", s)
	}
	close(release)
	if status := <-first; status != 200 {
		t.Errorf("the repeated request got %d", status)
	}
	if a := g.record(); a.Attempts != 2 {
		t.Errorf("record %+v", a.Access)
	}
	ask("/c", 200, 2)
	if s := g.reg.Stats()[0]; s.Retries != 0 || s.RetryOverflow != 1 {
		t.Errorf("stats at the end %+v", s)
	}
}
