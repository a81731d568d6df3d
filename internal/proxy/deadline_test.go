package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
)

const get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"

// silent is an origin that reads and never answers.
func silent(t testing.TB) *rawOrigin {
	return newOrigin(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
}

// until reads what comes until the connection ends.
func until(t *testing.T, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err, ok := err.(net.Error); ok && err.Timeout() {
		t.Fatalf("the connection was not ended; got %q", b)
	}
	return string(b)
}

func TestHeaderTimeout(t *testing.T) {
	t.Parallel()
	for _, begin := range []string{"G", "GET / HTTP/1.1\r\nHost: a.test\r\nX-"} {
		g := start(t, setup{limits: Limits{HeaderTimeout: 100 * time.Millisecond}})
		c := g.dial()
		_, _ = io.WriteString(c, begin)
		if got := until(t, c); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
			t.Errorf("got %q", got)
		}
		if a := g.record(); a.Code != diag.RequestHeadTimeout {
			t.Errorf("record has %s", a.Code)
		}
	}
}

func TestBodyIdle(t *testing.T) {
	t.Parallel()
	o := silent(t)
	g := start(t, setup{backend: o.addr, limits: Limits{BodyIdle: 100 * time.Millisecond}})
	c := g.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc")
	if got := until(t, c); !strings.HasPrefix(got, "HTTP/1.1 408 ") {
		t.Errorf("got %q", got)
	}
	if a := g.record(); a.Code != diag.RequestBodyTimeout || a.BytesReceived != 3 {
		t.Errorf("record has %s, %d bytes", a.Code, a.BytesReceived)
	}
}

func TestKeepAliveIdle(t *testing.T) {
	t.Parallel()
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr, limits: Limits{KeepAliveIdle: 100 * time.Millisecond}})
	c := g.dial()
	_, _ = io.WriteString(c, get)
	if got := until(t, c); !strings.HasSuffix(got, "\r\n\r\nx") {
		t.Errorf("got %q", got)
	}
}

func TestRouteTimeout(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer string
		want   string
	}{
		{"before the answer", "", "HTTP/1.1 504 "},
		{"in the head", "HTTP/1.1 200 O", "HTTP/1.1 504 "},
		{"in the body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 200 "},
	}
	for _, tt := range tests {
		for _, backend := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, backend=%v", tt.name, backend), func(t *testing.T) {
				t.Parallel()
				o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
					readHead(r)
					_, _ = io.WriteString(c, tt.answer)
					_, _ = io.Copy(io.Discard, r)
				})
				route := &ir.Route{Name: "all", Timeout: 200 * time.Millisecond, Forward: []ir.Backend{{Upstream: "u", Weight: 1}}}
				if backend {
					route.Timeout, route.BackendTimeout = 0, route.Timeout
				}
				g := start(t, setup{backend: o.addr, routes: []*ir.Route{route}})
				c := g.dial()
				began := time.Now()
				got := readAnswer(t, c, get)
				if took := time.Since(began); !strings.HasPrefix(got, tt.want) || took > 2*time.Second {
					t.Errorf("%s: got %q after %v, want %q", tt.name, got, took, tt.want)
				}
				if a := g.record(); a.Code != diag.UpstreamTimeout || a.Flags != "UT" {
					t.Errorf("%s: record has %s %s", tt.name, a.Code, a.Flags)
				}
				// After a whole 504 the client's connection goes on; a cut answer ends it.
				if again := readAnswer(t, c, get); strings.HasPrefix(again, "HTTP/1.1 ") != (tt.answer == "" || tt.want == "HTTP/1.1 504 ") {
					t.Errorf("%s: second request got %q", tt.name, again)
				}
			})
		}
	}
}

func TestUpstreamIdle(t *testing.T) {
	t.Parallel()
	o := silent(t)
	g := start(t, setup{backend: o.addr, limits: Limits{UpstreamIdle: 100 * time.Millisecond}})
	if got := readAnswer(t, g.dial(), get); !strings.HasPrefix(got, "HTTP/1.1 504 ") || !strings.Contains(got, "error=http_response_timeout") {
		t.Errorf("got %q", got)
	}
}

func TestClientTooSlow(t *testing.T) {
	t.Parallel()
	o := answering(t, sized(strings.Repeat("x", 30<<20)))
	g := start(t, setup{backend: o.addr, limits: Limits{WriteTimeout: 200 * time.Millisecond}})
	c := g.dial()
	_, _ = io.WriteString(c, get)
	if a := g.record(); a.Code != diag.ClientTooSlow {
		t.Errorf("record has %s %q", a.Code, a.Detail)
	}
}

// TestClientGone has a client that leaves while the upstream thinks: seen at the sweeper's second look.
func TestClientGone(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure=%v", secure), func(t *testing.T) {
			t.Parallel()
			o := silent(t)
			g := start(t, setup{backend: o.addr, tls: secure})
			var c net.Conn = g.dial()
			if secure {
				c = g.dialTLS()
			}
			_, _ = io.WriteString(c, get)
			time.Sleep(20 * time.Millisecond)
			c.Close()
			if a := g.record(); a.Code != diag.ClientClosed || a.Status != 499 {
				t.Errorf("record has %s %d", a.Code, a.Status)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			if strings.HasPrefix(head, "GET /slow ") {
				<-release
			}
			_, _ = io.WriteString(c, sized("x"))
		}
	})
	g := start(t, setup{backend: o.addr})
	idle, busy := g.dial(), g.dial()
	ri := bufio.NewReader(idle)
	roundTrip(t, idle, ri, "GET", get)
	_, _ = io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n")
	time.Sleep(20 * time.Millisecond)
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		drained <- g.p.Drain(ctx)
	}()
	if b, err := io.ReadAll(ri); len(b) > 0 || err != nil {
		t.Errorf("idle connection: %q %v", b, err)
	}
	select {
	case <-drained:
		t.Error("drained while a request was in flight")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if got := until(t, busy); !strings.Contains(got, "Connection: close\r\n") || !strings.HasSuffix(got, "x") {
		t.Errorf("request in flight got %q", got)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestDrainCuts(t *testing.T) {
	o := silent(t)
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	_, _ = io.WriteString(c, get)
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := g.p.Drain(ctx); err != context.DeadlineExceeded {
		t.Errorf("drain: %v", err)
	}
	if n := g.p.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestMaxRequests(t *testing.T) {
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr, limits: Limits{MaxRequests: 2}})
	c := g.dial()
	r := bufio.NewReader(c)
	if resp, _ := roundTrip(t, c, r, "GET", get); resp.Close {
		t.Error("closed after the first request")
	}
	if resp, _ := roundTrip(t, c, r, "GET", get); !resp.Close {
		t.Error("not closed after the second request")
	}
}

// TestNewState swaps routes under an open connection, then takes its listener away.
func TestNewState(t *testing.T) {
	t.Parallel()
	o := answering(t, sized("old"))
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	r := bufio.NewReader(c)
	if _, body := roundTrip(t, c, r, "GET", get); body != "old" {
		t.Fatalf("got %q", body)
	}
	chain := *g.chain
	chain.VirtualHosts = []*ir.VirtualHost{{Hosts: g.chain.Hosts, Routes: []*ir.Route{{Name: "new", Respond: &ir.Respond{Status: 200, Body: "new"}}}}}
	g.state.Store(g.compile(&chain))
	if resp, body := roundTrip(t, c, r, "GET", get); body != "new" || resp.Close {
		t.Errorf("after the change: got %q close=%v", body, resp.Close)
	}
	g.state.Store(nil)
	if b, err := io.ReadAll(r); len(b) > 0 || err != nil {
		t.Errorf("after the listener went: %q %v", b, err)
	}
}

// waiting is a filter that is resumed by somebody else.
type waiting struct {
	resume    func(func(filter.Result))
	cancelled chan struct{}
}

func (w *waiting) Request(*filter.Exchange) filter.Result {
	return filter.Result{Verdict: filter.Suspend, Token: w}
}
func (w *waiting) Response(*filter.Exchange) filter.Result { return filter.Next }
func (w *waiting) Done(resume func(filter.Result))         { w.resume(resume) }
func (w *waiting) Cancel()                                 { close(w.cancelled) }

func TestSuspend(t *testing.T) {
	t.Parallel()
	o := answering(t, sized("x"))
	tests := []struct {
		name   string
		resume func(func(filter.Result))
		want   string
		cancel bool
	}{
		{"at once", func(f func(filter.Result)) { f(filter.Next) }, "HTTP/1.1 200 ", false},
		{"later", func(f func(filter.Result)) { time.AfterFunc(30*time.Millisecond, func() { f(filter.Next) }) }, "HTTP/1.1 200 ", false},
		{"twice", func(f func(filter.Result)) { f(filter.Next); f(filter.Result{}) }, "HTTP/1.1 200 ", false},
		{"refused", func(f func(filter.Result)) {
			f(filter.Result{Verdict: filter.Respond, Response: &filter.Response{Status: 403}})
		}, "HTTP/1.1 403 ", false},
		{"never", func(func(filter.Result)) {}, "HTTP/1.1 504 ", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := &waiting{tt.resume, make(chan struct{})}
			g := start(t, setup{backend: o.addr, filters: []filter.Filter{w},
				routes: []*ir.Route{{Name: "all", Timeout: 200 * time.Millisecond, Forward: []ir.Backend{{Upstream: "u", Weight: 1}}}}})
			c := g.dial()
			if got := readAnswer(t, c, get); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s: got %q", tt.name, got)
			}
			select {
			case <-w.cancelled:
				if !tt.cancel {
					t.Errorf("%s: cancelled", tt.name)
				}
			default:
				if tt.cancel {
					t.Errorf("%s: not cancelled", tt.name)
				}
			}
		})
	}
}
