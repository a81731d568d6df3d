package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
)

// raw is a peer that sends whatever it is told to.
type raw struct {
	*xhttp2.Framer
	t     testing.TB
	nc    net.Conn
	block bytes.Buffer
	enc   *hpack.Encoder
}

func newRaw(t testing.TB, nc net.Conn) *raw {
	r := &raw{Framer: xhttp2.NewFramer(nc, nc), t: t, nc: nc}
	r.AllowIllegalWrites = true
	r.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.enc = hpack.NewEncoder(&r.block)
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	t.Cleanup(func() { nc.Close() })
	return r
}

// connect opens a connection to s and says what a client says first.
func connect(s *server, settings ...xhttp2.Setting) *raw {
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.tb.Fatal(err)
	}
	r := newRaw(s.tb, nc)
	io.WriteString(nc, http2.Preface)
	r.WriteSettings(settings...)
	r.WriteSettingsAck()
	return r
}

// fields encodes a header block from pairs.
func (r *raw) fields(pairs ...string) []byte {
	r.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		r.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return r.block.Bytes()
}

// head sends the head of a request.
func (r *raw) head(id uint32, end bool, more ...string) error {
	block := r.fields(append([]string{":method", "POST", ":scheme", "http", ":path", "/", ":authority", "example.test"}, more...)...)
	return r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true})
}

// until reads frames up to one that ok accepts.
func (r *raw) until(ok func(xhttp2.Frame) bool) xhttp2.Frame {
	r.t.Helper()
	for {
		f, err := r.ReadFrame()
		if err != nil {
			r.t.Fatalf("no such frame: %v", err)
		}
		if ok(f) {
			return f
		}
	}
}

// reset waits for RST_STREAM of a stream.
func (r *raw) reset(id uint32) xhttp2.ErrCode {
	r.t.Helper()
	f := r.until(func(f xhttp2.Frame) bool { _, ok := f.(*xhttp2.RSTStreamFrame); return ok && f.Header().StreamID == id })
	return f.(*xhttp2.RSTStreamFrame).ErrCode
}

// drainReads reads what comes so that the peer is never blocked.
func (r *raw) drainReads() { go io.Copy(io.Discard, r.nc) }

// end waits for the end of the server's connection.
func (s *server) end() error {
	s.tb.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(10 * time.Second):
		s.tb.Fatal("the connection did not end")
		return nil
	}
}

func (s *server) wantEnd(code diag.Code, h2 http2.ErrorCode) {
	s.tb.Helper()
	err := s.end()
	var e *http2.Error
	if !errors.As(err, &e) || e.Code != code || e.HTTP2 != h2 {
		s.tb.Errorf("ended with %v, want %s %s", err, code.Slug(), h2)
	}
}

// startStuck is startServer with exchanges that run until the test ends.
func startStuck(t testing.TB, limits Limits) *server {
	stop := make(chan struct{})
	s := startServer(t, limits, func(*Stream) { <-stop })
	t.Cleanup(func() { close(stop) }) // before the server's
	return s
}
