package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/mint"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// StateOptions are the settings of a State. Zero values mean the defaults named here.
type StateOptions struct {
	Now      func() time.Time // default time.Now
	Resolver Resolver         // default net.DefaultResolver
	Logger   *slog.Logger     // default discards
}

// State is what outlives snapshots: verified passwords, looked-up names, hosts that clients pin, counts of
// connections, and authorities with the leaves that they have made. One per process. Safe for concurrent use.
type State struct {
	now  func() time.Time
	log  *slog.Logger
	mark string // what this process puts into CDN-Loop (RFC 8586)

	names  names
	logins logins
	pinned pinned

	running context.Context // ends when relays are cut
	cut     context.CancelFunc
	relays  atomic.Int64 // of connections that the engine does not know

	spliced, bumped atomic.Int64 // open tunnels

	mu          sync.Mutex // guards what follows
	connections map[netip.Addr]int
	authorities map[string]*kept               // by what they are made of
	minted      telemetry.MintState            // counts of authorities that are gone
	outside     map[*upstream.Destinations]int // and how many policies use them
	own         []netip.Addr
	ownAt       time.Time
}

// kept is an authority and how many policies use it.
type kept struct {
	authority *mint.Authority
	users     int
}

// NewState returns an empty State.
func NewState(opts StateOptions) *State {
	s := &State{now: opts.Now, log: opts.Logger, connections: map[netip.Addr]int{}, authorities: map[string]*kept{}, outside: map[*upstream.Destinations]int{}}
	s.running, s.cut = context.WithCancel(context.Background())
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	resolver := opts.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	s.mark = "hakone-" + hex.EncodeToString(random[:])
	s.names.init(resolver, s.now)
	s.logins.init(s.now)
	s.pinned.init(s.now)
	return s
}

// Mark returns what this process puts into CDN-Loop (RFC 8586), and refuses to see there.
func (s *State) Mark() string { return s.mark }

// Drain waits for the relays that began without CONNECT, which nobody else ends, and cuts those that are left when ctx
// ends; then it returns ctx's error. Nothing is relayed after that.
func (s *State) Drain(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	defer s.cut()
	for s.relays.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// Close cuts the relays that are left, and returns when the leaves that authorities keep on disk are written. Policies
// may be closed before and after.
func (s *State) Close() {
	s.cut()
	s.mu.Lock()
	all := make([]*mint.Authority, 0, len(s.authorities))
	for _, k := range s.authorities {
		all = append(all, k.authority)
	}
	s.mu.Unlock()
	for _, a := range all {
		a.Close()
	}
}

// open counts a connection of an address.
func (s *State) open(a netip.Addr) {
	s.mu.Lock()
	s.connections[a]++
	s.mu.Unlock()
}

// closed ends what open counted.
func (s *State) closed(a netip.Addr) {
	s.mu.Lock()
	if s.connections[a]--; s.connections[a] <= 0 {
		delete(s.connections, a)
	}
	s.mu.Unlock()
}

// count returns the open connections of an address.
func (s *State) count(a netip.Addr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections[a]
}

// authority returns the authority of a pair and settings: the same while any policy uses it, so that leaves
// outlive snapshots. Each call is answered by one release.
func (s *State) authority(pair *secret.KeyPair, i *ir.Interception) *mint.Authority {
	key := authorityKey(pair, i)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.authorities[key]
	if k == nil {
		k = &kept{authority: mint.New(pair, mint.Options{KeyType: i.KeyType, Validity: i.Validity, MemoryBytes: i.MemoryBytes, DiskPath: i.DiskPath, DiskBytes: i.DiskBytes, Logger: s.log})}
		s.authorities[key] = k
	}
	k.users++
	return k.authority
}

func (s *State) release(pair *secret.KeyPair, i *ir.Interception) {
	key := authorityKey(pair, i)
	s.mu.Lock()
	k := s.authorities[key]
	if k != nil {
		if k.users--; k.users > 0 {
			k = nil
		} else {
			delete(s.authorities, key)
		}
	}
	if k != nil {
		addMinted(&s.minted, k.authority.Stats())
	}
	s.mu.Unlock()
	if k != nil {
		k.authority.Close()
	}
}

func authorityKey(pair *secret.KeyPair, i *ir.Interception) string {
	return pair.Digest + "|" + i.KeyType + "|" + i.Validity.String() + "|" + strconv.FormatInt(i.MemoryBytes, 10) + "|" + i.DiskPath + "|" + strconv.FormatInt(i.DiskBytes, 10)
}

// ownFor is how long the addresses of this machine are remembered.
const ownFor = 30 * time.Second

// isOwn reports whether an address is one of this machine's.
func (s *State) isOwn(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	s.mu.Lock()
	list, at := s.own, s.ownAt
	s.mu.Unlock()
	if now := s.now(); at.IsZero() || now.Sub(at) > ownFor {
		list = ownAddresses()
		s.mu.Lock()
		s.own, s.ownAt = list, now
		s.mu.Unlock()
	}
	for _, o := range list {
		if o == a {
			return true
		}
	}
	return false
}

func ownAddresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}

// Resolver looks up names; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Bounds of the names that are remembered.
const (
	maxNames    = 16384
	nameFor     = 30 * time.Second
	noNameFor   = 5 * time.Second
	nameTimeout = 5 * time.Second
)

// names remembers what DNS said, for rules and for the check of destinations.
type names struct {
	resolver Resolver
	now      func() time.Time

	mu    sync.Mutex // guards known
	known map[string]*name
}

// name is one lookup, done or in progress.
type name struct {
	done    chan struct{} // closed when the rest is there
	until   time.Time
	reverse []string
	err     error
}

func (n *names) init(r Resolver, now func() time.Time) {
	n.resolver, n.now, n.known = r, now, map[string]*name{}
}

// confirmed returns the names of an address that lead back to it.
func (n *names) confirmed(a netip.Addr) []string {
	e := n.get("p/"+a.String(), func(ctx context.Context, e *name) {
		list, err := n.resolver.LookupAddr(ctx, a.String())
		if e.err = err; err != nil {
			return
		}
		for _, host := range list[:min(len(list), 4)] {
			host = canonical(host)
			back, err := n.resolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				continue
			}
			for _, b := range back {
				if b.Unmap() == a {
					e.reverse = append(e.reverse, host)
					break
				}
			}
		}
	})
	return e.reverse
}

func (n *names) get(key string, ask func(context.Context, *name)) *name {
	n.mu.Lock()
	e := n.known[key]
	if e != nil {
		select {
		case <-e.done:
			if n.now().After(e.until) {
				e = nil
			}
		default:
		}
	}
	if e != nil {
		n.mu.Unlock()
		<-e.done
		return e
	}
	e = &name{done: make(chan struct{})}
	if len(n.known) >= maxNames {
		n.evict()
	}
	n.known[key] = e
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
	defer cancel()
	defer close(e.done)
	ask(ctx, e)
	e.until = n.now().Add(nameFor)
	if e.err != nil {
		e.until = n.now().Add(noNameFor)
	}
	return e
}

// evict makes room: what is over goes, and a part of the rest if that is nothing.
func (n *names) evict() {
	now, want := n.now(), len(n.known)/8+1
	for pass := range 2 {
		for k, e := range n.known {
			select {
			case <-e.done:
			default:
				continue
			}
			if pass == 1 || now.After(e.until) {
				delete(n.known, k)
				want--
			}
			if want <= 0 {
				return
			}
		}
	}
}

// Hosts that pin: after so many refusals of our leaf within pinnedFor, they are spliced for pinnedFor.
const (
	pinnedAfter = 2
	pinnedFor   = time.Hour
	maxPinned   = 4096
)

// pinned remembers hosts whose clients refused our leaves.
type pinned struct {
	now func() time.Time

	mu    sync.Mutex // guards hosts
	hosts map[string]*refusals
}

type refusals struct {
	n     int
	until time.Time
}

func (p *pinned) init(now func() time.Time) { p.now, p.hosts = now, map[string]*refusals{} }

// refused notes a refusal; it reports whether the host is spliced from now on because of it.
func (p *pinned) refused(key string) bool {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.hosts[key]
	if r == nil || now.After(r.until) {
		if len(p.hosts) >= maxPinned {
			for k, old := range p.hosts {
				if delete(p.hosts, k); now.After(old.until) || len(p.hosts) < maxPinned {
					break
				}
			}
		}
		r = &refusals{}
		p.hosts[key] = r
	}
	r.n++
	r.until = now.Add(pinnedFor)
	return r.n == pinnedAfter
}

// accepted forgets refusals of a host that is not spliced yet: a client took our leaf.
func (p *pinned) accepted(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.hosts[key]; r != nil && r.n < pinnedAfter {
		delete(p.hosts, key)
	}
}

// spliced reports whether the host is one of those.
func (p *pinned) spliced(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.hosts[key]
	return r != nil && r.n >= pinnedAfter && !p.now().After(r.until)
}
