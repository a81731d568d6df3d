package mux

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// reader is what the goroutine of Serve owns.
type reader struct {
	in     *buffer // nil while idle
	r, w   int     // in.b[r:w] has been read and not looked at
	one    [1]byte
	sawEnd bool // the peer closed its side

	decoder     *http2.Decoder
	greeted     int  // bytes of the preface that have come
	gotSettings bool // the first frame has come

	block       []byte // pieces of a header block, while inBlock
	blockStream uint32 // 0: no block is being collected
	blockEnd    bool
	blockFrames int
	blockFault  error // of the stream, found before its block was complete
	blockSince  int64
	partSince   int64

	methodOf []byte         // of the request whose answer is being decoded
	trailers message.Fields // being decoded

	control, resets, small bucket
}

// longAgo is a deadline that interrupts a read.
var longAgo = time.Unix(1, 0)

// read reads and handles frames until the connection ends, and says why.
func (c *Conn) read() error {
	for {
		if err := c.fill(); err != nil {
			return err
		}
		progress, err := c.frames()
		if err != nil {
			return err
		}
		c.noteLate(progress)
		c.deliver()
	}
}

// fill reads once. An idle connection waits for one byte without a buffer: readability of the socket
// would not do with TLS, where a whole record may lie inside crypto/tls.
func (c *Conn) fill() error {
	if c.in == nil {
		n, err := c.nc.Read(c.one[:])
		if n == 0 {
			return c.readError(err)
		}
		c.takeReadBuffer()
		c.in.b[0] = c.one[0]
		c.r, c.w = 0, 1
		c.noteLate(true)
	}
	if c.r > 0 {
		c.w = copy(c.in.b, c.in.b[c.r:c.w])
		c.r = 0
	}
	c.holdsRead.Store(c.w == 0)
	n, err := c.nc.Read(c.in.b[c.w:])
	c.holdsRead.Store(false)
	if n == 0 && err != nil {
		return c.readError(err)
	}
	c.w += n
	c.received.Store(true)
	return nil
}

// readError turns the end of reading into the end of the connection, or nil if Tick only wanted the
// buffer back.
func (c *Conn) readError(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.nc.SetReadDeadline(time.Time{})
		if c.w == c.r {
			c.giveReadBuffer()
		}
		return nil
	case err == io.EOF:
		c.sawEnd = true
		if len(c.streams) == 0 && c.w == c.r {
			return io.EOF
		}
		return io.ErrUnexpectedEOF
	}
	c.sawEnd = true
	return err
}

func (c *Conn) takeReadBuffer() {
	if need := c.lim.MaxFrame + http2.FrameHeaderSize; need > readBuffer {
		c.in = &buffer{b: make([]byte, need)}
		return
	}
	c.in = readBuffers.Get().(*buffer)
}

func (c *Conn) giveReadBuffer() {
	if c.in != nil && len(c.in.b) == readBuffer {
		readBuffers.Put(c.in)
	}
	c.in, c.r, c.w = nil, 0, 0
}

// frames handles what has been read, as far as it is whole, and reports whether anything was.
func (c *Conn) frames() (progress bool, err error) {
	if c.w == c.r { // Tick wanted the buffer back
		return false, nil
	}
	if !c.client && c.greeted < len(http2.Preface) {
		n := min(len(http2.Preface)-c.greeted, c.w-c.r)
		if string(c.in.b[c.r:c.r+n]) != http2.Preface[c.greeted:c.greeted+n] {
			return false, &http2.Error{Code: diag.HTTP2PrefaceMissing, HTTP2: http2.ProtocolError, Detail: "no preface"}
		}
		c.greeted += n
		c.r += n
	}
	for c.w-c.r >= http2.FrameHeaderSize {
		h := http2.ParseHeader(c.in.b[c.r:])
		if err := c.order(h); err != nil {
			return progress, err
		}
		fault := h.Check(uint32(c.lim.MaxFrame))
		if fault != nil && streamOf(fault) == 0 {
			return progress, fault
		}
		size := http2.FrameHeaderSize + int(h.Length)
		if c.w-c.r < size {
			break
		}
		payload := c.in.b[c.r+http2.FrameHeaderSize : c.r+size]
		if fault == nil {
			fault = c.frame(h, payload)
		}
		c.r += size
		progress = true
		if fault != nil {
			if fault = c.settle(fault); fault != nil {
				return progress, fault
			}
		}
	}
	return progress, nil
}

// streamOf returns the stream that an error is about, 0 for the connection.
func streamOf(err error) uint32 {
	if e, ok := err.(*http2.Error); ok {
		return e.Stream
	}
	return 0
}

// settle resets the stream that an error is about, and returns the errors of the connection.
func (c *Conn) settle(err error) error {
	e, ok := err.(*http2.Error)
	if !ok || e.Stream == 0 {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isIdle(e.Stream) {
		return &http2.Error{Code: e.Code, HTTP2: e.HTTP2, Detail: e.Detail}
	}
	if err := c.chargeReset(diag.HTTP2RapidReset, "streams that had to be reset"); err != nil {
		return err
	}
	s := c.streams[e.Stream]
	switch {
	case s != nil:
		c.rememberReset(s)
		c.end(s, &ResetError{Code: e.HTTP2, Cause: e}, true)
	case c.closed.findReset(e.Stream) != nil:
		return nil
	case e.Stream == c.lastID && !c.closed.findEnded(e.Stream): // its head was not taken
		c.rememberRefused(e.Stream)
	default:
		c.closed.addReset(resetStream{id: e.Stream, window: -1, resets: 1})
	}
	return c.provoke(func(dst []byte) []byte { return http2.AppendRSTStream(dst, e.Stream, e.HTTP2) })
}

// isIdle reports whether a stream has not been opened yet, or cannot be. The caller holds mu.
func (c *Conn) isIdle(id uint32) bool {
	if c.client {
		return id%2 == 0 || id >= c.nextID
	}
	return id%2 == 0 || id > c.lastID && id > c.ignored
}

// noteLate remembers since when something is arriving that should not take long: the preface, a frame
// other than DATA, a header block.
func (c *Conn) noteLate(progress bool) {
	if c.blockStream != 0 {
		c.lateSince.Store(c.blockSince)
		return
	}
	if !c.gotSettings {
		return
	}
	if c.w-c.r == 0 || c.w-c.r > 3 && http2.FrameType(c.in.b[c.r+3]) == http2.FrameData {
		c.partSince = 0
	} else if c.partSince == 0 || progress {
		c.partSince = c.now()
	}
	if c.lateSince.Load() != c.partSince {
		c.lateSince.Store(c.partSince)
	}
}

// deliver tells Accept and OnReset what the last frames were about.
func (c *Conn) deliver() error {
	c.mu.Lock()
	for len(c.pending) > 0 || len(c.notify) > 0 {
		if n := len(c.pending); n > 0 {
			s := c.pending[0]
			c.pending = c.pending[:copy(c.pending, c.pending[1:])]
			if s.fault != nil {
				c.mu.Unlock()
				c.dropPending(s)
				c.mu.Lock()
				continue
			}
			s.given = true
			c.owned++
			c.mu.Unlock()
			c.accept(s)
			c.mu.Lock()
			continue
		}
		s := c.notify[0]
		c.notify = c.notify[:copy(c.notify, c.notify[1:])]
		s.inNotify = false
		if f := s.onReset; f != nil {
			s.onReset, s.notifying = nil, true
			c.mu.Unlock()
			c.tell(s, f)
			c.mu.Lock()
		}
	}
	c.mu.Unlock()
	return nil
}

// tell calls what was set by OnReset.
func (c *Conn) tell(s *Stream, f func()) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.notifying = false
		s.recvWake.Broadcast()
	}()
	f()
}

// dropPending gives back a stream that ended before anybody was told of it.
func (c *Conn) dropPending(s *Stream) {
	e := &http2.Error{Code: diag.ClientClosed, HTTP2: http2.Cancel, Stream: s.id, Detail: "connection ended before the request was looked at"}
	var reset *ResetError
	if errors.As(s.fault, &reset) {
		e.HTTP2, e.Detail = reset.Code, "reset before the request was looked at"
		if reset.Cause != nil {
			e = reset.Cause
		}
	}
	if c.refused != nil {
		c.refused(Refusal{Stream: s.id, Request: &s.req, Err: e})
	}
	c.mu.Lock()
	s.lent = 0
	s.dropChunks()
	c.creditConn()
	c.mu.Unlock()
	putStream(s)
}
