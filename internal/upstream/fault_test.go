package upstream

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// faultyHandler has a fault in every warning.
type faultyHandler struct{ slog.Handler }

func (faultyHandler) Enabled(_ context.Context, l slog.Level) bool { return l == slog.LevelWarn }
func (faultyHandler) Handle(context.Context, slog.Record) error    { panic("fault in a log handler") }

// faultyConn has a fault in the first Read, once the test says so.
type faultyConn struct {
	net.Conn
	now  chan struct{}
	read atomic.Bool
}

func (c *faultyConn) Read([]byte) (int, error) {
	<-c.now
	if c.read.Swap(true) {
		return 0, io.EOF
	}
	panic("fault in Read")
}

// TestFaults has faults on the goroutines that make connections and that read from them: what waits fails,
// permits come back, and the process goes on.
func TestFaults(t *testing.T) {
	s := play(t, &script{})
	begin := func(opt Options) (*Registry, *Upstream) {
		r := NewRegistry(opt)
		u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2, Balancing: ir.RoundRobin})
		u.SetEndpoints([]ir.Endpoint{s.endpoint()})
		t.Cleanup(func() {
			r.Release(u)
			r.Close()
			if n := r.Faults(); n != 1 {
				t.Errorf("%d faults are counted", n)
			}
			if n := u.limit.open.Load(); n != 0 {
				t.Errorf("%d permits are out at the end", n)
			}
		})
		return r, u
	}
	t.Run("dial", func(t *testing.T) {
		_, u := begin(Options{Dial: func(context.Context, string, string) (net.Conn, error) { panic("fault in Dial") }})
		if _, err := u.Get(Query{}); err == nil || err.(*Error).Code != diag.UpstreamConnectFailed {
			t.Errorf("got %v", err)
		}
	})
	t.Run("read", func(t *testing.T) {
		_, u := begin(Options{})
		raw, err := net.Dial("tcp", s.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		faulty := &faultyConn{Conn: raw, now: make(chan struct{})}
		time.AfterFunc(10*time.Millisecond, func() { close(faulty.now) })
		e := newEndpoint(raw.RemoteAddr().(*net.TCPAddr).AddrPort())
		e.open.Add(1)
		if tr, err := u.newTrunk(t.Context(), &Conn{Conn: faulty, Endpoint: e, up: u}); tr != nil || err == nil || e.open.Load() != 0 {
			t.Errorf("got %v, %v, %d connections open", tr, err, e.open.Load())
		}
		<-s.talks
	})
	t.Run("end", func(t *testing.T) {
		r, u := begin(Options{Logger: slog.New(faultyHandler{slog.DiscardHandler})})
		c := mustGet(t, u, Query{})
		k := <-s.talks
		k.do(func(fr *http2.Framer) { _ = fr.WriteGoAway(0, http2.ErrCodeProtocol, nil) })
		k.conn.Close()
		eventually(t, "the connection is over", func() bool { return r.Stats()[0].Open == 0 })
		c.Close()
	})
}
