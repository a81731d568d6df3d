package mint

import (
	"container/list"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// What a leaf takes in memory beside its DER, in bytes, by measurement: the parsed certificate, the pair,
// the entry.
const (
	leafOverhead = 3200
	leafPerByte  = 2
)

// cache holds made leaves, the least recently used going first. It is sharded by key, so that handshakes on
// many cores do not meet, and makes each leaf once however many ask.
type cache struct {
	shards []shard // a power of two
	bound  int64   // bytes of each
}

// shard is one part of a cache.
type shard struct {
	mu      sync.Mutex // guards all below
	entries map[key]*entry
	order   list.List // of ready *entry, the most recently used first
	bytes   int64
}

// entry is a leaf, or the making of one.
type entry struct {
	key  key
	done chan struct{} // closed when m and err are there
	m    *made
	err  error
	cost int64
	at   *list.Element // nil while it is made
}

// newCache returns a cache of at most bytes, as estimated, and at least a leaf per shard.
func newCache(bytes int64) *cache {
	n := 16
	for n > 1 && bytes/int64(n) < 32<<10 {
		n /= 2
	}
	c := &cache{shards: make([]shard, n), bound: bytes / int64(n)}
	for i := range c.shards {
		c.shards[i].entries = map[key]*entry{}
	}
	return c
}

// get returns the leaf of k, from the cache (hit) or from make. Errors are not kept. make must not ask the
// cache.
func (c *cache) get(k key, now time.Time, make func() (*made, error)) (m *made, hit bool, err error) {
	s := &c.shards[int(k[0])&(len(c.shards)-1)]
	s.mu.Lock()
	if e := s.entries[k]; e != nil {
		switch {
		case e.at == nil:
			s.mu.Unlock()
			<-e.done
			return e.m, e.err == nil, e.err
		case now.Before(e.m.renew):
			s.order.MoveToFront(e.at)
			s.mu.Unlock()
			return e.m, true, nil
		}
		s.remove(e)
	}
	e := newEntry(k)
	s.entries[k] = e
	s.mu.Unlock()
	return s.fill(e, c.bound, make)
}

func newEntry(k key) *entry { return &entry{key: k, done: make(chan struct{})} }

// fill makes the leaf of an entry that others may wait for.
func (s *shard) fill(e *entry, bound int64, make func() (*made, error)) (*made, bool, error) {
	e.err = &Error{Code: diag.MintFailed, Detail: "making the certificate failed"} // should make panic, those who wait go on
	defer func() {
		s.mu.Lock()
		if e.err != nil {
			delete(s.entries, e.key)
		} else {
			e.at = s.order.PushFront(e)
			s.bytes += e.cost
			for s.bytes > bound && s.order.Len() > 1 {
				s.remove(s.order.Back().Value.(*entry))
			}
		}
		s.mu.Unlock()
		close(e.done)
	}()
	m, err := make()
	if err == nil {
		e.m, e.cost = m, leafOverhead+leafPerByte*int64(len(m.pair.Leaf.Raw))
	}
	e.err = err
	return m, false, err
}

// remove takes an entry that is ready out. mu is held.
func (s *shard) remove(e *entry) {
	delete(s.entries, e.key)
	s.order.Remove(e.at)
	s.bytes -= e.cost
}

// size returns how many leaves are held, and their estimated bytes.
func (c *cache) size() (leaves int, bytes int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		leaves += s.order.Len()
		bytes += s.bytes
		s.mu.Unlock()
	}
	return leaves, bytes
}
