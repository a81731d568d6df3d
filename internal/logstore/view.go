package logstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"slices"

	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// part is some blocks of a store, opened when they are read.
type part struct {
	summary // what is in it; a store's own parts know it, others may span all times
	run     uint64
	open    func() (*segmentFile, error)
	opened  *segmentFile // already open: to be closed by who has the part
}

func closeParts(parts []part) {
	for _, p := range parts {
		if p.opened != nil {
			p.opened.close()
		}
	}
}

// Source is where records are read from: a Store, or a Folder.
type Source interface {
	parts(ctx context.Context) ([]part, error)
}

func (s *Store) parts(ctx context.Context) ([]part, error) {
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keeper.view()
}

// Span is a time, of which the end does not belong to it, as nanoseconds of Unix time.
type Span struct{ Start, End int64 }

// Always is all time.
func Always() Span { return Span{math.MinInt64, math.MaxInt64} }

// maxCursors bounds how many blocks are open at once, and with that how far records of different blocks
// are put in order.
const maxCursors = 16

// cursor is an open block.
type cursor struct {
	raw  []byte // of the block
	rest []byte // records to come; the first is next
	next []byte
	end  int64
	run  uint64
}

// walker gives the records of parts, ordered by time as far as blocks overlap little.
type walker struct {
	span    Span
	parts   []part
	unpack  *unpacker
	current *segmentFile
	blocks  []meta // of current, to come
	cursors []*cursor
	spare   []*cursor
	spent   *cursor // its last record is being looked at
	scratch []byte
	damaged int
}

func newWalker(parts []part, span Span) (*walker, error) {
	u, err := newUnpacker()
	if err != nil {
		closeParts(parts)
		return nil, err
	}
	return &walker{span: span, parts: parts, unpack: u}, nil
}

func (w *walker) close() {
	if w.current != nil {
		w.current.close()
	}
	closeParts(w.parts)
	w.unpack.close()
}

// upcoming returns the next block that may hold records of the span, nil at the end.
func (w *walker) upcoming() *meta {
	for {
		for len(w.blocks) > 0 {
			if m := &w.blocks[0]; m.overlaps(w.span.Start, w.span.End) {
				return m
			}
			w.blocks = w.blocks[1:]
		}
		if w.current != nil {
			w.current.close()
			w.current = nil
		}
		if len(w.parts) == 0 {
			return nil
		}
		p := w.parts[0]
		w.parts = w.parts[1:]
		if p.max < w.span.Start || p.min >= w.span.End {
			closeParts([]part{p})
			continue
		}
		f, err := p.open()
		switch {
		case errors.Is(err, fs.ErrNotExist): // too old by now
		case err != nil:
			w.damaged++
		default:
			w.damaged += f.bad
			w.current, w.blocks = f, f.blocks
		}
	}
}

// load opens the upcoming block.
func (w *walker) load(m *meta) {
	c := &cursor{}
	if n := len(w.spare); n > 0 {
		c, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	var err error
	c.run = w.current.run
	c.raw, w.scratch, err = w.current.load(m, w.unpack, c.raw[:0], w.scratch)
	w.blocks = w.blocks[1:]
	if err != nil {
		w.damaged++
		w.spare = append(w.spare, c)
		return
	}
	c.rest = c.raw
	if w.advance(c) {
		w.cursors = append(w.cursors, c)
	} else {
		w.spare = append(w.spare, c)
	}
}

// advance goes to the next record of the span in a block; false if there is none.
func (w *walker) advance(c *cursor) bool {
	for len(c.rest) > 0 {
		r, rest, err := split(c.rest)
		if err != nil {
			w.damaged++
			return false
		}
		c.rest = rest
		if end := endOf(r); end >= w.span.Start && end < w.span.End {
			c.next, c.end = r, end
			return true
		}
	}
	return false
}

// next returns the next record, valid until the next call, and its run; nil at the end.
func (w *walker) next() (record []byte, run uint64) {
	if w.spent != nil {
		w.spare, w.spent = append(w.spare, w.spent), nil
	}
	for {
		var first *cursor
		for _, c := range w.cursors {
			if first == nil || c.end < first.end {
				first = c
			}
		}
		m := w.upcoming()
		if m != nil && (first == nil || m.min <= first.end && len(w.cursors) < maxCursors) {
			w.load(m)
			continue
		}
		if first == nil {
			return nil, 0
		}
		record, run = first.next, first.run
		if !w.advance(first) {
			w.cursors = slices.DeleteFunc(w.cursors, func(c *cursor) bool { return c == first })
			w.spent = first
		}
		return record, run
	}
}

// Found is what is kept about requests or connections.
type Found struct {
	Requests   []*telemetry.Access
	Handshakes []*telemetry.Handshake
	Runs       []uint64 // of Requests
	Damaged    int      // places that could not be read
}

// maxFound bounds how many records are found.
const maxFound = 1000

// Find returns the requests with an ID, by time.
func Find(ctx context.Context, s Source, id string) (Found, error) {
	key := []byte(id)
	found := Found{}
	err := find(ctx, s, hash(key), &found, func(r []byte, run uint64) error {
		if kindOf(r) != kindAccess || !bytes.Equal(keyOf(r), key) {
			return nil
		}
		a := new(telemetry.Access)
		if err := readAccess(bytes.Clone(r), a, nil); err != nil {
			return err
		}
		found.Requests, found.Runs = append(found.Requests, a), append(found.Runs, run)
		return nil
	})
	return found, err
}

// Story returns the requests with an ID and the handshakes of their connections, by time.
func Story(ctx context.Context, s Source, id string) ([]*telemetry.Access, []*telemetry.Handshake, error) {
	found, err := Find(ctx, s, id)
	if err != nil {
		return nil, nil, err
	}
	var shakes []*telemetry.Handshake
	type connection struct{ run, conn uint64 }
	known := map[connection]bool{}
	for i, a := range found.Requests {
		c := connection{found.Runs[i], a.Conn}
		if known[c] || len(known) >= maxConns {
			continue
		}
		known[c] = true
		of, err := FindConn(ctx, s, c.run, c.conn)
		if err != nil {
			return nil, nil, err
		}
		shakes = append(shakes, of.Handshakes...)
	}
	return found.Requests, shakes, nil
}

// Tell returns the story of a request as "hakone explain" tells it, and false if nothing is kept of it.
func Tell(ctx context.Context, s Source, id string) (json.RawMessage, bool, error) {
	requests, shakes, err := Story(ctx, s, id)
	if err != nil {
		return nil, false, err
	}
	raw, known := telemetry.Tell(requests, shakes)
	return raw, known, nil
}

// maxConns bounds of how many connections handshakes are looked for.
const maxConns = 16

// FindConn returns the handshakes of a client's connection in a run of the process, by time.
func FindConn(ctx context.Context, s Source, run, conn uint64) (Found, error) {
	found := Found{}
	err := find(ctx, s, hashConn(conn), &found, func(r []byte, in uint64) error {
		if kindOf(r) != kindHandshake || in != run || connOf(r) != conn {
			return nil
		}
		h := new(telemetry.Handshake)
		if err := readHandshake(r, h, nil); err != nil {
			return err
		}
		if h.Side == telemetry.Downstream {
			found.Handshakes = append(found.Handshakes, h)
		}
		return nil
	})
	return found, err
}

// find calls f for each record of blocks that may hold a key.
func find(ctx context.Context, s Source, h uint64, found *Found, f func(record []byte, run uint64) error) error {
	parts, err := s.parts(ctx)
	if err != nil {
		return err
	}
	u, err := newUnpacker()
	if err != nil {
		closeParts(parts)
		return err
	}
	defer u.close()
	var raw, scratch []byte
	n := 0
	for i, p := range parts {
		if ctx.Err() != nil {
			closeParts(parts[i:])
			return ctx.Err()
		}
		sf, err := p.open()
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				found.Damaged++
			}
			continue
		}
		found.Damaged += sf.bad
		for k := range sf.blocks {
			m := &sf.blocks[k]
			if !m.filter.may(h) || n >= maxFound {
				continue
			}
			if raw, scratch, err = sf.load(m, u, raw[:0], scratch); err != nil {
				found.Damaged++
				continue
			}
			for rest := raw; len(rest) > 0; {
				r, after, err := split(rest)
				if err != nil {
					found.Damaged++
					break
				}
				if f(r, sf.run) != nil {
					found.Damaged++
				}
				rest = after
			}
		}
		n = len(found.Requests) + len(found.Handshakes)
		sf.close()
	}
	return nil
}
