package proxy

import (
	"bufio"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// faultySink is a sink with a fault in what a request of path /fault makes it do.
type faultySink struct{ *sink }

func (s faultySink) Access(a *telemetry.Access) {
	if string(a.Path) == "/fault" || a.Path == nil {
		panic("fault in a sink")
	}
	s.sink.Access(a)
}

// faultyHandshakes has a fault in the record of a handshake.
type faultyHandshakes struct{ *sink }

func (faultyHandshakes) Handshake(*telemetry.Handshake) { panic("fault in a sink") }

// faultyAdmission has a fault once it is armed.
type faultyAdmission struct{ armed atomic.Bool }

func (*faultyAdmission) Admits() (diag.Code, bool) { return 0, true }
func (a *faultyAdmission) Withdrawn() (diag.Code, string) {
	if a.armed.Load() {
		panic("fault in an admission")
	}
	return 0, ""
}

// TestFaultsEndConnections has faults in what is called on every kind of goroutine that serves clients of
// HTTP/2: a worker's, the one that reads, the sweeper's. Each ends a stream or a connection and is counted;
// the process goes on.
func TestFaultsEndConnections(t *testing.T) {
	t.Parallel()
	ends := func(r *raw) { r.until(func(xhttp2.Frame) bool { return false }) }
	stream := func(r *raw) {
		r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.RSTStreamFrame); return ok })
	}
	path := func(p string) []string {
		return []string{":method", "GET", ":scheme", "http", ":path", p, ":authority", "a.test"}
	}
	for _, x := range []struct {
		name    string
		filters []filter.Filter
		do      func(r *raw, a *faultyAdmission)
	}{
		{"filter", []filter.Filter{panicking{}}, func(r *raw, _ *faultyAdmission) { r.request(1); stream(r) }},
		{"record", nil, func(r *raw, _ *faultyAdmission) { r.request(1, path("/fault")...); r.until(isHead) }},
		{"refusal", nil, func(r *raw, _ *faultyAdmission) {
			r.request(1, append(path("/fault"), "connection", "close")...)
			ends(r)
		}},
		{"end of connection", nil, func(r *raw, _ *faultyAdmission) {
			_ = r.WriteRawFrame(xhttp2.FrameWindowUpdate, 0, 0, []byte{0, 0, 0, 0})
			ends(r)
		}},
		{"request", nil, func(r *raw, a *faultyAdmission) { a.armed.Store(true); r.request(1); ends(r) }},
		{"sweeper", nil, func(r *raw, a *faultyAdmission) { r.request(1); r.until(isHead); a.armed.Store(true); ends(r) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			admits := &faultyAdmission{}
			o := answering(t, sized("x"))
			g := start(t, setup{backend: o.addr, filters: x.filters, admits: admits, sink: func(s *sink) telemetry.Sink { return faultySink{s} }})
			x.do(g.raw(false), admits)
			admits.armed.Store(false)
			for end := time.Now().Add(3 * time.Second); g.p.Faults() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("no fault is counted")
				}
			}
			if x.filters != nil {
				return
			}
			c := g.dial()
			if resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", get); resp.StatusCode != 200 {
				t.Errorf("afterwards: %s", resp.Status)
			}
		})
	}
}

// TestFaultBeforeTheFirstRequest has a fault on an HTTP/1 connection's goroutine outside of any request.
func TestFaultBeforeTheFirstRequest(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, func(c net.Conn, _ *bufio.Reader) { _, _ = io.Copy(io.Discard, c) })
	g := start(t, setup{backend: o.addr, tls: true, sink: func(s *sink) telemetry.Sink { return faultyHandshakes{s} }})
	c := g.dialTLS()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.NetConn().Close()
	for end := time.Now().Add(3 * time.Second); g.p.Faults() == 0 || g.p.Connections() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d faults are counted, %d connections left", g.p.Faults(), g.p.Connections())
		}
	}
}
