package mux

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
)

// Answers that nobody reads do not hold up the others of a shared connection, and are seen by Held.
func TestUnreadAnswersDoNotStall(t *testing.T) {
	r, c, _ := scripted(t, Config{Limits: Limits{StreamWindow: 65535, ConnWindow: 65535, HoldBytes: 1}})
	window := 65535
	for range 20 {
		s, err := c.Open(request("GET", "/"), true)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: s.ID(), EndHeaders: true, BlockFragment: r.fields(":status", "200")})
		for range 4 {
			for window < 16000 {
				w := r.until(func(f xhttp2.Frame) bool { w, ok := f.(*xhttp2.WindowUpdateFrame); return ok && w.StreamID == 0 })
				window += int(w.(*xhttp2.WindowUpdateFrame).Increment)
			}
			r.WriteData(s.ID(), false, make([]byte, 16000))
			window -= 16000
		}
	}
	r.echoed(1)
	if n := c.Held(); n != 20*64000 {
		t.Errorf("Held: %d", n)
	}
}

// Held counts what is to be sent, also in a Write that does not end.
func TestHeldUnsent(t *testing.T) {
	s := startServer(t, Limits{}, func(s *Stream) { answer(s, 8<<20) })
	r := connect(s, xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 30})
	r.WriteWindowUpdate(0, 1<<30)
	r.head(1, true)
	r.until(isData)
	for deadline := time.Now().Add(5 * time.Second); s.conns[0].Held() < DefaultOutBytes*3/2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("Held: %d", s.conns[0].Held())
		}
	}
}

// Congested tells that the connection's window is what streams wait for, and only that.
func TestCongested(t *testing.T) {
	var now atomic.Int64
	now.Store(1000)
	r, c, _ := scripted(t, Config{Now: now.Load}, xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 20})
	write := func() (*Stream, chan error) {
		s, err := c.Open(request("POST", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Write(bytes.Repeat([]byte("x"), 100_000), false) }()
		return s, done
	}
	read := func(n int) {
		for n > 0 {
			n -= len(r.until(isData).(*xhttp2.DataFrame).Data())
		}
	}
	check := func(want bool) {
		t.Helper()
		if got := c.Congested(now.Load()); got != want {
			t.Errorf("Congested: %v", got)
		}
	}
	check(false)
	s, done := write()
	read(65535)
	check(false)
	now.Add(1500)
	check(true)
	r.WriteWindowUpdate(0, 10) // a tiny increment changes nothing
	read(10)
	check(true)
	r.WriteWindowUpdate(0, 20_000)
	read(20_000)
	check(false)
	now.Add(1500)
	check(true)
	r.WriteWindowUpdate(0, 1<<20)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	check(false)
	s.Close()
	r.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 10})
	r.echoed(1)
	s, done = write()
	read(10)
	now.Add(1500)
	check(false) // its own window
	s.Reset(0)
	<-done
	s.Close()
}
