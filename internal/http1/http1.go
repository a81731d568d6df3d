// Package http1 is the HTTP/1.1 codec (RFC 9112) without I/O: it parses heads and bodies from buffers
// that the caller owns and appends heads and chunks to buffers that the caller writes. It knows no
// socket, no goroutine and no clock, and no policy beyond what keeps two readers of the same bytes of
// one mind.
//
// It is strict: what RFC 9110 and 9112 leave ambiguous is refused with a reason (an *Error with a code
// of package diag) and never repaired. After any error the connection cannot be used further, because
// nobody knows where the next message begins. In the steady state nothing is allocated per message.
//
// Where it departs from the letter of the RFCs, in either direction:
//   - one empty line before a request line is skipped (RFC 9112 section 2.2), a second is refused;
//   - a response's status line may end after the status code, without the space;
//   - equal duplicates of Content-Length are refused too: RFC 9110 section 8.6 permits merging them,
//     but a hop that reads only the first or the last would have to be trusted to do so as well;
//   - "//" in a path becomes "/", unreserved escapes are decoded, dot segments resolved; what could be
//     read in two ways (encoded slash, backslash, NUL, "..;", climbing above the root) is refused;
//   - an absolute target must name the same authority as Host instead of overriding it.
//
// Begin reading at RequestParser.Parse; framing of bodies is in BodyReader, writing in append.go.
package http1

import (
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Limits bounds what a peer may make us hold. A zero field means its default.
type Limits struct {
	HeadBytes   int // request or status line and fields, and separately the trailers; default 64 KiB
	Fields      int // field lines, and separately trailer lines; default 128
	TargetBytes int // request target; default 32 KiB
}

// Defaults of Limits.
const (
	DefaultHeadBytes   = 64 << 10
	DefaultFields      = 128
	DefaultTargetBytes = 32 << 10
)

func (l Limits) head() int {
	if l.HeadBytes > 0 {
		return l.HeadBytes
	}
	return DefaultHeadBytes
}

func (l Limits) fields() int {
	if l.Fields > 0 {
		return l.Fields
	}
	return DefaultFields
}

func (l Limits) target() int {
	if l.TargetBytes > 0 {
		return l.TargetBytes
	}
	return DefaultTargetBytes
}

// Error says why a message was refused. Detail is a constant phrase without bytes of the peer, fit for
// logs; it is not for the peer's eyes.
type Error struct {
	Code   diag.Code
	Detail string
}

// Error returns code, slug and detail.
func (e *Error) Error() string {
	return e.Code.String() + " " + e.Code.Slug() + ": " + e.Detail
}

// Status returns the status code to answer with: 4xx or 5xx of the code's catalogue entry.
func (e *Error) Status() int {
	entry, ok := diag.Lookup(e.Code)
	if !ok || entry.Status == 0 {
		return 400
	}
	return entry.Status
}

// side is the peer whose bytes are read; it decides which codes its errors carry.
type side uint8

const (
	downstream side = iota // a client's request
	upstream               // an upstream's response
)

// refuse makes an error from the code that fits a request.
func (s side) refuse(code diag.Code, detail string) error {
	if s == upstream {
		switch code {
		case diag.RequestHeadTooLarge, diag.RequestTooManyFields:
			code = diag.UpstreamHeadTooLarge
		case diag.UpstreamSpeaksTLS:
		default:
			code = diag.UpstreamProtocolError
		}
	}
	return &Error{code, detail}
}
