package tlsconf

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Stream returns the connection as drivers read and write it: Conn, with a bound on records that carry
// nothing. What a client does against TLS after its first byte is told to sink, at most once; what it
// does before, AfterHandshake tells.
func (r *Result) Stream(sink telemetry.Sink) net.Conn {
	return &stream{Conn: r.Conn, res: r, sink: sink}
}

// stream is a connection after its handshake. Read belongs to one goroutine at a time.
type stream struct {
	*tls.Conn
	res  *Result
	sink telemetry.Sink

	// Owned by the goroutine that reads.
	guarded bool
	begun   bool // a byte was read
	told    bool
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	if !s.guarded {
		s.guarded = true
		s.res.Raw.GuardRecords(s.res.idleRecords())
	}
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.begun = true
		s.res.Raw.Delivered()
	}
	if err != nil && s.begun && !s.told {
		s.tell(err)
	}
	return n, err
}

// tell records what the client did, if it did anything wrong.
func (s *stream) tell(err error) {
	code, detail := misuse(err)
	if code == 0 {
		return
	}
	s.told = true
	rec := *s.res.Record
	rec.Code, rec.Detail, rec.Err = code, detail, bounded(err.Error(), maxKeptText)
	s.sink.Handshake(&rec)
}

// idleRecords returns the bound on records that carry nothing. Under TLS 1.0 some clients send an empty
// one before each other, so that nobody knows the next block's initialisation vector.
func (r *Result) idleRecords() listen.IdleRecords {
	limits := r.term.opts.IdleRecords
	if r.Record.Version <= tls.VersionTLS10 {
		limits.Lenient = 1
	}
	return limits
}

// misuse tells what a client did against TLS after its handshake from the error that it caused; zero if
// nothing.
func misuse(err error) (diag.Code, string) {
	text := err.Error()
	switch {
	case errors.Is(err, listen.ErrIdleRecords):
		return diag.TLSRecordFlood, "more TLS records came that carry nothing (KeyUpdate, empty, fragments) than are allowed"
	case strings.HasPrefix(text, "tls: too many non-advancing records"), strings.HasPrefix(text, "tls: too many ignored records"):
		return diag.TLSRecordFlood, "too many TLS records came in a row that carry nothing (KeyUpdate, empty, warnings)"
	case strings.HasPrefix(text, "tls: received unexpected handshake message of type *tls.clientHelloMsg when waiting for *tls.helloRequestMsg"):
		return diag.Renegotiation, "the client began a renegotiation"
	}
	return 0, ""
}
