package listen

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestFramerCutsAtRecords feeds a stream of records in pieces of any size: no piece that is passed on
// reaches into the next record, and nothing is lost.
func TestFramerCutsAtRecords(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var stream []byte
	ends := map[int]bool{}
	for range 200 {
		size := random.IntN(maxRecord)
		if random.IntN(3) == 0 {
			size = random.IntN(4)
		}
		stream = append(stream, 23, 3, 3, byte(size>>8), byte(size))
		stream = append(stream, make([]byte, size)...)
		ends[len(stream)] = true
	}
	for range 20 {
		f := framer{on: true}
		var out []byte
		at := 0 // of the stream, as read from the socket; what is cut off is read again, as from the stash
		for at < len(stream) {
			p := f.limit(make([]byte, 1+random.IntN(40_000)))
			n := copy(p, stream[at:])
			own := f.cut(p[:n])
			if own == 0 {
				t.Fatal("nothing was passed on: the reader would spin")
			}
			for i := at + 1; i < at+own; i++ {
				if ends[i] && i != at+own {
					t.Fatalf("a piece of %d bytes at %d reaches over the end of a record at %d", own, at, i)
				}
			}
			out = append(out, p[:own]...)
			at += own
		}
		if !bytes.Equal(out, stream) {
			t.Fatal("the stream has changed")
		}
	}
	if p := make([]byte, 9); len((&framer{}).limit(p)) != 9 || (&framer{}).cut(p) != 9 {
		t.Error("a connection that is not TLS is not cut")
	}
}
