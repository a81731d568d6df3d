package logstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Options are a Store's settings. Zero values mean the defaults named.
type Options struct {
	Dir    string        // where segments are; "": memory
	Size   int64         // bytes kept; default 1 GiB in files, 8 MiB in memory
	Age    time.Duration // records that are older are removed; default 7 days
	Every  time.Duration // a record is written at most this much later; default 1 s
	Bound  int           // bytes that may wait to be written; default 8 MiB; what is over is dropped
	Logger *slog.Logger  // told when writing fails and when it goes on; nil: nobody
}

// Defaults of Options.
const (
	DefaultSize   = 1 << 30
	DefaultMemory = 8 << 20
	DefaultAge    = 7 * 24 * time.Hour

	// LeastSize is the least that Size may be.
	LeastSize = 4 << 20
)

// Store keeps records. It is safe for concurrent use. Run writes what was handed to it.
type Store struct {
	// Fixed after construction.
	opt    Options
	run    uint64
	shards []shard
	kick   chan struct{}      // there is something to write
	full   chan struct{}      // write now
	ask    chan chan struct{} // write now, and say when that is done

	waiting atomic.Bool // kick has been sent since the last write
	dropped atomic.Uint64
	records atomic.Uint64
	trouble atomic.Pointer[Trouble]

	mu        sync.Mutex // guards keeper's lists, and followers
	keeper    keeper
	followers map[*follower]struct{}

	// Owned by Run.
	entries []entry
	sorted  []byte
}

// keeper is where blocks go. write and sweep are called by Run only; commit, view and state by who holds
// Store.mu.
type keeper interface {
	// write stores sorted records; it does not lock. What was not kept is told by the error.
	write(sorted []byte) error
	// commit makes visible what write stored.
	commit()
	view() ([]part, error)
	state() (size int64, oldest int64)
	// sweep removes what is too old or too much.
	sweep(now time.Time)
	close() error
}

// Trouble says why records are not kept.
type Trouble struct {
	Code  diag.Code
	Err   error
	Since time.Time
}

type shard struct {
	mu      sync.Mutex
	pending []byte // whole records
	spare   []byte
	_       [64]byte
}

// flushAt is how many bytes wait in a shard before they are written early; keptBuffer how much memory
// a buffer keeps.
const (
	flushAt    = 128 << 10
	keptBuffer = 256 << 10
)

// Open opens a store. An error says that the folder cannot be used. Nothing is written until Run runs.
func Open(opt Options) (*Store, error) {
	if opt.Size <= 0 && opt.Dir == "" {
		opt.Size = DefaultMemory
	}
	if opt.Size <= 0 {
		opt.Size = DefaultSize
	}
	if opt.Age <= 0 {
		opt.Age = DefaultAge
	}
	if opt.Every <= 0 {
		opt.Every = time.Second
	}
	if opt.Bound <= 0 {
		opt.Bound = 8 << 20
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{opt: opt, run: rand.Uint64(), kick: make(chan struct{}, 1), full: make(chan struct{}, 1), ask: make(chan chan struct{}),
		followers: map[*follower]struct{}{}}
	n := 1 // more would only have to be merged
	for p := runtime.GOMAXPROCS(0); p > 1 && n < max(4, 2*p) && n < 64; {
		n *= 2
	}
	s.shards = make([]shard, n)
	p, err := newPacker()
	if err != nil {
		return nil, err
	}
	if opt.Dir == "" {
		s.keeper = newRing(opt.Size, opt.Age, s.run, p)
		return s, nil
	}
	d, err := openDisk(&opt, s.run, p, &s.mu)
	if err != nil {
		return nil, err
	}
	s.keeper = d
	return s, nil
}

// InMemory reports whether the records are lost with the process.
func (s *Store) InMemory() bool { return s.opt.Dir == "" }

// RunID tells this run of the process from others whose records are in the store.
func (s *Store) RunID() uint64 { return s.run }

// State is what a store can tell of itself.
type State struct {
	Bytes   int64  // kept, compressed
	Records uint64 // written since the start
	Dropped uint64 // not kept, since the start
	Oldest  time.Time
	Trouble *Trouble // nil: all is well
}

// State tells how the store fares.
func (s *Store) State() State {
	s.mu.Lock()
	size, oldest := s.keeper.state()
	s.mu.Unlock()
	st := State{Bytes: size, Records: s.records.Load(), Dropped: s.dropped.Load(), Trouble: s.trouble.Load()}
	if oldest != 0 {
		st.Oldest = time.Unix(0, oldest)
	}
	return st
}

// shard returns a locked shard.
func (s *Store) shard(conn uint64) *shard {
	n := uint64(len(s.shards))
	for i := range n {
		if x := &s.shards[(conn+i)&(n-1)]; x.mu.TryLock() {
			return x
		}
	}
	x := &s.shards[conn&(n-1)]
	x.mu.Lock()
	return x
}

// Access takes a request. It keeps a copy and does not wait for the disk.
func (s *Store) Access(a *telemetry.Access) {
	x := s.shard(a.Conn)
	if len(x.pending) >= s.opt.Bound/len(s.shards) {
		x.mu.Unlock()
		s.dropped.Add(1)
		return
	}
	x.pending = putAccess(x.pending, a)
	s.end(x)
}

// Handshake takes a handshake, successful or not.
func (s *Store) Handshake(h *telemetry.Handshake) {
	x := s.shard(h.Conn)
	if len(x.pending) >= s.opt.Bound/len(s.shards) {
		x.mu.Unlock()
		s.dropped.Add(1)
		return
	}
	x.pending = putHandshake(x.pending, h)
	s.end(x)
}

func (s *Store) end(x *shard) {
	n := len(x.pending)
	x.mu.Unlock()
	if !s.waiting.Load() && !s.waiting.Swap(true) {
		wake(s.kick)
	}
	if n >= flushAt {
		wake(s.full)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sweepEvery is how often what is too old is looked for.
const sweepEvery = 30 * time.Second

// Run writes records until ctx ends, then those that wait, and closes the files.
func (s *Store) Run(ctx context.Context) error {
	t := time.NewTimer(s.opt.Every)
	t.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			s.write()
			s.mu.Lock()
			for f := range s.followers {
				f.end(nil)
			}
			s.mu.Unlock()
			return s.keeper.close()
		case <-s.kick:
			t.Reset(s.opt.Every)
		case <-s.full:
			s.write()
		case <-t.C:
			s.write()
		case done := <-s.ask:
			s.write()
			close(done)
		case now := <-sweep.C:
			s.keeper.sweep(now)
		}
	}
}

// Flush waits until what was handed to the store before is written, or ctx ends. It needs Run.
func (s *Store) Flush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case s.ask <- done:
	case <-ctx.Done():
		return fmt.Errorf("log store: flush: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("log store: flush: %w", ctx.Err())
	}
}

// write gathers what waits in the shards, sorts it by time, and hands it to keeper and followers.
func (s *Store) write() {
	s.waiting.Store(false)
	taken := make([][]byte, len(s.shards))
	size := 0
	for i := range s.shards {
		x := &s.shards[i]
		x.mu.Lock()
		taken[i] = x.pending
		x.pending, x.spare = x.spare[:0], nil
		x.mu.Unlock()
		size += len(taken[i])
	}
	if size > 0 {
		s.store(s.merge(taken, size))
	}
	for i, b := range taken {
		if cap(b) <= keptBuffer {
			x := &s.shards[i]
			x.mu.Lock()
			x.spare = b[:0]
			x.mu.Unlock()
		}
	}
	clear(s.entries)
	if cap(s.sorted) > 8*keptBuffer {
		s.sorted, s.entries = nil, nil
	}
}

// store writes sorted records.
func (s *Store) store(sorted []byte, n int) {
	err := s.keeper.write(sorted)
	lost := 0
	var partly *writeError
	if errors.As(err, &partly) {
		lost = partly.lost
	}
	s.dropped.Add(uint64(lost))
	s.records.Add(uint64(n - lost))
	s.note(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keeper.commit()
	if len(s.followers) > 0 {
		batch := slices.Clone(sorted)
		for f := range s.followers {
			f.offer(batch)
		}
	}
}

// note tells of trouble when it begins, changes and ends.
func (s *Store) note(err error) {
	old := s.trouble.Load()
	switch {
	case err == nil && old == nil:
	case err == nil:
		s.trouble.Store(nil)
		s.opt.Logger.Info("logs are kept again", "dir", s.opt.Dir, "dropped", s.dropped.Load())
	default:
		now := &Trouble{Code: codeOf(err), Err: err, Since: time.Now()}
		if old != nil {
			now.Since = old.Since
		}
		s.trouble.Store(now)
		if old == nil || old.Code != now.Code {
			s.opt.Logger.Error("logs cannot be kept, traffic goes on", "code", now.Code.String(), "dir", s.opt.Dir, "err", err)
		}
	}
}

// cut returns the longest prefix of sorted records that makes one block, the number of records in it,
// and the rest.
func cut(sorted []byte) (block, rest []byte, n int) {
	rest = sorted
	for len(rest) > 0 {
		r, after, err := split(rest)
		if err != nil || n > 0 && len(sorted)-len(after) > blockRaw {
			break
		}
		_ = r
		rest = after
		n++
	}
	return sorted[:len(sorted)-len(rest)], rest, n
}
