// Package overload holds the bounds of the whole process and sheds what exceeds them, with a reason
// instead of growing: memory, connections of all listeners, connections of one address, handshakes in
// progress.
//
// It decides and counts; closing, refusing and answering is done by those who ask. It refuses to know
// sockets, TLS and HTTP. Begin reading at Bounds; level.go says what each Level asks for, handshake.go
// how handshakes take turns.
package overload

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Options are the bounds and dependencies of Bounds. Zero values mean the defaults named here.
type Options struct {
	MaxMemory      uint64 // bytes of heap and stacks; HK4401; default three quarters of what the process may have
	MaxConnections int    // of all listeners; HK4402; default three quarters of the file descriptors there may be
	MaxPerAddress  int    // connections of an IPv4 address or IPv6 /64; HK4403; default a quarter of MaxConnections; below zero: none
	MaxHandshakes  int    // in progress; HK4404; default as many as fit into an eighth of MaxMemory, 1024 to 16384

	// Exempt says whether an address may hold any number of connections: that of a proxy in front
	// stands for many clients. Nil: none may.
	Exempt func(netip.Addr) bool

	Memory  func() uint64 // bytes that heap and stacks take now; default asks the runtime
	Collect func()        // called about once a second while memory is short; default sees to it that garbage is collected
	Every   time.Duration // between looks at memory; default 250 ms
	Logger  *slog.Logger  // told of every change of level; default discards
}

// perConnection and perHandshake are what a connection and a handshake are taken to need until the next
// look at memory shows what they really do.
const (
	perConnection = 16 << 10
	perHandshake  = 64 << 10
)

// Bounds are the process's. The methods of a nil *Bounds bound nothing. Safe for concurrent use.
type Bounds struct {
	// Fixed after construction.
	opts  Options
	turns chan struct{} // handshakes that may compute now

	level    atomic.Int32  // what is asked of requests and idle connections
	scarce   atomic.Bool   // memory is short, perhaps besides connections
	refusing atomic.Bool   // memory is short: neither connections nor requests are admitted
	seen     atomic.Uint64 // bytes at the last look
	promised atomic.Uint64 // bytes reserved since
	open     atomic.Int64  // connections
	shed     [sheddable]atomic.Uint64

	addresses addresses
	shakes    shakes

	mu     sync.Mutex // guards meters
	meters [resources]meter
}

// New returns Bounds. Without Run the level stays Calm; the bounds on numbers hold all the same.
func New(opts Options) *Bounds {
	if opts.MaxMemory == 0 {
		opts.MaxMemory = DefaultMemory()
	}
	if opts.MaxConnections == 0 {
		opts.MaxConnections = defaultConnections()
	}
	if opts.MaxPerAddress == 0 {
		opts.MaxPerAddress = max(opts.MaxConnections/4, 1)
	}
	if opts.MaxHandshakes == 0 {
		opts.MaxHandshakes = int(min(max(opts.MaxMemory/8/perHandshake, 1024), 16384))
	}
	if opts.Memory == nil {
		opts.Memory = heapReader()
	}
	if opts.Collect == nil {
		opts.Collect = collector()
	}
	if opts.Every == 0 {
		opts.Every = 250 * time.Millisecond
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bounds{opts: opts, turns: make(chan struct{}, 4*runtime.GOMAXPROCS(0))}
	b.addresses.init()
	b.shakes.addresses = map[netip.Addr]int{}
	b.meters = [resources]meter{
		memory:      {name: "memory", enter: [3]float64{0.85, 0.92, 0.98}},
		connections: {name: "connections", enter: [3]float64{0.85, 1, never}},
		handshakes:  {name: "handshakes", enter: [3]float64{0.85, 1, never}},
	}
	return b
}

// MaxMemory returns the bound on memory in bytes; 0 if there is none because the system tells nothing.
func (b *Bounds) MaxMemory() uint64 { return b.opts.MaxMemory }

// Run looks at memory until ctx ends.
func (b *Bounds) Run(ctx context.Context) error {
	t := time.NewTicker(b.opts.Every)
	defer t.Stop()
	var collected time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			b.look()
			if b.short() && now.Sub(collected) >= time.Second {
				collected = now
				b.opts.Collect()
			}
		}
	}
}

// short reports whether memory is.
func (b *Bounds) short() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.meters[memory].level > Calm
}

// Level returns what is asked of requests and idle connections now. It costs one atomic load.
func (b *Bounds) Level() Level {
	if b == nil {
		return Calm
	}
	return Level(b.level.Load())
}

// Short returns the code of what the level is for: HK4401 memory, else HK4402 connections.
func (b *Bounds) Short() diag.Code {
	if b == nil || b.scarce.Load() {
		return diag.OverloadMemory
	}
	return diag.OverloadConnections
}

// Admit says whether a new request may be served; if not it counts the refusal and returns its code.
// It costs one atomic load.
func (b *Bounds) Admit() (diag.Code, bool) {
	if b == nil || !b.refusing.Load() {
		return 0, true
	}
	b.Shed(diag.OverloadMemory)
	return diag.OverloadMemory, false
}

// Reserve tells of bytes that are about to be used, so that a burst is noticed before the next look at
// memory. They are not given back: the next look sees what is in use.
func (b *Bounds) Reserve(bytes uint64) {
	if b == nil {
		return
	}
	promised := b.promised.Add(bytes)
	if bound := b.opts.MaxMemory; bound > 0 && !b.refusing.Load() && float64(b.seen.Load()+promised) >= refuseAt*float64(bound) {
		b.look()
	}
}

// refuseAt is the part of the bound at which reserving looks again by itself.
const refuseAt = 0.92

// Accept counts a new connection of an address, or returns the reason to refuse it. Release must follow
// when an admitted connection is closed.
func (b *Bounds) Accept(remote netip.Addr) diag.Code {
	if b == nil {
		return 0
	}
	b.Reserve(perConnection)
	if b.refusing.Load() {
		b.Shed(diag.OverloadMemory)
		return diag.OverloadMemory
	}
	if b.open.Add(1) > int64(b.opts.MaxConnections) {
		b.open.Add(-1)
		b.Shed(diag.OverloadConnections)
		return diag.OverloadConnections
	}
	if b.bounded(remote) && !b.addresses.add(network(remote), b.opts.MaxPerAddress) {
		b.open.Add(-1)
		b.Shed(diag.OverloadAddress)
		return diag.OverloadAddress
	}
	return 0
}

// Release ends what Accept began.
func (b *Bounds) Release(remote netip.Addr) {
	if b == nil {
		return
	}
	b.open.Add(-1)
	if b.bounded(remote) {
		b.addresses.remove(network(remote))
	}
}

// bounded reports whether an address has a bound of its own.
func (b *Bounds) bounded(a netip.Addr) bool {
	return b.opts.MaxPerAddress > 0 && !(b.opts.Exempt != nil && b.opts.Exempt(a.Unmap()))
}

// look measures every resource, sets the levels and logs those that changed. Of concurrent calls one
// does the work.
func (b *Bounds) look() {
	if !b.mu.TryLock() {
		return
	}
	defer b.mu.Unlock()
	promised := b.promised.Swap(0)
	used := b.opts.Memory()
	b.seen.Store(used)
	b.meters[memory].set(used+promised, b.opts.MaxMemory)
	b.meters[connections].set(uint64(max(b.open.Load(), 0)), uint64(b.opts.MaxConnections))
	b.meters[handshakes].set(uint64(b.shakes.count()), uint64(b.opts.MaxHandshakes))
	for i := range b.meters {
		b.meters[i].tell(b.opts.Logger)
	}
	// Idle connections are worth less than new ones, but no request is refused for their number.
	level := max(b.meters[memory].level, min(b.meters[connections].level, Thrifty))
	b.level.Store(int32(level))
	b.scarce.Store(b.meters[memory].level > Calm)
	b.refusing.Store(b.meters[memory].level >= Refusing)
}
