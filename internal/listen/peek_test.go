package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// pair returns both ends of a loopback connection, ours wrapped.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	there, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := NewConn(here.(*net.TCPConn), 1, &Spec{Name: "test"})
	t.Cleanup(func() { c.Close(); there.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c, there.(*net.TCPConn)
}

// split puts a handshake message into records of at most size bytes.
func split(msg []byte, size int) []byte {
	var out []byte
	for chunk := range slices.Chunk(msg, size) {
		out = append(out, 22, 3, 1, byte(len(chunk)>>8), byte(len(chunk)))
		out = append(out, chunk...)
	}
	return out
}

// TestPeek reads hellos however they are cut, and leaves every byte to be read again.
func TestPeek(t *testing.T) {
	msg := capture(t, &tls.Config{ServerName: "a.test"})
	large := build(0x0303, []uint16{0x1301}, sni("a.test"), ext(0x7777, make([]byte, 40_000)))
	for _, c := range []struct {
		name    string
		raw     []byte
		segment int
		records int
	}{
		{"at once", split(msg, maxRecord), 1 << 20, 1},
		{"1-byte segments", split(msg, maxRecord), 1, 1},
		{"records of 100 bytes", split(msg, 100), 1 << 20, (len(msg) + 99) / 100},
		{"1-byte records in 7-byte segments", split(msg, 1), 7, len(msg)},
		{"40 KB", split(large, maxRecord), 1400, 3},
		{"40 KB in small records", split(large, 5000), 1 << 20, (len(large) + 4999) / 5000},
	} {
		here, there := pair(t)
		rest := []byte("and more")
		go func() {
			for chunk := range slices.Chunk(append(slices.Clone(c.raw), rest...), c.segment) {
				_, _ = there.Write(chunk)
			}
			_ = there.CloseWrite()
		}()
		h, err := here.PeekHello()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if h.ServerName != "a.test" || h.Records != c.records {
			t.Errorf("%s: %q in %d records, want %d", c.name, h.ServerName, h.Records, c.records)
		}
		got, err := io.ReadAll(here)
		if err != nil || !bytes.Equal(got, append(slices.Clone(c.raw), rest...)) || here.BytesRead() != int64(len(got)) {
			t.Errorf("%s: replay of %d bytes, want %d; counted %d; %v", c.name, len(got), len(c.raw)+len(rest), here.BytesRead(), err)
		}
		if here.pending != nil || here.pooled != nil {
			t.Errorf("%s: the buffer was not given back", c.name)
		}
	}
}

// TestPeekHandshake lets crypto/tls go on after a peek over 1-byte segments and split records.
func TestPeekHandshake(t *testing.T) {
	raw := captureRecord(t, &tls.Config{ServerName: "a.test"})
	here, there := pair(t)
	go func() {
		for chunk := range slices.Chunk(split(raw[5:], 13), 1) {
			_, _ = there.Write(chunk)
		}
	}()
	if _, err := here.PeekHello(); err != nil {
		t.Fatal(err)
	}
	seen := ""
	_ = tls.Server(here, &tls.Config{GetConfigForClient: func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = chi.ServerName
		return nil, errors.New("enough")
	}}).Handshake()
	if seen != "a.test" {
		t.Errorf("crypto/tls saw %q", seen)
	}
}

// TestPeekRefused names what is no hello.
func TestPeekRefused(t *testing.T) {
	msg := capture(t, &tls.Config{ServerName: "a.test"})
	endless := build(0x0303, []uint16{0x1301}, ext(0x7777, make([]byte, 65_000)))
	flood := split(append([]byte{1, 0, 0xff, 0}, make([]byte, 0xff00)...), 1)
	for _, c := range []struct {
		name  string
		raw   []byte
		code  diag.Code
		proto Protocol
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), diag.PlaintextOnTLSPort, ProtocolHTTP},
		{"HTTP to a proxy", []byte("CONNECT a.test:443 HTTP/1.1\r\n"), diag.PlaintextOnTLSPort, ProtocolHTTP},
		{"HTTP/2", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), diag.PlaintextOnTLSPort, ProtocolHTTP2},
		{"SSH", []byte("SSH-2.0-x\r\n"), diag.NotTLS, ProtocolSSH},
		{"PROXY 1", []byte("PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\n"), diag.ProxyHeaderUnwanted, ProtocolPROXY},
		{"PROXY 2", []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), diag.ProxyHeaderUnwanted, ProtocolPROXY},
		{"SMTP", []byte("EHLO a.test\r\n"), diag.NotTLS, ProtocolSMTP},
		{"PostgreSQL", []byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"), diag.NotTLS, ProtocolPostgres},
		{"RDP", []byte("\x03\x00\x00\x13\x0e\xe0"), diag.NotTLS, ProtocolRDP},
		{"MQTT", []byte("\x10\x10\x00\x04MQTT\x04\x02"), diag.NotTLS, ProtocolMQTT},
		{"SOCKS", []byte("\x05\x01\x00"), diag.NotTLS, ProtocolSOCKS},
		{"junk", []byte("hello there"), diag.NotTLS, ProtocolUnknown},
		{"cut junk", []byte("GE"), diag.NotTLS, ProtocolUnknown},
		{"SSL 2", []byte("\x80\x2e\x01\x00\x02"), diag.TLSVersionTooLow, ProtocolSSL2},
		{"nothing", nil, diag.ClosedBeforeHello, ProtocolNone},
		{"half", split(msg, maxRecord)[:100], diag.ClosedInHandshake, ProtocolTLS},
		{"one byte", []byte{22}, diag.ClosedInHandshake, ProtocolTLS},
		{"alert", []byte{21, 3, 1, 0, 2, 2, 80}, diag.PeerAlert, ProtocolTLS},
		{"interrupted", append(split(msg, 100)[:105], 23, 3, 1, 0, 1, 0), diag.HelloMalformed, ProtocolTLS},
		{"empty record", []byte{22, 3, 1, 0, 0}, diag.HelloMalformed, ProtocolTLS},
		{"record too long", []byte{22, 3, 1, 0x40, 1}, diag.HelloMalformed, ProtocolTLS},
		{"server hello", []byte{22, 3, 3, 0, 4, 2, 0, 0, 0}, diag.HelloMalformed, ProtocolTLS},
		{"malformed", split(append([]byte{1, 0, 0, 3}, 3, 3, 3), maxRecord), diag.HelloMalformed, ProtocolTLS},
		{"too large", split(append([]byte{1, 1, 0, 1}, endless...), maxRecord), diag.HelloTooLarge, ProtocolTLS},
		{"1-byte records without end", flood, diag.HelloTooLarge, ProtocolTLS},
	} {
		here, there := pair(t)
		go func() { _, _ = there.Write(c.raw); _ = there.CloseWrite() }()
		_, err := here.PeekHello()
		var peek *PeekError
		if !errors.As(err, &peek) || peek.Code != c.code || peek.Protocol != c.proto || peek.Detail == "" {
			t.Errorf("%s: %#v", c.name, err)
		}
	}
}

// TestPeekTimeout tells a silent peer from a slow one.
func TestPeekTimeout(t *testing.T) {
	for sent, want := range map[string]diag.Code{"": diag.ClosedBeforeHello, "\x16\x03\x01": diag.HandshakeTimeout, "G": diag.NotTLS} {
		here, there := pair(t)
		_, _ = io.WriteString(there, sent)
		_ = here.SetDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := here.PeekHello()
		var peek *PeekError
		if !errors.As(err, &peek) || peek.Code != want {
			t.Errorf("%q: %v", sent, err)
		}
	}
}

// FuzzPeek feeds arbitrary bytes in arbitrary segments: it must end, and replay what it read.
func FuzzPeek(f *testing.F) {
	f.Add(captureRecord(f, &tls.Config{ServerName: "a.test"}), 3)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, raw []byte, segment int) {
		here, there := pair(t)
		go func() {
			for chunk := range slices.Chunk(raw, 1+int(uint(segment)%4096)) {
				_, _ = there.Write(chunk)
			}
			_ = there.CloseWrite()
		}()
		h, err := here.PeekHello()
		if (h == nil) == (err == nil) {
			t.Fatalf("%v with %v", h, err)
		}
		if got, _ := io.ReadAll(here); !bytes.Equal(got, raw) {
			t.Fatalf("replayed %d bytes of %d", len(got), len(raw))
		}
	})
}

// TestSockets keeps what stays, closes what goes, and reports what cannot be bound.
func TestSockets(t *testing.T) {
	conns := make(chan *Conn, 8)
	refused := make(chan uint64, 8)
	s := NewSet(Options{Handle: func(c *Conn) { conns <- c }, Refused: func(c *Conn, _ diag.Code) { refused <- c.ID() }, MaxConnections: 1})
	defer s.Close()
	ctx := context.Background()
	a := Spec{Name: "a", Address: "127.0.0.1:0", Port: 443}
	p := s.Prepare(ctx, []Spec{a})
	addr := p.Results[0].Addr.String()
	p.Commit()

	p = s.Prepare(ctx, []Spec{a, {Name: "taken", Address: addr}, {Name: "b", Address: "127.0.0.1:0"}})
	if r := p.Results; !r[0].Kept || r[0].Addr.String() != addr || r[1].Err == nil || r[2].Err != nil {
		t.Fatalf("%+v", r)
	}
	b := p.Results[2].Addr.String()
	p.Abort()
	if _, err := net.Dial("tcp", b); err == nil {
		t.Error("an aborted socket is still open")
	}

	first, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	c := <-conns
	if c.Spec().Port != 443 || c.ID() == 0 || c.Remote().String() != first.LocalAddr().String() || s.Open("a") != 1 {
		t.Errorf("%+v, %d open", c.Spec(), s.Open("a"))
	}
	second, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if id := <-refused; id == c.ID() {
		t.Error("the wrong connection was refused")
	}
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the connection over the bound was not closed")
	}
	c.Close()
	if s.Open("a") != 0 {
		t.Error("a closed connection still counts")
	}
	p = s.Prepare(ctx, []Spec{{Name: "renamed", Address: addr, Port: 8443}})
	if r := p.Results[0]; !r.Kept || r.Err != nil {
		t.Fatalf("%+v", r)
	}
	p.Commit()
	third, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	c = <-conns
	if c.Spec().Name != "renamed" || s.Open("renamed") != 1 {
		t.Errorf("the socket still serves %q", c.Spec().Name)
	}
	c.Close()
	s.Prepare(ctx, nil).Commit()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a removed socket is still open")
	}
}

// TestFaultOfOneConnection has the handling of a connection panic: others go on.
func TestFaultOfOneConnection(t *testing.T) {
	conns := make(chan *Conn, 1)
	first := true
	s := NewSet(Options{MaxConnections: 2, Handle: func(c *Conn) {
		if first {
			first = false
			panic("fault")
		}
		conns <- c
	}})
	defer s.Close()
	p := s.Prepare(context.Background(), []Spec{{Name: "a", Address: "127.0.0.1:0"}})
	p.Commit()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Results[0].Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	bad := dial()
	defer bad.Close()
	if _, err := bad.Read(make([]byte, 1)); err == nil {
		t.Error("the connection was not closed")
	}
	good := dial()
	defer good.Close()
	(<-conns).Close()
}
