package client

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// HTTP2 is a connection of HTTP/2 on which a test writes frames of its own, right or wrong. What comes is
// gathered by stream. Safe for concurrent use.
type HTTP2 struct {
	net.Conn
	tb testing.TB

	write sync.Mutex // guards what is written and the encoder
	fr    *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	last  uint32
	hold  bool

	mu      sync.Mutex // guards what follows
	news    *sync.Cond
	streams map[uint32]*Stream
	away    []Away
	ended   error
}

// Stream is what came on a stream.
type Stream struct {
	ID       uint32
	Interim  []int  // statuses of interim heads
	Status   int    // 0: no final head
	Head     Fields // of the final head, without :status
	Body     []byte // the first MiB
	Length   int64  // of all of it
	Trailers Fields
	Ended    bool // END_STREAM came
	Reset    bool // RST_STREAM came, with Code
	Code     http2.ErrCode
}

// Away is what a GOAWAY says.
type Away struct {
	Code http2.ErrCode
	Last uint32
}

// Field is a line of a header list.
type Field = hpack.HeaderField

// Fields is a header list.
type Fields []Field

// Get returns the value of the first field of a name in lower case, "" if there is none.
func (f Fields) Get(name string) string {
	for _, line := range f {
		if line.Name == name {
			return line.Value
		}
	}
	return ""
}

// Lines makes fields of names and values in turn.
func Lines(namesAndValues ...string) Fields {
	var f Fields
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		f = append(f, Field{Name: namesAndValues[i], Value: namesAndValues[i+1]})
	}
	return f
}

// Request is the usual four pseudo-headers for a host, with further fields.
func Request(method, scheme, host, path string, namesAndValues ...string) Fields {
	return append(Lines(":method", method, ":scheme", scheme, ":authority", host, ":path", path), Lines(namesAndValues...)...)
}

// DialHTTP2 connects, with TLS and ALPN h2 unless config is nil, and exchanges the first frames. window
// is how much may come on a stream before it is credited, 0 for a MiB; hold says that nothing is ever
// credited except by Credit.
func DialHTTP2(tb testing.TB, addr string, config *tls.Config, window uint32, hold bool) *HTTP2 {
	tb.Helper()
	var conn net.Conn
	if config == nil {
		conn = Dial(tb, addr).Conn
	} else {
		config = config.Clone()
		config.NextProtos = []string{"h2"}
		c := DialTLS(tb, addr, config)
		if p := c.TLS().NegotiatedProtocol; p != "h2" {
			tb.Fatalf("negotiated %q, want h2", p)
		}
		conn = c.Conn
	}
	_ = conn.SetDeadline(time.Now().Add(10 * patience))
	c := &HTTP2{Conn: conn, tb: tb, fr: http2.NewFramer(conn, conn), streams: map[uint32]*Stream{}, hold: hold}
	c.fr.AllowIllegalWrites = true
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.enc = hpack.NewEncoder(&c.block)
	c.news = sync.NewCond(&c.mu)
	if window == 0 {
		window = 1 << 20
	}
	_, err := conn.Write([]byte(http2.ClientPreface))
	if err == nil {
		err = c.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	}
	if err == nil && !hold {
		err = c.fr.WriteWindowUpdate(0, 1<<24)
	}
	if err != nil {
		tb.Fatalf("preface: %v", err)
	}
	go c.read()
	return c
}

func (c *HTTP2) read() {
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			c.mu.Lock()
			c.ended = err
			c.news.Broadcast()
			c.mu.Unlock()
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.frame(func(fr *http2.Framer) error { return fr.WriteSettingsAck() })
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				c.frame(func(fr *http2.Framer) error { return fr.WritePing(true, f.Data) })
			}
		case *http2.DataFrame:
			if n := f.Length; n > 0 && !c.hold {
				c.Credit(0, n)
				if !f.StreamEnded() {
					c.Credit(f.StreamID, n)
				}
			}
		}
		c.mu.Lock()
		c.note(f)
		c.news.Broadcast()
		c.mu.Unlock()
	}
}

func (c *HTTP2) note(f http2.Frame) {
	s := c.stream(f.Header().StreamID)
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		var status int
		_, _ = fmt.Sscan(f.PseudoValue("status"), &status)
		switch {
		case status >= 100 && status < 200:
			s.Interim = append(s.Interim, status)
		case s.Status == 0:
			s.Status, s.Head = status, append(Fields(nil), f.RegularFields()...)
		default:
			s.Trailers = append(s.Trailers, f.Fields...)
		}
		s.Ended = s.Ended || f.StreamEnded()
	case *http2.DataFrame:
		s.Length += int64(len(f.Data()))
		if len(s.Body) < 1<<20 {
			s.Body = append(s.Body, f.Data()...)
		}
		s.Ended = s.Ended || f.StreamEnded()
	case *http2.RSTStreamFrame:
		s.Reset, s.Code = true, f.ErrCode
	case *http2.GoAwayFrame:
		c.away = append(c.away, Away{f.ErrCode, f.LastStreamID})
	}
}

// stream returns what is gathered of a stream; c.mu is held.
func (c *HTTP2) stream(id uint32) *Stream {
	s := c.streams[id]
	if s == nil {
		s = &Stream{ID: id}
		c.streams[id] = s
	}
	return s
}

// frame writes; that the peer is gone is seen by who reads.
func (c *HTTP2) frame(write func(*http2.Framer) error) {
	c.write.Lock()
	defer c.write.Unlock()
	_ = write(c.fr)
}

// Credit lets n more bytes come on a stream, or with 0 on the connection.
func (c *HTTP2) Credit(stream, n uint32) {
	c.frame(func(fr *http2.Framer) error { return fr.WriteWindowUpdate(stream, n) })
}

// Open sends HEADERS on a new stream and returns its number. Fields are encoded as they are.
func (c *HTTP2) Open(fields Fields, end bool) uint32 {
	c.write.Lock()
	defer c.write.Unlock()
	id := c.next()
	block := c.encode(fields)
	piece := block[:min(len(block), 16384)]
	_ = c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: piece, EndStream: end, EndHeaders: len(piece) == len(block)})
	for block = block[len(piece):]; len(block) > 0; block = block[len(piece):] {
		piece = block[:min(len(block), 16384)]
		_ = c.fr.WriteContinuation(id, len(piece) == len(block), piece)
	}
	return id
}

// next is the number of a new stream; c.write is held.
func (c *HTTP2) next() uint32 {
	if c.last == 0 {
		c.last = 1
	} else {
		c.last += 2
	}
	return c.last
}

// encode makes a block, which is valid until the next; c.write is held.
func (c *HTTP2) encode(fields Fields) []byte {
	c.block.Reset()
	for _, f := range fields {
		_ = c.enc.WriteField(f)
	}
	return c.block.Bytes()
}

// OpenIn is Open with the block and the frames of the caller: compose gets the block's bytes and where
// each field ends, and writes frames to fr; what was written is then sent in pieces of n bytes, 0 for all.
func (c *HTTP2) OpenIn(fields Fields, n int, compose func(fr *http2.Framer, id uint32, block []byte, ends []int)) uint32 {
	c.write.Lock()
	defer c.write.Unlock()
	id := c.next()
	c.block.Reset()
	var ends []int
	for _, f := range fields {
		_ = c.enc.WriteField(f)
		ends = append(ends, c.block.Len())
	}
	var out bytes.Buffer
	fr := http2.NewFramer(&out, nil)
	fr.AllowIllegalWrites = true
	compose(fr, id, c.block.Bytes(), ends)
	for rest := out.Bytes(); len(rest) > 0; {
		k := len(rest)
		if n > 0 {
			k = min(n, k)
		}
		if _, err := c.Conn.Write(rest[:k]); err != nil {
			break
		}
		rest = rest[k:]
	}
	return id
}

// Data sends DATA, whatever the windows say.
func (c *HTTP2) Data(id uint32, p []byte, end bool) {
	c.frame(func(fr *http2.Framer) error {
		for len(p) > 16384 {
			if err := fr.WriteData(id, false, p[:16384]); err != nil {
				return err
			}
			p = p[16384:]
		}
		return fr.WriteData(id, end, p)
	})
}

// Trail sends trailers, which end the stream.
func (c *HTTP2) Trail(id uint32, fields Fields) {
	c.frame(func(fr *http2.Framer) error {
		return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(fields), EndStream: true, EndHeaders: true})
	})
}

// Cancel resets a stream.
func (c *HTTP2) Cancel(id uint32, code http2.ErrCode) {
	c.frame(func(fr *http2.Framer) error { return fr.WriteRSTStream(id, code) })
}

// Await waits until the stream is over, or as much of it is there as enough asks for. The error says that
// the connection ended, or that it took too long.
func (c *HTTP2) Await(id uint32, enough func(*Stream) bool) (Stream, error) {
	timer := time.AfterFunc(patience, c.news.Broadcast)
	defer timer.Stop()
	end := time.Now().Add(patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		s := c.stream(id)
		switch {
		case s.Ended || s.Reset || enough != nil && enough(s):
			return *s, nil
		case c.ended != nil:
			return *s, fmt.Errorf("the connection ended: %w, GOAWAY %v", c.ended, c.away)
		case !time.Now().Before(end):
			return *s, fmt.Errorf("stream %d: nothing more after %s", id, patience)
		}
		c.news.Wait()
	}
}

// Get asks for a path and returns the answer.
func (c *HTTP2) Get(scheme, host, path string) (Stream, error) {
	return c.Await(c.Open(Request("GET", scheme, host, path), true), nil)
}

// Away returns the GOAWAYs that came, and why the connection ended, if it has.
func (c *HTTP2) Away() ([]Away, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Away(nil), c.away...), c.ended
}
