package proxy

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// deadAddr is an address where nothing listens.
func deadAddr(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestConnectRefused(t *testing.T) {
	g := start(t, setup{backend: deadAddr(t)})
	if got := readAnswer(t, g.dial(), get); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, "error=connection_refused") {
		t.Errorf("got %q", got)
	}
	if a := g.record(); a.Code != diag.UpstreamConnectRefused || a.Flags != "UF" || a.Endpoint == "" {
		t.Errorf("record has %s %s %q", a.Code, a.Flags, a.Endpoint)
	}
}

// TestOtherEndpoint has one dead endpoint of two: no request fails, as nothing had been sent.
func TestOtherEndpoint(t *testing.T) {
	o := answering(t, sized("x"))
	g := start(t, setup{backends: []string{deadAddr(t), o.addr}})
	c := g.dial()
	r := bufio.NewReader(c)
	for range 6 {
		if resp, _ := roundTrip(t, c, r, "POST", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"); resp.StatusCode != 200 {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
	for _, s := range g.reg.Stats() {
		if s.ConnectErrors > 1 {
			t.Errorf("%s was tried %d times although it cools down", s.Address, s.ConnectErrors)
		}
	}
}

// dying is an origin that answers the first request of a connection and closes upon reading the
// second, which no check before sending can foresee.
func dying(t *testing.T, seconds *atomic.Int32) *rawOrigin {
	return newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(c, sized("x"))
		if readHead(r) != "" {
			seconds.Add(1)
		}
	})
}

func TestStaleConnection(t *testing.T) {
	tests := []struct {
		method, body string
		status       int
	}{
		{"GET", "", 200},
		{"PUT", "abc", 200},
		{"POST", "abc", 502}, // it may have been acted upon
	}
	for _, tt := range tests {
		var seconds atomic.Int32
		o := dying(t, &seconds)
		g := start(t, setup{backend: o.addr})
		c := g.dial()
		r := bufio.NewReader(c)
		roundTrip(t, c, r, "GET", get)
		head := tt.method + " / HTTP/1.1\r\nHost: a.test\r\n"
		if tt.body != "" {
			head += "Content-Length: 3\r\n"
		}
		resp, _ := roundTrip(t, c, r, tt.method, head+"\r\n"+tt.body)
		if resp.StatusCode != tt.status {
			t.Errorf("%s: got %d, want %d", tt.method, resp.StatusCode, tt.status)
		}
		if seconds.Load() != 1 {
			t.Errorf("%s: the kept connection was not tried", tt.method)
		}
	}
}

// TestClosedWhileIdle has an upstream that closes or speaks while its connection is kept: it must not
// be used, whatever the method.
func TestClosedWhileIdle(t *testing.T) {
	t.Parallel()
	for _, unasked := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"} {
		o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
			readHead(r)
			_, _ = io.WriteString(c, sized("x"))
			if unasked != "" {
				time.Sleep(10 * time.Millisecond)
				_, _ = io.WriteString(c, unasked)
				_, _ = io.Copy(io.Discard, r)
			}
		})
		g := start(t, setup{backend: o.addr})
		c := g.dial()
		r := bufio.NewReader(c)
		for range 3 {
			resp, body := roundTrip(t, c, r, "POST", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nb")
			if resp.StatusCode != 200 || body != "x" {
				t.Fatalf("got %d %q", resp.StatusCode, body)
			}
			time.Sleep(30 * time.Millisecond)
		}
		if n := o.conns.Load(); n != 3 {
			t.Errorf("the upstream saw %d connections, want 3", n)
		}
	}
}

// TestTruncated has upstreams that end in the middle of a body: the client must be able to tell.
func TestTruncated(t *testing.T) {
	tests := []struct{ name, request, answer string }{
		{"sized", get, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"},
		{"chunked", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc"},
		{"chunked to HTTP/1.0", "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nabc"},
	}
	for _, tt := range tests {
		o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
			readHead(r)
			_, _ = io.WriteString(c, tt.answer)
			time.Sleep(20 * time.Millisecond)
		})
		g := start(t, setup{backend: o.addr})
		c := g.dial()
		_, _ = io.WriteString(c, tt.request)
		b, err := io.ReadAll(c)
		whole := strings.HasSuffix(string(b), "0\r\n\r\n") || strings.HasSuffix(tt.request, "1.0\r\nHost: a.test\r\n\r\n") && err == nil
		if whole || !strings.HasPrefix(string(b), "HTTP/1.1 200 ") {
			t.Errorf("%s: got %q %v", tt.name, b, err)
		}
		if a := g.record(); a.Code != diag.UpstreamBodyTruncated && a.Code != diag.UpstreamProtocolError {
			t.Errorf("%s: record has %s", tt.name, a.Code)
		}
	}
}

func TestTLSOnPlainPort(t *testing.T) {
	g := start(t, setup{})
	c := g.dialTLS()
	if err := c.Handshake(); err == nil || !strings.Contains(err.Error(), "tls:") {
		t.Errorf("got %v", err)
	}
	select {
	case h := <-g.sink.handshakes:
		if h.Code != diag.TLSOnPlaintextPort {
			t.Errorf("record has %s", h.Code)
		}
	case <-time.After(5 * time.Second):
		t.Error("no handshake record came")
	}
}

func TestClosedAfterHandshake(t *testing.T) {
	g := start(t, setup{tls: true})
	c := g.dialTLS()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, _ = c.Read(make([]byte, 1)) // takes the session ticket, so that closing does not reset
	c.Close()
	select {
	case h := <-g.sink.handshakes:
		if h.Code != diag.ClosedAfterShake {
			t.Errorf("record has %s", h.Code)
		}
	case <-time.After(5 * time.Second):
		t.Error("no handshake record came")
	}
}

// TestMisdirected asks for hosts of another chain and of another TLS policy class on one connection.
func TestMisdirected(t *testing.T) {
	g := start(t, setup{tls: true})
	chain := func(name string, tls *ir.TLS, hosts ...string) *ir.Chain {
		c := &ir.Chain{Name: name, TLS: tls}
		for _, h := range hosts {
			p, err := hostname.Parse(h)
			if err != nil {
				t.Fatal(err)
			}
			c.Hosts = append(c.Hosts, p)
		}
		c.VirtualHosts = []*ir.VirtualHost{{Hosts: c.Hosts, Routes: []*ir.Route{{Name: "r", Respond: &ir.Respond{Status: 200}}}}}
		return c
	}
	mine := chain("ns/gw/main", &ir.TLS{Class: "1"}, "a.test", "b.test", "strict.test")
	mine.HostTLS = []ir.HostTLS{{Host: mine.Hosts[2], TLS: &ir.TLS{Class: "2"}}}
	g.state.Store(g.compile(mine, chain("ns/gw/other", &ir.TLS{Class: "3"}, "c.test")))
	c := g.dialTLS()
	r := bufio.NewReader(c)
	for host, want := range map[string]int{"a.test": 200, "b.test": 200, "strict.test": 421, "c.test": 421, "d.test": 404} {
		resp, _ := roundTrip(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// panicking is a filter with a fault.
type panicking struct{}

func (panicking) Request(*filter.Exchange) filter.Result  { panic("fault in a filter") }
func (panicking) Response(*filter.Exchange) filter.Result { return filter.Next }

func TestFaultInAFilter(t *testing.T) {
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr, filters: []filter.Filter{panicking{}}})
	c := g.dial()
	_, _ = io.WriteString(c, get)
	if got := until(t, c); got != "" {
		t.Errorf("got %q", got)
	}
	for end := time.Now().Add(2 * time.Second); g.p.Connections() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the connection is still counted")
		}
	}
}
