package mux

import (
	"bytes"
	"errors"
	"io"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
)

// Each flood ends its own connection, with its code, and the server goes on serving others.
func TestFloods(t *testing.T) {
	odd := func(i int) uint32 { return uint32(2*i + 1) }
	for _, c := range []struct {
		name   string
		limits Limits
		stuck  bool // exchanges do not end
		unread bool // the peer does not read
		send   func(r *raw, i int) error
		code   diag.Code
		h2     http2.ErrorCode
	}{
		{name: "rapid reset", code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			r.head(odd(i), false)
			return r.WriteRSTStream(odd(i), xhttp2.ErrCodeCancel)
		}},
		{name: "window update of zero", code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			r.head(odd(i), false)
			return r.WriteWindowUpdate(odd(i), 0)
		}},
		{name: "window overflow of streams", code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			r.head(odd(i), false)
			return r.WriteWindowUpdate(odd(i), 1<<31-1)
		}},
		{name: "data behind the end", stuck: true, code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, limits: Limits{MaxStreams: 10000}, send: func(r *raw, i int) error {
			r.head(odd(i), true)
			return r.WriteData(odd(i), false, []byte("x"))
		}},
		{name: "self-dependency", code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			return r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: odd(i), BlockFragment: r.fields(":method", "GET"), EndHeaders: true,
				Priority: xhttp2.PriorityParam{StreamDep: odd(i)}})
		}},
		{name: "malformed heads", code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.head(odd(i), true, "Upper", "x") }},
		{name: "heads too large", code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, limits: Limits{Head: http2.Limits{HeadBytes: 200}}, send: func(r *raw, i int) error {
			return r.head(odd(i), true, "x", "0123456789012345678901234567890123456789")
		}},
		{name: "wrong content-length", code: diag.HTTP2RapidReset, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			r.head(odd(i), false, "content-length", "1")
			return r.WriteData(odd(i), false, []byte("xy"))
		}},
		{name: "too many streams", stuck: true, code: diag.HTTP2StreamLimit, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.head(odd(i), true) }},
		{name: "resets of what still runs", stuck: true, code: diag.HTTP2StreamLimit, h2: http2.EnhanceYourCalm, limits: Limits{MaxStreams: 10, ResetBurst: 50}, send: func(r *raw, i int) error {
			if i < 10 {
				r.head(odd(i), false)
				r.WriteData(odd(i), false, []byte("x"))
				r.WritePing(false, [8]byte{})
				return r.WriteRSTStream(odd(i), xhttp2.ErrCodeCancel)
			}
			return r.head(odd(i), true)
		}},
		{name: "empty continuations", code: diag.HTTP2HeaderFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			if i == 0 {
				return r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(":method", "GET")})
			}
			return r.WriteContinuation(1, false, nil)
		}},
		{name: "long continuations", code: diag.HTTP2HeaderFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			if i == 0 {
				return r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(":method", "GET")})
			}
			return r.WriteContinuation(1, false, bytes.Repeat([]byte{0x82}, 16000))
		}},
		{name: "tiny blocks", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, limits: Limits{ResetBurst: -1}, send: func(r *raw, i int) error {
			r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: odd(i)})
			return r.WriteContinuation(odd(i), true, r.fields("x", "y"))
		}},
		{name: "settings", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.WriteSettings() }},
		{name: "acknowledgements", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.WriteSettingsAck() }},
		{name: "ping", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.WritePing(false, [8]byte{}) }},
		{name: "answers to ping", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.WritePing(true, [8]byte{}) }},
		{name: "ping unread", unread: true, code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, limits: Limits{ControlBurst: -1}, send: func(r *raw, i int) error {
			return r.WritePing(false, [8]byte{})
		}},
		{name: "priority", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			return r.WritePriority(1, xhttp2.PriorityParam{StreamDep: 3})
		}},
		{name: "unknown frames", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.WriteRawFrame(0xfe, 0, 0, nil) }},
		{name: "goaway", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.WriteGoAway(0, 0, nil) }},
		{name: "empty data", stuck: true, code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			if i == 0 {
				return r.head(1, false)
			}
			return r.WriteData(1, false, nil)
		}},
		{name: "padding alone", stuck: true, code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			if i == 0 {
				return r.head(1, false)
			}
			return r.WriteDataPadded(1, false, nil, make([]byte, 200))
		}},
		{name: "window updates", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error { return r.WriteWindowUpdate(0, 1) }},
		{name: "resets of closed streams", code: diag.HTTP2ControlFlood, h2: http2.EnhanceYourCalm, send: func(r *raw, i int) error {
			if i == 0 {
				return r.head(3, true)
			}
			return r.WriteRSTStream(1, xhttp2.ErrCodeCancel)
		}},
		{name: "window overflow", code: diag.HTTP2FlowControl, h2: http2.FlowControlError, send: func(r *raw, i int) error { return r.WriteWindowUpdate(0, 1<<31-1) }},
		{name: "beyond the window", stuck: true, code: diag.HTTP2FlowControl, h2: http2.FlowControlError, limits: Limits{ConnWindow: 65535, HoldBytes: 1}, send: func(r *raw, i int) error {
			if i == 0 {
				return r.head(1, false)
			}
			return r.WriteData(1, false, make([]byte, 16000))
		}},
		{name: "tiny windows", code: diag.HTTP2TinyWindow, h2: http2.EnhanceYourCalm, limits: Limits{ControlBurst: -1}, unread: true, send: func(r *raw, i int) error {
			if i == 0 {
				r.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1})
				r.head(1, false)
				return r.WriteData(1, false, make([]byte, 10_000))
			}
			for { // one byte for each that came: otherwise windows add up
				f, err := r.ReadFrame()
				if err != nil {
					return err
				}
				if f.Header().Type == xhttp2.FrameData {
					return r.WriteWindowUpdate(1, 1)
				}
			}
		}},
		{name: "large frame", code: diag.HTTP2FrameSize, h2: http2.FrameSizeError, send: func(r *raw, i int) error { return r.WriteRawFrame(0xfe, 0, 0, make([]byte, 16385)) }},
		{name: "not HPACK", code: diag.HTTP2Compression, h2: http2.CompressionError, send: func(r *raw, i int) error {
			return r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: odd(i), BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s *server
			if c.stuck {
				s = startStuck(t, c.limits)
			} else {
				s = startServer(t, c.limits, echo)
			}
			r := connect(s)
			if !c.unread {
				r.drainReads()
			}
			for i := range 500_000 {
				if c.send(r, i) != nil {
					break
				}
			}
			s.wantEnd(c.code, c.h2)
			if c.stuck {
				return
			}
			s.setLimits(Limits{})
			other := connect(s)
			other.head(1, true)
			other.until(func(f xhttp2.Frame) bool {
				d, ok := f.(*xhttp2.DataFrame)
				return ok && string(d.Data()) == "hello, world\n"
			})
		})
	}
}

// A body in single bytes is a flood though its windows allow all of it.
func TestCrumbs(t *testing.T) {
	for name, send := range map[string]func(r *raw) error{
		"bare":   func(r *raw) error { return r.WriteData(1, false, []byte("x")) },
		"padded": func(r *raw) error { return r.WriteDataPadded(1, false, []byte("x"), make([]byte, 20)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, Limits{StreamWindow: 1 << 24, ConnWindow: 1 << 24, SmallRate: -1}, func(s *Stream) {
				for {
					if _, err := s.Next(); err != nil {
						return
					}
				}
			})
			r := connect(s)
			r.drainReads()
			r.head(1, false)
			sent := 0
			for ; sent < 100_000 && send(r) == nil; sent++ {
			}
			var e *http2.Error
			if err := s.end(); !errors.As(err, &e) || e.Code != diag.HTTP2ControlFlood || e.Detail != "tiny DATA frames, over and over" || sent < DefaultSmallBurst {
				t.Errorf("ended with %v after %d frames", err, sent)
			}
		})
	}
}

// What busy and honest clients do is no flood.
func TestHonestClients(t *testing.T) {
	s := startServer(t, Limits{}, echo)
	t.Run("cancels a page", func(t *testing.T) {
		r := connect(s)
		r.drainReads()
		for i := range 100 {
			r.head(uint32(2*i+1), false)
		}
		for i := range 100 {
			r.WriteRSTStream(uint32(2*i+1), xhttp2.ErrCodeCancel)
		}
		r.alive(s)
	})
	t.Run("credits and pings for each frame", func(t *testing.T) {
		r := connect(s)
		r.head(1, false)
		for range 3000 {
			r.WriteData(1, false, make([]byte, 1000))
			for got := 0; got < 1000; {
				d := r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.DataFrame); return ok }).(*xhttp2.DataFrame)
				got += len(d.Data())
				r.WriteWindowUpdate(0, uint32(len(d.Data())))
				r.WriteWindowUpdate(1, uint32(len(d.Data())))
				r.WritePing(false, [8]byte{1})
			}
		}
		r.WriteData(1, true, nil)
		r.until(func(f xhttp2.Frame) bool { d, ok := f.(*xhttp2.DataFrame); return ok && d.StreamEnded() })
	})
	t.Run("resets behind answers", func(t *testing.T) {
		r := connect(s)
		for i := range 2000 {
			id := uint32(2*i + 1)
			r.head(id, true)
			r.until(func(f xhttp2.Frame) bool { d, ok := f.(*xhttp2.DataFrame); return ok && d.StreamEnded() })
			r.WriteWindowUpdate(0, 13)
			r.WriteRSTStream(id, xhttp2.ErrCodeNo)
		}
	})
	t.Run("sends tiny messages", func(t *testing.T) {
		read := make(chan int, 1)
		s := startServer(t, Limits{StreamWindow: 1 << 24, ConnWindow: 1 << 24}, func(s *Stream) { // the client does not look at windows
			n := 0
			for {
				b, err := s.Next()
				if n += len(b); err != nil {
					read <- n
					return
				}
			}
		})
		r := connect(s)
		r.drainReads()
		r.head(1, false)
		for range 10_000 {
			for range 9 {
				r.WriteData(1, false, make([]byte, 7))
			}
			r.WriteData(1, false, make([]byte, 600))
		}
		r.WriteData(1, true, nil)
		if n := <-read; n != 10_000*663 {
			t.Errorf("%d bytes came", n)
		}
	})
	if len(s.refused) > 0 {
		t.Log("refused:", len(s.refused))
	}
}

// alive checks that the connection serves, without reading from r.
func (r *raw) alive(s *server) {
	r.t.Helper()
	if _, err := io.WriteString(r.nc, ""); err != nil {
		r.t.Error(err)
	}
	select {
	case err := <-s.ended:
		r.t.Errorf("the connection ended: %v", err)
	default:
	}
}
