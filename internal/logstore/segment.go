package logstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A segment is a file of blocks. It begins with
//
//	 0  magic "HKLOGSEG"
//	 8  version of the layout (u32)
//	12  zero
//	16  run of the process that wrote it (u64)
//	24  zero
//	28  CRC-32C of the above
//
// and, once it is complete, ends with an index: for each block its offset (u64) and header, and then a
// tail:
//
//	 0  offset of the index (u64)
//	 8  its size (u32)
//	12  its CRC-32C
//	16  earliest end of a record (i64)
//	24  latest (i64)
//	32  number of records (u64)
//	40  CRC-32C of the tail so far
//	44  "HKE1"
//
// A file without index, as of a process that was killed, is read by walking from header to header.
const (
	segmentMagic   = "HKLOGSEG"
	segmentVersion = 1
	segmentHead    = 32
	segmentTail    = 48
	tailMagic      = "HKE1"
	segmentSuffix  = ".hklog"

	maxIndex = 64 << 20
)

var errSegment = errors.New("no log segment of this version")

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

// segmentNumber reads a file name; ok is false for files that are no segments.
func segmentNumber(name string) (n uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil
}

// segmentNumbers lists the segments of a folder, oldest first.
func segmentNumbers(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("log store: %w", err)
	}
	var out []uint64
	for _, e := range entries {
		if n, ok := segmentNumber(e.Name()); ok && e.Type().IsRegular() {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

func appendSegmentHead(b []byte, run uint64) []byte {
	from := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, segmentVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, run)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, checksum(b[from:]))
}

func parseSegmentHead(b []byte) (run uint64, err error) {
	le := binary.LittleEndian
	if len(b) < segmentHead || string(b[:8]) != segmentMagic || le.Uint32(b[8:]) != segmentVersion || le.Uint32(b[28:]) != checksum(b[:28]) {
		return 0, errSegment
	}
	return le.Uint64(b[16:]), nil
}

// appendIndex appends the index of blocks whose headers are in heads, each behind its offset, and the
// tail. The index will stand at offset.
func appendIndex(b, heads []byte, offset int64, s summary) []byte {
	b = append(b, heads...)
	from := len(b)
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(offset))
	b = le.AppendUint32(b, uint32(len(heads)))
	b = le.AppendUint32(b, checksum(heads))
	b = le.AppendUint64(b, uint64(s.min))
	b = le.AppendUint64(b, uint64(s.max))
	b = le.AppendUint64(b, uint64(s.records))
	b = le.AppendUint32(b, checksum(b[from:]))
	return append(b, tailMagic...)
}

// tail is what the end of a complete segment says.
type tail struct {
	summary
	offset, size int64
	crc          uint32
}

// readTail reads the tail of a file; false if it has none.
func readTail(f io.ReaderAt, size int64) (tail, bool) {
	var b [segmentTail]byte
	if size < segmentHead+segmentTail {
		return tail{}, false
	}
	if _, err := f.ReadAt(b[:], size-segmentTail); err != nil || string(b[44:]) != tailMagic {
		return tail{}, false
	}
	le := binary.LittleEndian
	t := tail{offset: int64(le.Uint64(b[:])), size: int64(le.Uint32(b[8:])), crc: le.Uint32(b[12:]),
		summary: summary{min: int64(le.Uint64(b[16:])), max: int64(le.Uint64(b[24:])), records: int64(le.Uint64(b[32:]))}}
	ok := le.Uint32(b[40:]) == checksum(b[:40]) && t.size <= maxIndex && t.offset >= segmentHead && t.offset <= size &&
		t.offset+t.size+segmentTail == size
	return t, ok
}

// summary is what blocks hold together. Without blocks min is greater than max.
type summary struct {
	min, max int64 // when records ended
	records  int64
}

func nothing() summary { return summary{min: math.MaxInt64, max: math.MinInt64} }

func (s *summary) add(m *meta) {
	s.min, s.max, s.records = min(s.min, m.min), max(s.max, m.max), s.records+int64(m.count)
}

func summaryOf(blocks []meta) summary {
	s := nothing()
	for i := range blocks {
		s.add(&blocks[i])
	}
	return s
}

// segmentFile is a segment opened for reading.
type segmentFile struct {
	file   source
	run    uint64
	blocks []meta
	sealed bool  // it has an index: nobody writes to it any more
	whole  int64 // where the last whole block ends
	bad    int   // places that could not be read
}

// source is what segments are read from.
type source interface {
	io.ReaderAt
	io.Closer
}

// openSegment opens a file and finds its blocks.
func openSegment(path string) (*segmentFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("log segment: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("log segment: %w", err)
	}
	s, err := newSegmentFile(f, st.Size())
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("log segment %s: %w", filepath.Base(path), err)
	}
	return s, nil
}

func newSegmentFile(f source, size int64) (*segmentFile, error) {
	s := &segmentFile{file: f}
	var head [segmentHead]byte
	if _, err := f.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var err error
	if s.run, err = parseSegmentHead(head[:]); err != nil {
		return nil, err
	}
	if s.readIndex(size) {
		return s, nil
	}
	s.walk(size)
	return s, nil
}

// readIndex reads the index at the end; false if there is none that can be believed.
func (s *segmentFile) readIndex(size int64) bool {
	t, ok := readTail(s.file, size)
	if !ok {
		return false
	}
	index := make([]byte, t.size)
	if _, err := s.file.ReadAt(index, t.offset); err != nil || checksum(index) != t.crc {
		return false
	}
	var blocks []meta
	for len(index) > 0 {
		if len(index) < 8 {
			return false
		}
		m, err := parseHead(index[8:], int64(binary.LittleEndian.Uint64(index)))
		if err != nil || m.offset < segmentHead || m.offset+m.size() > t.offset {
			return false
		}
		blocks = append(blocks, m)
		index = index[8+m.head:]
	}
	s.blocks, s.sealed, s.whole = blocks, true, t.offset
	return true
}

// walk finds blocks from header to header. Behind a damaged one it looks for the next.
func (s *segmentFile) walk(size int64) {
	s.whole = segmentHead
	for at := s.whole; at < size; {
		m, err := s.headAt(at, size)
		if err != nil {
			next := s.nextBlock(at+1, size)
			if next < 0 {
				return
			}
			s.bad++
			at = next
			continue
		}
		s.blocks = append(s.blocks, m)
		at += m.size()
		s.whole = at
	}
}

// headAt reads the header of the block at an offset. The block is wholly within size.
func (s *segmentFile) headAt(at, size int64) (meta, error) {
	var first [blockHead]byte
	if at+blockHead > size {
		return meta{}, errBlock
	}
	if _, err := s.file.ReadAt(first[:], at); err != nil {
		return meta{}, errBlock
	}
	n, err := headSize(first[:])
	if err != nil || at+int64(n) > size {
		return meta{}, errBlock
	}
	head := make([]byte, n)
	copy(head, first[:])
	if n > blockHead {
		if _, err := s.file.ReadAt(head[blockHead:], at+blockHead); err != nil {
			return meta{}, errBlock
		}
	}
	m, err := parseHead(head, at)
	if err != nil || at+m.size() > size {
		return meta{}, errBlock
	}
	return m, nil
}

// nextBlock returns where the next block begins at or behind an offset, -1 if there is none.
func (s *segmentFile) nextBlock(at, size int64) int64 {
	buf := make([]byte, 64<<10)
	for at < size {
		n, err := s.file.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n < len(blockMagic) || err != nil && !errors.Is(err, io.EOF) {
			return -1
		}
		for from := 0; ; {
			i := bytes.Index(buf[from:n], []byte(blockMagic))
			if i < 0 {
				break
			}
			from += i
			if _, err := s.headAt(at+int64(from), size); err == nil {
				return at + int64(from)
			}
			from++
		}
		at += int64(n - len(blockMagic) + 1)
	}
	return -1
}

// load appends a block's records to dst; buf is scratch space that is returned.
func (s *segmentFile) load(m *meta, u *unpacker, dst, buf []byte) (records, scratch []byte, err error) {
	buf = slices.Grow(buf[:0], m.payload)[:m.payload]
	if _, err := s.file.ReadAt(buf, m.offset+int64(m.head)); err != nil {
		return dst, buf, fmt.Errorf("%w: %w", errBlock, err)
	}
	dst, err = u.unpack(dst, m, buf)
	return dst, buf, err
}

func (s *segmentFile) close() { s.file.Close() }
