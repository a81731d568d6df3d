package http2

import "encoding/binary"

// Check judges a frame's header before its payload is read: its length against maxFrame (what we
// announced) and against its type, and whether its type belongs to a stream or to the connection. Types
// that RFC 9113 does not define pass. PUSH_PROMISE is refused from either peer, since we never enable it.
func (h Header) Check(maxFrame uint32) error {
	if h.Length > maxFrame {
		return frameSizeError(0, "frame longer than SETTINGS_MAX_FRAME_SIZE")
	}
	switch h.Type {
	case FrameData, FrameHeaders, FrameContinuation:
		if h.Stream == 0 {
			return protocolError(0, h.Type.String()+" on stream 0")
		}
	case FramePriority:
		switch {
		case h.Stream == 0:
			return protocolError(0, "PRIORITY on stream 0")
		case h.Length != prioritySize:
			return frameSizeError(h.Stream, "PRIORITY of a length other than 5")
		}
	case FrameRSTStream:
		switch {
		case h.Stream == 0:
			return protocolError(0, "RST_STREAM on stream 0")
		case h.Length != 4:
			return frameSizeError(0, "RST_STREAM of a length other than 4")
		}
	case FrameWindowUpdate:
		if h.Length != 4 {
			return frameSizeError(0, "WINDOW_UPDATE of a length other than 4")
		}
	case FramePushPromise:
		return protocolError(0, "PUSH_PROMISE, which was not enabled")
	case FrameSettings, FramePing, FrameGoAway:
		return h.checkConnection()
	}
	return nil
}

// checkConnection judges frames that belong to the connection.
func (h Header) checkConnection() error {
	switch {
	case h.Stream != 0:
		return protocolError(0, h.Type.String()+" on a stream")
	case h.Type == FrameSettings && h.Flags.Has(FlagAck) && h.Length != 0:
		return frameSizeError(0, "acknowledgement of SETTINGS with a payload")
	case h.Type == FrameSettings && h.Length%settingSize != 0:
		return frameSizeError(0, "SETTINGS of a length that is no multiple of 6")
	case h.Type == FramePing && h.Length != 8:
		return frameSizeError(0, "PING of a length other than 8")
	case h.Type == FrameGoAway && h.Length < 8:
		return frameSizeError(0, "GOAWAY shorter than 8")
	}
	return nil
}

// The parsers below take a header that passed Check and its whole payload; slices they return point
// into it.

// ParseData returns what DATA carries without its padding (RFC 9113 section 6.1). The whole payload
// counts against flow control.
func ParseData(h Header, payload []byte) ([]byte, error) {
	if !h.Flags.Has(FlagPadded) {
		return payload, nil
	}
	return unpad(payload)
}

// ParseHeaders returns the fragment of a header block in HEADERS, without padding and priority (RFC 9113
// section 6.2). An error of the stream (a stream that depends on itself) comes with the fragment, which
// has to be decoded all the same to keep the tables in step.
func ParseHeaders(h Header, payload []byte) (fragment []byte, err error) {
	if h.Flags.Has(FlagPadded) {
		if payload, err = unpad(payload); err != nil {
			return nil, err
		}
	}
	if !h.Flags.Has(FlagPriority) {
		return payload, nil
	}
	if len(payload) < prioritySize {
		return nil, frameSizeError(0, "HEADERS too short for their priority")
	}
	return payload[prioritySize:], checkPriority(h, payload)
}

const prioritySize = 5

// ParsePriority checks PRIORITY. Priorities are not followed (RFC 9113 section 5.3.2); a stream that
// depends on itself is an error of the stream.
func ParsePriority(h Header, payload []byte) error { return checkPriority(h, payload) }

func checkPriority(h Header, payload []byte) error {
	if binary.BigEndian.Uint32(payload)&MaxStream == h.Stream {
		return protocolError(h.Stream, "stream depends on itself")
	}
	return nil
}

// ParseRSTStream returns the code of RST_STREAM.
func ParseRSTStream(payload []byte) ErrorCode { return ErrorCode(binary.BigEndian.Uint32(payload)) }

// ParsePing returns the data of PING.
func ParsePing(payload []byte) [8]byte { return [8]byte(payload) }

// ParseGoAway returns the last stream that the peer looked at, its reason and its additional data.
func ParseGoAway(payload []byte) (last uint32, code ErrorCode, debug []byte) {
	return binary.BigEndian.Uint32(payload) & MaxStream, ErrorCode(binary.BigEndian.Uint32(payload[4:])), payload[8:]
}

// ParseWindowUpdate returns the increment in bytes. Zero is an error, of the stream or of the connection
// (RFC 9113 section 6.9).
func ParseWindowUpdate(h Header, payload []byte) (uint32, error) {
	n := binary.BigEndian.Uint32(payload) & MaxWindow
	if n == 0 {
		return 0, protocolError(h.Stream, "WINDOW_UPDATE of zero")
	}
	return n, nil
}

// unpad removes the pad length and the padding, whose bytes may be anything.
func unpad(payload []byte) ([]byte, error) {
	if len(payload) == 0 {
		return nil, frameSizeError(0, "frame too short for its pad length")
	}
	pad := int(payload[0])
	payload = payload[1:]
	if pad > len(payload) {
		return nil, protocolError(0, "padding longer than the payload")
	}
	return payload[:len(payload)-pad], nil
}
