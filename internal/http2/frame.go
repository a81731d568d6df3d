package http2

import "encoding/binary"

// FrameType is the type of a frame (RFC 9113 section 6).
type FrameType uint8

// Frame types. Others are legal and passed over (RFC 9113 section 5.5).
const (
	FrameData         FrameType = 0x0
	FrameHeaders      FrameType = 0x1
	FramePriority     FrameType = 0x2
	FrameRSTStream    FrameType = 0x3
	FrameSettings     FrameType = 0x4
	FramePushPromise  FrameType = 0x5
	FramePing         FrameType = 0x6
	FrameGoAway       FrameType = 0x7
	FrameWindowUpdate FrameType = 0x8
	FrameContinuation FrameType = 0x9
)

var frameTypes = [...]string{"DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"}

// String returns the RFC's spelling; "unknown" for types it does not define.
func (t FrameType) String() string {
	if int(t) < len(frameTypes) {
		return frameTypes[t]
	}
	return "unknown"
}

// Flags are the flags of a frame; what a bit means depends on the type.
type Flags uint8

// Flags.
const (
	FlagAck        Flags = 0x1 // SETTINGS, PING
	FlagEndStream  Flags = 0x1 // DATA, HEADERS
	FlagEndHeaders Flags = 0x4 // HEADERS, CONTINUATION
	FlagPadded     Flags = 0x8 // DATA, HEADERS
	FlagPriority   Flags = 0x20
)

// Has reports whether all bits of flag are set.
func (f Flags) Has(flag Flags) bool { return f&flag == flag }

// FrameHeaderSize is the size of a frame's header in bytes.
const FrameHeaderSize = 9

// Header is the header of a frame (RFC 9113 section 4.1). Length is that of the payload in bytes.
type Header struct {
	Length uint32
	Stream uint32
	Type   FrameType
	Flags  Flags
}

// ParseHeader reads the header at the front of b, which holds at least FrameHeaderSize bytes. The
// reserved bit is ignored. It cannot fail; see Check.
func ParseHeader(b []byte) Header {
	_ = b[FrameHeaderSize-1]
	return Header{
		Length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		Type:   FrameType(b[3]),
		Flags:  Flags(b[4]),
		Stream: binary.BigEndian.Uint32(b[5:]) & MaxStream,
	}
}

// AppendHeader appends the header of a frame whose payload the caller appends.
func AppendHeader(dst []byte, h Header) []byte {
	return append(dst, byte(h.Length>>16), byte(h.Length>>8), byte(h.Length), byte(h.Type), byte(h.Flags),
		byte(h.Stream>>24), byte(h.Stream>>16), byte(h.Stream>>8), byte(h.Stream))
}

// AppendData appends the header of a DATA frame with n bytes of payload, which the caller appends.
func AppendData(dst []byte, stream uint32, n int, end bool) []byte {
	h := Header{Length: uint32(n), Type: FrameData, Stream: stream}
	if end {
		h.Flags = FlagEndStream
	}
	return AppendHeader(dst, h)
}

// AppendHeaders appends a header block as one HEADERS frame and as many CONTINUATION frames as it takes
// with payloads of at most maxFrame bytes. end sets END_STREAM.
func AppendHeaders(dst []byte, stream uint32, block []byte, end bool, maxFrame int) []byte {
	h := Header{Type: FrameHeaders, Stream: stream}
	if end {
		h.Flags = FlagEndStream
	}
	for {
		part := block[:min(len(block), maxFrame)]
		block = block[len(part):]
		if len(block) == 0 {
			h.Flags |= FlagEndHeaders
		}
		h.Length = uint32(len(part))
		dst = append(AppendHeader(dst, h), part...)
		if len(block) == 0 {
			return dst
		}
		h.Type, h.Flags = FrameContinuation, 0
	}
}

// AppendRSTStream appends RST_STREAM.
func AppendRSTStream(dst []byte, stream uint32, code ErrorCode) []byte {
	dst = AppendHeader(dst, Header{Length: 4, Type: FrameRSTStream, Stream: stream})
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

// AppendSettings appends SETTINGS.
func AppendSettings(dst []byte, settings ...Setting) []byte {
	dst = AppendHeader(dst, Header{Length: uint32(len(settings) * settingSize), Type: FrameSettings})
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Value)
	}
	return dst
}

// AppendSettingsAck appends the acknowledgement of the peer's SETTINGS.
func AppendSettingsAck(dst []byte) []byte {
	return AppendHeader(dst, Header{Type: FrameSettings, Flags: FlagAck})
}

// AppendPing appends PING, or with ack the answer to one.
func AppendPing(dst []byte, data [8]byte, ack bool) []byte {
	h := Header{Length: 8, Type: FramePing}
	if ack {
		h.Flags = FlagAck
	}
	return append(AppendHeader(dst, h), data[:]...)
}

// AppendGoAway appends GOAWAY. last is the highest stream of the peer that was or will be looked at.
func AppendGoAway(dst []byte, last uint32, code ErrorCode, debug string) []byte {
	dst = AppendHeader(dst, Header{Length: uint32(8 + len(debug)), Type: FrameGoAway})
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, debug...)
}

// AppendWindowUpdate appends WINDOW_UPDATE for a stream, or the connection if stream is 0. increment is
// 1 to MaxWindow bytes.
func AppendWindowUpdate(dst []byte, stream, increment uint32) []byte {
	dst = AppendHeader(dst, Header{Length: 4, Type: FrameWindowUpdate, Stream: stream})
	return binary.BigEndian.AppendUint32(dst, increment)
}
