package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
)

// A trunk's state is one word, so that lending a slot and retiring cannot cross: slots that are lent,
// slots ever lent, and whether no more are.
const (
	slotMask  = 1<<24 - 1
	slotOnce  = 1 << 24 // one slot ever lent
	isRetired = 1 << 63
)

// trunk is one HTTP/2 connection that many requests share. A slot of it stands for one stream.
type trunk struct {
	// Fixed after construction.
	conn  *Conn    // what was dialled; lent to nobody
	lend  net.Conn // what leases show of it: its addresses
	mux   *mux.Conn
	most  int32  // slots that the pool's settings allow, whatever the peer does
	crowd int32  // see Registry.crowd
	uses  uint64 // slots that may ever be lent; 0: no bound

	group atomic.Pointer[trunks] // nil until published

	state     atomic.Uint64
	slots     atomic.Int32  // slots that there are now, as the peer says
	idleSince atomic.Int64  // Unix nanoseconds, coarse; of a trunk without a lent slot
	answered  atomic.Bool   // a request was answered on it
	trailed   atomic.Bool   // trailers of a request were sent on it
	congested atomic.Bool   // what is sent has waited for the peer to read for more than a second
	roomy     chan struct{} // has room for one: told when slots may have changed
	adopted   atomic.Bool   // decided, by newTrunk or the connection's end, whether it is ever used

	done chan struct{} // closed when Serve has returned, after err is written
	err  error
	over sync.Once
}

// mostSlots is how many slots a connection may have as far as the pool's settings go.
func (u *Upstream) mostSlots() int {
	if n := u.pool.MaxRequestsPerConnection; n > 0 {
		return min(u.pool.MaxStreams, n)
	}
	return u.pool.MaxStreams
}

// newTrunk begins HTTP/2 on a connection that was just made and waits until the peer has said how many
// streams it takes, and that they are more than none. With an error the connection is closed, and its
// permit stays the caller's.
func (u *Upstream) newTrunk(ctx context.Context, c *Conn) (*trunk, *Error) {
	t := &trunk{conn: c, lend: undivided{c.Conn}, most: int32(u.mostSlots()), crowd: u.registry.crowd(), uses: uint64(u.pool.MaxRequestsPerConnection), done: make(chan struct{}),
		roomy: make(chan struct{}, 1)}
	first := &opening{Conn: c.Conn}
	t.mux = mux.New(mux.Config{Conn: first, Client: true, Limits: u.registry.opt.HTTP2, Changed: t.changed, Now: u.registry.millis})
	if !u.registry.serve(t) {
		c.shut()
		return nil, shuttingDown(c.Endpoint)
	}
	var failure *Error
	select {
	case <-t.mux.Ready():
		failure = t.awaitSlots(ctx)
	case <-t.done:
	case <-ctx.Done():
		failure = &Error{Code: diag.UpstreamConnectTimeout, Endpoint: c.Endpoint.Address, Err: ctx.Err(),
			Detail: c.Endpoint.Text + " accepted the connection and sent no HTTP/2 SETTINGS in time"}
	}
	t.idleSince.Store(u.registry.now.Load())
	if failure == nil && t.adopted.CompareAndSwap(false, true) {
		return t, nil
	}
	t.mux.Abort(http2.NoError)
	<-t.done
	c.Endpoint.open.Add(-1)
	c.left()
	if failure == nil {
		failure = t.stillborn(first)
	}
	return nil, failure
}

// awaitSlots waits until the peer takes streams: one that is starting may allow none at first.
func (t *trunk) awaitSlots(ctx context.Context) *Error {
	for t.slots.Load() == 0 {
		select {
		case <-t.roomy:
		case <-t.done:
			return nil
		case <-ctx.Done():
			return &Error{Code: diag.UpstreamRefusedStream, Endpoint: t.conn.Endpoint.Address, Err: ctx.Err(),
				Detail: t.conn.Endpoint.Text + " takes no streams: its SETTINGS_MAX_CONCURRENT_STREAMS stayed 0, or it sent GOAWAY at once"}
		}
	}
	return nil
}

// changed follows the peer's SETTINGS and GOAWAY. It runs on the goroutine that reads.
func (t *trunk) changed() {
	t.refresh()
	select {
	case t.roomy <- struct{}{}:
	default:
	}
}

// stillborn says why a connection ended before its first request.
func (t *trunk) stillborn(first *opening) *Error {
	if e := first.judge(t.conn.Endpoint); e != nil && t.conn.TLS == nil {
		e.Err = t.err
		return e
	}
	e := t.conn.Explain(t.err)
	if errors.Is(t.err, io.EOF) {
		e.Code, e.Detail = diag.UpstreamClosedEarly, t.conn.Endpoint.Text+" closed the connection before its HTTP/2 SETTINGS"
		if t.conn.TLS == nil {
			e.Detail += ": the port may speak TLS (add tls.mode to its DestinationRule) or only HTTP/1.1 (name the port http)"
		}
	}
	return e
}

// run serves the connection to its end.
func (t *trunk) run() {
	defer t.conn.up.registry.rescue("upstream http/2 connection failed")
	err := t.mux.Serve()
	t.err = err
	t.state.Or(isRetired)
	if broken := new(mux.PanicError); errors.As(err, &broken) {
		t.conn.up.registry.fault("upstream http/2 connection failed", broken)
	}
	stillborn := t.adopted.CompareAndSwap(false, true)
	close(t.done)
	if stillborn {
		return // newTrunk tells the cause
	}
	defer t.finish()
	u := t.conn.up
	var fault *http2.Error
	var parting *mux.GoAwayError
	switch {
	case errors.As(err, &parting):
		if parting.Code == http2.ProtocolError && t.trailed.Load() {
			u.untrailed.Store(true)
		}
		u.registry.opt.Logger.Warn("upstream ended its http/2 connection for a fault", "upstream", u.Name, "endpoint", t.conn.Endpoint.Text,
			"code", diag.UpstreamGoAway, "http2", parting.Code.String(), "debug", parting.Debug, "err", err)
	case errors.As(err, &fault):
		u.registry.opt.Logger.Warn("upstream http/2 connection ended for a fault", "upstream", u.Name, "endpoint", t.conn.Endpoint.Text,
			"code", fault.Code, "http2", fault.HTTP2.String(), "err", err)
	case !t.answered.Load() && err != nil:
		t.conn.Explain(err) // records a certificate that is refused only now
	}
}

// reserve lends a slot. It returns false if there is none, or none any more.
func (t *trunk) reserve() (before uint64, ok bool) {
	for {
		s := t.state.Load()
		if s&isRetired != 0 || int32(s&slotMask) >= t.slots.Load() {
			return s, false
		}
		next := s + slotOnce + 1
		if t.uses > 0 && next&^isRetired>>24 >= t.uses {
			next |= isRetired
		}
		if t.state.CompareAndSwap(s, next) {
			return s, true
		}
	}
}

// release takes a slot back, for whoever waits.
func (t *trunk) release() {
	s := t.state.Add(^uint64(0))
	switch {
	case s&isRetired != 0:
		if s&slotMask == 0 {
			t.end()
		}
		return
	case s&slotMask == 0:
		t.idleSince.Store(t.conn.up.registry.now.Load())
	}
	t.serve()
}

// published is called when the group has the trunk: those who wait are served, and what was withdrawn
// meanwhile ends it.
func (t *trunk) published() {
	t.serve()
	if t.state.Load()&(isRetired|slotMask) == isRetired { // it has ended, perhaps before the group had it
		t.group.Load().remove(t)
	}
	if t.conn.Endpoint.gone.Load() || t.conn.material != t.conn.up.tls.Load().num {
		t.retire()
	}
}

// retire lends no more slots; the connection ends with the last one that is lent.
func (t *trunk) retire() {
	if t.state.Or(isRetired)&slotMask == 0 {
		t.end()
	}
}

// retireIdle retires the trunk if no slot is lent, and says whether it did.
func (t *trunk) retireIdle() bool {
	s := t.state.Load()
	if s&(isRetired|slotMask) != 0 || !t.state.CompareAndSwap(s, s|isRetired) {
		return false
	}
	t.end()
	return true
}

// end closes a retired connection that nobody uses.
func (t *trunk) end() {
	t.mux.Abort(http2.NoError)
	t.finish()
}

// finish forgets the connection and gives its permit back.
func (t *trunk) finish() {
	t.over.Do(func() {
		if g := t.group.Load(); g != nil {
			g.remove(t)
		}
		t.conn.Endpoint.open.Add(-1)
		t.conn.left()
		t.conn.up.limit.release()
	})
}

// refresh learns how many slots there are now, and retires a trunk without any that nobody uses.
func (t *trunk) refresh() {
	n := min(int32(min(t.mux.MaxStreams(), slotMask)), t.most)
	grown := n > t.slots.Swap(n)
	switch {
	case !t.adopted.Load():
	case n == 0 && t.retireIdle(): // it is going away, or as good as
	case grown:
		t.serve()
	}
}

// lease makes what a request holds: a slot that was reserved for it.
func (t *trunk) lease(q *Query, used bool) *Conn {
	c := q.Into
	if c == nil {
		c = new(Conn)
	}
	e := t.conn.Endpoint
	*c = Conn{Conn: t.lend, Endpoint: e, TLS: t.conn.TLS, Version: t.conn.Version, Suite: t.conn.Suite, Via: t.conn.Via, H2: t.mux, up: t.conn.up, trunk: t, explain: t.conn.explain, Reused: used, lent: true}
	e.begun()
	return c
}

// lent returns how many slots are lent.
func (t *trunk) lent() int32 { return int32(t.state.Load() & slotMask) }

// serve gives free slots to those who wait.
func (t *trunk) serve() {
	g, u := t.group.Load(), t.conn.up
	if g == nil {
		return // published comes here again
	}
	for g.waiting.Load() > 0 && g.hand(t) {
	}
	for u.limit.pending.Load() > 0 && u.limit.handSlot(t) {
	}
	if u.limit.pending.Load() > 0 && t.lent() == 0 {
		u.evict() // those who wait cannot use it: let them have the room
	}
}

// opening passes a connection on and remembers its first bytes, which tell a peer that does not speak
// HTTP/2. It is read by one goroutine and judged when that is over.
type opening struct {
	net.Conn
	seen [8]byte
	n    int
}

// Read implements net.Conn.
func (o *opening) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if o.n < len(o.seen) {
		o.n += copy(o.seen[o.n:], p[:n])
	}
	return n, err
}

// CloseWrite ends the sending direction.
func (o *opening) CloseWrite() error {
	if c, ok := o.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// judge returns why the peer does not speak HTTP/2, or nil.
func (o *opening) judge(e *Endpoint) *Error {
	switch seen := string(o.seen[:o.n]); {
	case len(seen) >= 5 && seen[:5] == "HTTP/":
		return &Error{Code: diag.UpstreamNoHTTP2, Endpoint: e.Address, Detail: e.Text + " answered in HTTP/1.1 where HTTP/2 is spoken to it " +
			"(because of appProtocol, the port's name, h2UpgradePolicy or a GRPCRoute): declare the port as http, route to it by an HTTPRoute, or enable HTTP/2 without TLS (h2c) at the workload"}
	case len(seen) >= 3 && (seen[0] == 21 || seen[0] == 22) && seen[1] == 3:
		return &Error{Code: diag.UpstreamSpeaksTLS, Endpoint: e.Address, Detail: e.Text + " answered with a TLS record where HTTP/2 without TLS was expected"}
	}
	return nil
}
