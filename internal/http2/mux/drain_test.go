package mux

import (
	"errors"
	"io"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

func isGoAway(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.GoAwayFrame); return ok }

// Shutdown: a GOAWAY that refuses nothing, a round trip, the real one; then the streams end in peace.
func TestShutdownOfServer(t *testing.T) {
	release := make(chan struct{})
	s := startServer(t, Limits{}, func(s *Stream) { <-release; echo(s) })
	r := connect(s)
	r.head(1, true)
	r.WritePing(false, [8]byte{9})
	r.until(func(f xhttp2.Frame) bool { p, ok := f.(*xhttp2.PingFrame); return ok && p.IsAck() })
	c := s.conns[0]
	c.Shutdown()
	c.Shutdown()
	if g := r.until(isGoAway).(*xhttp2.GoAwayFrame); g.LastStreamID != http2.MaxStream || g.ErrCode != 0 {
		t.Fatalf("first GOAWAY: %v", g)
	}
	ping := r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.PingFrame); return ok }).(*xhttp2.PingFrame)
	data := ping.Data
	r.head(3, true) // was on its way
	r.WritePing(true, data)
	if g := r.until(isGoAway).(*xhttp2.GoAwayFrame); g.LastStreamID != 3 || g.ErrCode != 0 {
		t.Fatalf("second GOAWAY: %v", g)
	}
	r.head(5, true) // too late
	close(release)
	seen := map[uint32]bool{}
	for {
		f, err := r.ReadFrame()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := f.(*xhttp2.DataFrame); ok && d.StreamEnded() {
			seen[d.StreamID] = true
		}
	}
	if !seen[1] || !seen[3] || len(seen) != 2 {
		t.Errorf("answered: %v", seen)
	}
	r.nc.Close()
	if err := s.end(); err != io.EOF {
		t.Errorf("ended with %v", err)
	}
}

// A client that does not answer the PING of the first step does not put the second one off.
func TestShutdownWithoutAnswer(t *testing.T) {
	s := startServer(t, Limits{}, echo)
	r := connect(s)
	r.head(1, true)
	r.until(isData)
	s.conns[0].Shutdown()
	for last := uint32(0); last != 1; {
		last = r.until(isGoAway).(*xhttp2.GoAwayFrame).LastStreamID
	}
	r.nc.Close()
	if err := s.end(); err != io.EOF {
		t.Errorf("ended with %v", err)
	}
}

// rawServer is a server under the test's control, and our client role on the other end.
func rawServer(t *testing.T, settings ...xhttp2.Setting) (*raw, *Conn) {
	a, b := pair(t)
	c := dialed(t, b, Limits{})
	r := newRaw(t, a)
	if _, err := io.ReadFull(a, make([]byte, len(http2.Preface))); err != nil {
		t.Fatal(err)
	}
	r.WriteSettings(settings...)
	r.WriteSettingsAck()
	return r, c
}

// GOAWAY tells a client which requests may be repeated; the others go on.
func TestGoAwayOfServer(t *testing.T) {
	r, c := rawServer(t)
	<-c.Ready()
	kept, err := c.Open(request("GET", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	lost, err := c.Open(request("GET", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{})
	lost.OnReset(func() { close(told) })
	r.WriteGoAway(1, xhttp2.ErrCodeNo, nil)
	var resp message.Response
	if err := lost.ReadResponse(&resp); !errors.Is(err, ErrRefused) {
		t.Errorf("refused stream: %v", err)
	}
	<-told
	lost.Close()
	if _, err := c.Open(request("GET", "/"), true); err != ErrGoingAway || c.Available() != 0 {
		t.Errorf("Open: %v, %d available", err, c.Available())
	}
	r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(":status", "204"), EndStream: true, EndHeaders: true})
	if err := kept.ReadResponse(&resp); err != nil || resp.Status != 204 {
		t.Errorf("kept stream: %d, %v", resp.Status, err)
	}
	kept.Close()
	for { // the connection ends by itself
		if _, err := r.ReadFrame(); err != nil {
			break
		}
	}
}

// GOAWAY with an error code tells why the connection ends, for the streams that the server has looked at.
func TestFaultyGoAwayOfServer(t *testing.T) {
	for name, end := range map[string]func(*raw){
		"closes": func(r *raw) { r.nc.Close() },
		"answers": func(r *raw) {
			r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(":status", "204"), EndStream: true, EndHeaders: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			changes := make(chan struct{}, 10)
			c := New(Config{Conn: b, Client: true, Changed: func() { changes <- struct{}{} }})
			ended := make(chan error, 1)
			go func() { ended <- c.Serve() }()
			r := newRaw(t, a)
			if _, err := io.ReadFull(a, make([]byte, len(http2.Preface))); err != nil {
				t.Fatal(err)
			}
			r.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 7})
			<-changes
			if n := c.MaxStreams(); n != 7 {
				t.Errorf("MaxStreams: %d", n)
			}
			seen, err := c.Open(request("GET", "/"), true)
			if err != nil {
				t.Fatal(err)
			}
			unseen, err := c.Open(request("GET", "/"), true)
			if err != nil {
				t.Fatal(err)
			}
			r.WriteGoAway(1, xhttp2.ErrCodeEnhanceYourCalm, append([]byte("calm\r\n"), make([]byte, 4000)...))
			<-changes
			if n := c.MaxStreams(); n != 0 {
				t.Errorf("MaxStreams after GOAWAY: %d", n)
			}
			end(r)
			var resp message.Response
			if err := unseen.ReadResponse(&resp); !errors.Is(err, ErrRefused) {
				t.Errorf("the stream above the last one: %v", err)
			}
			err = seen.ReadResponse(&resp)
			unseen.Close()
			seen.Close()
			var parting *GoAwayError
			if name == "closes" && (!errors.As(err, &parting) || parting.Code != http2.EnhanceYourCalm) {
				t.Errorf("the other stream: %v", err)
			}
			if name == "answers" && err != nil {
				t.Errorf("the other stream: %v", err)
			}
			parting = nil
			if err := <-ended; !errors.As(err, &parting) || parting.Code != http2.EnhanceYourCalm || len(parting.Debug) != maxDebug || parting.Debug[:6] != "calm.." {
				t.Errorf("the connection ended with %v", err)
			}
		})
	}
}

func TestMaxStreamsOfServer(t *testing.T) {
	r, c := rawServer(t, xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 1})
	<-c.Ready()
	s, err := c.Open(request("GET", "/"), true)
	if err != nil || c.Available() != 0 || c.ExtendedConnect() {
		t.Fatalf("%v, %d available, extended CONNECT %v", err, c.Available(), c.ExtendedConnect())
	}
	if _, err := c.Open(request("GET", "/"), true); err != ErrNoSlot {
		t.Errorf("second stream: %v", err)
	}
	s.Close()
	if code := r.reset(1); code != xhttp2.ErrCodeCancel || c.Available() != 1 {
		t.Errorf("reset with %v, %d available", code, c.Available())
	}
	r.WriteData(1, false, []byte("late"))
	r.WritePing(false, [8]byte{1})
	r.until(func(f xhttp2.Frame) bool { p, ok := f.(*xhttp2.PingFrame); return ok && p.IsAck() })
}

// An answer that is complete stays whole when the server resets what is left of the upload.
func TestResetBehindAnswer(t *testing.T) {
	r, c := rawServer(t)
	s, err := c.Open(request("POST", "/"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.until(func(f xhttp2.Frame) bool { return f.Header().Type == xhttp2.FrameHeaders })
	r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(":status", "413"), EndHeaders: true})
	r.WriteData(1, true, []byte("too large"))
	r.WriteRSTStream(1, xhttp2.ErrCodeNo)
	for deadline := time.Now().Add(5 * time.Second); s.Write([]byte("x"), false) == nil; {
		if time.Now().After(deadline) {
			t.Fatal("writing goes on")
		}
	}
	var resp message.Response
	if err := s.ReadResponse(&resp); err != nil || resp.Status != 413 {
		t.Fatalf("%d, %v", resp.Status, err)
	}
	if b, err := s.Next(); err != nil || string(b) != "too large" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Errorf("%v", err)
	}
}

// Streams of a connection that dies end with an error that is not the end of a body.
func TestConnectionDies(t *testing.T) {
	r, c := rawServer(t)
	s, err := c.Open(request("GET", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.until(func(f xhttp2.Frame) bool { return f.Header().Type == xhttp2.FrameHeaders })
	r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(":status", "200"), EndHeaders: true})
	r.nc.Close()
	var resp message.Response
	if err := s.ReadResponse(&resp); err != nil {
		t.Logf("head: %v", err)
	}
	if _, err := s.Next(); err == nil || err == io.EOF {
		t.Errorf("body: %v", err)
	}
}
