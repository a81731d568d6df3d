package dataplane

import (
	"net"
	"strings"
	"sync"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/forward"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/tcpproxy"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// forwards are the forward proxies of the process. The maps are owned by the one caller of Prepare and Commit.
type forwards struct {
	state    *forward.State
	pipes    *tcpproxy.Pipes // of the process
	policies map[string]*forward.Policy
	outside  map[string]*outside // by ForwardProxy; outlives snapshots
}

// outside are the destinations of one forward proxy, with the TLS material that they have.
type outside struct {
	destinations *upstream.Destinations

	mu          sync.Mutex // guards originators
	originators map[string]*tlsconf.Originator
}

// stagedForwards are those of a generation that is prepared.
type stagedForwards struct {
	policies map[string]*forward.Policy
	fresh    []*forward.Policy // made for this generation
	outside  map[string]*outside
	added    []*outside
	ports    map[string]*forward.Port // by listener
}

func newForwards(opts *Options, pipes *tcpproxy.Pipes) *forwards {
	return &forwards{state: forward.NewState(forward.StateOptions{Logger: opts.Logger}), pipes: pipes}
}

// prepareForwards builds the forward proxies of a generation, before its listeners are compiled.
func (p *Plane) prepareForwards(s *Staged, same bool) {
	snap := s.gen.Snapshot
	f := &stagedForwards{policies: map[string]*forward.Policy{}, outside: map[string]*outside{}, ports: map[string]*forward.Port{}}
	s.forwards = f
	keep := same && p.current.Secrets == snap.Secrets && p.current.Trust == snap.Trust
	for _, x := range snap.Config.Forwards {
		o := p.forwards.outside[x.Name]
		if o == nil {
			o = &outside{originators: map[string]*tlsconf.Originator{}}
			o.destinations = upstream.NewDestinations(p.upstreams, x, p.materialOf(o, x, snap), 0)
			f.added = append(f.added, o)
		}
		f.outside[x.Name] = o
		if was := p.forwards.policies[x.Name]; keep && was != nil {
			f.policies[x.Name] = was
			continue
		}
		policy := forward.New(x, p.forwardOptions(s, o))
		f.policies[x.Name] = policy
		f.fresh = append(f.fresh, policy)
	}
}

func (p *Plane) forwardOptions(s *Staged, o *outside) forward.Options {
	snap := s.gen.Snapshot
	own := map[uint16]bool{}
	for _, b := range s.sockets.Results {
		if tcp, ok := b.Addr.(*net.TCPAddr); ok && b.Err == nil {
			own[uint16(tcp.Port)] = true
		}
	}
	opts := forward.Options{State: p.forwards.state, Secrets: snap.Secrets, Trust: snap.Trust, TLS: p.tls, Engine: p.proxy, Destinations: o.destinations,
		Proxies: snap.Config.Proxies, Upstreams: s.held, Sink: p.opts.Sink, Egress: p.opts.Egress, Logger: p.opts.Logger, Bounds: p.opts.Bounds,
		Pipes: p.forwards.pipes, HandshakeTimeout: p.opts.HandshakeTimeout, Idle: p.opts.TCP.Idle, IdleRecords: p.opts.IdleRecords, Own: own}
	if p.opts.Metrics != nil {
		opts.Metrics = func(listener string, r *route.Route) any { return p.opts.Metrics(listener, r) }
	}
	return opts
}

// materialOf makes TLS material for destinations: one per way to them, which is the same from snapshot to snapshot
// where nothing has changed.
func (p *Plane) materialOf(o *outside, f *ir.Forward, snap *ir.Snapshot) func(*ir.Upstream) upstream.TLS {
	return func(u *ir.Upstream) upstream.TLS {
		name := "forward " + f.Name
		if u.Via != nil {
			name += " via " + strings.Join(u.Via.Proxies, ",")
		}
		if u.TLS.InsecureSkipVerify {
			name += " unverified"
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		t := p.originate(name, u, snap, o.originators[name])
		o.originators[name] = t
		return t
	}
}

// forwardPort prepares a listener that is a forward proxy's; nil for others.
func (s *Staged) forwardPort(l *ir.Listener, runtime *listener) *forward.Port {
	if l.Forward == nil {
		return nil
	}
	policy := s.forwards.policies[l.Forward.Policy]
	if policy == nil {
		return nil
	}
	if runtime.forward.State == nil {
		runtime.forward.State = &runtime.state
	}
	port := policy.Port(l, &runtime.forward)
	s.forwards.ports[l.Name] = port
	return port
}

// commitForwards makes the prepared forward proxies serve.
func (p *Plane) commitForwards(s *Staged) {
	f, snap := s.forwards, s.gen.Snapshot
	for _, x := range snap.Config.Forwards {
		o := f.outside[x.Name]
		o.destinations.Update(x, p.materialOf(o, x, snap))
	}
	for name, l := range s.next {
		l.forward.Port.Store(f.ports[name])
	}
	for name, was := range p.forwards.policies {
		if f.policies[name] != was {
			was.Close()
		}
	}
	for name, o := range p.forwards.outside {
		if f.outside[name] == nil {
			o.destinations.Close()
		}
	}
	p.forwards.policies, p.forwards.outside = f.policies, f.outside
}

// discardForwards undoes prepareForwards.
func (s *Staged) discardForwards() {
	for _, policy := range s.forwards.fresh {
		policy.Close()
	}
	for _, o := range s.forwards.added {
		o.destinations.Close()
	}
}

// forwarded takes a connection of a forward proxy's listener. It returns false if the engine serves it as it comes:
// its clients know that it is a proxy.
func (p *Plane) forwarded(c *listen.Conn, l *listener) bool {
	port := l.forward.Port.Load()
	if port == nil {
		return false
	}
	deepen(0)
	port.Accepted(c)
	if !port.Captures() {
		return false
	}
	port.Serve(c, &filter.Peer{Remote: c.Remote(), Local: c.Local(), ListenPort: c.Spec().Port, PortMap: p.opts.PortMap})
	return true
}

// deepen makes the stack as deep as connecting to a destination needs it, while there is little on it: growing by
// steps on the way there copies all that is on it each time. at is any place in it, so that the compiler leaves the room there.
//
//go:noinline
func deepen(at int) byte {
	var room [10 << 10]byte
	return room[at]
}

// Forwards returns the state of forward proxies, for status and metrics.
func (p *Plane) Forwards() *forward.State { return p.forwards.state }
