package upstream

import (
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// BenchmarkStreams has 256 requests at once go over one connection, and over two.
func BenchmarkStreams(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = mux.New(mux.Config{Conn: c, Scheme: "http", Limits: mux.Limits{MaxStreams: 1000}, Accept: func(s *mux.Stream) {
					go func() {
						_ = s.WriteHead(&message.Response{Proto: message.HTTP2, Status: 200}, false)
						_ = s.Write(make([]byte, 1024), true)
						s.Close()
					}()
				}}).Serve()
			})
		}
	})
	defer func() { ln.Close(); wg.Wait() }()
	for _, cores := range []int{1, 2} {
		b.Run(fmt.Sprint(cores), func(b *testing.B) {
			r := NewRegistry(Options{})
			r.cores = cores
			u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2})
			u.SetEndpoints([]ir.Endpoint{{Host: "127.0.0.1", Port: uint16(ln.Addr().(*net.TCPAddr).Port)}})
			if c, err := u.Get(Query{}); err == nil { // warm: a cold endpoint gets a connection per 100 that wait
				c.Release()
			}
			b.ReportAllocs()
			b.SetParallelism(128)
			b.RunParallel(func(pb *testing.PB) {
				var lease Conn
				for pb.Next() {
					c, err := u.Get(Query{Into: &lease})
					if err != nil {
						b.Error(err)
						return
					}
					if status, err := ask(c); status != 200 {
						b.Error(err)
						return
					}
					c.Release()
				}
			})
			b.ReportMetric(float64(len(u.known()[0].trunks.all())), "connections")
			r.Release(u)
			r.Close()
		})
	}
}

// BenchmarkGet lends and takes back what is kept.
func BenchmarkGet(b *testing.B) {
	for _, p := range []ir.UpstreamProtocol{ir.UpstreamHTTP1, ir.UpstreamHTTP2} {
		b.Run(string(p), func(b *testing.B) {
			s := play(b, &script{})
			r := NewRegistry(Options{})
			u := r.Acquire(&ir.Upstream{Name: "u", Protocol: p})
			u.SetEndpoints([]ir.Endpoint{s.endpoint()})
			var lease Conn
			b.ReportAllocs()
			for b.Loop() {
				c, err := u.Get(Query{Into: &lease})
				if err != nil {
					b.Fatal(err)
				}
				c.Release()
			}
			r.Release(u)
			r.Close()
		})
	}
}
