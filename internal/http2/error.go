package http2

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// ErrorCode is the code of RST_STREAM and GOAWAY (RFC 9113 section 7).
type ErrorCode uint32

// Error codes. Others are legal on the wire and mean no more than InternalError.
const (
	NoError            ErrorCode = 0x0
	ProtocolError      ErrorCode = 0x1
	InternalError      ErrorCode = 0x2
	FlowControlError   ErrorCode = 0x3
	SettingsTimeout    ErrorCode = 0x4
	StreamClosed       ErrorCode = 0x5
	FrameSizeError     ErrorCode = 0x6
	RefusedStream      ErrorCode = 0x7
	Cancel             ErrorCode = 0x8
	CompressionError   ErrorCode = 0x9
	ConnectError       ErrorCode = 0xa
	EnhanceYourCalm    ErrorCode = 0xb
	InadequateSecurity ErrorCode = 0xc
	HTTP11Required     ErrorCode = 0xd
)

var errorCodes = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY",
	"HTTP_1_1_REQUIRED"}

// String returns the RFC's spelling, or the number of codes it does not define.
func (c ErrorCode) String() string {
	if int64(c) < int64(len(errorCodes)) {
		return errorCodes[c]
	}
	return fmt.Sprintf("0x%x", uint32(c))
}

// Error says why a frame or a message was refused. Detail is a constant phrase without bytes of the
// peer, fit for logs; it is not for the peer's eyes.
//
// Codes are those of a client's connection (43xx) or request (40xx); errors of Decoder.Response and of
// its trailers carry upstream codes.
type Error struct {
	Code   diag.Code
	HTTP2  ErrorCode
	Stream uint32 // the stream to reset; 0: the connection is at fault and ends with GOAWAY
	Detail string
}

// Error returns code, slug, HTTP/2 error code and detail.
func (e *Error) Error() string {
	return e.Code.String() + " " + e.Code.Slug() + ": " + e.HTTP2.String() + ": " + e.Detail
}

// Status returns the status code to answer a refused request with, as far as one is answered.
func (e *Error) Status() int {
	entry, ok := diag.Lookup(e.Code)
	if !ok || entry.Status == 0 {
		return 400
	}
	return entry.Status
}

func protocolError(stream uint32, detail string) error {
	return &Error{diag.HTTP2ProtocolError, ProtocolError, stream, detail}
}

func frameSizeError(stream uint32, detail string) error {
	return &Error{diag.HTTP2FrameSize, FrameSizeError, stream, detail}
}
