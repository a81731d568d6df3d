package mux

import (
	"net"
	"sync"
	"testing"

	"github.com/hakone-gateway/hakone/internal/message"
)

// fixed answers 1 KiB, as a bare server would.
func fixed() func(*Stream) {
	body := make([]byte, 1024)
	return func(s *Stream) {
		var resp message.Response
		resp.Status = 200
		resp.Body = message.Body{Kind: message.Sized, Length: int64(len(body))}
		if s.WriteHead(&resp, false) == nil {
			s.Write(body, true)
		}
	}
}

// BenchmarkRequests is both roles on loopback: a connection with so many requests at once.
func BenchmarkRequests(b *testing.B) {
	for _, streams := range []int{1, 32} {
		b.Run(map[int]string{1: "1", 32: "32"}[streams], func(b *testing.B) {
			s := startServer(b, Limits{}, fixed())
			nc, err := net.Dial("tcp", s.addr)
			if err != nil {
				b.Fatal(err)
			}
			c := dialed(b, nc, Limits{})
			<-c.Ready()
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range streams {
				wg.Add(1)
				go func() {
					defer wg.Done()
					req := request("GET", "/")
					var resp message.Response
					for n := i; n < b.N; n += streams {
						if err := get(c, req, &resp); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			wg.Wait()
		})
	}
}

func get(c *Conn, req *message.Request, resp *message.Response) error {
	s, err := c.Open(req, true)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.ReadResponse(resp); err != nil {
		return err
	}
	for {
		if _, err := s.Next(); err != nil {
			return nil
		}
	}
}

// BenchmarkBody is one stream's body on loopback.
func BenchmarkBody(b *testing.B) {
	s := startServer(b, Limits{}, echo)
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		b.Fatal(err)
	}
	c := dialed(b, nc, Limits{})
	body := make([]byte, 64<<10)
	st, err := c.Open(request("POST", "/"), false)
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.ResetTimer()
	written := make(chan struct{})
	defer func() { <-written }() // before Close
	go func() {
		defer close(written)
		for range b.N {
			if st.Write(body, false) != nil {
				return
			}
		}
	}()
	for got := 0; got < b.N*len(body); {
		p, err := st.Next()
		if err != nil {
			b.Fatal(err)
		}
		got += len(p)
	}
}
