package logstore

import (
	"context"
	"math"
	"time"
)

// stream gives records in batches, in the order in which they ended.
type stream interface {
	// next returns whole records, valid until the next call; nil at the end. It may wait.
	next(ctx context.Context) ([]byte, error)
	damaged() int
	close()
}

// streamer is a Source that can be followed.
type streamer interface {
	Source
	// live returns what is kept of a span, and then what comes.
	live(ctx context.Context, span Span) (stream, error)
}

// batchSize is about how many bytes of records a batch has.
const batchSize = 64 << 10

// past is a stream of what is kept.
type past struct {
	w     *walker
	batch []byte
}

func newPast(parts []part, span Span) (*past, error) {
	w, err := newWalker(parts, span)
	if err != nil {
		return nil, err
	}
	return &past{w: w}, nil
}

func (p *past) next(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.batch = p.batch[:0]
	for len(p.batch) < batchSize {
		r, _ := p.w.next()
		if r == nil {
			break
		}
		p.batch = append(p.batch, r...)
	}
	if len(p.batch) == 0 {
		return nil, nil
	}
	return p.batch, nil
}

func (p *past) damaged() int { return p.w.damaged }
func (p *past) close()       { p.w.close() }

// presentOf is a stream of what is kept and what a process writes from then on.
type presentOf struct {
	*past
	store    *Store
	follower *follower
	caught   bool
}

func (s *Store) live(ctx context.Context, span Span) (stream, error) {
	parts, f, err := s.follow(ctx)
	if err != nil {
		return nil, err
	}
	p, err := newPast(parts, span)
	if err != nil {
		s.unfollow(f)
		return nil, err
	}
	return &presentOf{past: p, store: s, follower: f}, nil
}

func (p *presentOf) next(ctx context.Context) ([]byte, error) {
	if !p.caught {
		if b, err := p.past.next(ctx); b != nil || err != nil {
			return b, err
		}
		p.caught = true
	}
	return p.follower.next(ctx)
}

func (p *presentOf) close() {
	p.store.unfollow(p.follower)
	p.past.close()
}

// pollEvery is how often a folder is looked at, and overlap how far back, since records of different
// writes may come in another order.
const (
	pollEvery = 500 * time.Millisecond
	overlap   = 3 * time.Second
)

// polled is a stream of a folder to which another process writes.
type polled struct {
	folder *Folder
	span   Span
	past   *past // nil: to be looked for
	seen   map[uint64]int64
	left   int   // of seen, when it was looked through last
	last   int64 // when the last record ended
	bad    int
	batch  []byte
	began  bool
}

func (f *Folder) live(_ context.Context, span Span) (stream, error) {
	return &polled{folder: f, span: span, seen: map[uint64]int64{}, last: math.MinInt64}, nil
}

func (p *polled) next(ctx context.Context) ([]byte, error) {
	for {
		if p.past == nil {
			if err := p.look(ctx); err != nil {
				return nil, err
			}
		}
		b, err := p.past.next(ctx)
		if err != nil {
			return nil, err
		}
		if b == nil {
			p.bad = max(p.bad, p.past.damaged())
			p.past.close()
			p.past = nil
			continue
		}
		if b = p.fresh(b); len(b) > 0 {
			return b, nil
		}
	}
}

// look begins to read what has come.
func (p *polled) look(ctx context.Context) error {
	if p.began {
		t := time.NewTimer(pollEvery)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		p.forget()
		if p.last != math.MinInt64 {
			p.span.Start = max(p.span.Start, p.last-int64(overlap))
		}
	}
	p.began = true
	parts, err := p.folder.parts(ctx)
	if err != nil {
		return err
	}
	p.past, err = newPast(parts, p.span)
	return err
}

// fresh leaves out what was given before.
func (p *polled) fresh(b []byte) []byte {
	p.batch = p.batch[:0]
	for len(b) > 0 {
		r, rest, err := split(b)
		if err != nil {
			break
		}
		b = rest
		h := hash(r)
		if _, known := p.seen[h]; known {
			continue
		}
		end := endOf(r)
		p.seen[h] = end
		p.last = max(p.last, end)
		p.batch = append(p.batch, r...)
		if len(p.seen) > max(maxSeen, 2*p.left) {
			p.forget()
		}
	}
	return p.batch
}

// forget drops what lies too far back to come again.
func (p *polled) forget() {
	for h, end := range p.seen {
		if end < p.last-int64(overlap) {
			delete(p.seen, h)
		}
	}
	p.left = len(p.seen)
}

// maxSeen is how many records are remembered before those are forgotten that cannot come again.
const maxSeen = 1 << 16

func (p *polled) damaged() int { return p.bad }

func (p *polled) close() {
	if p.past != nil {
		p.past.close()
	}
}
