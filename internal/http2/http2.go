// Package http2 is the HTTP/2 codec (RFC 9113, RFC 7541) without I/O: it parses and appends frames,
// decodes header blocks into messages and encodes messages as header blocks. It knows no socket, no
// goroutine, no clock and no stream's state (see http2/mux), and no policy beyond what keeps two readers
// of the same bytes of one mind.
//
// A message that HTTP/1.1 could not carry unchanged is refused, not repaired: paths, authorities, names
// and values are judged by package semantics, the same code that judges them for http1. In the steady
// state nothing is allocated per frame or message.
//
// Where it departs from the letter of the RFCs, in either direction:
//   - Content-Length twice is refused even if equal, as in http1;
//   - Host beside :authority must be equal but for ASCII case; :authority or Host must be there;
//   - :scheme must be the connection's where the Decoder is told one (see Decoder.Scheme);
//   - field values hold no control byte but HTAB, where RFC 9113 asks only for CR, LF and NUL;
//   - "*" and CONNECT are judged as in http1; priorities are read past (RFC 9113 section 5.3);
//   - integers of HPACK stop at four continuation bytes.
//
// Begin reading at Decoder.Request; frames are in frame.go and payload.go, HPACK in table.go, huffman.go,
// decoder.go and encoder.go.
package http2

// Preface is what a client sends first, before its SETTINGS (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Values that hold until a peer's SETTINGS say otherwise (RFC 9113 section 6.5.2), and bounds.
const (
	DefaultHeaderTable = 4096  // bytes of HPACK's dynamic table, as RFC 7541 section 4.1 counts them
	DefaultWindow      = 65535 // bytes of flow control, per stream and for the connection
	DefaultMaxFrame    = 16384 // bytes of payload
	MaxWindow          = 1<<31 - 1
	MaxStream          = 1<<31 - 1 // the highest stream identifier
	LargestFrame       = 1<<24 - 1 // what SETTINGS_MAX_FRAME_SIZE may be at most
)

// Limits bounds what a head or trailers may make us hold. A zero field means its default.
type Limits struct {
	HeadBytes   int // names and values with 32 bytes per line (RFC 9113 section 6.5.2); default 64 KiB
	Fields      int // field lines without pseudo-headers, crumbs of Cookie as one; default 128
	TargetBytes int // :path; default 32 KiB
}

// Defaults of Limits, the same as those of http1.
const (
	DefaultHeadBytes   = 64 << 10
	DefaultFields      = 128
	DefaultTargetBytes = 32 << 10
)

func (l Limits) head() int   { return orDefault(l.HeadBytes, DefaultHeadBytes) }
func (l Limits) fields() int { return orDefault(l.Fields, DefaultFields) }
func (l Limits) target() int { return orDefault(l.TargetBytes, DefaultTargetBytes) }

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
