package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// admission admits until it is told a code.
type admission struct{ code atomic.Int64 }

func (a *admission) Admits() (diag.Code, bool) {
	c := diag.Code(a.code.Load())
	return c, c == 0
}

func (a *admission) Withdrawn() (diag.Code, string) {
	c, _ := a.Admits()
	return c, "because"
}

func (a *admission) say(c diag.Code) { a.code.Store(int64(c)) }

// endless answers with a line every 20 ms until nobody listens.
func endless(t *testing.T) string {
	t.Helper()
	backend := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(rw, "tick\n")
			_ = http.NewResponseController(rw).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = backend.Serve(ln) }()
	t.Cleanup(func() { backend.Close(); <-done })
	return ln.Addr().String()
}

// TestWithdrawnRequest refuses what begins on a connection that is withdrawn, and then ends it.
func TestWithdrawnRequest(t *testing.T) {
	a := &admission{}
	o := echoing(t)
	g := start(t, setup{backend: o.addr, admits: a, limits: Limits{WithdrawnGrace: time.Minute}})
	c := g.dial()
	a.say(diag.ClientCertWithdrawn)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	all, err := io.ReadAll(c)
	if text := string(all); err != nil || !strings.HasPrefix(text, "HTTP/1.1 421 ") || !strings.Contains(text, "Connection: close\r\n") || !strings.Contains(text, "HK2304") {
		t.Errorf("%q %v", text, err)
	}
	if r := g.record(); r.Code != diag.ClientCertWithdrawn || r.Detail != "because" || r.Status != 421 {
		t.Errorf("record has %s %q", r.Code, r.Detail)
	}
}

// TestWithdrawnIdle ends a connection on which nothing happens.
func TestWithdrawnIdle(t *testing.T) {
	t.Parallel()
	for _, code := range []diag.Code{diag.ClientCertWithdrawn, diag.Draining} {
		a := &admission{}
		g := start(t, setup{backend: "127.0.0.1:1", admits: a, limits: Limits{WithdrawnGrace: time.Minute}})
		c := g.dial()
		a.say(code)
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: %d bytes, %v", code, n, err)
		}
	}
}

// TestWithdrawnGrace lets what is in progress go on for the grace, and cuts it then; a change that is
// taken back in time cuts nothing, and neither does one that only moves the chain.
func TestWithdrawnGrace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		grace time.Duration
		code  diag.Code
		back  bool // admitted again within the grace
		cut   bool
	}{
		{"withdrawn", 1500 * time.Millisecond, diag.ClientCertWithdrawn, false, true},
		{"without grace", -1, diag.ClientCertWithdrawn, false, true},
		{"taken back", 1500 * time.Millisecond, diag.ClientCertWithdrawn, true, false},
		{"chain gone", -1, diag.Draining, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a := &admission{}
			g := start(t, setup{backend: endless(t), admits: a, limits: Limits{WithdrawnGrace: c.grace}})
			conn := g.dial()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
			r := bufio.NewReader(conn)
			readHead(r)
			begun := time.Now()
			a.say(c.code)
			if c.back {
				time.Sleep(200 * time.Millisecond)
				a.say(0)
			}
			_ = conn.SetReadDeadline(time.Now().Add(4 * time.Second))
			_, err := io.Copy(io.Discard, r)
			if timeout, ok := err.(net.Error); (ok && timeout.Timeout()) == c.cut {
				t.Fatalf("ended with %v after %v", err, time.Since(begun))
			}
			if !c.cut {
				return
			}
			if took := time.Since(begun); took < c.grace {
				t.Errorf("cut after %v", took)
			}
			if rec := g.record(); rec.Code != diag.ClientCertWithdrawn || rec.Detail != "because" {
				t.Errorf("record has %s %q", rec.Code, rec.Detail)
			}
		})
	}
}

// TestWithdrawnTunnel cuts a tunnel at the end of the grace, whatever moves on it.
func TestWithdrawnTunnel(t *testing.T) {
	t.Parallel()
	a := &admission{}
	o := echoing(t)
	g := start(t, setup{backend: o.addr, admits: a, limits: Limits{WithdrawnGrace: -1}})
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, upgrade)
	readHead(r)
	a.say(diag.ClientCertWithdrawn)
	go func() {
		for err := error(nil); err == nil; time.Sleep(10 * time.Millisecond) {
			_, err = io.WriteString(c, "ping")
		}
	}()
	_, err := io.Copy(io.Discard, r)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Error("the tunnel goes on")
	}
	if rec := g.record(); rec.Code != diag.ClientCertWithdrawn || rec.Status != 101 {
		t.Errorf("record has %s, status %d", rec.Code, rec.Status)
	}
}
