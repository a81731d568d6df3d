package upstream

import (
	"math/bits"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Cool-down after a failed connect: the first lasts coolMin, each further one twice as long.
const (
	coolMin = time.Second
	coolMax = 30 * time.Second
)

// Endpoint is one address with its idle connections and counters. It lives as long as its upstream
// names the address.
type Endpoint struct {
	Address netip.AddrPort
	Text    string // Address as text, for records
	key     string // what tells it from the upstream's others

	host string // of a destination that a proxy resolves, with its port; else ""
	port uint16

	server     *ir.Server // of an OriginPool; else nil
	hostHeader []byte     // of it; nil: the request's
	origin     *origin    // of an OriginPool; else nil

	gone      atomic.Bool // no longer named: connections are not kept
	active    atomic.Int32
	coolUntil atomic.Int64 // Unix nanoseconds; 0: fine
	failures  atomic.Int32 // failed connects in a row

	requests      atomic.Int64
	connects      atomic.Int64
	connectErrors atomic.Int64
	open          atomic.Int32

	shards []shard

	spoke  atomic.Int32 // what the last connection spoke, of the constants below
	trunks trunks       // HTTP/2 connections, where they do not depend on the request's host
	hostMu sync.RWMutex
	byHost map[string]*trunks // where they do
}

// What a connection spoke.
const (
	spokeNothing int32 = iota
	spokeHTTP1
	spokeHTTP2
)

// shard is a part of the idle connections, last in first out, so that surplus ones age at the front.
type shard struct {
	mu   sync.Mutex
	idle []*Conn
	_    [32]byte // keeps neighbours off one cache line
}

func newEndpoint(addr netip.AddrPort) *Endpoint {
	n := 1 << bits.Len(uint(min(runtime.GOMAXPROCS(0), 16)-1))
	return &Endpoint{Address: addr, Text: addr.String(), shards: make([]shard, n)}
}

// newTarget makes the endpoint of a destination that a proxy resolves.
func newTarget(host string, port uint16) *Endpoint {
	e := newEndpoint(netip.AddrPort{})
	e.host, e.port, e.Text = host, port, hostname.WithPort(host, port)
	if ip, err := netip.ParseAddr(host); err == nil {
		e.Address = netip.AddrPortFrom(ip.Unmap(), port)
	}
	return e
}

// Server is the name of the origin that the endpoint belongs to, "" if its upstream is no OriginPool.
func (e *Endpoint) Server() string {
	if e.server == nil {
		return ""
	}
	return e.server.Name
}

// HostHeader is the Host that the origin receives instead of the request's, nil for that. It is only read.
func (e *Endpoint) HostHeader() []byte { return e.hostHeader }

// begun and ended count a request in progress.
func (e *Endpoint) begun() {
	e.active.Add(1)
	e.requests.Add(1)
	if o := e.origin; o != nil {
		o.active.Add(1)
		o.requests.Add(1)
	}
}

func (e *Endpoint) ended() {
	e.active.Add(-1)
	if o := e.origin; o != nil {
		o.active.Add(-1)
	}
}

// Stats are the counters of one endpoint of one upstream.
type Stats struct {
	Upstream      string         `json:"upstream"`
	Address       netip.AddrPort `json:"address"`
	Target        string         `json:"target,omitempty"`   // host:port of an endpoint that a proxy resolves
	Active        int32          `json:"active"`             // requests in progress
	Open          int32          `json:"open"`               // connections
	Idle          int            `json:"idle"`               // connections without a request, of either protocol
	Protocol      string         `json:"protocol,omitempty"` // of the last connection: "http/1.1" or "h2"
	Multiplexed   int            `json:"multiplexed"`        // HTTP/2 connections among Open
	Streams       int32          `json:"streams"`            // requests in progress on them
	Slots         int64          `json:"slots"`              // requests that they can carry at once
	Requests      int64          `json:"requests"`
	Connects      int64          `json:"connects"`
	ConnectErrors int64          `json:"connectErrors"`
	Cooling       bool           `json:"cooling"`
	Overflows     int64          `json:"overflows"`      // of the whole upstream
	Retries       int32          `json:"retries"`        // in progress, of the whole upstream; 0 where nothing bounds them
	RetryOverflow int64          `json:"retryOverflows"` // of the whole upstream
}

func (e *Endpoint) stats(u *Upstream) Stats {
	s := Stats{
		Upstream: u.Name, Address: e.Address, Active: e.active.Load(), Open: e.open.Load(),
		Requests: e.requests.Load(), Connects: e.connects.Load(), ConnectErrors: e.connectErrors.Load(),
		Cooling: e.cooling(time.Now().UnixNano()), Overflows: u.limit.overflows.Load(),
		Retries: u.retries.Load(), RetryOverflow: u.retryOverflows.Load(),
	}
	if e.host != "" {
		s.Target = e.Text
	}
	for i := range e.shards {
		sh := &e.shards[i]
		sh.mu.Lock()
		s.Idle += len(sh.idle)
		sh.mu.Unlock()
	}
	switch e.spoke.Load() {
	case spokeHTTP1:
		s.Protocol = "http/1.1"
	case spokeHTTP2:
		s.Protocol = "h2"
	}
	for _, g := range e.groups() {
		for _, t := range g.all() {
			n := t.lent()
			s.Multiplexed++
			s.Streams += n
			s.Slots += int64(t.slots.Load())
			if n == 0 {
				s.Idle++
			}
		}
	}
	return s
}

// group returns the HTTP/2 connections made for host, "" where they do not depend on it. A group that
// was forgotten meanwhile is replaced by the next call.
func (e *Endpoint) group(host string) *trunks {
	if host == "" {
		return &e.trunks
	}
	e.hostMu.RLock()
	g := e.byHost[host]
	e.hostMu.RUnlock()
	if g != nil {
		return g
	}
	e.hostMu.Lock()
	defer e.hostMu.Unlock()
	if g = e.byHost[host]; g == nil {
		if e.byHost == nil {
			e.byHost = make(map[string]*trunks)
		}
		g = &trunks{host: host}
		e.byHost[host] = g
	}
	return g
}

// groups returns all groups that there are.
func (e *Endpoint) groups() []*trunks {
	e.hostMu.RLock()
	defer e.hostMu.RUnlock()
	all := make([]*trunks, 0, 1+len(e.byHost))
	all = append(all, &e.trunks)
	for _, g := range e.byHost {
		all = append(all, g)
	}
	return all
}

// forgetGroups drops groups of hosts that nobody asks for.
func (e *Endpoint) forgetGroups() {
	for _, g := range e.groups()[1:] {
		if g.forget() {
			e.hostMu.Lock()
			delete(e.byHost, g.host)
			e.hostMu.Unlock()
		}
	}
}

// retireTrunks lets HTTP/2 connections that were not made with material finish what they do.
func (e *Endpoint) retireTrunks(material uint32) {
	for _, g := range e.groups() {
		for _, t := range g.all() {
			if t.conn.material != material {
				t.retire()
			}
		}
	}
}

// evictTrunk ends one HTTP/2 connection that nobody uses, and says whether there was one.
func (e *Endpoint) evictTrunk() bool {
	for _, g := range e.groups() {
		for _, t := range g.all() {
			if t.retireIdle() {
				return true
			}
		}
	}
	return false
}

func (e *Endpoint) cooling(now int64) bool {
	until := e.coolUntil.Load()
	if until == 0 {
		return false
	}
	if now < until {
		return true
	}
	e.coolUntil.CompareAndSwap(until, 0)
	return false
}

// failed starts a cool-down.
func (e *Endpoint) failed() {
	e.connectErrors.Add(1)
	n := min(e.failures.Add(1)-1, 10)
	e.coolUntil.Store(time.Now().Add(min(coolMin<<n, coolMax)).UnixNano())
}

func (e *Endpoint) connected() {
	e.connects.Add(1)
	if e.failures.Load() != 0 {
		e.failures.Store(0)
		e.coolUntil.Store(0)
	}
}

// take returns the youngest idle connection, looking first in the shard of hint. host narrows to
// connections made for that TLS server name; "" takes any.
func (e *Endpoint) take(hint uint32, host string) *Conn {
	for i := range uint32(len(e.shards)) {
		sh := &e.shards[(hint+i)&uint32(len(e.shards)-1)]
		sh.mu.Lock()
		for at := len(sh.idle) - 1; at >= 0; at-- {
			c := sh.idle[at]
			if host != "" && c.host != host {
				continue
			}
			copy(sh.idle[at:], sh.idle[at+1:])
			sh.idle[len(sh.idle)-1] = nil
			sh.idle = sh.idle[:len(sh.idle)-1]
			sh.mu.Unlock()
			return c
		}
		sh.mu.Unlock()
	}
	return nil
}

// put keeps a connection. It returns false if the endpoint is no longer in use.
func (e *Endpoint) put(hint uint32, c *Conn) bool {
	sh := &e.shards[hint&uint32(len(e.shards)-1)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e.gone.Load() {
		return false
	}
	sh.idle = append(sh.idle, c)
	return true
}

// lookEvery is how often a connection that nobody uses is asked whether the peer has closed it, in ticks. Destinations
// that are asked for once would otherwise keep a socket each until IdleTimeout.
const lookEvery = 4

// closeIdle closes connections that have been idle since before, in Unix nanoseconds, and of the others those that the
// peer has closed, as far as it is their turn to be looked at now; 0 for none.
func (e *Endpoint) closeIdle(before, now int64) {
	for i := range e.shards {
		sh := &e.shards[i]
		var old []*Conn
		sh.mu.Lock()
		kept := 0
		for _, c := range sh.idle {
			if c.idleSince <= before || c.due(now) && !c.open() {
				old = append(old, c)
				continue
			}
			sh.idle[kept] = c
			kept++
		}
		clear(sh.idle[kept:])
		sh.idle = sh.idle[:kept]
		sh.mu.Unlock()
		for _, c := range old {
			c.discard()
		}
	}
}

// sweep ends connections that have been idle since before, and those that peers have closed; both times are Unix
// nanoseconds.
func (e *Endpoint) sweep(before, now int64) {
	e.closeIdle(before, now)
	for _, g := range e.groups() {
		for _, t := range g.all() {
			if t.lent() == 0 && t.idleSince.Load() <= before {
				t.retireIdle()
			}
		}
	}
	e.forgetGroups()
}

// retire marks the endpoint as gone, closes what is idle and lends nothing more.
func (e *Endpoint) retire() {
	e.gone.Store(true)
	e.closeIdle(1<<63-1, 0)
	for _, g := range e.groups() {
		for _, t := range g.all() {
			t.retire()
		}
	}
}
