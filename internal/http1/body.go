package http1

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// BodyReader finds the payload of one body in the bytes received (RFC 9112 sections 6 and 7). It never
// asks for bytes to be kept: whatever it is given it consumes, up to the body's end. The zero value
// reads no body; Reset prepares it for each message. It keeps memory only for trailers.
type BodyReader struct {
	// Response says whose body it is: errors carry codes of an upstream's answer instead of a
	// request's. Reset leaves it.
	Response bool

	limits   Limits
	kind     message.BodyKind
	state    chunkState
	digits   int    // hex digits of the chunk size read so far
	left     uint64 // payload bytes left of the body (Sized) or the chunk
	line     int    // bytes of the extension read so far, of this chunk
	overhead int64  // bytes of extensions read so far, less the payload that came with them
	done     bool
	tail     []byte // trailer section, held until it is complete
	wait     headWait
	trailers message.Fields
}

// chunkState is what the next byte of a chunked body is.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailers
)

// Bounds on chunk extensions, which carry nothing for us: bytes per chunk, and bytes beyond the payload
// delivered with them.
const (
	maxExtension = 1 << 10
	maxOverhead  = 16 << 10
)

// maxSizeDigits keeps a chunk size below 2^60.
const maxSizeDigits = 15

// Reset prepares for the body of the next message.
func (b *BodyReader) Reset(body message.Body, limits Limits) {
	b.limits, b.kind, b.state = limits, body.Kind, chunkSize
	b.digits, b.left, b.line, b.overhead = 0, 0, 0, 0
	b.done = body.IsEmpty()
	if body.Kind == message.Sized {
		b.left = uint64(body.Length)
	}
	if len(b.tail) > 0 {
		b.tail = b.tail[:0]
		b.trailers.Reset()
	}
	if cap(b.tail) > 16<<10 {
		b.tail = nil
	}
	b.wait = headWait{}
}

// Next takes received bytes and returns the payload among the first n of them, which is a slice of buf
// and may be empty. done means that the body ended with these n bytes: the rest of buf belongs to what
// follows. Unless done, n is at least 1 if buf is not empty, but may be less than len(buf): call again
// with the rest. An error is an *Error and ends the connection.
func (b *BodyReader) Next(buf []byte) (payload []byte, n int, done bool, err error) {
	switch {
	case b.done:
		return nil, 0, true, nil
	case b.kind == message.Chunked:
		return b.nextChunked(buf)
	case b.kind == message.UntilClose:
		return buf, len(buf), false, nil
	}
	n = len(buf)
	if uint64(n) >= b.left {
		n = int(b.left)
		b.done = true
	}
	b.left -= uint64(n)
	return buf[:n:n], n, b.done, nil
}

// End is told that the peer closed its side. It returns nil if the body may end there: it is complete,
// or lasts until the connection closes.
func (b *BodyReader) End() error {
	switch {
	case b.done || b.kind == message.UntilClose:
		return nil
	case b.Response:
		return &Error{diag.UpstreamBodyTruncated, "connection closed before the end of the body"}
	}
	return &Error{diag.ClientClosed, "connection closed before the end of the body"}
}

// Done reports whether the body has ended.
func (b *BodyReader) Done() bool { return b.done }

// Remaining returns how many bytes of payload are left of a Sized body, and -1 for other kinds unless
// they are done.
func (b *BodyReader) Remaining() int64 {
	switch {
	case b.done:
		return 0
	case b.kind == message.Sized:
		return int64(b.left)
	}
	return -1
}

// Trailers returns the trailer fields, empty before the body is done. Those that are not allowed are
// left out. They are valid until Reset.
func (b *BodyReader) Trailers() *message.Fields { return &b.trailers }

func (b *BodyReader) side() side {
	if b.Response {
		return upstream
	}
	return downstream
}

func (b *BodyReader) refuse(detail string) error {
	return b.side().refuse(diag.RequestBadChunk, detail)
}

// nextChunked consumes framing until it has found the payload of one chunk and the framing after it.
func (b *BodyReader) nextChunked(buf []byte) (payload []byte, i int, done bool, err error) {
	for i < len(buf) {
		switch b.state {
		case chunkSize, chunkExtension, chunkSizeLF:
			if i, err = b.sizeLine(buf, i); err != nil {
				return nil, 0, false, err
			}
		case chunkData:
			if payload != nil {
				return payload, i, false, nil
			}
			n := len(buf) - i
			if uint64(n) >= b.left {
				n = int(b.left)
				b.state = chunkDataCR
			}
			payload = buf[i : i+n : i+n]
			b.left -= uint64(n)
			b.overhead = max(0, b.overhead-int64(n))
			i += n
		case chunkDataCR:
			if buf[i] != '\r' {
				return nil, 0, false, b.refuse("chunk is longer than its size")
			}
			i++
			b.state = chunkDataLF
		case chunkDataLF:
			if buf[i] != '\n' {
				return nil, 0, false, b.refuse("carriage return without line feed after a chunk")
			}
			i++
			b.state = chunkSize
		case chunkTrailers:
			n, err := b.takeTrailers(buf[i:])
			if err != nil {
				return nil, 0, false, err
			}
			return payload, i + n, b.done, nil
		}
	}
	return payload, i, false, nil
}

// sizeLine consumes bytes of a chunk's size line from buf[i], up to its end or that of buf.
func (b *BodyReader) sizeLine(buf []byte, i int) (int, error) {
	if b.state == chunkSize {
		for ; i < len(buf); i++ {
			v, ok := semantics.Unhex(buf[i])
			if !ok {
				break
			}
			if b.digits++; b.digits > maxSizeDigits {
				return 0, b.refuse("chunk size has too many digits")
			}
			b.left = b.left<<4 | uint64(v)
		}
		if i == len(buf) {
			return i, nil
		}
		switch {
		case b.digits == 0:
			return 0, b.refuse("chunk without a size")
		case buf[i] == ';':
			b.state = chunkExtension
		case buf[i] == '\r':
			b.state = chunkSizeLF
		default:
			return 0, b.refuse("byte that is not allowed after a chunk size")
		}
		i++
	}
	if b.state == chunkExtension {
		start := i
		i = semantics.TextEnd(buf, i)
		b.line += i - start
		b.overhead += int64(i - start)
		if b.line > maxExtension || b.overhead > maxOverhead {
			return 0, b.refuse("chunk extensions longer than the limit")
		}
		if i == len(buf) {
			return i, nil
		}
		if buf[i] != '\r' {
			return 0, b.refuse("byte that is not allowed in a chunk extension")
		}
		i++
		b.state = chunkSizeLF
	}
	if i == len(buf) {
		return i, nil
	}
	if buf[i] != '\n' {
		return 0, b.refuse("carriage return without line feed in a chunk's size line")
	}
	b.digits, b.line = 0, 0
	b.state = chunkData
	if b.left == 0 {
		b.state = chunkTrailers
	}
	return i + 1, nil
}

// takeTrailers consumes bytes of the trailer section (RFC 9112 section 7.1.2). The common empty section
// is not copied.
func (b *BodyReader) takeTrailers(buf []byte) (int, error) {
	if len(b.tail) == 0 && len(buf) >= 2 && buf[0] == '\r' && buf[1] == '\n' {
		b.done = true
		return 2, nil
	}
	bound := b.limits.head()
	held := len(b.tail)
	b.tail = append(b.tail, buf[:min(len(buf), bound-held)]...)
	if !b.wait.ready(b.tail, bound) {
		return len(buf), nil
	}
	b.trailers.Reset()
	n, _, err := parseFields(b.side(), b.tail, 0, &b.trailers, b.limits.fields())
	switch {
	case err != nil:
		return 0, err
	case n == 0 && len(b.tail) >= bound:
		return 0, b.side().refuse(diag.RequestHeadTooLarge, "trailers longer than the limit")
	case n == 0:
		b.trailers.Reset()
		b.wait.from = len(b.tail)
		return len(buf), nil
	}
	if b.trailers.Names()&framingTrailers != 0 {
		return 0, b.side().refuse(diag.RequestBadField, "framing or routing field among the trailers")
	}
	b.trailers.DelFunc(func(l *message.Field) bool { return !message.TrailerAllowed(l.ID, l.Name) })
	b.done = true
	return n - held, nil
}

// framingTrailers have no business in trailers at all.
const framingTrailers = framingNames | message.NameSet(1<<message.Host|1<<message.Connection|1<<message.Upgrade|1<<message.Trailer)
