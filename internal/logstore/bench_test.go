package logstore

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkAccess is what a request pays on its own goroutine.
func BenchmarkAccess(b *testing.B) {
	s, err := Open(Options{Bound: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	a := request("6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de", time.Now())
	for range 20_000 { // buffers as large as they become
		s.Access(a)
	}
	reset := func() {
		for i := range s.shards {
			s.shards[i].pending = s.shards[i].pending[:0]
		}
	}
	reset()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s.Access(a)
		if n++; n == 20_000 {
			n = 0
			reset()
		}
	}
	b.SetBytes(int64(len(putAccess(nil, a))))
}

// BenchmarkAccessParallel has all threads record while the store writes, in memory.
func BenchmarkAccessParallel(b *testing.B) {
	s, _ := running(b, Options{Bound: 1 << 30})
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		a := request("6f1c9a52-7d0b-4c3e-9b66-2f1a40f0c1de", time.Now())
		for p.Next() {
			s.Access(a)
		}
	})
}

// BenchmarkWrite is what the background pays for a record: sorting and compressing.
func BenchmarkWrite(b *testing.B) {
	for _, kind := range []string{"memory", "files"} {
		b.Run(kind, func(b *testing.B) {
			opt := Options{Bound: 1 << 30}
			if kind == "files" {
				opt.Dir = b.TempDir()
			}
			s, err := Open(opt)
			if err != nil {
				b.Fatal(err)
			}
			a := request("", time.Now())
			n := 0
			for b.Loop() {
				a.ID = fmt.Appendf(a.ID[:0], "%016x-7d0b-4c3e-%012x", mix(uint64(n)), mix(uint64(n))>>16)
				a.Start = a.Start.Add(time.Microsecond)
				a.Duration = time.Duration(mix(uint64(n)) % 5000)
				a.Conn = uint64(n)
				s.Access(a)
				if n++; n%1000 == 0 {
					s.write()
				}
			}
			st := s.State()
			b.ReportMetric(float64(st.Bytes)/float64(n), "bytes-kept/op")
			_ = s.keeper.close()
		})
	}
}
