package telemetry

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
)

// ring keeps the last requests and handshakes in memory, for "hakone explain". Its memory is bounded
// and grows only as records come.
type ring struct {
	shards []ringShard // requests

	mu       sync.Mutex // guards the handshakes
	refused  last[*Handshake]
	accepted last[*Handshake]
}

type ringShard struct {
	mu   sync.Mutex
	kept last[*keptAccess]
	_    [64]byte
}

// keptAccess is an Access with its own copies of what the request's buffers hold.
type keptAccess struct {
	access Access
	bytes  []byte
}

// last holds the last bound values that were put.
type last[T any] struct {
	list  []T
	next  int // where the oldest value is, once list is full
	bound int
}

// slot returns where the next value goes; what is there is the oldest.
func (l *last[T]) slot() *T {
	if len(l.list) < l.bound {
		var zero T
		l.list = append(l.list, zero)
		return &l.list[len(l.list)-1]
	}
	s := &l.list[l.next]
	l.next = (l.next + 1) % l.bound
	return s
}

// maxKeptField bounds what is kept of one field of a peer, in bytes.
const maxKeptField = 1024

func newRing(requests, handshakes int) *ring {
	r := &ring{shards: make([]ringShard, shardCount())}
	for i := range r.shards {
		r.shards[i].kept.bound = max(1, requests/len(r.shards))
	}
	r.refused.bound, r.accepted.bound = max(1, handshakes), max(1, handshakes/4)
	return r
}

func (r *ring) handshake(h *Handshake) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.Code != 0 {
		*r.refused.slot() = h
	} else {
		*r.accepted.slot() = h
	}
}

func (r *ring) access(a *Access) {
	s := r.shard(a.Conn)
	defer s.mu.Unlock()
	slot := s.kept.slot()
	if *slot == nil {
		*slot = new(keptAccess)
	}
	(*slot).set(a)
}

// shard returns a locked shard.
func (r *ring) shard(conn uint64) *ringShard {
	n := uint64(len(r.shards))
	for i := range n {
		if s := &r.shards[(conn+i)&(n-1)]; s.mu.TryLock() {
			return s
		}
	}
	s := &r.shards[conn&(n-1)]
	s.mu.Lock()
	return s
}

func (k *keptAccess) set(a *Access) {
	k.access = *a
	k.access.Metrics = nil
	fields := [...]*[]byte{&k.access.ID, &k.access.Method, &k.access.Protocol, &k.access.Authority, &k.access.Target, &k.access.Path,
		&k.access.UserAgent, &k.access.Referer, &k.access.XFF, &k.access.ContentType, &k.access.URL}
	n := 0
	for _, f := range fields {
		*f = (*f)[:min(len(*f), maxKeptField)]
		n += len(*f)
	}
	if cap(k.bytes) < n {
		k.bytes = make([]byte, 0, n+n/4)
	}
	b := k.bytes[:0]
	for _, f := range fields {
		from := len(b)
		b = append(b, *f...)
		*f = b[from:len(b):len(b)]
	}
	k.bytes = b
}

// requests calls f for every kept request, oldest first within a shard. f must be quick and must not
// keep what it is given.
func (r *ring) requests(f func(*Access)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for k := range s.kept.list {
			f(&s.kept.list[(s.kept.next+k)%len(s.kept.list)].access)
		}
		s.mu.Unlock()
	}
}

// byID returns the last kept request with the ID.
func (r *ring) byID(id string) (found *keptAccess) {
	want := []byte(id)
	r.requests(func(a *Access) {
		if bytes.Equal(a.ID, want) && (found == nil || !a.Start.Before(found.access.Start)) {
			found = new(keptAccess)
			found.set(a)
		}
	})
	return found
}

// byConn returns the kept requests of a connection, by time.
func (r *ring) byConn(conn uint64) (found []*keptAccess) {
	r.requests(func(a *Access) {
		if a.Conn == conn {
			k := new(keptAccess)
			k.set(a)
			found = append(found, k)
		}
	})
	slices.SortStableFunc(found, func(a, b *keptAccess) int { return a.access.Start.Compare(b.access.Start) })
	return found
}

// connOf returns the newest connection from an address and port of which a request is kept.
func (r *ring) connOf(client netip.AddrPort) (conn uint64, ok bool) {
	r.requests(func(a *Access) {
		if a.Remote.Port() == client.Port() && a.Remote.Addr().Unmap() == client.Addr() && (!ok || a.Conn > conn) {
			conn, ok = a.Conn, true
		}
	})
	return conn, ok
}

// shakes returns the kept handshakes of a connection, by time.
func (r *ring) shakes(conn uint64) (found []*Handshake) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, list := range [][]*Handshake{r.refused.list, r.accepted.list} {
		for _, h := range list {
			if h.Conn == conn && h.Side == Downstream {
				found = append(found, h)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *Handshake) int { return a.Time.Compare(b.Time) })
	return found
}
