package httpcache

import (
	"net/netip"
	"reflect"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Defaults of ir.Cache, in bytes.
const (
	DefaultMemory = 256 << 20
	DefaultObject = 4 << 20
)

// Options are the settings of a Set.
type Options struct {
	// Reserve is told of memory that is about to be taken, in bytes; it may be nil.
	Reserve func(int64)
}

// Set is the stores of a process by name. Safe for concurrent use.
type Set struct {
	opt  Options
	byIR sync.Map // *ir.Cache → *Cache

	mu     sync.Mutex
	stores map[string]*Cache // the last one opened under the name
}

// Cache is a store with the settings of one ir.Cache. Safe for concurrent use.
type Cache struct {
	name    string
	store   *store
	opt     *Options
	ir      *ir.Cache
	rules   []*rule
	object  int64 // bytes of body at most
	private bool
	edge    bool // an origin's own cache: targeted fields are for it
	purge   []netip.Prefix
}

// NewSet returns an empty Set.
func NewSet(opt Options) *Set { return &Set{opt: opt, stores: map[string]*Cache{}} }

// Open returns the cache for settings, which are not changed afterwards. Settings of one name share a store, whose
// bound is that of the settings opened last. A rule that cannot be compiled is left out: translation has reported
// it.
func (s *Set) Open(c *ir.Cache) *Cache {
	if v, ok := s.byIR.Load(c); ok {
		return v.(*Cache)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.stores[c.Name]
	if old != nil && (old.ir == c || reflect.DeepEqual(old.ir, c)) {
		s.byIR.Store(c, old)
		return old
	}
	n := &Cache{name: c.Name, opt: &s.opt, ir: c, object: c.MaxObjectBytes, private: c.Private, edge: !c.Private && !strings.HasPrefix(c.Name, "ForwardProxy ")}
	memory := c.MemoryBytes
	if memory <= 0 {
		memory = DefaultMemory
	}
	if n.object <= 0 {
		n.object = DefaultObject
	}
	n.object = min(n.object, memory/2)
	if old != nil {
		n.store = old.store
		n.store.max.Store(memory)
		n.store.trim(0)
	} else {
		n.store = newStore(memory)
	}
	for i := range c.Refresh {
		if r, err := compileRule(&c.Refresh[i]); err == nil {
			n.rules = append(n.rules, r)
		}
	}
	for _, text := range c.PurgeFrom {
		if p, err := netip.ParsePrefix(text); err == nil {
			n.purge = append(n.purge, p.Masked())
		}
	}
	s.forget(c.Name)
	s.stores[c.Name] = n
	s.byIR.Store(c, n)
	return n
}

// forget drops what older settings of a name were compiled to: requests that still use them open them anew. The
// caller holds mu.
func (s *Set) forget(name string) {
	s.byIR.Range(func(k, _ any) bool {
		if k.(*ir.Cache).Name == name {
			s.byIR.Delete(k)
		}
		return true
	})
}

// Keep closes the stores whose names are not among those given: nobody will ask them again.
func (s *Set) Keep(names map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.stores {
		if !names[name] {
			delete(s.stores, name)
			s.forget(name)
		}
	}
}

// All returns the caches, by name.
func (s *Set) All() []*Cache {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Cache, 0, len(s.stores))
	for _, c := range s.stores {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// Shrink lets go of a part of every store, one in so many bytes, because memory is short.
func (s *Set) Shrink(part int64) {
	for _, c := range s.All() {
		st := c.store
		limit := st.max.Load()
		st.max.Store(st.total.Load() - st.total.Load()/part)
		st.trim(0)
		st.max.CompareAndSwap(st.max.Load(), limit)
	}
}

// Private reports whether the cache keeps users apart.
func (c *Cache) Private() bool { return c.private }

// Edge reports whether targeted fields are for the cache, which then announces itself to origins.
func (c *Cache) Edge() bool { return c.edge }

// UsableOnError reports whether an object may take the place of an answer that could not be had (RFC 9111 section
// 4.2.4, RFC 5861 section 4).
func (c *Cache) UsableOnError(o *Object, q *Query, now time.Time) bool { return o.onError(q, now) }

// Name returns the name of the store.
func (c *Cache) Name() string { return c.name }

// Stats returns how the store is doing.
func (c *Cache) Stats() Stats { return c.store.read(c.name) }

// MayPurge reports whether the method PURGE is allowed from an address, and whether it is from any.
func (c *Cache) MayPurge(a netip.Addr) (allowed, any bool) {
	for _, p := range c.purge {
		if p.Contains(a.Unmap()) {
			return true, true
		}
	}
	return false, len(c.purge) > 0
}
