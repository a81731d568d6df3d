package httpcache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards      = 16
	maxVariants = 32 // answers of one URL; the oldest goes
	passFor     = 30 * time.Second
)

// store is what caches of one name share.
type store struct {
	seed   maphash.Seed
	max    atomic.Int64 // bytes
	total  atomic.Int64 // bytes, with what is on its way
	shards [shards]shard
	stats  counters
}

// counters count since the store was opened.
type counters struct {
	hits, misses, validated, modified, stale, passed, collapsed, stored, evicted, purged, negative atomic.Int64
	objects, urls                                                                                  atomic.Int64
}

// shard holds a part of the URLs. Whom it lets go is decided as SIEVE does: a hand goes from the oldest to the
// newest and takes the first that was not asked for since it last came by.
type shard struct {
	mu     sync.Mutex
	m      map[string]*entry
	newest *entry
	oldest *entry
	hand   *entry
	_      [24]byte
}

// entry is one URL. It is guarded by its shard's mu.
type entry struct {
	key        string
	next, prev *entry    // towards newer, older
	objects    []*Object // newest first
	fills      []*Fill   // on their way
	vary       string    // of the last answer
	pass       int64     // Unix milliseconds: until then nobody waits for anybody
	cost       int64
	asked      bool
}

func newStore(limit int64) *store {
	s := &store{seed: maphash.MakeSeed()}
	s.max.Store(limit)
	for i := range s.shards {
		s.shards[i].m = map[string]*entry{}
	}
	return s
}

func (s *store) index(key []byte) int { return int(maphash.Bytes(s.seed, key) % shards) }

func (s *store) shard(key []byte) *shard { return &s.shards[s.index(key)] }

// enter returns the entry of a key, made if there is none. The caller holds mu.
func (s *store) enter(sh *shard, key string) *entry {
	if e := sh.m[key]; e != nil {
		return e
	}
	e := &entry{key: key, cost: entryCost + rounded(int64(len(key)))}
	sh.m[key] = e
	if e.prev = sh.newest; e.prev != nil {
		e.prev.next = e
	} else {
		sh.oldest = e
	}
	sh.newest = e
	s.total.Add(e.cost)
	s.stats.urls.Add(1)
	return e
}

// remove lets go of an entry with all it holds. The caller holds mu.
func (s *store) remove(sh *shard, e *entry) {
	if sh.hand == e {
		sh.hand = e.next
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		sh.oldest = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		sh.newest = e.prev
	}
	delete(sh.m, e.key)
	for _, o := range e.objects {
		s.total.Add(-o.cost)
		s.stats.objects.Add(-1)
	}
	s.total.Add(-e.cost)
	s.stats.urls.Add(-1)
	e.objects, e.prev, e.next = nil, nil, nil
}

// insert puts an object in front, in the place of the one for the same requests. The caller holds mu.
func (s *store) insert(e *entry, o *Object) {
	for i, old := range e.objects {
		if old.route == o.route && old.vary == o.vary && old.selecting == o.selecting {
			s.drop(e, i)
			break
		}
	}
	if len(e.objects) >= maxVariants {
		s.drop(e, len(e.objects)-1)
	}
	e.objects = append(e.objects, nil)
	copy(e.objects[1:], e.objects)
	e.objects[0] = o
	e.vary = o.vary
	s.total.Add(o.cost)
	s.stats.objects.Add(1)
}

func (s *store) drop(e *entry, i int) {
	s.total.Add(-e.objects[i].cost)
	s.stats.objects.Add(-1)
	copy(e.objects[i:], e.objects[i+1:])
	e.objects[len(e.objects)-1] = nil
	e.objects = e.objects[:len(e.objects)-1]
}

// trim lets go of what nobody asks for until the bound holds, beginning with a shard. It holds no lock when it is
// called, and none for longer than one URL takes.
func (s *store) trim(from int) bool {
	empty := 0
	for i := from; s.total.Load() > s.max.Load(); i++ {
		sh := &s.shards[i%shards]
		sh.mu.Lock()
		e := sh.victim()
		if e != nil {
			s.stats.evicted.Add(int64(len(e.objects)))
			s.remove(sh, e)
		}
		sh.mu.Unlock()
		if e != nil {
			empty = 0
		} else if empty++; empty >= shards {
			return false
		}
	}
	return true
}

// victim returns who goes next; nil: there is nobody. What is on its way stays. The caller holds mu.
func (sh *shard) victim() *entry {
	for range 2*len(sh.m) + 1 {
		e := sh.hand
		if e == nil {
			if e = sh.oldest; e == nil {
				return nil
			}
		}
		if sh.hand = e.next; !e.asked && len(e.fills) == 0 {
			return e
		}
		e.asked = false
	}
	return nil
}

// Stats is how a store is doing.
type Stats struct {
	Name      string `json:"name"`
	Bytes     int64  `json:"bytes"`
	MaxBytes  int64  `json:"maxBytes"`
	Objects   int64  `json:"objects"`
	URLs      int64  `json:"urls"`
	Hits      int64  `json:"hits"`      // served from memory, without asking the origin
	Stale     int64  `json:"stale"`     // of these, stale ones
	Negative  int64  `json:"negative"`  // of these, errors
	Misses    int64  `json:"misses"`    // fetched
	Validated int64  `json:"validated"` // the origin said 304
	Modified  int64  `json:"modified"`  // the origin sent another answer
	Collapsed int64  `json:"collapsed"` // waited for somebody else's answer and got it
	Passed    int64  `json:"passed"`    // not for caches
	Stored    int64  `json:"stored"`
	Evicted   int64  `json:"evicted"`
	Purged    int64  `json:"purged"`
}

func (s *store) read(name string) Stats {
	c := &s.stats
	return Stats{Name: name, Bytes: s.total.Load(), MaxBytes: s.max.Load(), Objects: c.objects.Load(), URLs: c.urls.Load(),
		Hits: c.hits.Load(), Stale: c.stale.Load(), Negative: c.negative.Load(), Misses: c.misses.Load(), Validated: c.validated.Load(), Modified: c.modified.Load(),
		Collapsed: c.collapsed.Load(), Passed: c.passed.Load(), Stored: c.stored.Load(), Evicted: c.evicted.Load(), Purged: c.purged.Load()}
}
