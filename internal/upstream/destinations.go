package upstream

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Bounds and times of destinations.
const (
	defaultDestinations = 20000
	destinationIdle     = time.Minute // without a user, before it is forgotten
	destinationTick     = 5 * time.Second
)

// Destinations makes an Upstream for each destination that clients of a forward proxy ask for, by host, port, TLS
// and way, and forgets those that nobody has used for a minute. Those in use are never forgotten; beyond the bound
// such are made that live only as long as they are used. Safe for concurrent use.
type Destinations struct {
	// Fixed after construction.
	r     *Registry
	max   int
	names *nameCache

	factsBytes atomic.Int64 // of all destinations

	mu        sync.Mutex
	closed    bool
	forward   *ir.Forward
	material  func(*ir.Upstream) TLS
	materials map[materialKey]TLS
	byKey     map[destinationKey]*destination
	idle      idleList // without users

	generation int // of material
}

// destinationKey is what connections depend on.
type destinationKey struct {
	host string // in lower case, or an IP address
	port uint16
	tls  bool
	via  string // names of proxies, with commas
	at   string // addresses of hosts that the configuration places, or that rules were asked about; "": where the name leads
	pin  string // SHA-256 of the one certificate that is tolerated; "*": any, for looking at it; "": none
}

// materialKey is what TLS material depends on.
type materialKey struct {
	via string
	lax bool // nothing is verified
}

// destination is one of Destinations with its Upstream.
type destination struct {
	// Fixed after construction.
	of      *Destinations
	key     destinationKey
	local   bool         // may be this machine's, or link-local
	seen    []netip.Addr // the only ones that are connected to; nil: all that the name has
	up      *Upstream
	release func()

	facts facts

	// Guarded by of.mu.
	users int
	kept  bool      // in of.byKey
	since time.Time // users is 0
	idle  bool      // in of.idle, between before and after

	before, after *destination
}

// NewDestinations returns destinations that are spoken to as f's template says. material makes TLS material for
// settings, called once for each way; what it returns is shared by destinations. max bounds how many are kept, 0
// for 20,000. Close ends it.
func NewDestinations(r *Registry, f *ir.Forward, material func(*ir.Upstream) TLS, max int) *Destinations {
	if max <= 0 {
		max = defaultDestinations
	}
	d := &Destinations{r: r, max: max, names: newNameCache(r, max), forward: f, material: material,
		materials: make(map[materialKey]TLS), byKey: make(map[destinationKey]*destination)}
	r.spawn(d.run)
	return d
}

// run forgets what is idle until Close.
func (d *Destinations) run() {
	t := time.NewTicker(destinationTick)
	defer t.Stop()
	for {
		select {
		case <-d.r.ctx.Done():
			return
		case now := <-t.C:
			if !d.sweep(now) {
				return
			}
		}
	}
}

// sweep forgets what has been idle for its time. It returns false after Close.
func (d *Destinations) sweep(now time.Time) bool {
	d.names.sweep(now)
	var gone []*destination
	d.mu.Lock()
	for x := d.idle.first; x != nil; x = d.idle.first {
		if now.Sub(x.since) < destinationIdle {
			break
		}
		d.forget(x)
		gone = append(gone, x)
	}
	closed := d.closed
	d.mu.Unlock()
	d.let(gone)
	return !closed
}

// forget takes a destination that nobody uses out of the table; mu is held.
func (d *Destinations) forget(x *destination) {
	d.idle.remove(x)
	x.kept = false
	delete(d.byKey, x.key)
}

// let lets go of upstreams, with no lock held.
func (d *Destinations) let(gone []*destination) {
	for _, x := range gone {
		x.end()
	}
}

// end lets go of what a destination that nobody uses any more holds.
func (x *destination) end() {
	x.facts.forget()
	x.of.r.Release(x.up)
}

// Get returns the upstream for a destination: a name in lower case or an IP address, directly or through the
// proxies of via, nil for none. Nothing is looked up or connected to yet. release is called once, when the request
// or tunnel is over.
func (d *Destinations) Get(host string, port uint16, tls bool, via *ir.Via) (u *Upstream, release func()) {
	return d.get(destinationKey{host: strings.ToLower(strings.TrimSuffix(host, ".")), port: port, tls: tls}, via, nil, nil)
}

// GetAt is Get for a host whose place the configuration knows: connections go to the endpoints of base, where it has
// any that are not looked up.
func (d *Destinations) GetAt(base *Upstream, host string, port uint16, tls bool, via *ir.Via) (u *Upstream, release func()) {
	at := base.placed()
	key := destinationKey{host: strings.ToLower(strings.TrimSuffix(host, ".")), port: port, tls: tls}
	for _, e := range at {
		key.at += hostname.WithPort(e.Host, e.Port) + ","
	}
	return d.get(key, via, nil, at)
}

// GetTo is Get for a destination that is reached at an address of the caller's choice, directly, whatever its name leads
// to: where a client was on its way to when it was captured. The caller has seen to it that clients may get there.
func (d *Destinations) GetTo(to netip.Addr, host string, port uint16, tls bool) (u *Upstream, release func()) {
	key, at := keyTo(to, host, port, tls)
	return d.get(key, nil, nil, at)
}

// keyTo is the key of a destination at an address, with its endpoint; without one where that is invalid.
func keyTo(to netip.Addr, host string, port uint16, tls bool) (destinationKey, []ir.Endpoint) {
	key := destinationKey{host: strings.ToLower(strings.TrimSuffix(host, ".")), port: port, tls: tls}
	if !to.IsValid() {
		return key, nil
	}
	key.at = to.String()
	return key, []ir.Endpoint{{Host: key.at, Port: port}}
}

// GetSeen is Get for a name whose addresses somebody has decided about: connections go to those and to no others,
// wherever the name leads by then. nil is Get.
func (d *Destinations) GetSeen(seen []netip.Addr, host string, port uint16, tls bool, via *ir.Via) (u *Upstream, release func()) {
	key := destinationKey{host: strings.ToLower(strings.TrimSuffix(host, ".")), port: port, tls: tls}
	if len(seen) > 0 {
		seen = slices.Clone(seen)
		slices.SortFunc(seen, netip.Addr.Compare) // DNS has them in any order
		for _, a := range seen {
			key.at += a.String() + ","
		}
	}
	return d.getSeen(key, via, seen)
}

// placed returns the endpoints that an upstream was given, nil where they are looked up.
func (u *Upstream) placed() []ir.Endpoint {
	if u == nil || u.Settings.Resolve != nil || u.Settings.Dynamic != nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.targets
}

// Tolerate is Get for a TLS destination whose certificate does not verify, which the caller has found
// tolerable: f is what Facts told of it. Its connections, which are kept apart from those that verify, take that
// very certificate and no other; one that shows another fails with f's code.
//
// to, if it is valid, is the address that the destination is reached at, as of GetTo; via is nil then.
func (d *Destinations) Tolerate(to netip.Addr, host string, port uint16, via *ir.Via, f Facts) (u *Upstream, release func()) {
	key, at := keyTo(to, host, port, true)
	if f.Code == 0 || len(f.Chain) == 0 {
		return d.get(key, via, nil, at)
	}
	p := pinOf(f)
	key.pin = p.pin
	return d.get(key, via, p, at)
}

func (d *Destinations) get(key destinationKey, via *ir.Via, p *pin, at []ir.Endpoint) (*Upstream, func()) {
	return d.take(key, via, func(f *ir.Forward, key destinationKey) *destination { return d.make(f, key, via, p, at) })
}

func (d *Destinations) getSeen(key destinationKey, via *ir.Via, seen []netip.Addr) (*Upstream, func()) {
	return d.take(key, via, func(f *ir.Forward, key destinationKey) *destination {
		x := d.make(f, key, via, nil, nil)
		x.seen = seen
		return x
	})
}

// take returns the destination of a key, and has it made where there is none.
func (d *Destinations) take(key destinationKey, via *ir.Via, fresh func(*ir.Forward, destinationKey) *destination) (*Upstream, func()) {
	if via != nil {
		key.via = viaKey(via)
	}
	d.mu.Lock()
	x := d.byKey[key]
	if x != nil {
		d.use(x)
	}
	forward := d.forward
	d.mu.Unlock()
	if x != nil {
		return x.up, x.release
	}
	made := fresh(forward, key)
	d.mu.Lock()
	var gone *destination
	if x = d.byKey[key]; x == nil { // else somebody was faster, and made is nobody's
		x = made
		gone = d.keep(x, forward)
	}
	d.use(x)
	d.mu.Unlock()
	if x == made {
		d.r.adopt(x.up)
	}
	if gone != nil {
		gone.end()
	}
	return x.up, x.release
}

// use counts one more user; mu is held.
func (d *Destinations) use(x *destination) {
	d.idle.remove(x)
	x.users++
}

// viaKey is what tells ways apart.
func viaKey(via *ir.Via) string {
	if len(via.Proxies) == 1 && via.Method == "" && via.Host == "" && via.Port == 0 {
		return via.Proxies[0]
	}
	return fmt.Sprintf("%s %s %s:%d", strings.Join(via.Proxies, ","), via.Method, via.Host, via.Port)
}

// make makes a destination, with no lock held.
func (d *Destinations) make(f *ir.Forward, key destinationKey, via *ir.Via, p *pin, at []ir.Endpoint) *destination {
	x := &destination{of: d, key: key, local: f.Loopback, facts: facts{bytes: &d.factsBytes}}
	x.release = x.done
	settings := settingsOf(f, key, via)
	x.up = newUpstream(d.r, fmt.Sprintf("%s\x00%p", settings.Name, x), settings)
	x.up.dest, x.up.users = x, 1
	if settings.TLS != nil {
		x.up.SetTLS(p.over(d.materialFor(f, key, settings)))
	}
	if len(at) > 0 {
		x.up.SetEndpoints(at)
	} else {
		x.up.aimAt(key.host, key.port)
	}
	return x
}

// keep puts a destination into the table, unless that is of another generation by now, or full of those that are in
// use. At the bound the longest unused one is returned, to be let go of; mu is held.
func (d *Destinations) keep(x *destination, f *ir.Forward) (gone *destination) {
	if d.closed || f != d.forward {
		return nil
	}
	if len(d.byKey) >= d.max {
		if gone = d.idle.first; gone == nil {
			return nil
		}
		d.forget(gone)
	}
	x.kept = true
	d.byKey[x.key] = x
	return gone
}

// done ends one use.
func (x *destination) done() {
	d := x.of
	d.mu.Lock()
	x.users--
	last := x.users == 0
	if last && x.kept {
		x.since = time.Now()
		d.idle.push(x)
	}
	let := last && !x.kept
	d.mu.Unlock()
	if let {
		x.end()
	}
}

// Update takes a new generation. Where f's revision is the one before, destinations stay and are given what material
// now makes: connections that were made with other material finish what they do and are not used again. Where it is
// another one, destinations are made anew, and those in use go on until they are released.
func (d *Destinations) Update(f *ir.Forward, material func(*ir.Upstream) TLS) {
	var gone []*destination
	d.mu.Lock()
	d.material = material
	d.materials = make(map[materialKey]TLS)
	d.generation++
	if f.Revision != d.forward.Revision {
		gone = d.clear()
	}
	d.forward = f
	all := slices.Collect(maps.Values(d.byKey))
	d.mu.Unlock()
	d.let(gone)
	for _, x := range all {
		if !x.key.tls {
			continue
		}
		m := d.materialFor(f, x.key, x.up.Settings)
		if old, ok := x.up.tls.Load().tls.(pinned); ok {
			m = old.pin.over(m)
		}
		if x.up.tls.Load().tls != m {
			x.up.SetTLS(m)
			x.facts.forget()
		}
	}
}

// clear empties the table and returns the destinations that nobody uses; mu is held.
func (d *Destinations) clear() (gone []*destination) {
	for _, x := range d.byKey {
		x.kept = false
		if x.users == 0 {
			d.idle.remove(x)
			gone = append(gone, x)
		}
	}
	clear(d.byKey)
	return gone
}

// Close lets go of everything that nobody uses, and of the rest when it is released.
func (d *Destinations) Close() {
	d.mu.Lock()
	d.closed = true
	gone := d.clear()
	d.mu.Unlock()
	d.let(gone)
}

// Len returns how many destinations there are, and how many of them are in use.
func (d *Destinations) Len() (kept, used int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.byKey), len(d.byKey) - d.idle.n
}

// adopt makes the registry look after an upstream that is a destination's.
func (r *Registry) adopt(u *Upstream) {
	r.mu.Lock()
	if !r.closed {
		r.byKey[u.key] = u
	}
	r.mu.Unlock()
}

// aimAt gives an upstream its one endpoint, whose name is looked up when a connection is made.
func (u *Upstream) aimAt(host string, port uint16) {
	e := newTarget(host, port)
	u.mu.Lock()
	u.byAddr[e.Text] = e
	u.set.Store(newSet([]*Endpoint{e}, []uint32{1}))
	u.settled()
	u.mu.Unlock()
}
