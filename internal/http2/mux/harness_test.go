package mux

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/message"
)

// server serves connections on loopback until the test ends.
type server struct {
	tb     testing.TB
	addr   string
	limits Limits
	handle func(*Stream)

	mu      sync.Mutex
	conns   []*Conn
	ended   chan error
	refused []Refusal
	wg      sync.WaitGroup
}

func startServer(tb testing.TB, limits Limits, handle func(*Stream)) *server {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &server{tb: tb, addr: l.Addr().String(), limits: limits, handle: handle, ended: make(chan error, 1000)}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(nc)
		}
	}()
	tb.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		conns := s.conns
		s.mu.Unlock()
		for _, c := range conns {
			c.Abort(0)
		}
		s.wg.Wait()
	})
	return s
}

// setLimits changes the limits of connections to come.
func (s *server) setLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// serve serves one connection on a goroutine of its own.
func (s *server) serve(nc net.Conn) *Conn {
	s.mu.Lock()
	limits := s.limits
	s.mu.Unlock()
	c := New(Config{Conn: nc, Scheme: "http", Limits: limits,
		Accept: func(st *Stream) {
			s.wg.Add(1)
			go func() {
				defer s.wg.Done()
				defer st.Close()
				s.handle(st)
			}()
		},
		Refused: func(r Refusal) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.refused = append(s.refused, Refusal{Stream: r.Stream, Err: r.Err, Status: r.Status})
		}})
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	s.wg.Add(2)
	stop := make(chan struct{})
	go func() {
		defer s.wg.Done()
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				c.Tick(c.now())
			case <-stop:
				return
			}
		}
	}()
	go func() {
		defer s.wg.Done()
		err := c.Serve()
		close(stop)
		s.ended <- err
	}()
	return c
}

// echo answers with the request's body and trailers, or a line if there is none.
func echo(s *Stream) {
	var body []byte
	resp := message.Response{Status: 200}
	resp.Body.Kind = message.Chunked
	if n, ended := s.Buffered(); ended && n == 0 {
		body = []byte("hello, world\n")
		resp.Body = message.Body{Kind: message.Sized, Length: int64(len(body))}
	}
	if s.WriteHead(&resp, false) != nil {
		return
	}
	for {
		b, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil || s.Write(b, false) != nil {
			return
		}
	}
	if s.Trailers().Len() > 0 {
		if s.Write(body, false) == nil {
			s.WriteTrailers(s.Trailers())
		}
		return
	}
	s.Write(body, true)
}
