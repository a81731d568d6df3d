package listen

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"
)

// accepted returns both ends of a connection.
func accepted(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(server.(*net.TCPConn), 7, &Spec{Name: "*:3128", Port: 3128})
	t.Cleanup(func() { client.Close(); c.Close() })
	return c, client
}

// hello returns what a Go client sends first.
func helloBytes(t *testing.T, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	go tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	return buf[:n]
}

func TestNestedPeek(t *testing.T) {
	hello := helloBytes(t, "example.com")
	for _, split := range []int{0, 1, 6, len(hello) / 2, len(hello)} {
		raw, client := accepted(t)
		raw.SetDeadline(time.Now().Add(5 * time.Second))
		client.Write(hello[split:])
		c := Nested(raw, raw, bytes.Clone(hello[:split]))
		for range 2 { // a second look says the same
			h, err := c.PeekHello()
			if err != nil || h.ServerName != "example.com" {
				t.Fatalf("split at %d: %v, %v", split, h, err)
			}
		}
		if c.Pending() != len(hello) || c.BytesRead() != int64(len(hello)) {
			t.Errorf("split at %d: pending %d, read %d; want %d", split, c.Pending(), c.BytesRead(), len(hello))
		}
		if c.ID() != raw.ID() || c.Remote() != raw.Remote() || c.Local() != raw.Local() || c.Spec() != raw.Spec() || c.Parent() != raw {
			t.Error("the nested connection is not known by its parent's names")
		}
		if got := c.Buffered(); !bytes.Equal(got, hello) {
			t.Errorf("split at %d: Buffered returned %d bytes, want %d", split, len(got), len(hello))
		}
		if c.Direct() != raw.TCP() {
			t.Error("a plain nested connection is the TCP connection")
		}
	}
}

func TestNestedReadsPeeked(t *testing.T) {
	hello := helloBytes(t, "example.com")
	raw, client := accepted(t)
	client.Write(append(bytes.Clone(hello), "\x17\x03\x03\x00\x02ok"...))
	c := Nested(raw, raw, nil)
	if _, err := c.PeekHello(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(hello)+7)
	if _, err := io.ReadFull(c, got); err != nil || !bytes.HasPrefix(got, hello) || string(got[len(got)-2:]) != "ok" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestNestedNotTLS(t *testing.T) {
	raw, client := accepted(t)
	client.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	c := Nested(raw, raw, nil)
	if _, err := c.PeekHello(); err == nil {
		t.Fatal("a request was taken for a ClientHello")
	}
	got := make([]byte, 18)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "GET / HTTP/1.1\r\n\r\n" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestNestedClose(t *testing.T) {
	t.Run("inner closes outer", func(t *testing.T) {
		raw, client := accepted(t)
		c := Nested(raw, raw, nil)
		n := 0
		raw.OnClose(func() { n++ })
		c.OnClose(func() { n++ })
		c.Close()
		client.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client reads %v, want EOF", err)
		}
		if n != 2 {
			t.Errorf("%d hooks ran, want 2", n)
		}
	})
	t.Run("outer closes inner", func(t *testing.T) {
		raw, _ := accepted(t)
		a, b := net.Pipe()
		c := Nested(raw, a, nil)
		closed := false
		c.OnClose(func() { closed = true })
		raw.Close()
		if _, err := b.Read(make([]byte, 1)); err != io.EOF || !closed {
			t.Errorf("the stream reads %v, closed %v", err, closed)
		}
	})
	t.Run("one of several streams", func(t *testing.T) {
		raw, client := accepted(t)
		a, _ := net.Pipe()
		c := Nested(raw, a, nil)
		if c.Direct() != nil {
			t.Error("a stream is not the TCP connection")
		}
		c.Close()
		if len(raw.inner) != 0 {
			t.Error("the parent remembers a closed stream")
		}
		raw.Write([]byte("x"))
		client.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := client.Read(make([]byte, 1)); err != nil {
			t.Errorf("closing a stream ended the connection: %v", err)
		}
	})
	t.Run("outer is gone", func(t *testing.T) {
		raw, _ := accepted(t)
		raw.Close()
		if _, err := Nested(raw, raw, nil).Read(make([]byte, 1)); err == nil {
			t.Error("a connection in a closed one can be read")
		}
	})
}
