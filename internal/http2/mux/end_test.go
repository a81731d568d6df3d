package mux

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// halved is a pipe of which one direction can be closed, as far as the other side cannot tell.
type halved struct{ net.Conn }

func (halved) CloseWrite() error { return nil }

// The last answer of a connection that is shut down reaches a slow reader whole, which credits it meanwhile.
func TestShutdownWithSlowReader(t *testing.T) {
	for _, half := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const size = 60_000
			a, b := net.Pipe()
			if half {
				a = halved{a}
			}
			c := New(Config{Conn: a, Scheme: "http", Accept: func(s *Stream) {
				go func() {
					defer s.Close()
					answer(s, size)
					s.Conn().Shutdown()
				}()
			}})
			ended, over := make(chan error, 1), make(chan struct{})
			go func() { ended <- c.Serve(); close(over) }()
			go func() {
				for {
					select {
					case <-time.After(time.Second):
						c.Tick(c.now())
					case <-over:
						return
					}
				}
			}()
			defer b.Close()
			slow := struct {
				io.Reader
				io.Writer
			}{readerFunc(func(p []byte) (int, error) {
				time.Sleep(200 * time.Millisecond)
				return b.Read(p[:min(len(p), 1<<10)])
			}), b}
			b.Write([]byte(http2.Preface))
			f := xhttp2.NewFramer(slow, slow)
			f.WriteSettings()
			f.WriteSettingsAck()
			r := newRaw(t, b)
			b.SetDeadline(time.Time{})
			r.head(1, true)
			got, whole, begin := 0, false, time.Now()
			for !whole {
				frame, err := f.ReadFrame()
				if err != nil {
					t.Fatalf("%d of %d bytes: %v", got, size, err)
				}
				if d, ok := frame.(*xhttp2.DataFrame); ok {
					got += len(d.Data())
					whole = d.StreamEnded()
					if half && !whole { // the pipe waits until it is read
						f.WriteWindowUpdate(0, 1000)
					}
				}
			}
			if took := time.Since(begin); got != size || took < 5*time.Second {
				t.Errorf("%d of %d bytes after %s", got, size, took)
			}
			go io.Copy(io.Discard, b)
			if err := <-ended; err != io.EOF {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A reader that stops altogether holds an orderly end for WriteTimeout, and only as long as nobody aborts it.
func TestShutdownWithoutReader(t *testing.T) {
	for abort, want := range map[bool]time.Duration{false: 60 * time.Second, true: 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			took, err := timed(t, Limits{}, func(s *Stream) {
				answer(s, 60_000)
				s.Conn().Shutdown()
				if abort {
					time.Sleep(5 * time.Second)
					s.Conn().Abort(http2.NoError)
				}
			}, func(r *raw) {
				io.WriteString(r.nc, http2.Preface)
				r.WriteSettings()
				r.WriteSettingsAck()
				r.head(1, true)
				io.CopyN(io.Discard, r.nc, 1000)
			})
			if err != io.EOF || took < want || took > want+5*time.Second {
				t.Errorf("abort %v: ended with %v after %s", abort, err, took)
			}
		})
	}
}

// panicConn panics in its nth Write.
type panicConn struct {
	net.Conn
	left int
}

func (c *panicConn) Write(p []byte) (int, error) {
	if c.left--; c.left < 0 {
		panic("in Write")
	}
	return c.Conn.Write(p)
}

// A panic ends the connection with INTERNAL_ERROR, and its streams, and nothing else.
func TestPanics(t *testing.T) {
	broken := func() { panic("in a function") }
	changes := 0
	greet := func(r *raw) {
		io.WriteString(r.nc, http2.Preface)
		r.WriteSettings()
		r.WriteSettingsAck()
		r.head(1, false)
	}
	for name, c := range map[string]struct {
		cfg  Config
		send func(r *raw)
		tell bool
	}{
		"Accept":  {tell: true, send: func(r *raw) { r.head(3, true) }},
		"OnReset": {tell: true, send: func(r *raw) { r.WriteRSTStream(1, xhttp2.ErrCodeCancel) }},
		"Refused": {tell: true, cfg: Config{Refused: func(Refusal) { broken() }}, send: func(r *raw) { r.head(3, true, "Upper", "x") }},
		"Changed": {tell: true, cfg: Config{Changed: func() {
			if changes++; changes == 3 { // after SETTINGS and its acknowledgement
				broken()
			}
		}}, send: func(r *raw) { r.WriteGoAway(0, 0, nil) }},
		"writer": {send: func(r *raw) { r.WritePing(false, [8]byte{}) }},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			waits, begun, told := make(chan error, 1), make(chan struct{}), make(chan struct{})
			c.cfg.Conn, c.cfg.Scheme = a, "http"
			if name == "writer" {
				c.cfg.Conn = &panicConn{a, 1}
			}
			c.cfg.Accept = func(s *Stream) {
				if s.ID() == 3 {
					broken()
				}
				s.OnReset(func() {
					close(told)
					if name == "OnReset" {
						broken()
					}
				})
				go func() {
					close(begun)
					_, err := s.Next()
					<-told
					s.Close() // when nobody is being told any more
					waits <- err
				}()
			}
			conn := New(c.cfg)
			ended := make(chan error, 1)
			go func() { ended <- conn.Serve() }()
			r := newRaw(t, b)
			greet(r)
			<-begun
			r.until(func(f xhttp2.Frame) bool { return f.Header().Type == xhttp2.FrameSettings })
			c.send(r)
			if c.tell {
				if g := r.until(isGoAway).(*xhttp2.GoAwayFrame); g.ErrCode != xhttp2.ErrCodeInternal {
					t.Errorf("%v", g)
				}
			} else {
				io.Copy(io.Discard, b)
			}
			b.Close()
			var caught *PanicError
			if err := <-ended; !errors.As(err, &caught) || len(caught.Stack) == 0 {
				t.Errorf("ended with %v", err)
			}
			if err := <-waits; err == nil || err == io.EOF {
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
}

// So does one while an answer is encoded by the writer, which holds the lock then.
func TestPanicOfEncoder(t *testing.T) {
	done := make(chan error, 1)
	s := startServer(t, Limits{}, func(s *Stream) {
		c := s.Conn()
		c.mu.Lock()
		c.encoder = nil
		s.op, s.resp, s.opEnd = opHead, &message.Response{Status: 200}, true
		c.headQueue.push(s)
		c.provoke(func(dst []byte) []byte { return http2.AppendPing(dst, pingAlive, false) })
		for s.op != opNone {
			s.sendWake.Wait()
		}
		done <- s.opErr
		c.mu.Unlock()
	})
	r := connect(s)
	r.head(1, true)
	if g := r.until(isGoAway).(*xhttp2.GoAwayFrame); g.ErrCode != xhttp2.ErrCodeInternal {
		t.Errorf("%v", g)
	}
	var caught *PanicError
	if err := <-done; !errors.As(err, &caught) {
		t.Errorf("the stream ended with %v", err)
	}
	r.nc.Close()
	if err := s.end(); !errors.As(err, &caught) {
		t.Errorf("ended with %v", err)
	}
}
