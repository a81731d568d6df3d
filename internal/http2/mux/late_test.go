package mux

import (
	"io"
	"sync"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
)

// scripted is our client role against a server under the test's control, and the end of its Serve.
func scripted(t *testing.T, cfg Config, settings ...xhttp2.Setting) (*raw, *Conn, chan error) {
	t.Helper()
	a, b := pair(t)
	cfg.Conn, cfg.Client = b, true
	c := New(cfg)
	ended := make(chan error, 1)
	go func() { ended <- c.Serve() }()
	r := newRaw(t, a)
	if _, err := io.ReadFull(a, make([]byte, len(http2.Preface))); err != nil {
		t.Fatal(err)
	}
	r.WriteSettings(settings...)
	r.WriteSettingsAck()
	<-c.Ready()
	return r, c, ended
}

// echoed asks by PING and waits for the answer: all that was sent before has been looked at.
func (r *raw) echoed(data byte) {
	r.t.Helper()
	r.WritePing(false, [8]byte{data})
	r.until(func(f xhttp2.Frame) bool { p, ok := f.(*xhttp2.PingFrame); return ok && p.IsAck() && p.Data[0] == data })
}

// trailers sends a block that ends a stream.
func (r *raw) trailers(id uint32) error {
	return r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndStream: true, EndHeaders: true, BlockFragment: r.fields("x-sum", "1")})
}

// few is a budget of 20 frames that carry nothing, for good.
var few = Limits{ControlBurst: 20, ControlRate: -1}

// What a server still sends on streams that we cancelled is no fault: the connection is shared.
func TestLateFramesOfServer(t *testing.T) {
	r, c, ended := scripted(t, Config{Limits: few})
	for i := range 100 {
		s, err := c.Open(request("POST", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		id := s.ID()
		if i%2 == 1 {
			r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: r.fields(":status", "103")})
		}
		s.Close()
		r.reset(id)
		r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: r.fields(":status", "200")})
		for i := range 20 {
			r.WriteData(id, false, []byte("0123456789"))
			if i%2 == 1 {
				r.WriteWindowUpdate(id, 1000)
			}
		}
		r.trailers(id)
		r.WriteRSTStream(id, xhttp2.ErrCodeNo)
		r.echoed(byte(i))
	}
	c.Abort(http2.NoError)
	if err := <-ended; err != ErrAborted {
		t.Errorf("ended with %v", err)
	}
}

// What clients still send on streams that we reset or refused is no fault either, as far as it could have been
// on its way.
func TestLateFramesOfClient(t *testing.T) {
	resets := func(s *Stream) {
		if s.ID() < 7 {
			s.Reset(http2.Cancel)
			return
		}
		echo(s)
	}
	begin := func(s *server) *raw {
		r := connect(s)
		r.head(1, false)
		r.reset(1)
		return r
	}
	t.Run("small messages within the window", func(t *testing.T) {
		s := startServer(t, few, resets)
		r := begin(s)
		for range 3000 {
			r.WriteData(1, false, make([]byte, 20))
		}
		r.trailers(1)
		r.WriteRSTStream(1, xhttp2.ErrCodeCancel)
		r.head(7, true)
		r.until(isData)
	})
	t.Run("malformed head", func(t *testing.T) {
		s := startServer(t, few, resets)
		r := connect(s)
		r.head(3, false, "Upper", "x")
		for range 100 {
			r.WriteData(3, false, make([]byte, 20))
		}
		r.trailers(3)
		r.echoed(1)
	})
	t.Run("beyond the window", func(t *testing.T) {
		limits := few
		limits.StreamWindow = 65535
		s := startServer(t, limits, resets)
		r := begin(s)
		r.drainReads()
		for range 30 {
			r.WriteData(1, false, make([]byte, 16000))
		}
		s.wantEnd(diag.HTTP2ControlFlood, http2.EnhanceYourCalm)
	})
	t.Run("heads without end", func(t *testing.T) {
		s := startServer(t, few, resets)
		r := begin(s)
		r.drainReads()
		for range 30 {
			r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: r.fields("x", "y")})
		}
		s.wantEnd(diag.HTTP2ControlFlood, http2.EnhanceYourCalm)
	})
	t.Run("behind its end", func(t *testing.T) {
		s := startServer(t, few, resets)
		r := begin(s)
		r.drainReads()
		r.WriteData(1, true, []byte("end"))
		for range 30 {
			r.WriteData(1, false, []byte("x"))
		}
		s.wantEnd(diag.HTTP2ControlFlood, http2.EnhanceYourCalm)
	})
}

// Frames on streams that ended long ago, and were forgotten, end nothing.
func TestForgottenStreams(t *testing.T) {
	s := startServer(t, Limits{}, echo)
	r := connect(s)
	id := uint32(1)
	for range 200 {
		r.head(id, true)
		r.until(func(f xhttp2.Frame) bool { d, ok := f.(*xhttp2.DataFrame); return ok && d.StreamEnded() })
		id += 2
	}
	r.trailers(1)
	r.WriteData(3, false, []byte("x"))
	r.WriteData(3, true, []byte("x"))
	r.WriteRSTStream(5, xhttp2.ErrCodeCancel)
	r.WriteWindowUpdate(7, 1)
	r.head(id, true)
	r.until(func(f xhttp2.Frame) bool {
		if _, ok := f.(*xhttp2.RSTStreamFrame); ok {
			t.Errorf("%v", f)
		}
		return isData(f)
	})
	r.drainReads()
	r.trailers(id) // of this one we know
	s.wantEnd(diag.HTTP2ProtocolError, http2.StreamClosed)
}

// Frames that crossed the GOAWAY that does not name their streams leave the streams in progress alone.
func TestFramesBehindGoAway(t *testing.T) {
	release := make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	s := startServer(t, few, func(s *Stream) { <-release; echo(s) })
	t.Cleanup(free)
	r := connect(s)
	r.head(1, true)
	r.echoed(1)
	s.conns[0].Shutdown()
	ping := r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.PingFrame); return ok }).(*xhttp2.PingFrame)
	r.WritePing(true, ping.Data)
	r.until(func(f xhttp2.Frame) bool { g, ok := f.(*xhttp2.GoAwayFrame); return ok && g.LastStreamID == 1 })
	for _, id := range []uint32{5, 9} {
		r.head(id, false)
		r.WriteWindowUpdate(id, 1000)
		for range 1000 {
			r.WriteData(id, false, make([]byte, 100))
		}
		r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, EndStream: true, BlockFragment: r.fields("x-sum", "1")})
		r.WriteContinuation(id, true, r.fields("x-more", "2"))
		r.WriteRSTStream(id, xhttp2.ErrCodeCancel)
	}
	r.WriteRSTStream(7, xhttp2.ErrCodeCancel)
	r.echoed(2)
	free()
	r.until(func(f xhttp2.Frame) bool {
		d, ok := f.(*xhttp2.DataFrame)
		return ok && d.StreamID == 1 && string(d.Data()) == "hello, world\n"
	})
	r.nc.Close()
	if err := s.end(); err != io.EOF {
		t.Errorf("ended with %v", err)
	}
}

// A client may open as many streams as it cancelled, though these still run; only beyond twice the bound it
// is refused, and not taken for one that resets rapidly.
func TestCancelledStreamsStillRun(t *testing.T) {
	s := startStuck(t, Limits{MaxStreams: 10, ResetBurst: 20, ResetRate: -1})
	r := connect(s)
	id := uint32(1)
	open := func(n int) {
		for range n {
			r.head(id, true)
			id += 2
		}
	}
	cancel := func(n int) {
		for i := range n {
			r.WriteRSTStream(id-2-2*uint32(i), xhttp2.ErrCodeCancel)
		}
	}
	alive := func(data byte) (refused int) {
		r.WritePing(false, [8]byte{data})
		r.until(func(f xhttp2.Frame) bool {
			if _, ok := f.(*xhttp2.RSTStreamFrame); ok {
				refused++
			}
			p, ok := f.(*xhttp2.PingFrame)
			return ok && p.IsAck() && p.Data[0] == data
		})
		return refused
	}
	open(9)
	alive(1)
	cancel(9)
	open(10)
	if n := alive(2); n != 0 {
		t.Errorf("%d of 10 refused beside 9 that were cancelled", n)
	}
	cancel(10)
	open(50)
	if n := alive(3); n != 50 {
		t.Errorf("%d of 50 refused beside 19 that were cancelled", n)
	}
	r.drainReads()
	open(2000)
	s.wantEnd(diag.HTTP2ControlFlood, http2.EnhanceYourCalm)
}
