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
	open   []byte // only appended to, so that readers may hold what was there

	// Of write, until commit.
	packed []heldBlock
	rest   []byte
}

type heldBlock struct {
	bytes []byte
	meta  meta
}

func newRing(bound int64, age time.Duration, run uint64, p *packer) *ring {
	return &ring{bound: bound, age: age, run: run, packer: p, open: make([]byte, 0, blockRaw)}
}

// write implements keeper. Only write and commit change open, and both are called by one goroutine.
func (r *ring) write(sorted []byte) error {
	r.packed, r.rest = r.packed[:0], nil
	all := sorted
	if len(r.open)+len(all) > blockRaw {
		all = append(bytes.Clone(r.open), sorted...)
		for len(all) > blockRaw {
			block, rest, _ := cut(all)
			if len(block) == 0 {
				break
			}
			b, m := r.packer.pack(block, r.compress())
			b = bytes.Clone(b)
			m.filter = filter(b[blockHead:m.head])
			r.packed = append(r.packed, heldBlock{b, m})
			all = rest
		}
	}
	r.rest = all
	return nil
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
		r.open = append(make([]byte, 0, blockRaw), r.rest...)
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
		r.size -= int64(len(r.blocks[n].bytes))
		n++
	}
	r.forget(n)
}

// forget drops the first n blocks.
func (r *ring) forget(n int) {
	if n > 0 {
		r.blocks = append([]heldBlock(nil), r.blocks[n:]...)
	}
}

// sweep has nothing to do: view hides what is too old, and the bound is kept by commit.
func (r *ring) sweep(time.Time) {}

func (r *ring) view() ([]part, error) {
	limit := time.Now().Add(-r.age).UnixNano()
	parts := make([]part, 0, len(r.blocks)+1)
	for _, b := range r.blocks {
		if b.meta.max >= limit {
			parts = append(parts, heldPart(b, r.run))
		}
	}
	if len(r.open) > 0 {
		b, m := plainBlock(r.open)
		parts = append(parts, heldPart(heldBlock{b, m}, r.run))
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
