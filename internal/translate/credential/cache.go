package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Cache keeps what was parsed, keyed by content, so that one changed Secret among ten thousand costs
// one parse. It changes the cost of a translation and never its result. The zero value is ready; a nil
// Cache keeps nothing. Safe for concurrent use.
type Cache struct {
	mu      sync.Mutex
	entries map[string]*cached // guarded by mu
	round   uint64             // guarded by mu
}

type cached struct {
	round uint64 // of the last use
	value *parsed
}

// NewCache returns an empty cache.
func NewCache() *Cache { return &Cache{} }

// Sweep drops what was not used since the Sweep before. The owner calls it once after each
// compilation, when all translators are done.
func (c *Cache) Sweep() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if e.round < c.round {
			delete(c.entries, key)
		}
	}
	c.round++
}

// Len returns how many entries are kept.
func (c *Cache) Len() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// get returns the entry of key, made by parse if there is none. Two callers with the same new key may
// both parse: the results are equal.
func (c *Cache) get(key string, parse func() *parsed) *parsed {
	if c == nil {
		return parse()
	}
	if v := c.touch(key); v != nil {
		return v
	}
	v := parse()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]*cached{}
	}
	c.entries[key] = &cached{c.round, v}
	return v
}

func (c *Cache) touch(key string) *parsed {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return nil
	}
	e.round = c.round
	return e.value
}

// parsed is everything that one object or group of files yields. Each half has its own error: a
// secret whose key is broken may still hold a good CA. It is shared and never changed once made.
type parsed struct {
	pair     *secret.KeyPair
	pairErr  *secret.Error // set exactly when pair is nil
	findings []secret.Finding

	bundle        *secret.Bundle // nil without trustErr: there is no CA
	crls          []*secret.CRL
	trustErr      *secret.Error
	trustFindings []secret.Finding
}

// contentKey identifies content: an object by its version where it has one, else by hashing.
func contentKey(m *resource.Meta, data map[string][]byte) string {
	if m != nil && m.Version != "" {
		return m.Key.String() + "@" + m.Version
	}
	h := sha256.New()
	for _, entries := range [][]string{pairEntries[:], trustEntries[:]} {
		for _, k := range entries {
			v, there := data[k] // one that is empty is another thing than none
			_, _ = fmt.Fprintf(h, "%t %d:", there, len(v))
			_, _ = h.Write(v)
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
