package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Spec says which socket is wanted. Specs are frozen once handed to a Set.
type Spec struct {
	Name    string // the listener's name in the snapshot, "*:443"
	Address string // what is bound, "host:port" with an IP address; port 0 lets the kernel choose
	Port    uint16 // the port that the Gateway declares

	// Transparent takes connections to any address that the kernel routes here (IP_TRANSPARENT, for
	// nftables' and iptables' TPROXY). It needs CAP_NET_ADMIN; binding fails without.
	Transparent bool

	// ProxyProtocol demands a PROXY header at the beginning of every connection: the handler calls
	// Conn.ReadProxyHeader first.
	ProxyProtocol bool

	bound uint16 // the port that was bound
}

// Options are a Set's settings. Zero values mean the defaults named here.
type Options struct {
	// Handle gets every accepted connection on a goroutine of its own, and owns it from then on:
	// it closes it. It may return while the connection lives on.
	Handle func(*Conn)

	// Refused is told of a connection over a bound, and which one, before it is closed. It must not
	// block. It may be nil.
	Refused func(*Conn, diag.Code)

	// Admission is asked for every connection within its listener's bound. Nil admits all.
	Admission Admission

	MaxConnections int           // open connections per listener; HK1107; default 100,000
	KeepAlive      time.Duration // idle time before TCP keep-alive probes; default 60 s
	Log            *slog.Logger  // default discards
}

// Admission bounds the connections of all listeners. Its methods are called concurrently and must not
// block.
type Admission interface {
	Accept(remote netip.Addr) diag.Code // zero admits
	Release(remote netip.Addr)          // once for each admitted connection, when it is closed
}

// Set holds the listening sockets of the process and keeps them over reconfiguration: a socket whose
// name and address stay in the next configuration is not touched.
type Set struct {
	// Fixed after construction.
	opts   Options
	nextID atomic.Uint64

	mu      sync.Mutex // guards sockets
	sockets map[socketKey]*socket
	wg      sync.WaitGroup // accept loops
}

// socketKey identifies a socket over reconfigurations.
type socketKey struct{ name, address string }

// NewSet returns a Set without sockets.
func NewSet(opts Options) *Set {
	if opts.MaxConnections == 0 {
		opts.MaxConnections = 100_000
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = time.Minute
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Set{opts: opts, sockets: map[socketKey]*socket{}}
}

// Plan is a prepared change of a Set's sockets: new ones are bound but do not accept yet. Exactly one
// of Commit and Abort must be called.
type Plan struct {
	Results []Bound // one for each wanted Spec, in order

	set    *Set
	fresh  []*socket
	wanted map[socketKey]bool
	taken  []takeover
}

// takeover is an open socket that goes on under another listener's name, or with other settings.
type takeover struct {
	sock *socket
	spec *Spec
}

// Bound is what became of one Spec. Addr is the bound address; Err is set if binding failed, and then
// names the address. Kept is true for a socket that was open already.
type Bound struct {
	Spec Spec
	Addr net.Addr
	Kept bool
	Err  error
}

// Prepare binds what is wanted and not yet open. It changes nothing that serves. A failed bind shows
// in Results and does not fail the others. An address that is open for a listener no longer wanted is
// taken over, as binding it a second time is not possible. Between Prepare and Commit or Abort there
// must be no other Prepare.
func (s *Set) Prepare(ctx context.Context, specs []Spec) *Plan {
	p := &Plan{set: s, wanted: map[socketKey]bool{}}
	for _, spec := range specs {
		p.wanted[socketKey{spec.Name, spec.Address}] = true
	}
	for _, spec := range specs {
		if open := p.reuse(spec); open != nil {
			if err := open.adapt(spec); err != nil {
				p.Results = append(p.Results, Bound{Spec: spec, Err: err})
				continue
			}
			p.Results = append(p.Results, Bound{Spec: spec, Addr: open.ln.Addr(), Kept: true})
			continue
		}
		sock, err := s.bind(ctx, spec)
		if err != nil {
			p.Results = append(p.Results, Bound{Spec: spec, Err: err})
			continue
		}
		p.fresh = append(p.fresh, sock)
		p.Results = append(p.Results, Bound{Spec: spec, Addr: sock.ln.Addr()})
	}
	return p
}

// reuse returns the open socket that can serve spec, nil if there is none.
func (p *Plan) reuse(spec Spec) *socket {
	s := p.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if open := s.sockets[socketKey{spec.Name, spec.Address}]; open != nil {
		if now := *open.spec.Load(); now.with(0) != spec {
			p.taken = append(p.taken, takeover{open, spec.on(open.ln)})
		}
		return open
	}
	for key, open := range s.sockets { // the same address under another name
		free := !p.wanted[key] && !slices.ContainsFunc(p.taken, func(t takeover) bool { return t.sock == open })
		if free && open.ln.Addr().String() == spec.Address {
			p.taken = append(p.taken, takeover{open, spec.on(open.ln)})
			return open
		}
	}
	return nil
}

// bind opens one listening socket. The standard library sets SO_REUSEADDR and, on accepted
// connections, TCP_NODELAY.
func (s *Set) bind(ctx context.Context, spec Spec) (*socket, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(spec.Address); err == nil && host == "0.0.0.0" {
		network = "tcp4"
	}
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: s.opts.KeepAlive, Interval: 15 * time.Second, Count: 4}}
	if control := inheritKeepAlive(s.opts.KeepAlive); control != nil {
		lc.KeepAliveConfig, lc.KeepAlive, lc.Control = net.KeepAliveConfig{}, -1, control
	}
	ln, err := lc.Listen(ctx, network, spec.Address)
	if err != nil {
		return nil, fmt.Errorf("bind %s for listener %s: %w", spec.Address, spec.Name, err)
	}
	sock := &socket{ln: ln.(*net.TCPListener), set: s}
	if err := sock.adapt(spec); err != nil {
		sock.close()
		return nil, err
	}
	sock.spec.Store(spec.on(sock.ln))
	return sock, nil
}

// with returns a copy with another bound port.
func (s Spec) with(bound uint16) Spec {
	s.bound = bound
	return s
}

// on returns the specification as connections of the socket carry it.
func (s Spec) on(ln *net.TCPListener) *Spec {
	s.bound = addrPort(ln.Addr()).Port()
	return &s
}

// adapt sets what a specification asks of the socket itself. A transparent socket stays so: that changes
// nothing for connections to the machine's own addresses.
func (k *socket) adapt(spec Spec) error {
	if !spec.Transparent {
		return nil
	}
	raw, err := k.ln.SyscallConn()
	if err == nil {
		err = setTransparent(raw)
	}
	if err != nil {
		return fmt.Errorf("make %s transparent for listener %s: %w", spec.Address, spec.Name, err)
	}
	return nil
}

// Commit begins to accept on the new sockets and closes those that are no longer wanted. Accepted
// connections of closed sockets live on.
func (p *Plan) Commit() {
	s := p.set
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range p.taken {
		delete(s.sockets, t.sock.key())
		t.sock.spec.Store(t.spec)
		s.sockets[t.sock.key()] = t.sock
	}
	for key, sock := range s.sockets {
		if !p.wanted[key] {
			sock.close()
			delete(s.sockets, key)
		}
	}
	for _, sock := range p.fresh {
		s.sockets[sock.key()] = sock
		s.wg.Go(sock.accept)
	}
}

// Abort closes the sockets that Prepare bound.
func (p *Plan) Abort() {
	for _, sock := range p.fresh {
		sock.close()
	}
}

// Close closes every socket and waits for the accept loops. Accepted connections live on.
func (s *Set) Close() {
	s.mu.Lock()
	for key, sock := range s.sockets {
		sock.close()
		delete(s.sockets, key)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Open returns the number of open connections of the named listener.
func (s *Set) Open(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for key, sock := range s.sockets {
		if key.name == name {
			n += int(sock.open.Load())
		}
	}
	return n
}

// socket is one listening socket.
type socket struct {
	// Fixed after construction.
	ln  *net.TCPListener
	set *Set

	spec atomic.Pointer[Spec] // replaced when another listener takes the socket over
	open atomic.Int64         // accepted connections not yet closed
}

func (k *socket) key() socketKey {
	spec := k.spec.Load()
	return socketKey{spec.Name, spec.Address}
}

func (k *socket) close() {
	if err := k.ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		k.set.opts.Log.Warn("closing a listening socket failed", "listener", k.spec.Load().Name, "err", err)
	}
}

// Back-off of the accept loop when the process is out of file descriptors or memory.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// accept takes connections until the socket is closed.
func (k *socket) accept() {
	pause := firstPause
	for {
		tcp, err := k.ln.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			k.set.opts.Log.Warn("accepting a connection failed", "listener", k.spec.Load().Name, "err", err, "pause", pause)
			time.Sleep(pause)
			pause = min(2*pause, lastPause)
			continue
		}
		pause = firstPause
		c := NewConn(tcp, k.set.nextID.Add(1), k.spec.Load())
		if code := k.admit(c); code != 0 {
			k.refuse(c, code)
			continue
		}
		c.OnClose(func() { k.release(c) })
		go k.handle(c)
	}
}

// admit counts a connection, or returns the reason to refuse it.
func (k *socket) admit(c *Conn) diag.Code {
	if k.open.Add(1) > int64(k.set.opts.MaxConnections) {
		k.open.Add(-1)
		return diag.ConnectionLimit
	}
	if k.set.opts.Admission != nil {
		if code := k.set.opts.Admission.Accept(c.peer.Addr()); code != 0 {
			k.open.Add(-1)
			return code
		}
	}
	return 0
}

// release ends what admit began.
func (k *socket) release(c *Conn) {
	k.open.Add(-1)
	if k.set.opts.Admission != nil {
		k.set.opts.Admission.Release(c.peer.Addr())
	}
}

// refuse closes a connection that was not admitted.
func (k *socket) refuse(c *Conn, code diag.Code) {
	if k.set.opts.Refused != nil {
		k.set.opts.Refused(c, code)
	}
	c.Close()
}

// handle serves a connection. A fault that one connection's bytes provoke, in a handshake say, ends
// that connection and not the process with everybody else's.
func (k *socket) handle(c *Conn) {
	defer func() {
		if fault := recover(); fault != nil {
			k.set.opts.Log.Error("handling a connection failed", "listener", c.Spec().Name, "peer", c.Remote(), "err", fault, "stack", string(debug.Stack()))
			c.Close()
		}
	}()
	k.set.opts.Handle(c)
}
