package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/overload"
)

// short returns bounds whose memory is used to the percentage that the test sets.
func short(t *testing.T) (*overload.Bounds, func(percent uint64, want overload.Level)) {
	t.Helper()
	var used atomic.Uint64
	b := overload.New(overload.Options{MaxMemory: 100 << 20, MaxConnections: 1000, Memory: used.Load, Collect: func() {}, Every: 10 * time.Millisecond})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = b.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	return b, func(percent uint64, want overload.Level) {
		t.Helper()
		used.Store(percent << 20)
		for end := time.Now().Add(5 * time.Second); b.Level() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("at %d %% the level is %s", percent, b.Level())
			}
		}
	}
}

// TestOverload ends connections after their answer, closes idle ones, refuses requests with a reason
// and goes back to normal.
func TestOverload(t *testing.T) {
	t.Parallel()
	bounds, set := short(t)
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr, bounds: bounds})
	idle := g.dial()
	r := bufio.NewReader(idle)
	if resp, _ := roundTrip(t, idle, r, "GET", get); resp.StatusCode != 200 || resp.Close {
		t.Fatalf("calm: %d, close %v", resp.StatusCode, resp.Close)
	}
	g.record()

	set(87, overload.Thrifty)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection while memory is short: %v", err)
	}
	c := g.dial()
	if resp, body := roundTrip(t, c, bufio.NewReader(c), "GET", get); resp.StatusCode != 200 || body != "x" || !resp.Close {
		t.Errorf("thrifty: %d %q, close %v", resp.StatusCode, body, resp.Close)
	}
	g.record()

	c = g.dial()
	set(94, overload.Refusing)
	resp, body := roundTrip(t, c, bufio.NewReader(c), "GET", get)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "HK4401") || !resp.Close {
		t.Errorf("refusing: %d %v %q, close %v", resp.StatusCode, resp.Header, body, resp.Close)
	}
	if a := g.record(); a.Code != diag.OverloadMemory || a.Status != 503 || a.Flags != "OM" {
		t.Errorf("%s %d %s", a.Code, a.Status, a.Flags)
	}

	set(10, overload.Calm)
	c = g.dial()
	if resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", get); resp.StatusCode != 200 || resp.Close {
		t.Errorf("calm again: %d, close %v", resp.StatusCode, resp.Close)
	}
	if n := bounds.State().Shed[diag.OverloadMemory]; n < 2 {
		t.Errorf("%d shed", n)
	}
}

// TestCutting cuts an upload that does not come on when nothing else helps.
func TestCutting(t *testing.T) {
	t.Parallel()
	bounds, set := short(t)
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr, bounds: bounds})
	c := g.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
	set(99, overload.Cutting)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if got, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestBurst refuses requests for buffers that were allocated since memory was looked at, which is never here.
func TestBurst(t *testing.T) {
	bounds := overload.New(overload.Options{MaxMemory: 4 << 20, Memory: func() uint64 { return 0 }, Collect: func() {}})
	p := New(Options{Bounds: bounds})
	for i := range 4 << 20 / largeSize {
		if _, ok := bounds.Admit(); !ok && i < 50 {
			t.Fatalf("refused after %d buffers", i)
		}
		_ = p.spare.larges.Get()
	}
	if code, ok := bounds.Admit(); ok || code != diag.OverloadMemory {
		t.Errorf("4 MiB of buffers later: %s %v", code, ok)
	}
}

// TestCuttingHitsWhoHoldsMost cuts a client whose unread answers take memory, and not one that has more streams,
// on which nothing is held; and of an address that holds more in all before one that has the largest client.
func TestCuttingHitsWhoHoldsMost(t *testing.T) {
	t.Parallel()
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			_, _ = w.Write(make([]byte, 1<<20))
			return
		}
		<-r.Context().Done()
	})
	type party struct {
		from    string
		path    string
		streams uint32
		clients int
	}
	for name, x := range map[string]struct{ cut, spared party }{
		"bytes":   {party{"127.0.0.1", "/big", 20, 1}, party{"127.0.0.1", "/wait", 60, 1}},
		"address": {party{"127.0.0.2", "/big", 10, 3}, party{"127.0.0.1", "/big", 15, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bounds, set := short(t)
			g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2, bounds: bounds})
			ended := make(chan party, 10)
			var all []net.Conn
			n := 0
			for _, p := range []party{x.cut, x.spared} {
				for range p.clients {
					c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.from)}}).Dial("tcp", g.addr)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, c)
					_, _ = io.WriteString(c, xhttp2.ClientPreface)
					r := &raw{c, xhttp2.NewFramer(c, c), t}
					_ = r.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
					for i := range p.streams {
						r.request(1+2*i, ":method", "GET", ":scheme", "http", ":path", p.path, ":authority", "a.test")
						n++
					}
					go func() {
						r.until(func(xhttp2.Frame) bool { return false })
						ended <- p
					}()
				}
			}
			held := func() (sum int64) {
				g.p.watches.each(func(w *watch) {
					if k, ok := w.of.(*worker); ok {
						sum += k.holds()
					}
				})
				return sum
			}
			want := int64(0)
			for _, p := range []party{x.cut, x.spared} {
				if p.path == "/big" {
					want += int64(p.clients) * int64(p.streams) * mux.DefaultStreamWindow
				}
			}
			for end := time.Now().Add(5 * time.Second); g.p.HTTP2()["*:80"].Streams < n || held() < want; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d of %d streams, %d of %d bytes", g.p.HTTP2()["*:80"].Streams, n, held(), want)
				}
			}
			set(99, overload.Cutting)
			first := <-ended
			set(10, overload.Calm)
			if first != x.cut {
				t.Errorf("the first that was cut: %+v", first)
			}
			for _, c := range all {
				c.Close()
			}
		})
	}
}
