package logstore

import (
	"bytes"
	"time"
)

// ring keeps the last blocks in memory. Records that do not fill a block yet are as they came.
type ring struct {
	bound  int64
	age    time.Duration
	run    uint64
	packer *packer

	// Owned by the writer: how many blocks may be compressed still in this second.
	second int64
	budget int

	// Guarded by Store.mu.
	blocks []heldBlock
	size   int64
	open   []byte // readers may hold what is there
	shown  bool   // open has been shown to a reader: it is only appended to

	// Owned by the writer: memory of blocks that went before a reader came.
	free [][]byte

	// Of write, until commit.
	packed []heldBlock
	rest   []byte
}

type heldBlock struct {
	bytes []byte
	meta  meta
	shown bool // a reader may hold it
}

// maxFree bounds the memory kept for the next blocks, in blocks.
const maxFree = 4

func newRing(bound int64, age time.Duration, run uint64, p *packer) *ring {
	return &ring{bound: bound, age: age, run: run, packer: p, open: make([]byte, 0, blockRaw)}
}

// write implements keeper. Only write and commit change open, and both are called by one goroutine. The
// first block goes on behind what is open, in its own memory: readers hold a shorter slice of that.
func (r *ring) write(sorted []byte) error {
	r.packed, r.rest = r.packed[:0], nil
	if len(r.open)+len(sorted) > blockRaw {
		var first []byte
		first, sorted = room(sorted, blockRaw-len(r.open))
		r.pack(append(r.open, first...))
		for len(sorted) > blockRaw {
			var block []byte
			block, sorted, _ = cut(sorted)
			if len(block) == 0 {
				break
			}
			r.pack(block)
		}
	}
	r.rest = sorted
	return nil
}

// pack makes a block for the ring to keep.
func (r *ring) pack(raw []byte) {
	if len(raw) == 0 {
		return
	}
	compress, scratch := r.compress(), r.packer.block
	if !compress { // it is written where it stays
		r.packer.block = nil
		if n := len(r.free); n > 0 {
			r.packer.block, r.free = r.free[n-1], r.free[:n-1]
		}
	}
	b, m := r.packer.pack(raw, compress)
	if compress {
		b = bytes.Clone(b)
	} else {
		r.packer.block = scratch
	}
	m.filter = filter(b[blockHead:m.head])
	r.packed = append(r.packed, heldBlock{bytes: b, meta: m})
}

// room returns the longest prefix of records that is at most n bytes long, and the rest.
func room(sorted []byte, n int) (fits, rest []byte) {
	rest = sorted
	for len(rest) > 0 {
		_, after, err := split(rest)
		if err != nil || len(sorted)-len(after) > n {
			break
		}
		rest = after
	}
	return sorted[:len(sorted)-len(rest)], rest
}

// compressed is how many blocks a second are compressed. When more come, what is gained by it is old in a
// moment, and what it costs is missed by those who make the records.
const compressed = 16

// compress reports whether the next block shall be compressed.
func (r *ring) compress() bool {
	if now := time.Now().Unix(); now != r.second {
		r.second, r.budget = now, compressed
	}
	r.budget--
	return r.budget >= 0
}

func (r *ring) commit() {
	if len(r.packed) > 0 {
		for _, b := range r.packed {
			r.blocks = append(r.blocks, b)
			r.size += int64(len(b.bytes))
		}
		clear(r.packed)
		if r.shown {
			r.open, r.shown = make([]byte, 0, blockRaw), false
		}
		r.open = append(r.open[:0], r.rest...)
	} else {
		r.open = append(r.open, r.rest...)
	}
	r.rest = nil
	r.trim()
}

// trim removes the oldest blocks while there is too much.
func (r *ring) trim() {
	n := 0
	for n < len(r.blocks) && r.size+blockRaw > r.bound {
		b := &r.blocks[n]
		r.size -= int64(len(b.bytes))
		if !b.shown && b.meta.codec == 0 && len(r.free) < maxFree {
			r.free = append(r.free, b.bytes[:0])
		}
		n++
	}
	r.forget(n)
}

// forget drops the first n blocks.
func (r *ring) forget(n int) {
	if n > 0 {
		left := copy(r.blocks, r.blocks[n:])
		clear(r.blocks[left:])
		r.blocks = r.blocks[:left]
	}
}

// sweep has nothing to do: view hides what is too old, and the bound is kept by commit.
func (r *ring) sweep(time.Time) {}

func (r *ring) view() ([]part, error) {
	limit := time.Now().Add(-r.age).UnixNano()
	parts := make([]part, 0, len(r.blocks)+1)
	for i := range r.blocks {
		if b := &r.blocks[i]; b.meta.max >= limit {
			b.shown = true
			parts = append(parts, heldPart(*b, r.run))
		}
	}
	if len(r.open) > 0 {
		r.shown = true
		b, m := plainBlock(r.open)
		parts = append(parts, heldPart(heldBlock{bytes: b, meta: m}, r.run))
	}
	return parts, nil
}

func (r *ring) state() (size, oldest int64) {
	size = r.size + int64(len(r.open))
	switch {
	case len(r.blocks) > 0:
		oldest = r.blocks[0].meta.min
	case len(r.open) > 0:
		oldest = endOf(r.open)
	}
	return size, oldest
}

func (r *ring) close() error { return nil }

// plainBlock makes the meta of records that are not compressed. There is no header.
func plainBlock(raw []byte) ([]byte, meta) {
	m := meta{payload: len(raw), raw: len(raw), crc: checksum(raw)}
	s := nothing()
	for rest := raw; len(rest) > 0; m.count++ {
		r, after, err := split(rest)
		if err != nil {
			break
		}
		s.min, s.max = min(s.min, endOf(r)), max(s.max, endOf(r))
		rest = after
	}
	m.min, m.max = s.min, s.max
	return raw, m
}

// heldPart is a block in memory as readers take it.
func heldPart(b heldBlock, run uint64) part {
	return part{summary: summary{b.meta.min, b.meta.max, int64(b.meta.count)}, run: run, open: func() (*segmentFile, error) {
		return &segmentFile{file: held{bytes.NewReader(b.bytes)}, run: run, blocks: []meta{b.meta}, sealed: true}, nil
	}}
}

// held is memory as a file.
type held struct{ *bytes.Reader }

func (held) Close() error { return nil }
