package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/klauspost/compress/zstd"
)

// A block is a header and some hundred records, compressed together. The header tells what the block
// holds without looking into it:
//
//	 0  magic "HKB1"
//	 4  size of the header with its filter
//	 8  size of the payload, which follows the header
//	12  size of the records in the payload
//	16  number of records
//	20  compression: 0 none, 1 Zstandard
//	24  earliest end of a record, nanoseconds of Unix time
//	32  latest
//	40  CRC-32C of the payload
//	44  zero
//	52  CRC-32C of the header without this field
//	56  filter of keys (Bloom)
//
// Numbers are little-endian.
const (
	blockMagic = "HKB1"
	blockHead  = 56

	// blockRaw is how many bytes of records make a full block. A longer record is a block of its own.
	blockRaw = 256 << 10

	maxBlockHead    = blockHead + 64<<10
	maxBlockRaw     = 1 << 20
	maxBlockPayload = maxBlockRaw + 4<<10
)

var errBlock = errors.New("a block is not as it was written")

// meta is what a block's header tells.
type meta struct {
	offset   int64 // in the file
	head     int
	payload  int
	raw      int
	count    int
	codec    byte
	min, max int64 // when records ended
	crc      uint32
	filter   filter
}

func (m *meta) size() int64 { return int64(m.head) + int64(m.payload) }

// overlaps reports whether a block may hold records that ended in [start, end).
func (m *meta) overlaps(start, end int64) bool { return m.max >= start && m.min < end }

// filter is a Bloom filter: it says which keys are certainly not in a block.
type filter []byte

const (
	filterBits   = 12 // a key
	filterHashes = 8
)

func hash(key []byte) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return mix(h)
}

// hashConn is the hash under which the handshakes of a connection are found.
func hashConn(conn uint64) uint64 { return mix(conn ^ 0x9e3779b97f4a7c15) }

// mix spreads entropy over all bits (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func (f filter) each(h uint64, visit func(i uint64, bit byte) bool) bool {
	n := uint64(len(f)) * 8
	step := h>>32 | 1
	for range filterHashes {
		i := h % n
		if !visit(i/8, 1<<(i%8)) {
			return false
		}
		h += step
	}
	return true
}

func (f filter) add(h uint64) {
	f.each(h, func(i uint64, bit byte) bool { f[i] |= bit; return true })
}

// may reports whether the key may be there. An empty filter knows nothing.
func (f filter) may(h uint64) bool {
	return len(f) == 0 || f.each(h, func(i uint64, bit byte) bool { return f[i]&bit != 0 })
}

// packer makes blocks. Not safe for concurrent use.
type packer struct {
	encoder *zstd.Encoder
	block   []byte
}

func newPacker() (*packer, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(blockRaw),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("compression of logs: %w", err)
	}
	return &packer{encoder: e}, nil
}

// pack makes a block of whole records, compressed or as they are. What it returns is valid until the next
// call.
func (p *packer) pack(raw []byte, compress bool) ([]byte, meta) {
	m := meta{raw: len(raw), min: math.MaxInt64, max: math.MinInt64}
	for rest := raw; len(rest) > 0; m.count++ {
		r, after, err := split(rest)
		if err != nil { // we wrote it a moment ago
			break
		}
		m.min, m.max = min(m.min, endOf(r)), max(m.max, endOf(r))
		rest = after
	}
	size := min((m.count*filterBits+7)/8, maxBlockHead-blockHead)
	m.head = blockHead + size
	b := append(p.block[:0], make([]byte, m.head)...)
	m.filter = b[blockHead:m.head]
	for rest := raw; len(rest) > 0; {
		r, after, err := split(rest)
		if err != nil {
			break
		}
		if kindOf(r) == kindHandshake {
			m.filter.add(hashConn(connOf(r)))
		} else {
			m.filter.add(hash(keyOf(r)))
		}
		rest = after
	}
	if compress {
		m.codec = 1
		b = p.encoder.EncodeAll(raw, b)
	} else {
		b = append(b, raw...)
	}
	m.payload = len(b) - m.head
	m.crc = checksum(b[m.head:])
	copy(b, blockMagic)
	le := binary.LittleEndian
	le.PutUint32(b[4:], uint32(m.head))
	le.PutUint32(b[8:], uint32(m.payload))
	le.PutUint32(b[12:], uint32(m.raw))
	le.PutUint32(b[16:], uint32(m.count))
	b[20] = m.codec
	le.PutUint64(b[24:], uint64(m.min))
	le.PutUint64(b[32:], uint64(m.max))
	le.PutUint32(b[40:], m.crc)
	le.PutUint32(b[52:], headCRC(b[:m.head]))
	p.block = b
	return b, m
}

// castagnoli is made once by the standard library.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli()) }

func headCRC(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:52], castagnoli()), castagnoli(), head[blockHead:])
}

// headSize returns the size of the header that b begins with, from its first bytes.
func headSize(b []byte) (int, error) {
	if len(b) < 8 || !bytes.Equal(b[:4], []byte(blockMagic)) {
		return 0, errBlock
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n < blockHead || n > maxBlockHead {
		return 0, errBlock
	}
	return int(n), nil
}

// parseHead reads a whole header. The filter is part of b.
func parseHead(b []byte, offset int64) (meta, error) {
	n, err := headSize(b)
	if err != nil || len(b) < n {
		return meta{}, errBlock
	}
	b = b[:n]
	le := binary.LittleEndian
	m := meta{offset: offset, head: n, payload: int(le.Uint32(b[8:])), raw: int(le.Uint32(b[12:])), count: int(le.Uint32(b[16:])), codec: b[20],
		min: int64(le.Uint64(b[24:])), max: int64(le.Uint64(b[32:])), crc: le.Uint32(b[40:]), filter: filter(b[blockHead:])}
	if le.Uint32(b[52:]) != headCRC(b) || m.payload > maxBlockPayload || m.raw > maxBlockRaw || m.count > m.raw/recordHead || m.codec > 1 {
		return meta{}, errBlock
	}
	return m, nil
}

// unpacker opens blocks. Not safe for concurrent use.
type unpacker struct{ decoder *zstd.Decoder }

func newUnpacker() (*unpacker, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxBlockRaw), zstd.WithDecoderMaxWindow(2*maxBlockRaw), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("compression of logs: %w", err)
	}
	return &unpacker{d}, nil
}

func (u *unpacker) close() { u.decoder.Close() }

// unpack appends a block's records to dst. Nothing of a damaged block is returned.
func (u *unpacker) unpack(dst []byte, m *meta, payload []byte) ([]byte, error) {
	if len(payload) != m.payload || checksum(payload) != m.crc {
		return dst, errBlock
	}
	from := len(dst)
	out := dst
	if m.codec == 0 {
		out = append(dst, payload...)
	} else {
		var err error
		if out, err = u.decoder.DecodeAll(payload, dst); err != nil {
			return dst, fmt.Errorf("%w: %w", errBlock, err)
		}
	}
	if len(out)-from != m.raw {
		return dst, errBlock
	}
	return out, nil
}
