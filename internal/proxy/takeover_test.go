//lint:file-ignore SA1019 x/net's HTTP/2 takes single connections, which net/http does not

package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// taking gives every CONNECT to take.
func taking(take func(*Takeover)) *chooser {
	return &chooser{choose: func(r *ForwardRequest) (ForwardChoice, bool) {
		return ForwardChoice{Take: take}, string(r.Request.Method) == "CONNECT"
	}}
}

// echo gives back what comes, beginning with what has come, and ends as its client does.
func echo(t *Takeover) {
	_, _ = t.Stream.Write(t.Pending)
	_, _ = io.Copy(t.Stream, t.Stream)
	t.Stream.Close()
}

const connectHead = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nUser-Agent: x\r\n\r\n"

func TestConnect(t *testing.T) {
	for _, x := range []struct{ name, request string }{
		{"plain", connectHead},
		{"no Host", "CONNECT a.test:443 HTTP/1.1\r\n\r\n"},
		{"HTTP/1.0", "CONNECT a.test:443 HTTP/1.0\r\n\r\n"},
		{"another Host", "CONNECT a.test:443 HTTP/1.1\r\nHost: proxy.test:3128\r\n\r\n"},
		{"empty body", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n"},
		{"to close", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nProxy-Connection: close\r\nConnection: close\r\n\r\n"},
	} {
		for _, early := range []string{"", "early"} {
			got := make(chan *Takeover, 1)
			g := startProxy(t, setup{backend: "127.0.0.1:1"}, taking(func(w *Takeover) { got <- w; echo(w) }), nil)
			c := g.dial()
			r := bufio.NewReader(c)
			_, _ = io.WriteString(c, x.request+early)
			if head := readHead(r); head != "HTTP/1.1 200 Connection established\r\nX-Answered: yes\r\n\r\n" {
				t.Fatalf("%s: %q", x.name, head)
			}
			_, _ = io.WriteString(c, "late")
			_ = c.(*net.TCPConn).CloseWrite()
			if all, err := io.ReadAll(r); string(all) != early+"late" || err != nil {
				t.Errorf("%s: %q %v", x.name, all, err)
			}
			w := <-got
			if a := w.Access; string(a.URL) != "a.test:443" || string(a.Method) != "CONNECT" || a.Status != 200 || string(a.ID) != string(w.ID) || a.Listener != "*:80" || a.HeadSent == 0 {
				t.Errorf("%s: %+v", x.name, a)
			}
			select {
			case a := <-g.sink.access:
				t.Errorf("%s: the engine recorded what was given away: %+v", x.name, a)
			default:
			}
		}
	}
}

// TestRefusedConnect looks at what becomes of the connection.
func TestRefusedConnect(t *testing.T) {
	refuse := &chooser{choose: func(r *ForwardRequest) (ForwardChoice, bool) {
		status, code := 403, diag.ForwardDenied
		if strings.HasPrefix(string(r.Request.Authority), "who") {
			status, code = 407, diag.ForwardAuthRequired
		}
		return ForwardChoice{Respond: &filter.Response{Status: status, Code: code}}, true
	}}
	for _, x := range []struct {
		name, request, early string
		status               int
		keeps                bool
	}{
		{"denied", connectHead, "", 403, false},
		{"asked who", "CONNECT who.test:443 HTTP/1.1\r\nHost: who.test:443\r\n\r\n", "", 407, true},
		{"asked who, too eager", "CONNECT who.test:443 HTTP/1.1\r\nHost: who.test:443\r\n\r\n", "GET http://smuggled.test/ HTTP/1.1\r\nHost: smuggled.test\r\n\r\n", 407, false},
		{"no port", "CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", "", 400, false},
		{"port 0", "CONNECT a.test:0 HTTP/1.1\r\nHost: a.test\r\n\r\n", "", 400, false},
		{"port too large", "CONNECT a.test:65536 HTTP/1.1\r\nHost: a.test\r\n\r\n", "", 400, false},
		{"a URL", "CONNECT http://a.test:80/ HTTP/1.1\r\nHost: a.test\r\n\r\n", "", 400, false},
		{"user information", "CONNECT u@a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", "", 400, false},
		{"a body", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n", "abc", 400, false},
		{"a chunked body", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n\r\n", 400, false},
		{"two Hosts", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "", 400, false},
		{"an endless head", "CONNECT a.test:443 HTTP/1.1\r\nX: " + strings.Repeat("x", 70000) + "\r\n\r\n", "", 431, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			g := startProxy(t, setup{backend: "127.0.0.1:1"}, refuse, nil)
			c := g.dial()
			r := bufio.NewReader(c)
			resp, _ := roundTrip(t, c, r, "CONNECT", x.request+x.early)
			if resp.StatusCode != x.status || resp.Close == x.keeps {
				t.Errorf("%d, close %v", resp.StatusCode, resp.Close)
			}
			if a := g.record(); a.Code == 0 || a.Result == "" {
				t.Errorf("code %v result %q", a.Code, a.Result)
			}
			if !x.keeps {
				if rest, _ := io.ReadAll(r); strings.Contains(string(rest), "HTTP/1.1") {
					t.Errorf("what followed was answered: %q", rest)
				}
				return
			}
			if resp, _ := roundTrip(t, c, r, "CONNECT", x.request); resp.StatusCode != x.status {
				t.Errorf("again: %d", resp.StatusCode)
			}
		})
	}
}

// covering is a tunnel that knows which hosts its certificate is for.
type covering struct{ names string }

func (c covering) Covers(host []byte) bool { return strings.Contains(c.names, string(host)) }

// within serves the inside of tunnels with TLS, as a forward proxy does that looks into them.
func within(g **gateway, tunnel any) func(*Takeover) {
	config := selfSigned()
	return func(w *Takeover) {
		inner := listen.Nested(w.Raw, w.Stream, w.Pending)
		tc := tls.Server(inner, config)
		if err := tc.Handshake(); err != nil {
			inner.Close()
			return
		}
		inner.HandshakeDone()
		(*g).p.Serve(Downstream{Raw: inner, TLS: tc, Tunnel: tunnel, Handshake: &telemetry.Handshake{Version: tls.VersionTLS13},
			Peer: &filter.Peer{Remote: w.Peer.Remote, Local: w.Peer.Local, TLS: true, SNI: tc.ConnectionState().ServerName}}, &(*g).state)
	}
}

// tunnelTo opens a tunnel and begins TLS in it.
func (g *gateway) tunnelTo(name string, protocols ...string) *tls.Conn {
	g.t.Helper()
	c := g.dial()
	_, _ = io.WriteString(c, connectHead)
	r := bufio.NewReader(c)
	if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 200 ") {
		g.t.Fatalf("%q", head)
	}
	return tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: protocols})
}

// TestInsideTunnels speaks every protocol in a tunnel that is looked into.
func TestInsideTunnels(t *testing.T) {
	var g *gateway
	f := taking(within(&g, "a tunnel"))
	o := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.Header.Get("Upgrade") == "websocket" {
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, _ = io.Copy(c, r)
				return
			}
			body, _ := io.ReadAll(req.Body)
			out := fmt.Sprintf("%s %s %s %s", req.Method, req.Host, req.URL.Path, body)
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(out), out); err != nil {
				return
			}
		}
	})
	g = startProxy(t, setup{backend: o.addr}, f, nil)
	t.Run("HTTP/1.1", func(t *testing.T) {
		c := g.tunnelTo("a.test", "http/1.1")
		r := bufio.NewReader(c)
		for range 3 {
			resp, body := roundTrip(t, c, r, "POST", "POST /p?q HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
			if resp.StatusCode != 200 || body != "POST a.test /p hi" {
				t.Errorf("%d %q", resp.StatusCode, body)
			}
			if a := g.record(); string(a.URL) != "https://a.test/p?q" || a.Scheme != "https" || a.SNI != "a.test" || a.TLSVersion != tls.VersionTLS13 || a.Result != "TCP_MISS" {
				t.Errorf("%q %s %q", a.URL, a.Scheme, a.SNI)
			}
		}
	})
	t.Run("another host", func(t *testing.T) {
		c := g.tunnelTo("a.test", "http/1.1")
		resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
		if a := g.record(); resp.StatusCode != 421 || a.Code != diag.MisdirectedRequest {
			t.Errorf("%d %v", resp.StatusCode, a.Code)
		}
	})
	t.Run("CONNECT", func(t *testing.T) {
		c := g.tunnelTo("a.test", "http/1.1")
		resp, _ := roundTrip(t, c, bufio.NewReader(c), "CONNECT", connectHead)
		if a := g.record(); resp.StatusCode != 405 || a.Code != diag.MethodNotSupported {
			t.Errorf("%d %v", resp.StatusCode, a.Code)
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		c := g.tunnelTo("a.test", "http/1.1")
		r := bufio.NewReader(c)
		_, _ = io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
		if head := readHead(r); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
			t.Fatalf("%q", head)
		}
		_, _ = io.WriteString(c, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello" {
			t.Errorf("%q %v", got, err)
		}
		c.Close()
		g.record()
	})
	t.Run("HTTP/2", func(t *testing.T) {
		c := g.tunnelTo("a.test", "h2")
		cc, err := (&xhttp2.Transport{}).NewClientConn(c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			req, _ := http.NewRequest("POST", fmt.Sprintf("https://a.test/%d", i), strings.NewReader("x"))
			resp, err := cc.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if string(body) != fmt.Sprintf("POST a.test /%d x", i) {
				t.Errorf("%q", body)
			}
			if a := g.record(); string(a.URL) != fmt.Sprintf("https://a.test/%d", i) || a.Proto != "HTTP/2" {
				t.Errorf("%q %s", a.URL, a.Proto)
			}
		}
		cc.Close()
	})
}

// TestTunnelCovers lets the tunnel say for which hosts it stands.
func TestTunnelCovers(t *testing.T) {
	var g *gateway
	g = startProxy(t, setup{backend: newMirror(t, "").addr}, taking(within(&g, covering{"a.test b.test"})), nil)
	for host, want := range map[string]int{"a.test": 200, "b.test": 200, "c.test": 421} {
		c := g.tunnelTo("a.test", "http/1.1")
		if resp, _ := roundTrip(t, c, bufio.NewReader(c), "GET", "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); resp.StatusCode != want {
			t.Errorf("%s: %d", host, resp.StatusCode)
		}
	}
}

// TestGRPCInsideTunnels calls a server of gRPC, with trailers.
func TestGRPCInsideTunnels(t *testing.T) {
	config := selfSigned()
	o := newOrigin(t, func(c net.Conn, _ *bufio.Reader) {
		tc := tls.Server(c, config)
		if tc.Handshake() != nil {
			return
		}
		(&xhttp2.Server{}).ServeConn(tc, &xhttp2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = io.Copy(w, r.Body)
			w.Header().Set("Grpc-Status", "0")
		})})
	})
	var g *gateway
	g = startProxy(t, setup{backend: o.addr, upTLS: offering{}, protocol: ir.UpstreamAuto}, taking(within(&g, "a tunnel")), nil)
	cc, err := (&xhttp2.Transport{}).NewClientConn(g.tunnelTo("a.test", "h2"))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	req, _ := http.NewRequest("POST", "https://a.test/s/m", strings.NewReader("\x00\x00\x00\x00\x02hi"))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := cc.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "\x00\x00\x00\x00\x02hi" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%q %v", body, resp.Trailer)
	}
	if a := g.record(); !a.GRPC || a.GRPCStatus != 0 || a.UpstreamProto != "HTTP/2" {
		t.Errorf("%+v", a.Access)
	}
}

// TestConnectOverHTTP2 has tunnels and requests on streams of one connection to an https:// proxy.
func TestConnectOverHTTP2(t *testing.T) {
	ended := make(chan struct{}, 10)
	g := startProxy(t, setup{backend: newMirror(t, "").addr, tls: true}, taking(func(w *Takeover) {
		_ = w.Stream.SetReadDeadline(time.Now().Add(5 * time.Second))
		echo(w)
		ended <- struct{}{}
	}), nil)
	tc := tls.Client(g.dial(), &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"h2"}})
	cc, err := (&xhttp2.Transport{}).NewClientConn(tc)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		pr, pw := io.Pipe()
		req := &http.Request{Method: "CONNECT", URL: mustURL("https://a.test:443"), Host: "a.test:443", Body: pr, Header: http.Header{}}
		resp, err := cc.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		_, _ = io.WriteString(pw, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != "hello" {
			t.Errorf("%q %v", got, err)
		}
		plain, _ := http.NewRequest("GET", "http://b.test/x", nil)
		if resp, err := cc.RoundTrip(plain); err != nil || resp.StatusCode != 200 {
			t.Errorf("beside the tunnel: %v %v", resp, err)
		}
		if a := g.record(); string(a.URL) != "http://b.test/x" || a.Scheme != "http" {
			t.Errorf("%q %s", a.URL, a.Scheme)
		}
		pw.Close()
		if rest, err := io.ReadAll(resp.Body); len(rest) != 0 || err != nil {
			t.Errorf("at the end: %q %v", rest, err)
		}
		<-ended
	}
	cc.Close()
}

// TestStreamDeadlines times reads of a stream out, and only those.
func TestStreamDeadlines(t *testing.T) {
	result := make(chan error, 2)
	g := startProxy(t, setup{backend: "127.0.0.1:1", tls: true}, taking(func(w *Takeover) {
		_ = w.Stream.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := w.Stream.Read(make([]byte, 1))
		result <- err
		_ = w.Stream.SetReadDeadline(time.Time{})
		_, err = w.Stream.Read(make([]byte, 1))
		result <- err
	}), nil)
	tc := tls.Client(g.dial(), &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"h2"}})
	cc, err := (&xhttp2.Transport{}).NewClientConn(tc)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	pr, pw := io.Pipe()
	if _, err = cc.RoundTrip(&http.Request{Method: "CONNECT", URL: mustURL("https://a.test:443"), Host: "a.test:443", Body: pr, Header: http.Header{}}); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err == nil {
		t.Error("no timeout")
	}
	_, _ = io.WriteString(pw, "x")
	if err := <-result; err != nil {
		t.Error(err)
	}
	pw.Close()
}

// TestDrainWithTunnels lets tunnels go on until the time is over, and tells them why they ended.
func TestDrainWithTunnels(t *testing.T) {
	t.Parallel()
	ended := make(chan diag.Code, 1)
	begun := make(chan struct{})
	g := startProxy(t, setup{backend: "127.0.0.1:1"}, taking(func(w *Takeover) {
		close(begun)
		echo(w)
		code, _ := w.Ended()
		ended <- code
	}), nil)
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, connectHead)
	readHead(r)
	<-begun
	if n := g.p.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.p.Drain(ctx) }()
	time.Sleep(100 * time.Millisecond)
	_, _ = io.WriteString(c, "still here")
	got := make([]byte, 10)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Errorf("the tunnel did not get its time: %v", err)
	}
	if err := <-done; err == nil {
		t.Error("nothing was cut")
	}
	if code := <-ended; code != diag.Draining {
		t.Errorf("ended with %v", code)
	}
}

// TestDrainInsideTunnels ends idle connections in tunnels at once.
func TestDrainInsideTunnels(t *testing.T) {
	var g *gateway
	g = startProxy(t, setup{backend: newMirror(t, "").addr}, taking(within(&g, "a tunnel")), nil)
	c := g.tunnelTo("a.test", "http/1.1")
	roundTrip(t, c, bufio.NewReader(c), "GET", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.p.Drain(ctx); err != nil {
		t.Error(err)
	}
}

// revoking withdraws its connection when told to.
type revoking struct{ gone atomic.Bool }

func (r *revoking) Admits() (diag.Code, bool) { return diag.ClientCertWithdrawn, !r.gone.Load() }
func (r *revoking) Withdrawn() (diag.Code, string) {
	if r.gone.Load() {
		return diag.ClientCertWithdrawn, "its CA is gone"
	}
	return 0, ""
}

// TestWithdrawnTunnels ends a tunnel whose client would not be let in any more.
func TestWithdrawnTunnels(t *testing.T) {
	t.Parallel()
	admits := &revoking{}
	ended := make(chan diag.Code, 1)
	g := startProxy(t, setup{backend: "127.0.0.1:1", admits: admits, limits: Limits{WithdrawnGrace: -1}}, taking(func(w *Takeover) {
		echo(w)
		code, _ := w.Ended()
		ended <- code
	}), nil)
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, connectHead)
	readHead(r)
	admits.gone.Store(true)
	if _, err := r.ReadByte(); err == nil {
		t.Error("it goes on")
	}
	if code := <-ended; code != diag.ClientCertWithdrawn {
		t.Errorf("ended with %v", code)
	}
}

// TestFaultInTakeover does not end the process, and closes the connection.
func TestFaultInTakeover(t *testing.T) {
	g := startProxy(t, setup{backend: "127.0.0.1:1"}, taking(func(*Takeover) { panic("a fault") }), nil)
	c := g.dial()
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, connectHead)
	readHead(r)
	if _, err := r.ReadByte(); err == nil {
		t.Error("it goes on")
	}
	if g.p.Faults() != 1 {
		t.Errorf("%d faults", g.p.Faults())
	}
}

// TestConnectFlood opens and leaves many tunnels, half of them in the middle of the head.
func TestConnectFlood(t *testing.T) {
	var taken atomic.Int32
	g := startProxy(t, setup{backend: "127.0.0.1:1"}, taking(func(w *Takeover) { taken.Add(1); echo(w) }), nil)
	for i := range 200 {
		c := g.dial()
		if i%2 == 0 {
			_, _ = io.WriteString(c, connectHead[:20])
		} else {
			_, _ = io.WriteString(c, connectHead)
			if i%4 == 1 {
				readHead(bufio.NewReader(c))
			}
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	for end := time.Now().Add(5 * time.Second); g.p.Connections() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections left", g.p.Connections())
		}
	}
	if taken.Load() == 0 {
		t.Error("none was taken")
	}
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
