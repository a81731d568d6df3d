package tlsconf

import (
	"sync"

	"github.com/hakone-gateway/hakone/internal/listen"
)

// shards of the index; connections spread over them by number.
const shards = 16

// Index knows every open connection that was added to it with its session, so that the live ones can be
// judged again when a CA, a revocation list or a policy changes. The zero value is empty and ready; it is safe for
// concurrent use.
type Index struct {
	shard [shards]struct {
		mu    sync.Mutex // guards conns
		conns map[*listen.Conn]indexed
	}
}

// indexed is what a connection was accepted under; empty while its handshake runs and for plain ones.
type indexed struct {
	chain   string
	session *Session // nil until Result.Session was called
}

// Add registers a connection until it is closed.
func (x *Index) Add(c *listen.Conn) {
	s := &x.shard[c.ID()%shards]
	s.mu.Lock()
	if s.conns == nil {
		s.conns = map[*listen.Conn]indexed{}
	}
	s.conns[c] = indexed{}
	s.mu.Unlock()
	c.OnClose(func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// assign records what an added connection was accepted under.
func (x *Index) assign(c *listen.Conn, as indexed) {
	s := &x.shard[c.ID()%shards]
	s.mu.Lock()
	if _, open := s.conns[c]; open {
		s.conns[c] = as
	}
	s.mu.Unlock()
}

// Count returns the number of open connections per chain name; those without a chain, whose handshake
// runs or that are plain, count under "".
func (x *Index) Count() map[string]int {
	out := map[string]int{}
	for i := range x.shard {
		s := &x.shard[i]
		s.mu.Lock()
		for _, as := range s.conns {
			out[as.chain]++
		}
		s.mu.Unlock()
	}
	return out
}

// CloseAll closes every connection, for the end of a drain, and returns how many.
func (x *Index) CloseAll() int {
	n := 0
	for i := range x.shard {
		s := &x.shard[i]
		var found []*listen.Conn
		s.mu.Lock()
		for c := range s.conns {
			found = append(found, c)
		}
		s.mu.Unlock() // closing calls back into the index
		for _, c := range found {
			c.Close()
		}
		n += len(found)
	}
	return n
}
