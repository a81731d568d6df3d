//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/rawupstream"
)

// socket is a WebSocket as a client holds it, over either version.
type socket interface {
	io.ReadWriter
	end()  // says that nothing more is sent
	drop() // goes away at once
}

type socket1 struct{ *client.Conn }

func (s socket1) Read(b []byte) (int, error) { return s.R.Read(b) }
func (s socket1) end()                       { _ = s.Conn.Conn.(interface{ CloseWrite() error }).CloseWrite() }
func (s socket1) drop()                      { s.Close() }

type socket2 struct {
	c    *client.HTTP2
	id   uint32
	done int
}

func (s *socket2) Write(b []byte) (int, error) { s.c.Data(s.id, b, false); return len(b), nil }
func (s *socket2) end()                        { s.c.Data(s.id, nil, true) }
func (s *socket2) drop()                       { s.c.Cancel(s.id, http2.ErrCodeCancel) }
func (s *socket2) Read(b []byte) (int, error) {
	st, err := s.c.Await(s.id, func(st *client.Stream) bool { return len(st.Body) > s.done })
	n := copy(b, st.Body[s.done:])
	s.done += n
	switch {
	case n > 0:
		return n, nil
	case err != nil:
		return 0, err
	case st.Reset && st.Code != http2.ErrCodeNo:
		return 0, http2.StreamError{StreamID: s.id, Code: st.Code}
	}
	return 0, io.EOF
}

// socketWorld is a gateway before an upstream of each version that takes WebSockets.
type socketWorld struct {
	g     *gateway.Gateway
	s     site
	ended chan error // how the upstream saw a WebSocket end
}

func newSocketWorld(t *testing.T, toHTTP2 bool, args ...string) *socketWorld {
	w := &socketWorld{s: newSite(t, "a.test"), ended: make(chan error, 20)}
	// serve is what the workload does behind the handshake.
	serve := func(path string, in io.Reader, out io.Writer) {
		if path == "/bye" {
			_, _ = io.WriteString(out, "bye")
			return
		}
		_, err := io.Copy(out, in)
		w.ended <- err
	}
	var up *rawupstream.Upstream
	port := "http"
	if toHTTP2 {
		port = "http2"
		up = rawupstream.StartHTTP2(t, nil, func(m *rawupstream.Message, c *rawupstream.HTTP2Conn) {
			if !m.Opened || m.Path() == "/no" {
				c.Head(m.Stream, false, ":status", "403")
				c.Data(m.Stream, true, "not for you")
				return
			}
			c.Head(m.Stream, false, ":status", "200")
			serve(m.Path(), c.Tunnel(m.Stream), frames{c, m.Stream})
			c.Data(m.Stream, true, "")
		})
	} else {
		up = rawupstream.Start(t, func(m *rawupstream.Message, c net.Conn, rest *bufio.Reader) bool {
			if !strings.EqualFold(m.Field("Upgrade"), "websocket") || m.Path() == "/no" {
				return rawupstream.Reply(c, 403, "", "not for you")
			}
			_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept(m.Field("Sec-WebSocket-Key")))
			serve(m.Path(), rest, c)
			return false
		})
	}
	w.g = gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "route.yaml": routeAll("all", "*", "backend"),
		"secret.yaml": secretTLS("site", w.s.leaf), "service.yaml": service("backend", port)}, Endpoints: []string{"backend.default:8000=" + up.Addr}, Args: args})
	return w
}

// frames writes DATA, in frames that the gateway takes.
type frames struct {
	c  *rawupstream.HTTP2Conn
	id uint32
}

func (f frames) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), 16384)
		f.c.Data(f.id, false, string(rest[:n]))
		rest = rest[n:]
	}
	return len(b), nil
}

const socketKey = "dGhlIHNhbXBsZSBub25jZQ=="

// open opens a WebSocket and returns the status of the answer.
func (w *socketWorld) open(t *testing.T, overHTTP2 bool, path string) (socket, int) {
	t.Helper()
	if !overHTTP2 {
		c := client.DialTLS(t, w.g.Addr(443), w.s.config("a.test"))
		c.Send("GET " + path + " HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + socketKey + "\r\n\r\n")
		resp, _, err := c.TryReceive("GET")
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == 101 && resp.Header.Get("Sec-WebSocket-Accept") != accept(socketKey) {
			t.Errorf("Sec-WebSocket-Accept: %q", resp.Header.Get("Sec-WebSocket-Accept"))
		}
		return socket1{c}, resp.StatusCode
	}
	c := client.DialHTTP2(t, w.g.Addr(443), w.s.config("a.test"), 0, false)
	fields := append(client.Lines(":method", "CONNECT", ":protocol", "websocket"), client.Request("", "https", "a.test", path, "sec-websocket-version", "13")[1:]...)
	id := c.Open(fields, false)
	st, err := c.Await(id, func(st *client.Stream) bool { return st.Status != 0 })
	if err != nil || st.Reset {
		t.Fatalf("reset %v %v, %v", st.Reset, st.Code, err)
	}
	return &socket2{c: c, id: id}, st.Status
}

// TestWebSockets opens WebSockets over both versions to upstreams of both, and ends them both ways.
func TestWebSockets(t *testing.T) {
	t.Parallel()
	for _, toHTTP2 := range []bool{false, true} {
		w := newSocketWorld(t, toHTTP2, "--upgrade-idle-timeout", "2s")
		for _, over := range []bool{false, true} {
			t.Run(fmt.Sprintf("HTTP/%d to HTTP/%d", number(over), number(toHTTP2)), func(t *testing.T) { w.run(t, over) })
		}
	}
}

func (w *socketWorld) run(t *testing.T, over bool) {
	g := w.g.For(t)
	opened := map[bool]int{false: 101, true: 200}[over]
	if _, status := w.open(t, over, "/no"); status != 403 {
		t.Errorf("refused: status %d", status)
	}
	expect := func(s socket, want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came wrong: %v", len(want), err)
		}
	}
	mark := g.Mark()
	s, status := w.open(t, over, "/ws")
	if status != opened {
		t.Fatalf("status %d, want %d", status, opened)
	}
	for n := 1; n <= 256<<10; n *= 64 {
		frame := bytes.Repeat([]byte{0x82, byte(n)}, n/4+1) // within the window of a stream
		if _, err := s.Write(frame); err != nil {
			t.Fatal(err)
		}
		expect(s, frame)
	}
	s.end()
	if rest, err := io.ReadAll(s); err != nil || len(rest) > 0 {
		t.Errorf("after the client's end: %d bytes, %v", len(rest), err)
	}
	if err := w.end(t); err != nil {
		t.Errorf("the upstream saw %v at the client's end", err)
	}
	if line := g.AwaitLine(mark, "kind", "request", "target", "/ws"); line.N("status") != float64(opened) || line.N("bytes_in") == 0 || line.N("bytes_out") == 0 || line.S("code") != "" {
		t.Errorf("access log: %v", line)
	}

	s, _ = w.open(t, over, "/bye")
	if text, err := io.ReadAll(s); err != nil || string(text) != "bye" {
		t.Errorf("the upstream's end: %q %v", text, err)
	}

	s, _ = w.open(t, over, "/dropped")
	_, _ = s.Write([]byte("x"))
	expect(s, []byte("x"))
	s.drop()
	begun := time.Now()
	_ = w.end(t)
	if d := time.Since(begun); d > time.Second {
		t.Errorf("the upstream saw after %v that the client had gone", d)
	}

	mark = g.Mark()
	s, _ = w.open(t, over, "/idle")
	begun = time.Now()
	_, _ = io.ReadAll(s)
	if d := time.Since(begun); d < time.Second || d > 8*time.Second {
		t.Errorf("an idle one ended after %v", d)
	}
	_ = w.end(t)
	if line := g.AwaitLine(mark, "kind", "request", "target", "/idle"); line.S("code") != "HK4207" {
		t.Errorf("access log: %v", line)
	}
}

// end waits until the upstream has seen a WebSocket end.
func (w *socketWorld) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the upstream saw no end")
		return nil
	}
}

// accept is what RFC 6455 section 1.3 makes of a key.
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
