package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// server accepts connections and keeps them; it never says anything.
type server struct {
	ln    net.Listener
	mu    sync.Mutex
	conns []net.Conn
	count atomic.Int32
}

func listenOn(t *testing.T) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{ln: ln}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.count.Add(1)
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
		s.each(func(c net.Conn) { c.Close() })
	})
	return s
}

func (s *server) each(f func(net.Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		f(c)
	}
}

func (s *server) endpoint() ir.Endpoint {
	a := s.ln.Addr().(*net.TCPAddr)
	return ir.Endpoint{Host: "127.0.0.1", Port: uint16(a.Port)}
}

// accepted waits until n connections have been accepted.
func (s *server) accepted(t *testing.T, n int32) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); s.count.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections, want %d", s.count.Load(), n)
		}
	}
}

func acquire(t *testing.T, pool ir.Pool, eps ...ir.Endpoint) (*Registry, *Upstream) {
	t.Helper()
	r := NewRegistry(Options{})
	u := r.Acquire(&ir.Upstream{Name: "u", Balancing: ir.RoundRobin, Pool: pool})
	u.SetEndpoints(eps)
	t.Cleanup(func() { r.Release(u); r.Close() })
	return r, u
}

func mustGet(t *testing.T, u *Upstream, q Query) *Conn {
	t.Helper()
	c, err := u.Get(q)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func codeOf(err error) diag.Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestReuse(t *testing.T) {
	s := listenOn(t)
	_, u := acquire(t, ir.Pool{}, s.endpoint())
	a := mustGet(t, u, Query{})
	b := mustGet(t, u, Query{})
	if a.Reused || b.Reused || a == b {
		t.Error("a connection was lent twice")
	}
	a.Release()
	b.Release()
	if c := mustGet(t, u, Query{}); c != b || !c.Reused {
		t.Error("not the one given back last")
	} else {
		c.Close()
	}
	if c := mustGet(t, u, Query{Shard: 7}); c != a {
		t.Error("a connection in another shard was not found")
	} else {
		c.Release()
	}
	if c := mustGet(t, u, Query{Fresh: true}); c.Reused {
		t.Error("not fresh")
	} else {
		c.Close()
		c.Close()
	}
	s.accepted(t, 3)
}

// TestUnusable has peers that close, reset or speak on a kept connection.
func TestUnusable(t *testing.T) {
	for name, act := range map[string]func(*net.TCPConn){
		"closes": func(c *net.TCPConn) { c.Close() },
		"resets": func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() },
		"speaks": func(c *net.TCPConn) { _, _ = c.Write([]byte("x")) },
	} {
		s := listenOn(t)
		_, u := acquire(t, ir.Pool{}, s.endpoint())
		a := mustGet(t, u, Query{})
		s.accepted(t, 1)
		a.Release()
		s.each(func(c net.Conn) { act(c.(*net.TCPConn)) })
		time.Sleep(20 * time.Millisecond) // loopback
		b := mustGet(t, u, Query{})
		if b.Reused {
			t.Errorf("%s: the connection was used again", name)
		}
		b.Close()
	}
}

func TestMaxRequestsPerConnection(t *testing.T) {
	s := listenOn(t)
	_, u := acquire(t, ir.Pool{MaxRequestsPerConnection: 2}, s.endpoint())
	for range 4 {
		mustGet(t, u, Query{}).Release()
	}
	s.accepted(t, 2)
	if n := s.count.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestPoolBound(t *testing.T) {
	s := listenOn(t)
	_, u := acquire(t, ir.Pool{MaxConnections: 1, MaxPendingRequests: 1}, s.endpoint())
	a := mustGet(t, u, Query{})
	got := make(chan *Conn)
	go func() {
		c, err := u.Get(Query{})
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	for u.limit.pending.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamPoolOverflow {
		t.Errorf("third request got %v", err)
	}
	a.Release()
	b := <-got
	if b != a {
		t.Error("the connection was not handed over")
	}
	if _, err := u.Get(Query{Until: time.Now().Add(20 * time.Millisecond)}); codeOf(err) != diag.UpstreamPoolOverflow {
		t.Errorf("after waiting: %v", err)
	}
	go func() {
		c, err := u.Get(Query{})
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	for u.limit.pending.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	b.Close() // the permit goes to who waits, who makes a new one
	c := <-got
	if c == nil || c.Reused {
		t.Error("no new connection was made")
	}
	c.Close()
	if n := u.limit.open.Load(); n != 0 {
		t.Errorf("%d permits are out at the end", n)
	}
}

// TestPoolBoundUnderLoad checks that no request is forgotten at the bound and that permits add up.
func TestPoolBoundUnderLoad(t *testing.T) {
	s := listenOn(t)
	_, u := acquire(t, ir.Pool{MaxConnections: 3}, s.endpoint())
	var wg sync.WaitGroup
	var most, now atomic.Int32
	for i := range 16 {
		wg.Go(func() {
			for j := range 100 {
				c, err := u.Get(Query{Shard: uint32(i)})
				if err != nil {
					t.Error(err)
					return
				}
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				now.Add(-1)
				if j%10 == 0 {
					c.Close()
				} else {
					c.Release()
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d connections were lent at once", most.Load())
	}
	if open, active := u.limit.open.Load(), u.known()[0].active.Load(); open > 3 || active != 0 {
		t.Errorf("%d permits out, %d active", open, active)
	}
}

func TestEvictsForOtherEndpoint(t *testing.T) {
	a, b := listenOn(t), listenOn(t)
	_, u := acquire(t, ir.Pool{MaxConnections: 1}, a.endpoint(), b.endpoint())
	for range 4 {
		mustGet(t, u, Query{}).Release()
	}
	a.accepted(t, 1)
	b.accepted(t, 1)
}

func TestEndpointsInPlace(t *testing.T) {
	a, b := listenOn(t), listenOn(t)
	_, u := acquire(t, ir.Pool{}, a.endpoint())
	mustGet(t, u, Query{}).Release()
	lent := mustGet(t, u, Query{})
	u.SetEndpoints([]ir.Endpoint{a.endpoint(), b.endpoint()})
	lent.Release()
	seen := map[string]bool{}
	for range 2 {
		c := mustGet(t, u, Query{})
		if c.Endpoint == lent.Endpoint && c != lent {
			t.Error("the pool of an endpoint that stayed was not kept")
		}
		seen[c.Endpoint.Text] = true
		c.Release()
	}
	if len(seen) != 2 {
		t.Errorf("used %v", seen)
	}
	lent = nil
	var kept *Conn
	for kept == nil || kept.Endpoint.Address.Port() != a.endpoint().Port {
		if kept != nil {
			kept.Release()
		}
		kept = mustGet(t, u, Query{})
	}
	u.SetEndpoints([]ir.Endpoint{b.endpoint()})
	kept.Release() // its endpoint is gone: closed, not kept
	if _, err := kept.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read from a connection of a removed endpoint: %v", err)
	}
}

func TestRegistryKeepsAndForgets(t *testing.T) {
	s := listenOn(t)
	r := NewRegistry(Options{})
	defer r.Close()
	settings := &ir.Upstream{Name: "u", Origin: ir.Origin{Field: "one"}}
	a := r.Acquire(settings)
	a.SetEndpoints([]ir.Endpoint{s.endpoint()})
	mustGet(t, a, Query{}).Release()
	other := *settings
	other.Origin.Field = "two"
	b := r.Acquire(&other)
	if a != b {
		t.Error("another origin made another upstream")
	}
	changed := other
	changed.Pool.MaxConnections = 5
	c := r.Acquire(&changed)
	if a == c {
		t.Error("other settings share connections")
	}
	r.Release(c)
	r.Release(a)
	if c := mustGet(t, b, Query{}); !c.Reused {
		t.Error("the pool did not outlive a release")
	} else {
		c.Release()
	}
	r.Release(b)
	if len(r.Stats()) != 0 {
		t.Errorf("left: %v", r.Stats())
	}
	s.each(func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a connection outlived the last release: %v", err)
		}
	})
}

// A peer that has closed a kept connection takes no socket of ours until the idle timeout.
func TestIdleClosedByPeer(t *testing.T) {
	s := listenOn(t)
	r, u := acquire(t, ir.Pool{IdleTimeout: time.Minute}, s.endpoint())
	mustGet(t, u, Query{}).Release()
	r.sweep(time.Now().Add(lookEvery*tick + tick/2).UnixNano())
	if n := r.Stats()[0].Idle; n != 1 {
		t.Fatalf("%d idle, want the one that is open", n)
	}
	s.each(func(c net.Conn) { c.Close() })
	for end := time.Now().Add(5 * time.Second); r.Stats()[0].Open != 0; time.Sleep(time.Millisecond) {
		r.sweep(time.Now().Add(lookEvery*tick + tick/2).UnixNano())
		if time.Now().After(end) {
			t.Fatalf("the peer has closed, and it is kept: %+v", r.Stats()[0])
		}
	}
}

func TestIdleTimeout(t *testing.T) {
	s := listenOn(t)
	r, u := acquire(t, ir.Pool{IdleTimeout: time.Minute}, s.endpoint())
	mustGet(t, u, Query{}).Release()
	r.sweep(time.Now().Add(59 * time.Second).UnixNano())
	if n := r.Stats()[0].Idle; n != 1 {
		t.Errorf("%d idle before the time, want 1", n)
	}
	r.sweep(time.Now().Add(61 * time.Second).UnixNano())
	if st := r.Stats()[0]; st.Idle != 0 || st.Open != 0 {
		t.Errorf("after the time: %+v", st)
	}
}

func TestCoolDown(t *testing.T) {
	dead := listenOn(t)
	dead.ln.Close()
	s := listenOn(t)
	_, u := acquire(t, ir.Pool{}, dead.endpoint(), s.endpoint())
	for range 8 {
		mustGet(t, u, Query{Fresh: true}).Close()
	}
	for _, e := range u.known() {
		if n := e.connectErrors.Load(); n > 1 {
			t.Errorf("%s was tried %d times", e.Text, n)
		}
	}
	_, alone := acquire(t, ir.Pool{}, dead.endpoint())
	for range 2 { // also while it cools down, for want of another
		if _, err := alone.Get(Query{}); codeOf(err) != diag.UpstreamConnectRefused {
			t.Errorf("got %v", err)
		}
	}
}

func TestNoEndpoints(t *testing.T) {
	_, u := acquire(t, ir.Pool{})
	if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamNoEndpoints {
		t.Errorf("got %v", err)
	}
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		u := r.Acquire(&ir.Upstream{Name: "u", Pool: ir.Pool{ConnectTimeout: 3 * time.Second}})
		u.SetEndpoints([]ir.Endpoint{{Host: "192.0.2.1", Port: 1}})
		began := time.Now()
		if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamConnectTimeout || time.Since(began) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		r.Release(u)
		r.Close()
	})
}

// names is a resolver whose answers a test sets.
type names struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
	asked []string
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, host)
	if a := n.addrs[host]; a != nil {
		return append([]netip.Addr(nil), a...), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (n *names) set(host string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = map[string][]netip.Addr{}
	for _, a := range addrs {
		n.addrs[host] = append(n.addrs[host], netip.MustParseAddr(a))
	}
}

func addresses(u *Upstream) string {
	s := ""
	for _, e := range u.set.Load().endpoints {
		s += e.Text + " "
	}
	return s
}

func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &names{}
		r := NewRegistry(Options{Resolver: n})
		u := r.Acquire(&ir.Upstream{Name: "u", Resolve: &ir.ResolveDNS{Host: "api.test", Port: 80}})
		if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamDNS {
			t.Errorf("got %v", err)
		}
		if len(n.asked) < 2 || n.asked[0] != "api.test." || n.asked[1] != "api.test" {
			t.Errorf("asked for %q", n.asked)
		}
		n.set("api.test.", "192.0.2.2", "192.0.2.1", "::ffff:192.0.2.1")
		time.Sleep(2 * time.Second)
		if got := addresses(u); got != "192.0.2.1:80 192.0.2.2:80 " {
			t.Errorf("endpoints %q", got)
		}
		first := u.set.Load().endpoints[0]
		n.set("api.test", "192.0.2.1", "192.0.2.3") // by search domain
		time.Sleep(40 * time.Second)
		if got := addresses(u); got != "192.0.2.1:80 192.0.2.3:80 " || u.set.Load().endpoints[0] != first {
			t.Errorf("after a change: %q", got)
		}
		n.set("other")
		time.Sleep(5 * time.Minute)
		if got := addresses(u); got != "192.0.2.1:80 192.0.2.3:80 " {
			t.Errorf("the last good answer was not kept: %q", got)
		}
		r.Release(u)
		r.Close()
	})
}

func TestWeights(t *testing.T) {
	e := []*Endpoint{newEndpoint(netip.MustParseAddrPort("192.0.2.1:1")), newEndpoint(netip.MustParseAddrPort("192.0.2.2:1")), newEndpoint(netip.MustParseAddrPort("192.0.2.3:1"))}
	tests := []struct {
		weights []uint32
		want    [3]int // of 4000 turns
	}{
		{[]uint32{1, 1, 2}, [3]int{1000, 1000, 2000}},
		{[]uint32{0, 0, 0}, [3]int{1334, 1333, 1333}},
		{[]uint32{1 << 31, 1 << 31, 1 << 31}, [3]int{1334, 1333, 1333}},
	}
	for _, tt := range tests {
		s := newSet(e, tt.weights)
		var next atomic.Uint32
		var got [3]int
		for range 4000 {
			switch s.pick(ir.RoundRobin, &next, nil) {
			case e[0]:
				got[0]++
			case e[1]:
				got[1]++
			case e[2]:
				got[2]++
			}
		}
		for i := range got {
			if got[i] < tt.want[i]-1 || got[i] > tt.want[i]+1 {
				t.Errorf("%v: %v, want %v", tt.weights, got, tt.want)
			}
		}
	}
	huge := newSet(e, []uint32{1, 1 << 31, 3})
	if len(huge.turns) > maxTurns+3 {
		t.Errorf("%d turns", len(huge.turns))
	}
	e[0].active.Store(100)
	s := newSet(e[:2], []uint32{1, 1})
	chosen := 0
	for range 1000 {
		if s.pick(ir.LeastRequest, nil, nil) == e[0] {
			chosen++
		}
	}
	if chosen < 150 || chosen > 350 { // both choices have to fall on it: a quarter
		t.Errorf("the busy endpoint was chosen %d times of 1000", chosen)
	}
	if s.pick(ir.Random, nil, e[0]) != e[1] || newSet(e[:1], []uint32{1}).pick(ir.Random, nil, e[0]) != nil {
		t.Error("an excluded endpoint was chosen")
	}
}

// plainTLS is TLS material for tests: it trusts anybody.
type plainTLS struct{ name string }

func (p *plainTLS) Handshake(ctx context.Context, conn net.Conn, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	offer := map[ir.UpstreamProtocol][]string{ir.UpstreamHTTP2: {"h2"}, ir.UpstreamAuto: {"h2", "http/1.1"}}[speak]
	tc := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: offer})
	if err := tc.HandshakeContext(ctx); err != nil {
		code := diag.UpstreamTLSFailed
		if strings.Contains(err.Error(), "no application protocol") {
			code = diag.UpstreamNoHTTP2
		}
		return nil, &telemetry.Handshake{Code: code, Err: err.Error()}
	}
	return tc, &telemetry.Handshake{ALPN: tc.ConnectionState().NegotiatedProtocol}
}
func (p *plainTLS) ReadError(error) (diag.Code, string, bool) { return 0, "", false }

func TestTLSMaterial(t *testing.T) {
	s := listenOn(t)
	r := NewRegistry(Options{})
	u := r.Acquire(&ir.Upstream{Name: "u", TLS: &ir.UpstreamTLS{}})
	u.SetEndpoints([]ir.Endpoint{s.endpoint()})
	defer r.Close()
	if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamCredentialMissing {
		t.Errorf("without material: %v", err)
	}
	u.SetTLS(&plainTLS{"a"})
	go func() {
		s.accepted(t, 1)
		s.each(func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 no TLS\r\n\r\n")) })
	}()
	if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamTLSFailed {
		t.Errorf("from a plain server: %v", err)
	}
	if n := u.limit.open.Load(); n != 0 {
		t.Errorf("%d permits are out", n)
	}
}

// revocable is TLS material whose peer is revoked once.
type revocable struct {
	plainTLS
	revoked bool
}

func (r *revocable) Revoked() (was bool) {
	was, r.revoked = r.revoked, false
	return was
}

func TestRevokedPeer(t *testing.T) {
	r := NewRegistry(Options{})
	u := r.Acquire(&ir.Upstream{Name: "u", TLS: &ir.UpstreamTLS{}})
	defer r.Close()
	material := &revocable{}
	u.SetTLS(material)
	before := u.tls.Load()
	for range 3 {
		r.sweep(0)
	}
	if u.tls.Load() != before {
		t.Fatal("connections are withdrawn without a cause")
	}
	material.revoked = true
	r.sweep(0)
	after := u.tls.Load()
	if after.num != before.num+1 || after.tls != before.tls {
		t.Errorf("%+v after %+v", after, before)
	}
	if c := (&Conn{material: before.num}); c.usable(after) {
		t.Error("a connection from before is used again")
	}
}
