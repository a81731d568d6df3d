package logstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// disk keeps blocks in segments. Only the newest is written to; what is complete is sealed: given its
// index, and its blocks made anew where they are small.
type disk struct {
	// Fixed after construction.
	dir     string
	size    int64
	segment int64 // size at which a segment is complete
	age     time.Duration
	run     uint64
	packer  *packer
	logger  *slog.Logger
	lock    *os.File
	mu      *sync.Mutex // of the Store

	// Guarded by mu.
	segments []*segment // complete ones, oldest first
	active   *segment   // nil: none

	// Owned by the writer.
	file   *os.File // of active
	number uint64   // of the last segment made
	out    []byte
	added  []meta // written and not committed
	synced time.Time
	dirty  bool

	sealing sync.WaitGroup
	seals   chan *segment
}

// segment is one file as the process that writes knows it. Its fields are guarded by disk.mu, except
// number and made, which are fixed, and heads, which is the writer's until the segment is complete.
type segment struct {
	number uint64
	run    uint64
	made   time.Time
	sum    summary
	size   int64
	blocks []meta // nil once there is an index in the file
	heads  []byte // of the index
	raw    int64
}

// A segment is complete at these bounds, or when it is a sixteenth of the store's size or age.
const (
	maxSegment   = 64 << 20
	maxBlocks    = 4096
	minSegment   = 256 << 10
	leastSpan    = time.Minute
	syncEvery    = time.Second
	compactBelow = blockRaw / 4 // mean size of blocks
)

// writeError says that records were not kept.
type writeError struct {
	lost int
	code diag.Code
	err  error
}

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// codeOf returns the code of an error of a keeper.
func codeOf(err error) diag.Code {
	var e *writeError
	if errors.As(err, &e) {
		return e.code
	}
	return diag.LogStoreWrite
}

// openDisk opens a folder, mends what a killed process left, and takes the lock on it.
func openDisk(opt *Options, run uint64, p *packer, mu *sync.Mutex) (*disk, error) {
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the log store's folder: %w", err)
	}
	lock, err := lockFolder(opt.Dir)
	if err != nil {
		return nil, err
	}
	d := &disk{dir: opt.Dir, size: opt.Size, age: opt.Age, run: run, packer: p, logger: opt.Logger, lock: lock, mu: mu,
		segment: max(min(opt.Size/16, maxSegment), minSegment), seals: make(chan *segment, 16)}
	numbers, err := segmentNumbers(opt.Dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	d.removeTemporary()
	for _, n := range numbers {
		d.number = n
		if s := d.adopt(n); s != nil {
			d.segments = append(d.segments, s)
		}
	}
	d.sealing.Go(d.seal)
	return d, nil
}

func (d *disk) path(number uint64) string { return filepath.Join(d.dir, segmentName(number)) }

// removeTemporary removes files that were being made when a process was killed.
func (d *disk) removeTemporary() {
	left, _ := filepath.Glob(filepath.Join(d.dir, "*"+segmentSuffix+".new"))
	for _, path := range left {
		os.Remove(path)
	}
}

// adopt takes a segment over that is there already. One without index gets it; one that cannot be read
// stays where it is and is not used.
func (d *disk) adopt(number uint64) *segment {
	path := d.path(number)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		d.logger.Warn("a log segment cannot be opened", "file", path, "err", err)
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil
	}
	made := st.ModTime()
	if t, ok := readTail(f, st.Size()); ok {
		return &segment{number: number, made: made, sum: t.summary, size: st.Size()}
	}
	sf, err := newSegmentFile(f, st.Size())
	if err != nil {
		if st.Size() < segmentHead {
			os.Remove(path)
			return nil
		}
		d.logger.Warn("a file of the log store is no segment of this version, it is left alone", "file", path, "err", err)
		return nil
	}
	if len(sf.blocks) == 0 {
		os.Remove(path)
		return nil
	}
	s := &segment{number: number, run: sf.run, made: made, sum: summaryOf(sf.blocks), size: sf.whole, blocks: sf.blocks}
	for i := range sf.blocks {
		m := &sf.blocks[i]
		head := make([]byte, m.head)
		if _, err := f.ReadAt(head, m.offset); err != nil {
			return s
		}
		s.heads = append(binary.LittleEndian.AppendUint64(s.heads, uint64(m.offset)), head...)
	}
	d.logger.Info("a log segment of a process that was killed is taken over", "file", path, "records", s.sum.records, "torn_bytes", st.Size()-sf.whole, "damaged", sf.bad)
	if err := d.writeIndex(f, s); err != nil {
		d.logger.Warn("a log segment gets no index", "file", path, "err", err)
		return s
	}
	return s
}

// writeIndex completes a file, whose segment nobody else knows yet or whose blocks stay as they are.
func (d *disk) writeIndex(f *os.File, s *segment) error {
	if err := f.Truncate(s.size); err != nil {
		return err
	}
	index := appendIndex(nil, s.heads, s.size, s.sum)
	if _, err := f.WriteAt(index, s.size); err != nil {
		_ = f.Truncate(s.size)
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.size += int64(len(index))
	s.blocks, s.heads = nil, nil
	return nil
}

// write implements keeper.
func (d *disk) write(sorted []byte) error {
	d.added = d.added[:0]
	var failed *writeError
	for rest := sorted; len(rest) > 0; {
		d.out = d.out[:0]
		var metas []meta
		n := 0
		for len(rest) > 0 && len(d.out) < 1<<20 {
			block, after, records := cut(rest)
			if records == 0 {
				break
			}
			b, m := d.packer.pack(block, true)
			m.offset = int64(len(d.out))
			d.out = append(d.out, b...)
			metas = append(metas, m)
			n += records
			rest = after
		}
		if n == 0 {
			break
		}
		if err := d.append(metas); err != nil {
			failed = &writeError{lost: n + lostBefore(failed), code: cmp.Or(codeIfFull(err), diag.LogStoreWrite), err: err}
		}
	}
	d.sync()
	if failed != nil {
		return failed
	}
	return nil
}

func lostBefore(e *writeError) int {
	if e == nil {
		return 0
	}
	return e.lost
}

// codeIfFull returns the code of a disk, or quota, that is full.
func codeIfFull(err error) diag.Code {
	if isFull(err) {
		return diag.LogStoreFull
	}
	return 0
}

// append writes out, which holds the blocks of metas, to the active segment.
func (d *disk) append(metas []meta) error {
	d.makeRoom(int64(len(d.out)))
	if d.active == nil {
		if err := d.begin(); err != nil {
			return err
		}
	}
	at := d.active.size
	if _, err := d.file.WriteAt(d.out, at); err != nil {
		err = fmt.Errorf("write log segment: %w", err)
		if d.file.Truncate(at) != nil { // what is torn there is never read: go on in another file
			d.rotate()
		}
		return err
	}
	d.dirty = true
	heads := d.active.heads
	var raw int64
	for i := range metas {
		m := &metas[i]
		head := d.out[m.offset : m.offset+int64(m.head)]
		m.offset += at
		heads = append(binary.LittleEndian.AppendUint64(heads, uint64(m.offset)), head...)
		m.filter = slices.Clone(filter(head[blockHead:]))
		raw += int64(m.raw)
	}
	d.mu.Lock()
	s := d.active
	s.heads = heads
	s.size = at + int64(len(d.out))
	s.blocks = append(s.blocks, metas...)
	s.raw += raw
	for i := range metas {
		s.sum.add(&metas[i])
	}
	d.mu.Unlock()
	if s.size >= d.segment || len(s.blocks) >= maxBlocks {
		d.rotate()
	}
	return nil
}

// commit has nothing to do: what append wrote is visible at once.
func (d *disk) commit() {}

// begin makes a new active segment.
func (d *disk) begin() error {
	number := d.number + 1
	f, err := os.OpenFile(d.path(number), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		d.number = number
		return fmt.Errorf("make log segment: %w", err)
	}
	if err != nil {
		return fmt.Errorf("make log segment: %w", err)
	}
	if _, err := f.WriteAt(appendSegmentHead(nil, d.run), 0); err != nil {
		f.Close()
		os.Remove(d.path(number))
		return fmt.Errorf("make log segment: %w", err)
	}
	d.number, d.file = number, f
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active = &segment{number: number, run: d.run, made: time.Now(), sum: nothing(), size: segmentHead}
	return nil
}

// rotate completes the active segment.
func (d *disk) rotate() {
	s := d.active
	if s == nil {
		return
	}
	d.synced = time.Time{} // nothing syncs the file later
	d.sync()
	d.file.Close()
	d.mu.Lock()
	d.active, d.file = nil, nil
	if len(s.blocks) > 0 {
		d.segments = append(d.segments, s)
	}
	d.mu.Unlock()
	if len(s.blocks) == 0 {
		os.Remove(d.path(s.number))
		return
	}
	select {
	case d.seals <- s:
	default: // it is read without index then, and gets one at the next start
	}
}

// sync makes what was written outlive the machine's end, once a second.
func (d *disk) sync() {
	if d.dirty && time.Since(d.synced) >= syncEvery && d.file.Sync() == nil {
		d.dirty, d.synced = false, time.Now()
	}
}

// sweep implements keeper.
func (d *disk) sweep(now time.Time) {
	if d.active != nil {
		d.sync()
		if now.Sub(d.active.made) >= max(d.age/16, leastSpan) {
			d.rotate()
		}
	}
	limit := now.Add(-d.age).UnixNano()
	d.remove(func(s *segment, _ int64) bool { return s.sum.max < limit })
	d.makeRoom(0)
}

// makeRoom removes the oldest segments so that more bytes fit.
func (d *disk) makeRoom(more int64) {
	d.remove(func(_ *segment, total int64) bool { return total+more > d.size })
}

// remove removes segments from the oldest on, as long as doomed says so of one and the bytes that are
// kept in all.
func (d *disk) remove(doomed func(s *segment, total int64) bool) {
	var gone []uint64
	d.mu.Lock()
	total, _ := d.state()
	for len(d.segments) > 0 && doomed(d.segments[0], total) {
		total -= d.segments[0].size
		gone = append(gone, d.segments[0].number)
		d.segments = append([]*segment(nil), d.segments[1:]...)
	}
	d.mu.Unlock()
	for _, n := range gone {
		if err := os.Remove(d.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.logger.Warn("an old log segment cannot be removed", "file", d.path(n), "err", err)
		}
	}
}

// state implements keeper.
func (d *disk) state() (size, oldest int64) {
	for _, s := range d.segments {
		size += s.size
	}
	switch {
	case len(d.segments) > 0:
		oldest = d.segments[0].sum.min
	case d.active != nil && len(d.active.blocks) > 0:
		oldest = d.active.sum.min
	}
	if d.active != nil {
		size += d.active.size
	}
	return size, oldest
}

// view implements keeper. Only the file that is written to is opened at once, as more will be in it soon.
func (d *disk) view() ([]part, error) {
	limit := time.Now().Add(-d.age).UnixNano()
	var parts []part
	all := d.segments
	if d.active != nil {
		all = append(all[:len(all):len(all)], d.active)
	}
	for _, s := range all {
		if s.sum.max < limit {
			continue
		}
		path := d.path(s.number)
		p := part{summary: s.sum, run: s.run, open: func() (*segmentFile, error) { return openSegment(path) }}
		switch {
		case s == d.active:
			f, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // somebody removed it; the rest is there
			}
			if err != nil {
				closeParts(parts)
				return nil, fmt.Errorf("log store: %w", err)
			}
			sf := &segmentFile{file: f, run: s.run, blocks: s.blocks[:len(s.blocks):len(s.blocks)]}
			p.opened = sf
			p.open = func() (*segmentFile, error) { return sf, nil }
		case s.blocks != nil:
			p.open = func() (*segmentFile, error) { return d.openUnsealed(s) }
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// openUnsealed opens a complete segment that had no index when it was asked for.
func (d *disk) openUnsealed(s *segment) (*segmentFile, error) {
	path := d.path(s.number)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("log segment: %w", err)
	}
	d.mu.Lock()
	blocks := s.blocks
	d.mu.Unlock()
	if blocks == nil { // it has one now, and its blocks may be elsewhere
		f.Close()
		return openSegment(path)
	}
	return &segmentFile{file: f, run: s.run, blocks: blocks}, nil
}

// close implements keeper.
func (d *disk) close() error {
	d.rotate()
	close(d.seals)
	d.sealing.Wait()
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("log store: %w", err)
	}
	return nil
}
