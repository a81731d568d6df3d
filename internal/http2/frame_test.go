package http2

import (
	"bytes"
	"errors"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// What we append, x/net's framer reads.
func TestAppendedFrames(t *testing.T) {
	block := bytes.Repeat([]byte("h"), 25)
	var b []byte
	b = AppendSettings(b, Setting{SettingMaxConcurrentStreams, 100}, Setting{SettingInitialWindowSize, 1 << 20})
	b = AppendSettingsAck(b)
	b = AppendPing(b, [8]byte{1, 2, 3}, true)
	b = AppendHeaders(b, 3, block, true, 10)
	b = append(AppendData(b, 3, 5, true), "hello"...)
	b = AppendWindowUpdate(b, 0, 1000)
	b = AppendRSTStream(b, 5, Cancel)
	b = AppendGoAway(b, 7, EnhanceYourCalm, "calm")
	f := xhttp2.NewFramer(nil, bytes.NewReader(b))
	f.AllowIllegalReads = true
	for _, want := range []string{
		"[FrameHeader SETTINGS len=12]", "[FrameHeader SETTINGS flags=ACK len=0]", "[FrameHeader PING flags=ACK len=8]",
		"[FrameHeader HEADERS flags=END_STREAM stream=3 len=10]", "[FrameHeader CONTINUATION stream=3 len=10]",
		"[FrameHeader CONTINUATION flags=END_HEADERS stream=3 len=5]", "[FrameHeader DATA flags=END_STREAM stream=3 len=5]",
		"[FrameHeader WINDOW_UPDATE len=4]", "[FrameHeader RST_STREAM stream=5 len=4]", "[FrameHeader GOAWAY len=12]",
	} {
		fr, err := f.ReadFrame()
		if err != nil || fr.Header().String() != want {
			t.Fatalf("%v %v, want %s", fr, err, want)
		}
		switch fr := fr.(type) {
		case *xhttp2.GoAwayFrame:
			if fr.LastStreamID != 7 || uint32(fr.ErrCode) != uint32(EnhanceYourCalm) || string(fr.DebugData()) != "calm" {
				t.Errorf("%v", fr)
			}
		case *xhttp2.RSTStreamFrame:
			if uint32(fr.ErrCode) != uint32(Cancel) {
				t.Errorf("%v", fr)
			}
		case *xhttp2.WindowUpdateFrame:
			if fr.Increment != 1000 {
				t.Errorf("%v", fr)
			}
		case *xhttp2.SettingsFrame:
			if v, ok := fr.Value(xhttp2.SettingInitialWindowSize); !fr.IsAck() && (!ok || v != 1<<20) {
				t.Errorf("%v", fr)
			}
		}
	}
	if h := AppendHeaders(nil, 1, nil, false, 10); len(h) != FrameHeaderSize || ParseHeader(h).Flags != FlagEndHeaders {
		t.Errorf("empty block: %x", h)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	h := Header{Length: 0xabcdef, Type: FrameContinuation, Flags: FlagEndHeaders, Stream: MaxStream}
	b := AppendHeader(nil, h)
	if got := ParseHeader(b); got != h {
		t.Errorf("%+v", got)
	}
	b[5] |= 0x80
	if got := ParseHeader(b); got != h {
		t.Errorf("reserved bit: %+v", got)
	}
}

// check compares an error with what is wanted: nil, or "size"/"protocol" of a stream.
func check(t *testing.T, what string, err error, code ErrorCode, stream uint32) {
	t.Helper()
	var e *Error
	if code == NoError {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	if !errors.As(err, &e) || e.HTTP2 != code || e.Stream != stream || e.Code == 0 || e.Detail == "" {
		t.Errorf("%s: %v, want %v of stream %d", what, err, code, stream)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		what   string
		h      Header
		code   ErrorCode
		stream uint32
	}{
		{"DATA", Header{16384, 1, FrameData, 0}, NoError, 0},
		{"DATA too long", Header{16385, 1, FrameData, 0}, FrameSizeError, 0},
		{"DATA on 0", Header{1, 0, FrameData, 0}, ProtocolError, 0},
		{"HEADERS on 0", Header{1, 0, FrameHeaders, 0}, ProtocolError, 0},
		{"CONTINUATION on 0", Header{1, 0, FrameContinuation, 0}, ProtocolError, 0},
		{"PRIORITY", Header{5, 3, FramePriority, 0}, NoError, 0},
		{"PRIORITY on 0", Header{5, 0, FramePriority, 0}, ProtocolError, 0},
		{"PRIORITY of 4", Header{4, 3, FramePriority, 0}, FrameSizeError, 3},
		{"RST_STREAM", Header{4, 3, FrameRSTStream, 0}, NoError, 0},
		{"RST_STREAM on 0", Header{4, 0, FrameRSTStream, 0}, ProtocolError, 0},
		{"RST_STREAM of 5", Header{5, 3, FrameRSTStream, 0}, FrameSizeError, 0},
		{"SETTINGS", Header{12, 0, FrameSettings, 0}, NoError, 0},
		{"SETTINGS on 1", Header{12, 1, FrameSettings, 0}, ProtocolError, 0},
		{"SETTINGS of 7", Header{7, 0, FrameSettings, 0}, FrameSizeError, 0},
		{"SETTINGS ACK of 6", Header{6, 0, FrameSettings, FlagAck}, FrameSizeError, 0},
		{"PUSH_PROMISE", Header{8, 1, FramePushPromise, 0}, ProtocolError, 0},
		{"PING of 7", Header{7, 0, FramePing, 0}, FrameSizeError, 0},
		{"PING on 1", Header{8, 1, FramePing, 0}, ProtocolError, 0},
		{"GOAWAY of 7", Header{7, 0, FrameGoAway, 0}, FrameSizeError, 0},
		{"GOAWAY on 1", Header{8, 1, FrameGoAway, 0}, ProtocolError, 0},
		{"WINDOW_UPDATE of 3", Header{3, 1, FrameWindowUpdate, 0}, FrameSizeError, 0},
		{"unknown", Header{3, 1, 0xfa, 0xff}, NoError, 0},
	} {
		check(t, c.what, c.h.Check(DefaultMaxFrame), c.code, c.stream)
	}
}

func TestPayloads(t *testing.T) {
	padded := Header{Stream: 3, Flags: FlagPadded}
	for in, want := range map[string]string{"\x00abc": "abc", "\x02abc": "a", "\x03abc": ""} {
		if got, err := ParseData(padded, []byte(in)); err != nil || string(got) != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	_, err := ParseData(padded, nil)
	check(t, "no pad length", err, FrameSizeError, 0)
	_, err = ParseData(padded, []byte("\x04abc"))
	check(t, "padding too long", err, ProtocolError, 0)

	both := Header{Stream: 3, Flags: FlagPadded | FlagPriority}
	if got, err := ParseHeaders(both, []byte("\x01\x80\x00\x00\x01\x10block.")); err != nil || string(got) != "block" {
		t.Errorf("%q %v", got, err)
	}
	if got, err := ParseHeaders(Header{Stream: 3}, []byte("block")); err != nil || string(got) != "block" {
		t.Errorf("%q %v", got, err)
	}
	_, err = ParseHeaders(both, []byte("\x01\x00\x00\x00\x01\x10"))
	check(t, "priority cut off", err, FrameSizeError, 0)
	_, err = ParseHeaders(both, []byte("\x07\x00\x00\x00\x01\x10"))
	check(t, "padding over the priority", err, ProtocolError, 0)
	fragment, err := ParseHeaders(Header{Stream: 3, Flags: FlagPriority}, []byte("\x80\x00\x00\x03\x10block"))
	check(t, "depends on itself", err, ProtocolError, 3)
	if string(fragment) != "block" {
		t.Errorf("fragment %q", fragment)
	}
	check(t, "PRIORITY on itself", ParsePriority(Header{Stream: 3}, []byte("\x00\x00\x00\x03\x10")), ProtocolError, 3)
	check(t, "PRIORITY", ParsePriority(Header{Stream: 3}, []byte("\x00\x00\x00\x01\x10")), NoError, 0)

	_, err = ParseWindowUpdate(Header{Stream: 3}, []byte("\x80\x00\x00\x00"))
	check(t, "increment of zero", err, ProtocolError, 3)
	if n, err := ParseWindowUpdate(Header{}, []byte("\xff\xff\xff\xff")); n != MaxWindow || err != nil {
		t.Error(n, err)
	}
	if last, code, debug := ParseGoAway([]byte("\x80\x00\x00\x05\x00\x00\x00\x0bcalm")); last != 5 || code != EnhanceYourCalm || string(debug) != "calm" {
		t.Error(last, code, debug)
	}
	if code := ParseRSTStream([]byte("\x00\x00\x00\x08")); code != Cancel {
		t.Error(code)
	}
	if p := ParsePing([]byte("12345678")); string(p[:]) != "12345678" {
		t.Errorf("%q", p)
	}
}

func TestSettings(t *testing.T) {
	payload := func(all ...Setting) []byte { return AppendSettings(nil, all...)[FrameHeaderSize:] }
	s := DefaultSettings()
	err := s.Update(payload(Setting{SettingHeaderTableSize, 0}, Setting{SettingEnablePush, 0}, Setting{SettingMaxConcurrentStreams, 7}, Setting{SettingInitialWindowSize, MaxWindow},
		Setting{SettingMaxFrameSize, LargestFrame}, Setting{SettingMaxHeaderListSize, 9}, Setting{SettingEnableConnect, 1}, Setting{0xfafa, 1}, Setting{SettingMaxConcurrentStreams, 8}), true)
	if want := (Settings{0, 8, MaxWindow, LargestFrame, 9, true}); err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	for _, c := range []struct {
		what   string
		s      Setting
		server bool
		code   ErrorCode
	}{
		{"push 2", Setting{SettingEnablePush, 2}, false, ProtocolError}, {"push by a client", Setting{SettingEnablePush, 1}, false, NoError},
		{"push by a server", Setting{SettingEnablePush, 1}, true, ProtocolError}, {"window", Setting{SettingInitialWindowSize, MaxWindow + 1}, false, FlowControlError},
		{"frame small", Setting{SettingMaxFrameSize, 16383}, false, ProtocolError}, {"frame large", Setting{SettingMaxFrameSize, 1 << 24}, false, ProtocolError},
		{"connect 2", Setting{SettingEnableConnect, 2}, false, ProtocolError},
	} {
		s := DefaultSettings()
		check(t, c.what, s.Update(payload(c.s), c.server), c.code, 0)
	}
	s = Settings{EnableConnect: true}
	check(t, "connect withdrawn", s.Update(payload(Setting{SettingEnableConnect, 0}), true), ProtocolError, 0)
}

func TestErrorText(t *testing.T) {
	if got := (&Error{diag.HTTP2FrameSize, FrameSizeError, 3, "detail"}).Error(); got != "HK4310 http2_frame_size: FRAME_SIZE_ERROR: detail" {
		t.Error(got)
	}
	for c, want := range map[ErrorCode]string{NoError: "NO_ERROR", HTTP11Required: "HTTP_1_1_REQUIRED", 14: "0xe"} {
		if c.String() != want {
			t.Errorf("%d: %s", c, c)
		}
	}
	for c, want := range map[FrameType]string{FrameData: "DATA", FrameContinuation: "CONTINUATION", 10: "unknown"} {
		if c.String() != want {
			t.Errorf("%d: %s", c, c)
		}
	}
	for c, want := range map[diag.Code]int{diag.RequestHeadTooLarge: 431, diag.HTTP2PingTimeout: 400} {
		if got := (&Error{Code: c}).Status(); got != want {
			t.Errorf("%v: %d", c, got)
		}
	}
}
