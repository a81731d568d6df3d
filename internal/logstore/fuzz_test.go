package logstore

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// sampleSegment returns a file with some blocks, with and without index.
func sampleSegment(t testing.TB, sealed bool) []byte {
	dir := t.TempDir()
	s, stop := running(t, Options{Dir: dir})
	for i := range 40 {
		s.Access(request(fmt.Sprintf("id-%d", i), time.Unix(1767366245, int64(i))))
		if i == 20 {
			s.Handshake(sampleRefusal())
		}
		if i%10 == 9 {
			flush(t, s)
		}
	}
	path := filepath.Join(dir, segmentName(1))
	if !sealed {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		stop()
		return b
	}
	stop()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// readAll reads a file in every way there is, and returns how many records came.
func readAll(t testing.TB, b []byte) int {
	sf, err := newSegmentFile(held{bytes.NewReader(b)}, int64(len(b)))
	if err != nil {
		return 0
	}
	p := part{summary: Always().summary(), run: sf.run, open: func() (*segmentFile, error) { return sf, nil }}
	w, err := newWalker([]part{p}, Always())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	rec := decoded{words: &words{}}
	all, err := ParseFields(allNames())
	if err != nil {
		t.Fatal(err)
	}
	e := newRenderer(all, RFC3339)
	var out []byte
	n := 0
	for {
		r, _ := w.next()
		if r == nil {
			return n
		}
		if len(r) < recordHead || len(r) > maxRecord {
			t.Fatalf("a record of %d bytes", len(r))
		}
		n++
		keyOf(r)
		connOf(r)
		if rec.read(r) != nil {
			continue
		}
		out = e.line(out[:0], &rec.Record)
	}
}

func (s Span) summary() summary { return summary{min: s.Start, max: s.End} }

// FuzzSegment reads files that nobody has written.
func FuzzSegment(f *testing.F) {
	open, sealed := sampleSegment(f, false), sampleSegment(f, true)
	f.Add(open)
	f.Add(sealed)
	f.Add(open[:len(open)/2])
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, b []byte) { readAll(t, b) })
}

// FuzzBlock opens blocks whose checksums are right and whose contents are not.
func FuzzBlock(f *testing.F) {
	f.Add(putHandshake(putAccess(nil, sampleAccess()), sampleRefusal()), byte(0))
	f.Fuzz(func(t *testing.T, raw []byte, codec byte) {
		rec := decoded{words: &words{}}
		for rest := raw; len(rest) > 0; {
			r, after, err := split(rest)
			if err != nil {
				break
			}
			_ = rec.read(r)
			keyOf(r)
			connOf(r)
			rest = after
		}
		u, err := newUnpacker()
		if err != nil {
			t.Fatal(err)
		}
		defer u.close()
		m := meta{payload: len(raw), raw: 100, crc: checksum(raw), codec: codec & 1}
		if out, err := u.unpack(nil, &m, raw); err == nil && len(out) != 100 {
			t.Fatalf("%d bytes", len(out))
		}
	})
}

// TestDamage cuts a file off at every length, and changes every byte: what is read is never more than
// what was written, and never another record.
func TestDamage(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		whole := sampleSegment(t, sealed)
		if n := readAll(t, whole); n != 41 {
			t.Fatalf("%d records in the whole file", n)
		}
		for n := range whole {
			if got := readAll(t, whole[:n]); got > 41 {
				t.Fatalf("%d records after cutting at %d", got, n)
			}
		}
		least := 41
		for i := range whole {
			b := bytes.Clone(whole)
			b[i] ^= 0x55
			got := readAll(t, b)
			if got > 41 {
				t.Fatalf("%d records after changing byte %d", got, i)
			}
			if i >= segmentHead {
				least = min(least, got)
			}
		}
		if !sealed && least < 30 {
			t.Errorf("a changed byte costs more than its block: %d records are left", least)
		}
	}
}
