package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// verdictLife is how long a good verdict is remembered at most.
	verdictLife = time.Hour
	// refusalLife is the same for refusals: their sentences tell durations.
	refusalLife = time.Minute
	// maxCachedCert is how long a certificate may be, in bytes, for its verdict to be remembered: that
	// holds the certificate's names, and a stranger can make them 60 KiB long.
	maxCachedCert = 16 << 10
)

// Cache remembers verdicts, so that a returning peer does not cost its signatures again. It is keyed
// by the whole presented chain, the policy's revision (anchors and revocation lists included) and the
// name asked for; an entry is valid only while no certificate or list involved begins or ceases to be
// valid. It holds a bounded number of entries and drops arbitrary ones beyond. Safe for concurrent
// use.
type Cache struct {
	max int

	mu      sync.Mutex // guards entries
	entries map[[sha256.Size]byte]entry
}

type entry struct {
	verdict     Verdict
	from, until time.Time
}

// NewCache returns a cache of at most size entries (at least one). An entry takes a few kilobytes.
func NewCache(size int) *Cache {
	return &Cache{max: max(size, 1), entries: map[[sha256.Size]byte]entry{}}
}

// Len returns the number of entries.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

func (c *Cache) get(key [sha256.Size]byte, now time.Time) (Verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return Verdict{}, false
	}
	if now.Before(e.from) || !now.Before(e.until) {
		delete(c.entries, key)
		return Verdict{}, false
	}
	return e.verdict, true
}

func (c *Cache) put(key [sha256.Size]byte, v Verdict, from, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.entries {
		if len(c.entries) < c.max {
			break
		}
		delete(c.entries, other)
	}
	c.entries[key] = entry{v, from, until}
}

func cacheKey(role, revision, name string, presented []*x509.Certificate, staple []byte) [sha256.Size]byte {
	h := sha256.New()
	put := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		_, _ = h.Write(n[:])
		_, _ = h.Write(b)
	}
	put([]byte(role))
	put([]byte(revision))
	put([]byte(name))
	for _, c := range presented {
		put(c.Raw)
	}
	if len(staple) > 0 {
		put(staple)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// certEdges are the moments at which a certificate's validity changes. A certificate is valid up to
// and including notAfter.
func certEdges(c *x509.Certificate) []time.Time {
	return []time.Time{c.NotBefore, c.NotAfter.Add(1)}
}

// window returns the span around now in which nothing involved changes its validity.
func (v *Verifier) window(presented []*x509.Certificate, now time.Time) (from, until time.Time) {
	from, until = now.Add(-verdictLife), now.Add(verdictLife)
	narrow := func(edge time.Time) {
		if edge.After(now) {
			until = earliest(until, edge)
		} else if edge.After(from) {
			from = edge
		}
	}
	for _, e := range v.edges {
		narrow(e)
	}
	for _, c := range presented {
		for _, e := range certEdges(c) {
			narrow(e)
		}
	}
	return from, until
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
