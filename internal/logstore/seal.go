package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
)

// seal completes segments, one after the other, until no more come.
func (d *disk) seal() {
	p, perr := newPacker()
	for s := range d.seals {
		err := perr
		if err == nil {
			err = d.sealOne(s, p)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it was removed for want of room
			d.logger.Warn("a log segment gets no index, it is read without", "file", d.path(s.number), "err", err)
		}
	}
}

func (d *disk) sealOne(s *segment, p *packer) error {
	if len(s.blocks) > 1 && s.raw/int64(len(s.blocks)) < compactBelow {
		return d.compact(s, p)
	}
	f, err := os.OpenFile(d.path(s.number), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.writeIndex(f, s); err != nil {
		return err
	}
	return f.Sync()
}

// compact writes a segment of small blocks, as quiet hours bring them, anew with large ones, and puts it
// in the place of the old file.
func (d *disk) compact(s *segment, p *packer) error {
	u, err := newUnpacker()
	if err != nil {
		return err
	}
	defer u.close()
	path := d.path(s.number)
	old, err := os.Open(path)
	if err != nil {
		return err
	}
	defer old.Close()
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(path + ".new") // gone if all went well
	defer f.Close()
	c := compaction{file: f, packer: p, sum: nothing()}
	if err := c.put(appendSegmentHead(nil, s.run)); err != nil {
		return err
	}
	from := segmentFile{file: old, blocks: s.blocks}
	var buf []byte
	for i := range s.blocks {
		if c.raw, buf, err = from.load(&s.blocks[i], u, c.raw, buf); err != nil {
			return err
		}
		if err := c.flush(blockRaw); err != nil {
			return err
		}
	}
	if err := c.flush(0); err != nil {
		return err
	}
	if c.sum.records != s.sum.records {
		return fmt.Errorf("%d of %d records are left after compaction", c.sum.records, s.sum.records)
	}
	if err := c.put(appendIndex(nil, c.heads, c.size, c.sum)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.segments, s) {
		return os.ErrNotExist
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	s.blocks, s.heads, s.size = nil, nil, c.size
	return nil
}

// compaction is a file that is being made.
type compaction struct {
	file   *os.File
	packer *packer
	raw    []byte // records that are in no block yet
	heads  []byte
	size   int64
	sum    summary
}

func (c *compaction) put(b []byte) error {
	_, err := c.file.WriteAt(b, c.size)
	c.size += int64(len(b))
	return err
}

// flush writes blocks while more than limit bytes wait.
func (c *compaction) flush(limit int) error {
	rest := c.raw
	for len(rest) > limit {
		block, after, n := cut(rest)
		if n == 0 {
			return errRecord
		}
		b, m := c.packer.pack(block, true)
		c.heads = append(binary.LittleEndian.AppendUint64(c.heads, uint64(c.size)), b[:m.head]...)
		c.sum.add(&m)
		if err := c.put(b); err != nil {
			return err
		}
		rest = after
	}
	c.raw = append(c.raw[:0], rest...)
	return nil
}
