package dataplane

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/test/testca"
)

// echo serves connections that get "hello " and then back what they send; over TLS with config.
func echo(t *testing.T, config *tls.Config) ir.Endpoint {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, "hello ")
				_, _ = io.Copy(c, c)
				if half, ok := c.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
			}()
		}
	}()
	addr := ln.Addr().(*net.TCPAddr)
	return ir.Endpoint{Host: "127.0.0.1", Port: uint16(addr.Port)}
}

// tcpWorld serves on port 443 HTTP for a.test, TLS passed through for pass.test (to an echo with a certificate of
// its own) and for gone.test (to nobody), and what is inside TLS of tcp.test (to a plain echo); on port 80 plain
// TCP to the plain echo.
type tcpWorld struct {
	*world
	own        *testca.Pair // CA of the upstream that TLS is passed through to
	tls, plain string       // addresses
}

func newTCPWorld(t *testing.T, opts Options) *tcpWorld {
	w := &tcpWorld{world: newWorld(t, opts), own: testca.New(t, testca.Spec{CommonName: "Own"})}
	leaf := w.own.Issue(testca.Spec{DNS: []string{"pass.test"}})
	cert, err := tls.X509KeyPair(leaf.ChainPEM(), leaf.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	l, p := w.world.tls("a.test"), w.world.plain("a.test")
	route := func(upstream string, hosts ...string) []*ir.TCPRoute {
		r := &ir.TCPRoute{Name: "to-" + upstream, Forward: []ir.Backend{{Upstream: upstream, Weight: 1}}}
		for _, h := range hosts {
			r.Hosts = append(r.Hosts, pattern(t, h))
		}
		return []*ir.TCPRoute{r}
	}
	own := *l.Chains[0].TLS
	own.ALPN = nil
	l.Chains = append(l.Chains,
		&ir.Chain{Name: "t/gw/pass", Hosts: []hostname.Pattern{pattern(t, "*.test")}, TCP: append(route("secure", "pass.test"), route("gone", "gone.test")...)},
		&ir.Chain{Name: "t/gw/tcp", Hosts: []hostname.Pattern{pattern(t, "tcp.test")}, TCP: route("echo"), TLS: &own})
	p.Chains = []*ir.Chain{{Name: "t/gw/plain", Hosts: []hostname.Pattern{hostname.Any()}, TCP: route("echo")}}
	p.Chains[0].TCP[0].Sources = []string{"127.0.0.0/8"}
	s := w.config(p, l)
	for _, name := range []string{"echo", "gone", "secure"} {
		s.Config.Upstreams = append(s.Config.Upstreams, &ir.Upstream{Name: name, Balancing: ir.RoundRobin})
	}
	s.Endpoints.ByUpstream["echo"] = []ir.Endpoint{echo(t, nil)}
	s.Endpoints.ByUpstream["secure"] = []ir.Endpoint{echo(t, &tls.Config{Certificates: []tls.Certificate{cert}})}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Endpoints.ByUpstream["gone"] = []ir.Endpoint{{Host: "127.0.0.1", Port: uint16(closed.Addr().(*net.TCPAddr).Port)}}
	closed.Close()
	s.Seal()
	w.snapshot = s
	a := w.apply(s)
	w.tls, w.plain = w.address(a, "*:443"), w.address(a, "*:80")
	return w
}

// record returns the nth record of a connection that is not HTTP.
func (w *tcpWorld) record(n int) (a telemetry.Access) {
	w.t.Helper()
	eventually(w.t, "record "+strconv.Itoa(n), func() bool {
		w.sink.mu.Lock()
		defer w.sink.mu.Unlock()
		if len(w.sink.relayed) <= n {
			return false
		}
		a = w.sink.relayed[n]
		return true
	})
	return a
}

// talk sends "ping", ends its side and reads everything.
func talk(t *testing.T, c net.Conn) string {
	t.Helper()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	return string(b)
}

// TestWaysOfTCP has HTTP, TLS passed through and TLS terminated on one socket, and plain TCP on another.
func TestWaysOfTCP(t *testing.T) {
	w := newTCPWorld(t, Options{})
	dialTLS := func(host string, ca *testca.Pair) (*tls.Conn, error) {
		c := w.config443(host)
		c.RootCAs = ca.Pool()
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 3 * time.Second}, Config: c}
		conn, err := d.Dial("tcp", w.tls)
		if err != nil {
			return nil, err
		}
		return conn.(*tls.Conn), nil
	}
	if status, body := dial(t, w.tls, w.config443("a.test")).get("a.test", "/x"); status != 200 || body != "a.test /x" {
		t.Errorf("HTTP beside it: %d %q", status, body)
	}
	for i, host := range []string{"pass.test", "tcp.test"} {
		ca := map[string]*testca.Pair{"pass.test": w.own, "tcp.test": w.ca}[host]
		c, err := dialTLS(host, ca)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if got := talk(t, c); got != "hello ping" {
			t.Errorf("%s answered %q", host, got)
		}
		a := w.record(i)
		if a.Code != 0 || a.SNI != host || a.JA4 == "" || a.Result != "TCP_TUNNEL" || a.Upstream != map[string]string{"pass.test": "secure", "tcp.test": "echo"}[host] || a.Endpoint == "" || a.Chain == "" || len(a.ID) == 0 {
			t.Errorf("%s: record %+v", host, a)
		}
		if host == "tcp.test" && (a.BytesReceived != 4 || a.BytesSent != 10 || a.TLSVersion == 0) || host == "pass.test" && (a.BytesReceived < 200 || a.TLSVersion != 0) {
			t.Errorf("%s: %d bytes received, %d sent, TLS %x", host, a.BytesReceived, a.BytesSent, a.TLSVersion)
		}
	}
	plain, err := net.Dial("tcp", w.plain)
	if err != nil {
		t.Fatal(err)
	}
	if got := talk(t, plain); got != "hello ping" {
		t.Errorf("plain: %q", got)
	}
	if a := w.record(2); a.Code != 0 || a.BytesReceived != 4 || a.BytesSent != 10 || a.Chain != "t/gw/plain" {
		t.Errorf("plain: %+v", a)
	}
	for i, c := range []struct {
		host, alert string
		code        diag.Code
	}{{"gone.test", "internal error", diag.UpstreamConnectRefused}, {"other.test", "unrecognized name", diag.TCPNoRoute}} {
		_, err := dialTLS(c.host, w.own)
		if err == nil || !strings.Contains(err.Error(), c.alert) {
			t.Errorf("%s: the client says %v, want %q", c.host, err, c.alert)
		}
		if a := w.record(3 + i); a.Code != c.code || a.Detail == "" || a.SNI != c.host {
			t.Errorf("%s: %+v", c.host, a)
		}
	}
}

// TestTCPLivesOn reconfigures and drains under an open connection.
func TestTCPLivesOn(t *testing.T) {
	t.Parallel()
	w := newTCPWorld(t, Options{})
	c, err := net.Dial("tcp", w.plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	w.apply(w.config(w.world.tls("a.test"))) // the listener is gone, and the upstream too
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- w.plane.Drain(ctx) }()
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Errorf("the open connection: %v", err)
	}
	if err := <-drained; err == nil {
		t.Error("drained with a connection that did not end")
	}
	if a := w.record(0); a.Code != diag.Draining || a.BytesSent != 10 {
		t.Errorf("record %+v", a)
	}
}

// TestProxyProtocol demands headers on port 443, from addresses that are believed.
func TestProxyProtocol(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
	for name, c := range map[string]struct {
		trust  []netip.Prefix
		header string
		code   diag.Code
		answer string // to plain bytes after the header
	}{
		"good":         {nil, header, 0, ""},
		"believed":     {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, header, 0, ""},
		"not believed": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, header, diag.ProxyHeaderUntrusted, ""},
		"HTTP":         {nil, "GET / HTTP/1.1\r\n\r\n", diag.ProxyHeaderMissing, "HTTP/1.1 400 Bad Request"},
		"malformed":    {nil, "PROXY TCP5\r\n", diag.ProxyHeaderMalformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTCPWorld(t, Options{ProxyProtocol: []uint16{80}, Trust: filter.Trust{Nets: c.trust}})
			conn, err := net.Dial("tcp", w.plain)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(conn, c.header)
			if c.code == 0 {
				if a := func() telemetry.Access { conn.Close(); return w.record(0) }(); a.Remote.String() != "192.0.2.7:4711" {
					t.Errorf("the record has %s", a.Remote)
				}
				return
			}
			b, _ := io.ReadAll(conn)
			if !strings.HasPrefix(string(b), c.answer) || c.answer == "" && len(b) > 0 {
				t.Errorf("answered %q", b)
			}
			eventually(t, "record", func() bool { return w.sink.codes()[c.code] == 1 })
		})
	}
}

// TestOtherProtocols speaks the wrong protocol on plain HTTP and TLS ports.
func TestOtherProtocols(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.apply(w.snapshot)
	for _, c := range []struct {
		listener, send, answer string
		code                   diag.Code
	}{
		{"*:80", "SSH-2.0-OpenSSH_9.2\r\n", "This port speaks HTTP.\r\n", diag.OtherProtocol},
		{"*:80", "EHLO me\r\n", "554 5.3.2 ", diag.OtherProtocol},
		{"*:80", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request", diag.ProxyHeaderUnwanted},
		{"*:80", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/1.1 400 Bad Request", diag.TLSOnPlaintextPort},
		{"*:443", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request", diag.PlaintextOnTLSPort},
		{"*:443", "*1\r\n$4\r\nPING\r\n", "-ERR This port speaks TLS.", diag.NotTLS},
		{"*:443", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "\x15\x03\x03\x00\x02\x02\x28", diag.ProxyHeaderUnwanted},
	} {
		conn, err := net.Dial("tcp", w.address(a, c.listener))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		was := w.sink.codes()[c.code]
		_, _ = io.WriteString(conn, c.send)
		_ = conn.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !strings.HasPrefix(string(b), c.answer) {
			t.Errorf("%q on %s is answered %q, %v", c.send, c.listener, b, err)
		}
		eventually(t, c.code.String(), func() bool { return w.sink.codes()[c.code] == was+1 })
	}
}
