package mux

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// scriptConn is a connection whose peer has sent everything already and reads everything. It is no
// closer of one direction, so nothing lingers.
type scriptConn struct {
	net.Conn
	mu      sync.Mutex
	in      []byte
	step    int // bytes given at once
	written int
}

func (c *scriptConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.step)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written += len(p)
	return len(p), nil
}

func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// seeds are frames of an ordinary connection and some that are not.
func seeds(f *testing.F) {
	var b bytes.Buffer
	r := &raw{Framer: xhttp2.NewFramer(&b, nil), t: f}
	r.AllowIllegalWrites = true
	add := func(write func()) {
		b.Reset()
		b.WriteString(http2.Preface)
		r.WriteSettings()
		r.WriteSettingsAck()
		write()
		f.Add(bytes.Clone(b.Bytes()), uint8(255))
		f.Add(bytes.Clone(b.Bytes()), uint8(7))
	}
	block := []byte{0x83, 0x86, 0x84, 0x41, 0x01, 'a'} // POST http / a
	head := func(id uint32, end, whole bool) {
		r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: whole})
	}
	add(func() {
		head(1, true, true)
		r.WriteRSTStream(1, 8)
		head(3, false, true)
		r.WriteData(3, true, []byte("abc"))
	})
	add(func() {
		head(1, false, true)
		r.WriteDataPadded(1, false, []byte("abc"), make([]byte, 9))
		head(1, true, true)
	})
	add(func() {
		head(1, false, false)
		r.WriteContinuation(1, false, nil)
		r.WriteContinuation(1, true, []byte{0x82})
	})
	add(func() {
		r.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1}, xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: 0})
		head(1, true, true)
		r.WriteWindowUpdate(1, 5)
		r.WriteWindowUpdate(0, 1<<31-1)
	})
	add(func() {
		r.WritePing(false, [8]byte{})
		r.WriteGoAway(0, 0, nil)
		r.WritePriority(3, xhttp2.PriorityParam{StreamDep: 3})
	})
}

// FuzzServer: whatever a client sends, the connection ends, no exchange stays, and nothing is held.
func FuzzServer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		nc := &scriptConn{in: in, step: int(step) + 1}
		var wg sync.WaitGroup
		c := New(Config{Conn: nc, Scheme: "http", Accept: func(s *Stream) {
			wg.Go(func() {
				defer s.Close()
				s.OnReset(func() {})
				echo(s)
			})
		}})
		if err := c.Serve(); err == nil {
			t.Error("ended without a reason")
		}
		wg.Wait()
		checkEmpty(t, c)
		if nc.written > 64*len(in)+1<<16 {
			t.Errorf("%d bytes were answered with %d", len(in), nc.written)
		}
	})
}

// checkEmpty checks that a connection that ended holds nothing and counts nothing.
func checkEmpty(t *testing.T, c *Conn) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) != 0 || c.owned != 0 || c.zombies != 0 || c.held != 0 || len(c.pending) != 0 || len(c.notify) != 0 || c.writing ||
		c.out != nil || c.in != nil || c.headQueue.first != nil || c.bodyQueue.first != nil {
		t.Errorf("left: %d streams, %d owned, %d zombies, %d bytes held, %d pending, %d to notify, writer %v", len(c.streams), c.owned,
			c.zombies, c.held, len(c.pending), len(c.notify), c.writing)
	}
}

// FuzzClient: whatever a server sends, each of a client's streams ends.
func FuzzClient(f *testing.F) {
	var b bytes.Buffer
	r := &raw{Framer: xhttp2.NewFramer(&b, nil), t: f}
	r.WriteSettings()
	r.WriteSettingsAck()
	r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x08, 0x03, '1', '0', '3'}, EndHeaders: true})
	r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
	r.WriteData(1, false, []byte("abc"))
	r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x00, 1, 'x', 1, 'y'}, EndHeaders: true, EndStream: true})
	r.WriteRSTStream(3, 7)
	r.WriteGoAway(3, 0, nil)
	f.Add(b.Bytes(), uint8(255))
	f.Add(b.Bytes(), uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		c := New(Config{Conn: &scriptConn{in: in, step: int(step) + 1}, Client: true})
		var wg sync.WaitGroup
		for range 3 {
			s, err := c.Open(request("POST", "/"), false)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer s.Close()
				s.Write([]byte("body"), true)
				var resp message.Response
				for s.ReadResponse(&resp) == nil && resp.Status < 200 {
				}
				for {
					if _, err := s.Next(); err != nil {
						return
					}
				}
			})
		}
		if err := c.Serve(); err == nil {
			t.Error("ended without a reason")
		}
		wg.Wait()
		checkEmpty(t, c)
	})
}
