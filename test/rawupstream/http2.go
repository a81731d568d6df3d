package rawupstream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// HTTP2Handler answers a request when all of it has come. It runs on a goroutine of its own.
type HTTP2Handler func(m *Message, c *HTTP2Conn)

// HTTP2Conn is a connection of an origin that speaks HTTP/2, on which a handler writes frames, right or wrong.
type HTTP2Conn struct {
	net.Conn

	mu    sync.Mutex // guards what is written
	fr    *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder

	tunnels sync.Map // *io.PipeWriter by the number of an extended CONNECT's stream
}

// Tunnel returns what comes on the stream of an extended CONNECT. The caller reads it to its end: nothing
// else is read on the connection meanwhile.
func (c *HTTP2Conn) Tunnel(stream uint32) io.Reader {
	r, _ := c.tunnels.Load(stream)
	return r.(tunnel).r
}

// tunnel is what comes on a stream.
type tunnel struct {
	r *io.PipeReader
	w *io.PipeWriter
}

// passOn gives DATA and ends to who reads a tunnel, and reports whether the frame is of one.
func (c *HTTP2Conn) passOn(f http2.Frame) bool {
	id := f.Header().StreamID
	v, ok := c.tunnels.Load(id)
	if !ok {
		return false
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		_, _ = v.(tunnel).w.Write(f.Data())
		c.credit(id, f.Length)
		if f.StreamEnded() {
			_ = v.(tunnel).w.Close()
		}
	case *http2.RSTStreamFrame:
		_ = v.(tunnel).w.CloseWithError(http2.StreamError{StreamID: id, Code: f.ErrCode})
	}
	return true
}

// credit lets as much come as came.
func (c *HTTP2Conn) credit(stream, n uint32) {
	if n == 0 {
		return
	}
	c.Frames(func(fr *http2.Framer, _ func(...string) []byte) {
		_ = fr.WriteWindowUpdate(0, n)
		_ = fr.WriteWindowUpdate(stream, n)
	})
}

// Frames writes with no other frame in between.
func (c *HTTP2Conn) Frames(write func(fr *http2.Framer, encode func(namesAndValues ...string) []byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	write(c.fr, c.encode)
}

func (c *HTTP2Conn) encode(namesAndValues ...string) []byte {
	c.block.Reset()
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: namesAndValues[i], Value: namesAndValues[i+1]})
	}
	return bytes.Clone(c.block.Bytes())
}

// Head writes HEADERS.
func (c *HTTP2Conn) Head(stream uint32, end bool, namesAndValues ...string) {
	c.Frames(func(fr *http2.Framer, encode func(...string) []byte) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: encode(namesAndValues...), EndStream: end, EndHeaders: true})
	})
}

// Data writes DATA.
func (c *HTTP2Conn) Data(stream uint32, end bool, body string) {
	c.Frames(func(fr *http2.Framer, _ func(...string) []byte) { _ = fr.WriteData(stream, end, []byte(body)) })
}

// Reply answers with 200 and a body.
func (c *HTTP2Conn) Reply(stream uint32, body string) {
	c.Head(stream, false, ":status", "200", "content-length", strconv.Itoa(len(body)))
	c.Data(stream, true, body)
}

// StartHTTP2 starts an origin that speaks HTTP/2, with prior knowledge or after ALPN, and keeps what came
// as heads of HTTP/1.1 would be: names in lower case, in their order, crumbs of cookies joined. What is not allowed in HTTP/2 is Message.Err. nil answers 200 and the request line.
func StartHTTP2(tb testing.TB, config *tls.Config, h HTTP2Handler) *Upstream {
	tb.Helper()
	if h == nil {
		h = func(m *Message, c *HTTP2Conn) { c.Reply(m.Stream, m.Line()+"\n") }
	}
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"h2"}
	}
	return startWith(tb, config, func(u *Upstream, c net.Conn, number int) {
		conn := &HTTP2Conn{Conn: c, fr: http2.NewFramer(c, c)}
		conn.fr.AllowIllegalWrites = true
		conn.enc = hpack.NewEncoder(&conn.block)
		var running sync.WaitGroup
		defer running.Wait()
		u.serveHTTP2(conn, number, func(m *Message) { running.Go(func() { h(m, conn) }) })
		c.Close() // ends what handlers wait for
	})
}

func (u *Upstream) serveHTTP2(c *HTTP2Conn, number int, answer func(*Message)) {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c, preface); err != nil || string(preface) != http2.ClientPreface {
		u.add(&Message{Conn: number, Head: string(preface), Err: errors.New("no preface of HTTP/2")})
		return
	}
	c.Frames(func(fr *http2.Framer, _ func(...string) []byte) {
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
		_ = fr.WriteWindowUpdate(0, 1<<24)
	})
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	open := map[uint32]*Message{}
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			c.tunnels.Range(func(_, v any) bool { _ = v.(tunnel).w.CloseWithError(io.ErrUnexpectedEOF); return true })
			for _, m := range open {
				m.Err = io.ErrUnexpectedEOF
				u.add(m)
			}
			return
		}
		id := f.Header().StreamID
		m, end := open[id], false
		if c.passOn(f) {
			continue
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				c.Frames(func(fr *http2.Framer, _ func(...string) []byte) { _ = fr.WriteSettingsAck() })
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				c.Frames(func(fr *http2.Framer, _ func(...string) []byte) { _ = fr.WritePing(true, f.Data) })
			}
		case *http2.MetaHeadersFrame:
			end = f.StreamEnded()
			if m != nil {
				for _, t := range f.Fields {
					m.Trail += t.Name + ": " + t.Value + "\r\n"
				}
				break
			}
			m = &Message{Conn: number, Stream: id}
			m.Head, m.Err = headOf(f)
			if m.Opened = f.PseudoValue("protocol") != ""; m.Opened {
				r, w := io.Pipe()
				c.tunnels.Store(id, tunnel{r, w})
				u.add(m)
				answer(m)
				break
			}
			open[id] = m
		case *http2.DataFrame:
			if m == nil {
				break
			}
			m.Body = append(m.Body, f.Data()...)
			end = f.StreamEnded()
			c.credit(id, f.Length)
		case *http2.RSTStreamFrame:
			if m != nil {
				m.Err = http2.StreamError{StreamID: id, Code: f.ErrCode}
				u.add(m)
				delete(open, id)
			}
		}
		if m == nil || m.Opened || !end {
			continue
		}
		delete(open, id)
		if n := m.Field("content-length"); n != "" && n != strconv.Itoa(len(m.Body)) {
			m.Err = errors.Join(m.Err, errors.New("content-length "+n+" for "+strconv.Itoa(len(m.Body))+" bytes"))
		}
		u.add(m)
		answer(m)
	}
}

// headOf writes a header list as HTTP/1.1 would.
func headOf(f *http2.MetaHeadersFrame) (string, error) {
	var err error
	var b strings.Builder
	method, upgrade := f.PseudoValue("method"), f.PseudoValue("protocol")
	if upgrade != "" {
		if method != "CONNECT" {
			err = errors.New(":protocol with " + method)
		}
		method = "GET"
	}
	b.WriteString(method + " " + f.PseudoValue("path") + " HTTP/1.1\r\nHost: " + f.PseudoValue("authority") + "\r\n")
	var crumbs []string
	for _, line := range f.RegularFields() {
		switch {
		case line.Name != strings.ToLower(line.Name), strings.ContainsAny(line.Name+line.Value, "\r\n\x00"), strings.ContainsAny(line.Name, " :\t"),
			slices.Contains([]string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"}, line.Name),
			line.Name == "te" && line.Value != "trailers":
			err = errors.Join(err, errors.New("HTTP/2 has no field "+strconv.Quote(line.Name+": "+line.Value)))
		}
		if line.Name == "cookie" {
			crumbs = append(crumbs, line.Value)
			continue
		}
		b.WriteString(line.Name + ": " + line.Value + "\r\n")
	}
	if crumbs != nil {
		b.WriteString("cookie: " + strings.Join(crumbs, "; ") + "\r\n")
	}
	return b.String() + "\r\n", err
}
