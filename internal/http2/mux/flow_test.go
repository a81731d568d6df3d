package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

func isData(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.DataFrame); return ok }

func answer(s *Stream, n int) error {
	if err := s.WriteHead(&message.Response{Status: 200, Body: message.Body{Kind: message.Chunked}}, false); err != nil {
		return err
	}
	return s.Write(make([]byte, n), true)
}

// A window made negative by SETTINGS has to become positive before DATA goes on (RFC 9113 section 6.9.2).
func TestNegativeWindow(t *testing.T) {
	s := startServer(t, Limits{}, func(s *Stream) { answer(s, 100) })
	r := connect(s, xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 60})
	r.head(1, true)
	if d := r.until(isData).(*xhttp2.DataFrame); len(d.Data()) != 60 {
		t.Fatalf("%d bytes, want 60", len(d.Data()))
	}
	r.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 10}) // now -50
	r.WriteWindowUpdate(1, 50)
	r.WritePing(false, [8]byte{1})
	f := r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.PingFrame); return ok || isData(f) })
	if isData(f) {
		t.Fatal("DATA without a window")
	}
	r.WriteWindowUpdate(1, 40)
	if d := r.until(isData).(*xhttp2.DataFrame); len(d.Data()) != 40 || !d.StreamEnded() {
		t.Errorf("%d bytes, want 40", len(d.Data()))
	}
}

// Streams take turns, and one without a window holds up nobody.
func TestTurns(t *testing.T) {
	s := startServer(t, Limits{}, func(s *Stream) { answer(s, 200_000) })
	r := connect(s, xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 20})
	for id := uint32(1); id <= 7; id += 2 {
		r.head(id, true)
	}
	for got := 0; got < 65535; { // until the connection's window is empty
		got += len(r.until(isData).(*xhttp2.DataFrame).Data())
	}
	time.Sleep(20 * time.Millisecond) // all four wait now
	r.WriteWindowUpdate(0, 400_000)
	bytesOf := map[uint32]int{}
	for got := 0; got < 400_000; {
		d := r.until(isData).(*xhttp2.DataFrame)
		bytesOf[d.StreamID] += len(d.Data())
		got += len(d.Data())
	}
	for id := uint32(1); id <= 7; id += 2 {
		if n := bytesOf[id]; n < 70_000 || n > 135_000 {
			t.Errorf("stream %d got %d bytes of 400,000", id, n)
		}
	}
}

// A slow client makes its exchange wait, and nothing piles up.
func TestSlowReader(t *testing.T) {
	wrote := make(chan int, 1000)
	s := startServer(t, Limits{OutBytes: 8 << 10}, func(s *Stream) {
		s.WriteHead(&message.Response{Status: 200}, false)
		for s.Write(make([]byte, 1<<10), false) == nil {
			wrote <- 1
		}
	})
	r := connect(s)
	r.head(1, true)
	n := 0
	for quiet := time.After(300 * time.Millisecond); ; {
		select {
		case <-wrote:
			n++
			continue
		case <-quiet:
		}
		break
	}
	if n != 63 {
		t.Errorf("%d KiB were written, want what fits 65,535 bytes of window", n)
	}
}

// A stream that nobody reads takes its own window and nothing from the others.
func TestUnreadStreamDoesNotStall(t *testing.T) {
	done := make(chan struct{})
	s := startServer(t, Limits{}, func(s *Stream) {
		if s.ID() == 1 {
			<-done
			return
		}
		echo(s)
	})
	t.Cleanup(func() { close(done) })
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := dialed(t, nc, Limits{})
	<-c.Ready()
	stuck, err := c.Open(request("POST", "/"), false)
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- stuck.Write(make([]byte, 1<<20), false) }()
	body := randomBytes(4 << 20)
	if _, got, _, err := roundTrip(c, body, nil); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	stuck.SetWriteDeadline(time.Unix(1, 0))
	if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write without a window: %v", err)
	}
	stuck.Close()
}

// What a stream held when it was closed is credited, and so is what comes after.
func TestConnectionWindowComesBack(t *testing.T) {
	s := startServer(t, Limits{ConnWindow: 1 << 16, StreamWindow: 1 << 16, HoldBytes: 1}, func(s *Stream) {
		s.Next()
	})
	r := connect(s)
	const each = 16000 + 100 + 1 // with the byte that says how long the padding is
	window := 1 << 16
	for i := range 40 {
		for window < each {
			w := r.until(func(f xhttp2.Frame) bool { w, ok := f.(*xhttp2.WindowUpdateFrame); return ok && w.StreamID == 0 })
			window += int(w.(*xhttp2.WindowUpdateFrame).Increment)
		}
		id := uint32(2*i + 1)
		r.head(id, false)
		r.WriteDataPadded(id, false, make([]byte, 8000), make([]byte, 100))
		r.WriteData(id, true, make([]byte, 8000)) // perhaps on a stream that was reset
		window -= each
	}
}

// A body that is not as long as it says ends its stream, and its reader does not take it for whole.
func TestContentLength(t *testing.T) {
	for name, send := range map[string]func(r *raw){
		"shorter": func(r *raw) { r.WriteData(1, true, []byte("abc")) },
		"longer":  func(r *raw) { r.WriteData(1, false, []byte("abcdef")) },
		"ended by trailers": func(r *raw) {
			r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: r.fields("x-a", "b")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			read, told, begun := make(chan error, 1), make(chan struct{}), make(chan struct{})
			s := startServer(t, Limits{}, func(s *Stream) {
				s.OnReset(func() { close(told) })
				close(begun)
				for {
					if _, err := s.Next(); err != nil {
						read <- err
						return
					}
				}
			})
			r := connect(s)
			r.head(1, false, "content-length", "5")
			<-begun
			send(r)
			if code := r.reset(1); code != xhttp2.ErrCodeProtocol {
				t.Errorf("reset with %v", code)
			}
			err := <-read
			var reset *ResetError
			if !errors.As(err, &reset) || reset.Remote || reset.Code != http2.ProtocolError || reset.Cause == nil {
				t.Errorf("read: %v", err)
			}
			<-told
		})
	}
}

// A reset wakes whoever waits on the stream.
func TestResetWakes(t *testing.T) {
	for name, wait := range map[string]func(s *Stream) error{
		"reading": func(s *Stream) error { _, err := s.Next(); return err },
		"writing": func(s *Stream) error { return answer(s, 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			got, begun := make(chan error, 1), make(chan struct{})
			s := startServer(t, Limits{}, func(s *Stream) {
				close(begun)
				got <- wait(s)
			})
			r := connect(s)
			r.head(1, false)
			<-begun
			time.Sleep(10 * time.Millisecond)
			r.WriteRSTStream(1, xhttp2.ErrCodeCancel)
			var reset *ResetError
			if err := <-got; !errors.As(err, &reset) || !reset.Remote || reset.Code != http2.Cancel {
				t.Errorf("%v", err)
			}
		})
	}
}

// Heads that are only too large are answered; what is malformed is reset.
func TestLargeHead(t *testing.T) {
	s := startServer(t, Limits{Head: http2.Limits{HeadBytes: 300}}, echo)
	r := connect(s)
	r.head(1, true, "x", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789")
	f := r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.MetaHeadersFrame); return ok }).(*xhttp2.MetaHeadersFrame)
	if f.PseudoValue("status") != "431" || !f.StreamEnded() {
		t.Errorf("answered %v", f)
	}
	r.head(3, true)
	r.until(isData)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refused) != 1 || s.refused[0].Status != 431 || s.refused[0].Err.Code != diag.RequestHeadTooLarge {
		t.Errorf("refused: %+v", s.refused)
	}
}

// Frames that cross our RST_STREAM are no fault: their heads are decoded, their bytes credited.
func TestFramesBehindReset(t *testing.T) {
	s := startServer(t, Limits{}, func(s *Stream) {
		if s.ID() == 1 {
			s.Reset(http2.EnhanceYourCalm)
			return
		}
		echo(s)
	})
	r := connect(s)
	r.head(1, false)
	if code := r.reset(1); code != xhttp2.ErrCodeEnhanceYourCalm {
		t.Errorf("%v", code)
	}
	r.WriteData(1, false, []byte("late"))
	r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndStream: true, EndHeaders: true, BlockFragment: r.fields("x-table", "entry")})
	r.WriteRSTStream(1, xhttp2.ErrCodeCancel)
	r.WriteWindowUpdate(1, 1)
	r.head(3, true, "x-table", "entry")
	r.until(isData)
}

// ReadResponse gives interim heads in order, then the final one.
func TestInterim(t *testing.T) {
	s := startServer(t, Limits{}, func(s *Stream) {
		s.WriteHead(&message.Response{Status: 103}, false)
		s.WriteHead(&message.Response{Status: 200, Body: message.Body{Kind: message.Sized}}, true)
	})
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := dialed(t, nc, Limits{})
	st, err := c.Open(request("GET", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var resp message.Response
	for _, want := range []int{103, 200} {
		if err := st.ReadResponse(&resp); err != nil || resp.Status != want {
			t.Fatalf("%d, %v; want %d", resp.Status, err, want)
		}
	}
	if err := st.ReadResponse(&resp); err != ErrOver {
		t.Errorf("after the final head: %v", err)
	}
	if _, err := st.Next(); err != io.EOF {
		t.Errorf("body: %v", err)
	}
}
