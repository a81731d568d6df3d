package mux

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
)

// timed runs a server with Ticks, under a false clock, against what the script does, and returns why and
// when it ended.
func timed(t *testing.T, limits Limits, handle func(*Stream), script func(r *raw)) (took time.Duration, err error) {
	t.Helper()
	a, b := net.Pipe()
	var wg sync.WaitGroup
	c := New(Config{Conn: a, Scheme: "http", Limits: limits, Accept: func(s *Stream) {
		wg.Go(func() {
			defer s.Close()
			handle(s)
		})
	}})
	begin := time.Now()
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-time.After(time.Second):
				c.Tick(c.now())
			case <-stop:
				return
			}
		}
	})
	wg.Go(func() {
		r := newRaw(t, b)
		b.SetDeadline(time.Time{})
		script(r)
	})
	err = c.Serve()
	took = time.Since(begin)
	close(stop)
	b.Close()
	wg.Wait()
	return took, err
}

// wait keeps an exchange running until its stream ends.
func wait(s *Stream) {
	for {
		if _, err := s.Next(); err != nil {
			break
		}
	}
	for s.Write(make([]byte, 1), false) == nil {
		time.Sleep(time.Hour)
	}
}

func TestWhatIsLate(t *testing.T) {
	greet := func(r *raw) {
		r.drainReads()
		io.WriteString(r.nc, http2.Preface)
		r.WriteSettings()
		r.WriteSettingsAck()
	}
	for _, c := range []struct {
		name   string
		script func(r *raw)
		code   diag.Code
		after  time.Duration
	}{
		{"no preface", func(r *raw) { r.drainReads() }, diag.RequestHeadTimeout, 10 * time.Second},
		{"preface byte by byte", func(r *raw) {
			r.drainReads()
			for _, b := range []byte(http2.Preface) {
				r.nc.Write([]byte{b})
				time.Sleep(time.Second)
			}
		}, diag.RequestHeadTimeout, 10 * time.Second},
		{"no SETTINGS", func(r *raw) { r.drainReads(); io.WriteString(r.nc, http2.Preface) }, diag.RequestHeadTimeout, 10 * time.Second},
		{"SETTINGS not acknowledged", func(r *raw) {
			r.drainReads()
			io.WriteString(r.nc, http2.Preface)
			r.WriteSettings()
		}, diag.HTTP2SettingsWait, 10 * time.Second},
		{"head without end", func(r *raw) {
			greet(r)
			time.Sleep(20 * time.Second)
			r.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: r.fields(":method", "GET")})
			for range 20 {
				time.Sleep(time.Second)
				r.WriteContinuation(1, false, []byte{0x82})
			}
		}, diag.RequestHeadTimeout, 30 * time.Second},
		{"frame byte by byte", func(r *raw) {
			greet(r)
			for range 9 {
				r.nc.Write([]byte{0, 0, 1, 1}[:1])
				time.Sleep(5 * time.Second)
			}
		}, diag.RequestHeadTimeout, 10 * time.Second},
		{"silence", func(r *raw) { greet(r); r.head(1, true) }, diag.HTTP2PingTimeout, 81 * time.Second},
		{"not reading", func(r *raw) {
			go io.CopyN(io.Discard, r.nc, 100)
			io.WriteString(r.nc, http2.Preface)
			r.WriteSettings()
			r.WriteSettingsAck()
			for range 10 {
				r.WritePing(false, [8]byte{})
			}
		}, diag.ClientTooSlow, 60 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took, err := timed(t, Limits{}, wait, c.script)
				var e *http2.Error
				if !errors.As(err, &e) || e.Code != c.code {
					t.Errorf("ended with %v, want %s", err, c.code.Slug())
				}
				if took < c.after || took > c.after+4*time.Second {
					t.Errorf("after %s, want %s", took, c.after)
				}
			})
		})
	}
}

// Who answers PING is there, however long the exchange takes.
func TestPingAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pings := 0
		took, err := timed(t, Limits{}, func(s *Stream) {
			time.Sleep(10 * time.Minute)
			s.WriteHead(&message.Response{Status: 204}, true)
		}, func(r *raw) {
			writes := make(chan func() error, 100)
			defer close(writes)
			go func() { // a pipe has no buffer
				for write := range writes {
					write()
				}
			}()
			writes <- func() error { _, err := io.WriteString(r.nc, http2.Preface); return err }
			writes <- func() error { return r.WriteSettings() }
			writes <- r.WriteSettingsAck
			writes <- func() error { return r.head(1, true) }
			for {
				f, err := r.ReadFrame()
				if err != nil {
					return
				}
				switch f := f.(type) {
				case *xhttp2.PingFrame:
					pings++
					data := f.Data
					writes <- func() error { return r.WritePing(true, data) }
				case *xhttp2.MetaHeadersFrame:
					r.nc.Close()
					return
				}
			}
		})
		if err != io.EOF && !errors.Is(err, io.ErrClosedPipe) || took < 10*time.Minute || pings < 8 || pings > 11 {
			t.Errorf("ended with %v after %s, %d PINGs", err, took, pings)
		}
	})
}

// An idle connection keeps neither its read buffer nor its writer.
func TestIdleHoldsNothing(t *testing.T) {
	s := startServer(t, Limits{}, echo)
	r := connect(s)
	for round := range 2 {
		r.head(uint32(2*round+1), true)
		r.until(isData)
		c := s.conns[0]
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			c.mu.Lock()
			idle := !c.writing && c.out == nil && !c.holdsRead.Load()
			c.mu.Unlock()
			if idle {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the connection still holds a buffer or its writer")
			}
		}
	}
}
