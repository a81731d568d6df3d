package mux

import (
	"errors"
	"strconv"

	"github.com/hakone-gateway/hakone/internal/http2"
)

// Errors of Conn.Open, besides those of a connection that has ended.
var (
	// ErrNoSlot: the peer allows no further stream now, or reads so slowly that none should be added.
	// Nothing was sent; another connection may serve, or this one when a stream is over.
	ErrNoSlot = errors.New("http2: no free stream on the connection")
	// ErrGoingAway: the connection takes no new streams, ever. Nothing was sent.
	ErrGoingAway = errors.New("http2: connection is going away")
	// ErrAborted: we ended the connection by Conn.Abort.
	ErrAborted = errors.New("http2: connection aborted")
	// ErrRefused: the peer has not looked at the request, which may be repeated elsewhere whatever its
	// method (RFC 9113 section 8.7). A ResetError with REFUSED_STREAM is one by errors.Is.
	ErrRefused = errors.New("http2: request was not processed")
	// ErrOver: the half of the stream was ended before, or the stream was closed.
	ErrOver = errors.New("http2: stream is over")
)

// GoAwayError is why a connection ended whose peer had sent GOAWAY with an error code; client role. Streams
// that the peer has not processed end with ErrRefused instead.
type GoAwayError struct {
	Code  http2.ErrorCode
	Debug string // first bytes of the peer's debug data, made printable; "" for none
	Err   error  // how the connection ended; nil: when its last stream was over
}

// Error names code, debug data and how the connection ended.
func (e *GoAwayError) Error() string {
	s := "http2: connection ended by the peer: GOAWAY with " + e.Code.String()
	if e.Debug != "" {
		s += " (" + strconv.Quote(e.Debug) + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns how the connection ended.
func (e *GoAwayError) Unwrap() error { return e.Err }

// maxDebug is how many bytes of the peer's debug data are kept.
const maxDebug = 64

// newGoAwayError keeps what a GOAWAY says.
func newGoAwayError(code http2.ErrorCode, debug []byte) *GoAwayError {
	text := []byte(nil)
	for _, b := range debug[:min(len(debug), maxDebug)] {
		if b < ' ' || b > '~' {
			b = '.'
		}
		text = append(text, b)
	}
	return &GoAwayError{Code: code, Debug: string(text)}
}

// ResetError is why a stream ended before its time.
type ResetError struct {
	Code   http2.ErrorCode
	Remote bool         // the peer reset the stream, or took it back by GOAWAY; else we did
	Cause  *http2.Error // what the peer did wrong, if that is why we did; else nil
}

// Error names the code and who reset the stream.
func (e *ResetError) Error() string {
	if e.Cause != nil {
		return "http2: stream reset: " + e.Cause.Error()
	}
	if e.Remote {
		return "http2: stream reset by the peer: " + e.Code.String()
	}
	return "http2: stream reset: " + e.Code.String()
}

// Is reports that a stream the peer refused is ErrRefused.
func (e *ResetError) Is(target error) bool {
	return target == ErrRefused && e.Remote && e.Code == http2.RefusedStream
}

// Unwrap returns the cause, if there is one.
func (e *ResetError) Unwrap() error {
	if e.Cause == nil {
		return nil
	}
	return e.Cause
}
