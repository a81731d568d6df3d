package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// raw is an HTTP/2 client that sends what it likes.
type raw struct {
	net.Conn
	*xhttp2.Framer
	t testing.TB
}

func (g *gateway) raw(secure bool) *raw {
	g.t.Helper()
	c := g.dial()
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", NextProtos: []string{"h2"}})
	}
	if _, err := io.WriteString(c, xhttp2.ClientPreface); err != nil {
		g.t.Fatal(err)
	}
	r := &raw{c, xhttp2.NewFramer(c, c), g.t}
	_ = r.WriteSettings()
	return r
}

// request sends a head that ends the stream.
func (r *raw) request(id uint32, pairs ...string) {
	r.t.Helper()
	if pairs == nil {
		pairs = []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a.test"}
	}
	if err := r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block(pairs...)}); err != nil {
		r.t.Fatal(err)
	}
}

// until returns the first frame for which f is true, nil at the end of the connection.
func (r *raw) until(f func(xhttp2.Frame) bool) xhttp2.Frame {
	for {
		fr, err := r.ReadFrame()
		if err != nil {
			return nil
		}
		switch s := fr.(type) {
		case *xhttp2.SettingsFrame:
			if !s.IsAck() {
				_ = r.WriteSettingsAck()
			}
		case *xhttp2.PingFrame:
			if !s.IsAck() {
				_ = r.WritePing(true, s.Data)
			}
		}
		if f(fr) {
			return fr
		}
	}
}

func isGoAway(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.GoAwayFrame); return ok }
func isHead(f xhttp2.Frame) bool   { _, ok := f.(*xhttp2.HeadersFrame); return ok }

func TestPrefaceInPieces(t *testing.T) {
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr})
	c := g.dial()
	for _, b := range []byte(xhttp2.ClientPreface) {
		_, _ = c.Write([]byte{b})
		time.Sleep(time.Millisecond)
	}
	r := &raw{c, xhttp2.NewFramer(c, c), t}
	_ = r.WriteSettings()
	r.request(1)
	if r.until(isHead) == nil {
		t.Fatal("no answer")
	}
	// What only begins like it is HTTP/1.
	c = g.dial()
	resp, _ := roundTrip(t, c, bufio.NewReader(c), "PRI", "PRI /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if resp.StatusCode != 200 {
		t.Errorf("a method of that name: %s", resp.Status)
	}
}

func TestHTTP2Refusals(t *testing.T) {
	t.Parallel()
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr})
	r := g.raw(false)
	r.request(1, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a.test", "connection", "close")
	if f := r.until(func(f xhttp2.Frame) bool { return f.Header().StreamID == 1 }); f == nil {
		t.Fatal("the connection ended")
	}
	if a := g.record(); a.Code/100 != 40 || a.Proto != "HTTP/2" || a.Stream != 1 {
		t.Errorf("malformed head: record %+v", a.Access)
	}
	r.request(3, ":method", "TRACE", ":scheme", "http", ":path", "/", ":authority", "a.test")
	if a := g.record(); a.Code != diag.MethodNotSupported || a.Status != 405 {
		t.Errorf("TRACE: record %+v", a.Access)
	}
	r.request(5)
	if a := g.record(); a.Code != 0 || a.Status != 200 {
		t.Errorf("the connection is of no use any more: %+v", a.Access)
	}
	_ = r.WriteRawFrame(xhttp2.FrameWindowUpdate, 0, 0, []byte{0, 0, 0, 0})
	if r.until(isGoAway) == nil {
		t.Error("no GOAWAY after a fault of the connection")
	}
	if a := g.record(); a.Code/100 != 43 || a.Proto != "HTTP/2" || a.Stream != 0 {
		t.Errorf("fault of the connection: record %+v", a.Access)
	}
}

func TestHTTP2MisdirectedAndDrain(t *testing.T) {
	t.Parallel()
	o := answering(t, sized("x"))
	g := start(t, setup{backend: o.addr, tls: true})
	other := *g.chain
	other.Name, other.Hosts = "ns/gw/other", []hostname.Pattern{mustPattern(t, "b.test")}
	g.state.Store(g.compile(g.chain, &other))
	r := g.raw(true)
	r.request(1, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "b.test")
	if a := g.record(); a.Code != diag.MisdirectedRequest || a.Status != 421 {
		t.Errorf("host of another chain: record %+v", a.Access)
	}
	r.request(3, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a.test")
	if a := g.record(); a.Code != 0 {
		t.Errorf("own host: record %+v", a.Access)
	}
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- g.p.Drain(ctx)
	}()
	steps := 0
	for r.until(isGoAway) != nil {
		steps++
	}
	if err := <-done; err != nil || steps != 2 {
		t.Errorf("drain: %v after %d GOAWAY frames", err, steps)
	}
}

func mustPattern(t testing.TB, s string) hostname.Pattern {
	p, err := hostname.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHTTP2Ends(t *testing.T) {
	t.Parallel()
	o := answering(t, sized("x"))
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		g := start(t, setup{backend: o.addr, limits: Limits{KeepAliveIdle: 300 * time.Millisecond}})
		r := g.raw(false)
		r.request(1)
		if r.until(isGoAway) == nil || r.until(func(xhttp2.Frame) bool { return false }) != nil {
			t.Error("an idle connection does not end")
		}
	})
	t.Run("requests", func(t *testing.T) {
		t.Parallel()
		g := start(t, setup{backend: o.addr, limits: Limits{MaxRequests: 2}})
		r := g.raw(false)
		r.request(1)
		r.request(3)
		heads := 0
		r.until(func(f xhttp2.Frame) bool {
			if isHead(f) {
				heads++
			}
			return false
		})
		if heads != 2 {
			t.Errorf("%d answers before the end", heads)
		}
	})
	t.Run("listener", func(t *testing.T) {
		t.Parallel()
		g := start(t, setup{backend: o.addr})
		r := g.raw(false)
		r.request(1)
		g.record()
		g.state.Store(nil)
		if r.until(isGoAway) == nil {
			t.Error("the connection outlives its listener")
		}
	})
}

// TestUnwantedBody has upstreams that answer without the body, whose client has not ended it.
func TestUnwantedBody(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		if client == h1 {
			return
		}
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) })
		if origin == h1 { // net/http's server would wait for the body
			addr = answering(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").addr
		}
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2})
		r := g.raw(client == h2)
		_ = r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndHeaders: true,
			BlockFragment: block(":method", "POST", ":scheme", map[version]string{h2c: "http", h2: "https"}[client], ":path", "/", ":authority", "a.test")})
		_ = r.WriteData(1, false, []byte("some"))
		ended := false
		f := r.until(func(f xhttp2.Frame) bool {
			switch f := f.(type) {
			case *xhttp2.HeadersFrame:
				ended = ended || f.StreamEnded()
			case *xhttp2.DataFrame:
				ended = ended || f.StreamEnded()
			}
			_, reset := f.(*xhttp2.RSTStreamFrame)
			return reset
		})
		if rst, ok := f.(*xhttp2.RSTStreamFrame); !ok || rst.ErrCode != xhttp2.ErrCodeNo || !ended {
			t.Errorf("answer ended: %v, then %v", ended, f)
		}
		if a := g.record(); a.Status != 403 {
			t.Errorf("record %+v", a.Access)
		}
	})
}

// muxClient opens an HTTP/2 connection of our own to the gateway.
func (g *gateway) muxClient() *mux.Conn {
	c := mux.New(mux.Config{Conn: g.dial(), Client: true})
	done := make(chan struct{})
	go func() { _ = c.Serve(); close(done) }()
	g.t.Cleanup(func() { c.Abort(http2.NoError); <-done })
	<-c.Ready()
	return c
}

// TestWebSocketAnsweredHere asks for a WebSocket of a route that answers 200 by itself: that would open it.
func TestWebSocketAnsweredHere(t *testing.T) {
	g := start(t, setup{routes: []*ir.Route{{Name: "r", Respond: &ir.Respond{Status: 200, Body: "hello"}}}})
	req := message.Request{Method: []byte("CONNECT"), Protocol: []byte("websocket"), Authority: []byte("a.test"), Path: []byte("/chat"), Body: message.Body{Kind: message.Chunked}}
	s, err := g.muxClient().Open(&req, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var resp message.Response
	if err := s.ReadResponse(&resp); err != nil || resp.Status != 502 {
		t.Errorf("status %d, %v", resp.Status, err)
	}
	if a := g.record(); a.Code != diag.UpstreamNoWebSocket || a.Status != 502 {
		t.Errorf("record %+v", a.Access)
	}
}

func TestWebSockets(t *testing.T) {
	t.Parallel()
	// One upstream speaks HTTP/1.1 and checks the key, one speaks HTTP/2 with extended CONNECT, one without.
	plain := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "+
			string(webSocketAccept([]byte(req.Header.Get("Sec-Websocket-Key"))))+"\r\n\r\n")
		_, _ = io.Copy(c, r)
	})
	wrong := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")
		_, _ = io.Copy(io.Discard, r)
	})
	ignoring := answering(t, sized("hello"))
	extended := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		_ = mux.New(mux.Config{Conn: c, Accept: func(s *mux.Stream) {
			go func() {
				defer s.Close()
				resp := message.Response{Status: 200, Body: message.Body{Kind: message.Chunked}}
				if req := s.Request(); string(req.Method) != "CONNECT" || string(req.Protocol) != "websocket" || string(req.Path) != "/chat" || req.Fields.Has(message.SecWebSocketKey) {
					resp.Status = 400
				}
				_ = s.WriteHead(&resp, false)
				for {
					b, err := s.Next()
					if err != nil {
						_ = s.Write(nil, true)
						return
					}
					_ = s.Write(b, false)
				}
			}()
		}}).Serve()
	})
	unable := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {})
	for _, x := range []struct {
		name, addr string
		protocol   ir.UpstreamProtocol
		code       diag.Code
	}{
		{"HTTP/1.1", plain.addr, ir.UpstreamHTTP1, 0},
		{"wrong key", wrong.addr, ir.UpstreamHTTP1, diag.UpstreamProtocolError},
		{"ignoring", ignoring.addr, ir.UpstreamHTTP1, diag.UpstreamNoWebSocket},
		{"extended", extended.addr, ir.UpstreamHTTP2, 0},
		{"unable", unable, ir.UpstreamHTTP2, diag.UpstreamNoWebSocket},
	} {
		t.Run("h2 "+x.name, func(t *testing.T) {
			g := start(t, setup{backend: x.addr, protocol: x.protocol})
			c := g.muxClient()
			if !c.ExtendedConnect() {
				t.Fatal("extended CONNECT is not announced")
			}
			req := message.Request{Method: []byte("CONNECT"), Protocol: []byte("websocket"), Authority: []byte("a.test"), Path: []byte("/chat"), Body: message.Body{Kind: message.Chunked}}
			req.Fields.AddString("sec-websocket-version", "13")
			s, err := c.Open(&req, false)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var resp message.Response
			if err := s.ReadResponse(&resp); err != nil {
				t.Fatal(err)
			}
			if x.code != 0 {
				if a := g.record(); a.Code != x.code || resp.Status != 502 {
					t.Errorf("status %d, record %+v", resp.Status, a.Access)
				}
				return
			}
			if resp.Status != 200 || resp.Fields.Has(message.SecWebSocketAccept) {
				t.Fatalf("answer %+v", resp)
			}
			for i := range 3 {
				_ = s.Write([]byte("hello"), i == 2)
				got := make([]byte, 5)
				if _, err := io.ReadFull(&streamPipe{s: s}, got); err != nil || string(got) != "hello" {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			if _, err := s.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
			if a := g.record(); a.Code != 0 || a.BytesReceived != 15 || a.BytesSent != 15 || a.Status != 200 {
				t.Errorf("record %+v", a.Access)
			}
		})
		t.Run("h1 "+x.name, func(t *testing.T) {
			g := start(t, setup{backend: x.addr, protocol: x.protocol})
			c := g.dial()
			r := bufio.NewReader(c)
			const key = "dGhlIHNhbXBsZSBub25jZQ=="
			_, _ = io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+key+"\r\n\r\n")
			head := readHead(r)
			if x.name == "wrong key" { // the client's own business
				return
			}
			if x.name == "ignoring" { // a server's right
				if !strings.HasPrefix(head, "HTTP/1.1 200 ") {
					t.Errorf("%q", head)
				}
				return
			}
			if x.code != 0 {
				if a := g.record(); a.Code != x.code || !strings.HasPrefix(head, "HTTP/1.1 502 ") {
					t.Errorf("%q, record %+v", head, a.Access)
				}
				return
			}
			if !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(strings.ToLower(head), "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=") {
				t.Fatalf("%q", head)
			}
			big := bytes.Repeat([]byte("0123456789"), 50_000)
			go func() {
				_, _ = c.Write(big)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
			if got, err := io.ReadAll(r); !bytes.Equal(got, big) || err != nil {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
}
