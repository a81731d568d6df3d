package mux

import (
	"io"
	"time"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Conn is one HTTP/2 connection. Its methods may be called from any goroutine.
type Conn struct{ lim Limits }

// New returns a connection that does nothing until Serve.
func New(cfg Config) *Conn { return &Conn{lim: cfg.Limits.withDefaults(cfg.Client)} }

// Serve runs the connection and returns when it has ended: io.EOF for an orderly end (the peer closed
// it with no stream open, or Shutdown is complete), *http2.Error for what the peer did wrong,
// ErrAborted, or the error of the net.Conn. All streams are over by then, but their owners still close
// them. It is called once.
func (c *Conn) Serve() error { return io.EOF }

// Open sends the head of a request (with Protocol set: extended CONNECT) and returns its stream, which
// the caller closes in the end. end says that no body follows. It never blocks; req is not kept. Errors:
// ErrNoSlot, ErrGoingAway, or why the connection ended. Client role; it may be called as soon as Serve
// runs.
func (c *Conn) Open(req *message.Request, end bool) (*Stream, error) { return nil, ErrGoingAway }

// Shutdown ends the connection gracefully, in two steps for a server (RFC 9113 section 6.8): GOAWAY
// that refuses nothing yet, and after a round trip (or two Ticks) GOAWAY with the last stream. Serve
// returns when the last stream is over. It does not block and may be called again.
func (c *Conn) Shutdown() {}

// Abort sends GOAWAY with code and ends the connection; streams end with ErrAborted. It does not block.
func (c *Conn) Abort(code http2.ErrorCode) {}

// Streams returns how many streams are open or have an exchange that still runs.
func (c *Conn) Streams() int { return 0 }

// Available returns how many more streams may be opened now; 0 after GOAWAY or Shutdown. Client role.
func (c *Conn) Available() int { return 0 }

// Ready is closed when the peer's first SETTINGS have arrived, or the connection has ended.
func (c *Conn) Ready() <-chan struct{} { return nil }

// ExtendedConnect reports whether the peer takes extended CONNECT (RFC 8441); false before Ready.
// Client role.
func (c *Conn) ExtendedConnect() bool { return false }

// IdleSince returns the time of Config.Now since which there has been no stream, or 0 while there is
// one.
func (c *Conn) IdleSince() int64 { return 0 }

// Tick is called about once a second with Config.Now's time: it asks by PING, notices what is late, and
// lets an idle connection give back its buffer. It does not block.
func (c *Conn) Tick(now int64) {}

// Stream is one request with its answer. At most one goroutine receives and one sends at a time; Close,
// by its owner, is the last call.
type Stream struct{ c *Conn }

// ID returns the stream's identifier.
func (s *Stream) ID() uint32 { return 0 }

// Conn returns the stream's connection.
func (s *Stream) Conn() *Conn { return s.c }

// Request returns the request's head; server role. It is the owner's until Close. Its Trailers stay
// empty; see Trailers.
func (s *Stream) Request() *message.Request { return nil }

// ReadResponse waits for the next head, interim or final, and puts it into resp; client role. The
// final one is the last; after it, the body comes by Next. Errors: *ResetError, os.ErrDeadlineExceeded,
// or why the connection ended.
func (s *Stream) ReadResponse(resp *message.Response) error { return ErrOver }

// Next waits for bytes of the body and returns them; they are valid until the next call or Close. By
// calling again the reader says that it is done with them, and the peer may send more. io.EOF means
// that the body and the trailers are complete; other errors are those of ReadResponse.
func (s *Stream) Next() ([]byte, error) { return nil, ErrOver }

// Buffered returns how many bytes Next would return without waiting, over all calls, and whether these
// are the rest of the body.
func (s *Stream) Buffered() (n int, ended bool) { return 0, false }

// Trailers returns the received trailers, perhaps empty, once Next has returned io.EOF.
func (s *Stream) Trailers() *message.Fields { return nil }

// WriteHead sends the head of an answer, interim or final; end says that nothing follows. Its body's
// length goes into the head as resp.Body says. It waits while too much is unsent. Errors: *ResetError,
// os.ErrDeadlineExceeded, ErrOver, or why the connection ended. Server role.
func (s *Stream) WriteHead(resp *message.Response, end bool) error { return ErrOver }

// Write sends bytes of the body; end says that they are the last, and p may be empty then. It waits for
// the peer's windows and while too much is unsent; p is the caller's again when it returns. After an
// error part of p may have been sent. Errors are those of WriteHead.
func (s *Stream) Write(p []byte, end bool) error { return ErrOver }

// WriteTrailers ends our half of the stream with trailers; none if f is empty. Errors are those of
// WriteHead.
func (s *Stream) WriteTrailers(f *message.Fields) error { return ErrOver }

// Reset ends the stream with RST_STREAM unless it is over. Waiting calls return a *ResetError.
func (s *Stream) Reset(code http2.ErrorCode) {}

// Close gives the stream back: no call on it is running or follows. If it is not over it is reset, with
// NO_ERROR by a server that has answered completely, else with CANCEL. What it held is credited. When
// it returns, the function of OnReset is not running and will not be called.
func (s *Stream) Close() {}

// SetReadDeadline with a time in the past makes ReadResponse and Next return os.ErrDeadlineExceeded,
// also those that wait now. The zero time, or one to come, clears that: there are no timers here.
func (s *Stream) SetReadDeadline(t time.Time) error { return nil }

// SetWriteDeadline does the same for WriteHead, Write and WriteTrailers.
func (s *Stream) SetWriteDeadline(t time.Time) error { return nil }

// OnReset sets what is called, once, when the stream ends before its time by the peer's doing: a reset,
// a fault of the stream, or the end of the connection; at once if that has happened. It runs on the
// goroutine of Serve (or the caller's), must not block, and must not call Close.
func (s *Stream) OnReset(f func()) {}
