package logstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// ErrLagging says that who follows was too slow.
var ErrLagging = errors.New("more was recorded than was read")

// followBound and followBytes bound how many batches wait for one who follows, and how large they are
// together unless it is one; a batch is what is written at once.
const (
	followBound = 32
	followBytes = 16 << 20
)

// follower is handed every batch of records that is written.
type follower struct {
	batches chan []byte
	done    chan struct{}
	waiting atomic.Int64 // bytes of batches

	once sync.Once
	err  error // why it ended, before done is closed
}

// offer hands on a batch, or ends a follower that has no room for it. The caller holds Store.mu.
func (f *follower) offer(batch []byte) {
	if n := f.waiting.Load(); n > 0 && n+int64(len(batch)) > followBytes {
		f.end(ErrLagging)
		return
	}
	f.waiting.Add(int64(len(batch)))
	select {
	case f.batches <- batch:
	default:
		f.end(ErrLagging)
	}
}

func (f *follower) end(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

// follow returns what is kept now, and a follower that gets everything after that.
func (s *Store) follow(ctx context.Context) ([]part, *follower, error) {
	if err := s.Flush(ctx); err != nil {
		return nil, nil, err
	}
	f := &follower{batches: make(chan []byte, followBound), done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	parts, err := s.keeper.view()
	if err != nil {
		return nil, nil, err
	}
	s.followers[f] = struct{}{}
	return parts, f, nil
}

func (s *Store) unfollow(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.followers, f)
}

// next waits for a batch. It returns nil, nil when the store ends, and an error when ctx does or the
// follower was too slow.
func (f *follower) next(ctx context.Context) ([]byte, error) {
	select {
	case b := <-f.batches:
		return f.took(b), nil
	default:
	}
	select {
	case b := <-f.batches:
		return f.took(b), nil
	case <-f.done:
		return nil, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *follower) took(batch []byte) []byte {
	f.waiting.Add(-int64(len(batch)))
	return batch
}
