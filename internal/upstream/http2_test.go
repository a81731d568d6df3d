package upstream

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	own "github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// script is an HTTP/2 server without TLS that says what a test tells it to.
type script struct {
	*server
	settings []http2.Setting     // of every connection
	hold     chan struct{}       // SETTINGS are sent when it is closed; nil: at once
	head     func(*talk, uint32) // is called for each request; nil: keeps it waiting
	begin    func(*talk)         // is called after SETTINGS
	talks    chan *talk          // connections whose preface came
	ended    chan error          // why reading from each connection ended
	deaf     bool                // PING is not answered
	goaways  atomic.Int32        // that were received
	opened   atomic.Int32        // requests
	most     atomic.Int32        // requests at once on one connection
}

// talk is one of its connections. Frames are written under mu.
type talk struct {
	mu   sync.Mutex
	fr   *http2.Framer
	conn net.Conn
	open atomic.Int32
}

func (k *talk) do(f func(*http2.Framer)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.fr)
}

// answer ends a request with status 200.
func (k *talk) answer(stream uint32) {
	k.open.Add(-1)
	k.do(func(fr *http2.Framer) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}, EndHeaders: true, EndStream: true})
	})
}

func play(t testing.TB, s *script) *script {
	t.Helper()
	s.server = &server{}
	s.talks, s.ended = make(chan *talk, 256), make(chan error, 256)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ln = ln
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
			wg.Go(func() { s.ended <- s.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.each(func(c net.Conn) { c.Close() })
		wg.Wait()
	})
	return s
}

func (s *script) serve(c net.Conn) error {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	if s.hold != nil {
		<-s.hold
	}
	k := &talk{fr: http2.NewFramer(c, c), conn: c}
	k.do(func(fr *http2.Framer) { _ = fr.WriteSettings(s.settings...) })
	if s.begin != nil {
		s.begin(k)
	}
	s.talks <- k
	for {
		f, err := k.fr.ReadFrame()
		if err != nil {
			return err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				k.do(func(fr *http2.Framer) { _ = fr.WriteSettingsAck() })
			}
		case *http2.PingFrame:
			if !f.IsAck() && !s.deaf {
				k.do(func(fr *http2.Framer) { _ = fr.WritePing(true, f.Data) })
			}
		case *http2.GoAwayFrame:
			s.goaways.Add(1)
		case *http2.HeadersFrame:
			s.opened.Add(1)
			if n := k.open.Add(1); n > s.most.Load() {
				s.most.Store(n)
			}
			if s.head != nil {
				s.head(k, f.StreamID)
			}
		case *http2.RSTStreamFrame:
			k.open.Add(-1)
		}
	}
}

func (s *script) connections(t *testing.T, n int32) {
	t.Helper()
	s.accepted(t, n)
	if got := s.count.Load(); got != n {
		t.Errorf("%d connections, want %d", got, n)
	}
}

// streams sets SETTINGS_MAX_CONCURRENT_STREAMS.
func streams(n uint32) []http2.Setting {
	return []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: n}}
}

func acquireHTTP2(t *testing.T, pool ir.Pool, eps ...ir.Endpoint) (*Registry, *Upstream) {
	t.Helper()
	r := NewRegistry(Options{})
	u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2, Balancing: ir.RoundRobin, Pool: pool})
	u.SetEndpoints(eps)
	t.Cleanup(func() {
		r.Release(u)
		r.Close()
		if n := u.limit.open.Load(); n != 0 {
			t.Errorf("%d permits are out at the end", n)
		}
	})
	return r, u
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

func request() *message.Request {
	return &message.Request{Proto: message.HTTP2, Method: []byte("GET"), Scheme: "http", Authority: []byte("up.test"), Host: []byte("up.test"), Path: []byte("/")}
}

// ask sends a request on a lease and returns the status of its answer.
func ask(c *Conn) (int, error) {
	s, err := c.H2.Open(request(), true)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var resp message.Response
	if err := s.ReadResponse(&resp); err != nil {
		return 0, err
	}
	for {
		if _, err := s.Next(); err == io.EOF {
			return resp.Status, nil
		} else if err != nil {
			return resp.Status, err
		}
	}
}

// TestColdStart has many requests meet an endpoint without a connection: they share one.
func TestColdStart(t *testing.T) {
	s := play(t, &script{hold: make(chan struct{}), head: (*talk).answer})
	_, u := acquireHTTP2(t, ir.Pool{}, s.endpoint())
	var wg sync.WaitGroup
	first := make(chan *mux.Conn, 32)
	for range 32 {
		wg.Go(func() {
			c, err := u.Get(Query{})
			if err != nil {
				t.Error(err)
				return
			}
			if status, err := ask(c); status != 200 || err != nil {
				t.Errorf("answered %d, %v", status, err)
			}
			first <- c.H2
			c.Release()
		})
	}
	g := &u.known()[0].trunks
	eventually(t, "32 wait", func() bool { return g.waiting.Load() == 32 })
	close(s.hold)
	wg.Wait()
	one := <-first
	for range 31 {
		if <-first != one {
			t.Error("another connection was used")
		}
	}
	s.connections(t, 1)
	if c := mustGet(t, u, Query{}); !c.Reused || c.H2 != one {
		t.Error("the connection is not used again")
	} else if _, err := c.Read(nil); err == nil || c.SetDeadline(time.Now()) == nil {
		t.Error("a shared connection can be read or given deadlines")
	} else {
		c.Close()
		c.Close()
	}
	if n := u.known()[0].active.Load(); n != 0 {
		t.Errorf("%d active at the end", n)
	}
}

// TestStreamBounds opens connections by what the peer or the pool allows on one.
func TestStreamBounds(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings []http2.Setting
		pool     ir.Pool
		requests int
		want     int32
	}{
		{"peer allows one", streams(1), ir.Pool{}, 3, 3},
		{"peer allows two", streams(2), ir.Pool{}, 4, 2},
		{"pool allows two", nil, ir.Pool{MaxStreams: 2}, 5, 3},
		{"the lower counts", streams(1), ir.Pool{MaxStreams: 2}, 2, 2},
		{"requests per connection", nil, ir.Pool{MaxRequestsPerConnection: 2}, 4, 2},
		{"no multiplexing", nil, ir.Pool{MaxRequestsPerConnection: 1}, 3, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, &script{settings: c.settings})
			_, u := acquireHTTP2(t, c.pool, s.endpoint())
			var leases []*Conn
			for range c.requests {
				leases = append(leases, mustGet(t, u, Query{}))
			}
			s.connections(t, c.want)
			for _, l := range leases {
				l.Release()
			}
			if c.pool.MaxRequestsPerConnection > 0 {
				for range c.want {
					<-s.ended
				}
				if n := s.goaways.Load(); n != c.want {
					t.Errorf("%d connections ended with GOAWAY, want %d", n, c.want)
				}
			}
		})
	}
}

// TestColdStartOverLimit has more requests meet a cold endpoint than one connection carries.
func TestColdStartOverLimit(t *testing.T) {
	s := play(t, &script{settings: streams(3), head: (*talk).answer})
	_, u := acquireHTTP2(t, ir.Pool{MaxConnections: 4}, s.endpoint())
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 10 {
				c, err := u.Get(Query{})
				if err != nil {
					t.Error(err)
					return
				}
				if status, err := ask(c); status != 200 || err != nil {
					t.Errorf("answered %d, %v", status, err)
				}
				c.Release()
			}
		})
	}
	wg.Wait()
	if s.count.Load() > 4 || s.most.Load() > 3 || s.opened.Load() != 400 {
		t.Errorf("%d connections, at most %d streams on one, %d requests", s.count.Load(), s.most.Load(), s.opened.Load())
	}
}

// TestUnsteadyPeer has many requests meet a peer that resets, goes away and closes: none is forgotten, and
// permits and slots add up.
func TestUnsteadyPeer(t *testing.T) {
	var n atomic.Int32
	s := play(t, &script{settings: streams(4), head: func(k *talk, id uint32) {
		switch n.Add(1) % 13 {
		case 3:
			k.do(func(fr *http2.Framer) { _ = fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
		case 5:
			k.do(func(fr *http2.Framer) { _ = fr.WriteGoAway(id, http2.ErrCodeNo, nil) })
			k.answer(id)
		case 7:
			k.conn.Close()
		default:
			k.answer(id)
		}
	}})
	_, u := acquireHTTP2(t, ir.Pool{MaxConnections: 3, MaxRequestsPerConnection: 50}, s.endpoint(), s.endpoint())
	var wg sync.WaitGroup
	var good atomic.Int32
	for range 24 {
		wg.Go(func() {
			var q Query
			for range 25 {
				c, err := u.Get(q)
				if err != nil { // an endpoint that closes at once cools down; it is the only one
					continue
				}
				status, err := ask(c)
				if status == 200 {
					good.Add(1)
				}
				q.NotConn = nil
				if err != nil {
					q.NotConn = c.H2
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	e := u.known()[0]
	if e.active.Load() != 0 || e.trunks.waiting.Load() != 0 || u.limit.pending.Load() != 0 || u.limit.open.Load() > 3 {
		t.Errorf("%d active, %d wait, %d pending, %d permits", e.active.Load(), e.trunks.waiting.Load(), u.limit.pending.Load(), u.limit.open.Load())
	}
	if good.Load() < 200 {
		t.Errorf("only %d of 600 requests were answered", good.Load())
	}
}

// TestBound queues at the pool's bound and hands on slots as they come free.
func TestBound(t *testing.T) {
	s := play(t, &script{settings: streams(1)})
	_, u := acquireHTTP2(t, ir.Pool{MaxConnections: 1, MaxPendingRequests: 1}, s.endpoint())
	a := mustGet(t, u, Query{})
	got := make(chan *Conn)
	get := func() {
		c, err := u.Get(Query{})
		if err != nil {
			t.Error(err)
		}
		got <- c
	}
	go get()
	eventually(t, "one waits", func() bool { return u.limit.pending.Load() == 1 })
	if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamPoolOverflow {
		t.Errorf("beyond the queue: %v", err)
	}
	a.Release()
	b := <-got
	if b.H2 != a.H2 || !b.Reused {
		t.Error("the slot was not handed over")
	}
	if _, err := u.Get(Query{Until: time.Now().Add(20 * time.Millisecond)}); codeOf(err) != diag.UpstreamPoolOverflow {
		t.Errorf("after waiting: %v", err)
	}
	go get()
	eventually(t, "one waits", func() bool { return u.limit.pending.Load() == 1 })
	s.each(func(c net.Conn) { c.Close() }) // the permit goes to who waits, who makes a new one
	c := <-got
	if c == nil || c.H2 == b.H2 {
		t.Error("no new connection was made")
	}
	b.Close()
	c.Release()
}

// TestMaxRequests refuses by the number of requests in progress, whatever the protocol.
func TestMaxRequests(t *testing.T) {
	s := play(t, &script{})
	for _, p := range []ir.UpstreamProtocol{ir.UpstreamHTTP1, ir.UpstreamHTTP2} {
		r := NewRegistry(Options{})
		u := r.Acquire(&ir.Upstream{Name: "u", Protocol: p, Pool: ir.Pool{MaxRequests: 2}})
		u.SetEndpoints([]ir.Endpoint{s.endpoint()})
		a, b := mustGet(t, u, Query{}), mustGet(t, u, Query{})
		for range 2 {
			if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamRequestLimit {
				t.Errorf("%s: the third got %v", p, err)
			}
		}
		a.Release()
		c := mustGet(t, u, Query{})
		b.Close()
		c.Close()
		if n := u.active.Load(); n != 0 {
			t.Errorf("%s: %d active at the end", p, n)
		}
		r.Release(u)
		r.Close()
	}
}

// TestNoStreams meets a peer that takes no streams, and one that takes some after a while.
func TestNoStreams(t *testing.T) {
	t.Parallel()
	s := play(t, &script{settings: streams(0)})
	_, u := acquireHTTP2(t, ir.Pool{ConnectTimeout: 200 * time.Millisecond}, s.endpoint())
	if _, err := u.Get(Query{}); codeOf(err) != diag.UpstreamRefusedStream || !strings.Contains(err.Error(), "MAX_CONCURRENT_STREAMS") {
		t.Errorf("got %v", err)
	}
	<-s.ended
	later := play(t, &script{settings: streams(0)})
	r, u := acquireHTTP2(t, ir.Pool{MaxConnections: 1}, later.endpoint())
	go func() {
		k := <-later.talks
		time.Sleep(10 * time.Millisecond)
		k.do(func(fr *http2.Framer) { _ = fr.WriteSettings(streams(1)...) })
		later.talks <- k
	}()
	a := mustGet(t, u, Query{})
	got := make(chan *Conn)
	go func() {
		c, err := u.Get(Query{})
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	eventually(t, "one waits", func() bool { return u.limit.pending.Load() == 1 })
	k := <-later.talks
	k.do(func(fr *http2.Framer) { _ = fr.WriteSettings(streams(5)...) })
	b := <-got
	if st := r.Stats()[0]; st.Protocol != "h2" || st.Multiplexed != 1 || st.Streams != 2 || st.Slots != 5 || st.Open != 1 || st.Idle != 0 {
		t.Errorf("stats: %+v", st)
	}
	k.do(func(fr *http2.Framer) { _ = fr.WriteSettings(streams(1)...) })
	eventually(t, "the peer allows less", func() bool { return r.Stats()[0].Slots == 1 })
	b.Release()
	if _, err := u.Get(Query{Until: time.Now().Add(20 * time.Millisecond)}); codeOf(err) != diag.UpstreamPoolOverflow {
		t.Errorf("beyond the lowered bound: %v", err)
	}
	a.Release()
}

// TestPeerGoesAway takes no more requests to a connection after GOAWAY, and lets those on it finish.
func TestPeerGoesAway(t *testing.T) {
	s := play(t, &script{})
	r, u := acquireHTTP2(t, ir.Pool{}, s.endpoint())
	a, b := mustGet(t, u, Query{}), mustGet(t, u, Query{})
	st, err := a.H2.Open(request(), true)
	if err != nil {
		t.Fatal(err)
	}
	k := <-s.talks
	eventually(t, "the request came", func() bool { return s.opened.Load() == 1 })
	k.do(func(fr *http2.Framer) { _ = fr.WriteGoAway(1, http2.ErrCodeNo, nil) })
	eventually(t, "GOAWAY came", func() bool { return b.H2.Available() == 0 })
	if _, err := b.H2.Open(request(), true); !errors.Is(err, mux.ErrGoingAway) {
		t.Errorf("opened after GOAWAY: %v", err)
	}
	b.Close()
	c := mustGet(t, u, Query{NotConn: b.H2})
	if c.H2 == a.H2 {
		t.Error("the connection was lent again")
	}
	d := mustGet(t, u, Query{})
	if d.H2 == a.H2 {
		t.Error("the connection was lent again without a hint")
	}
	k.answer(1)
	var resp message.Response
	if err := st.ReadResponse(&resp); err != nil || resp.Status != 200 {
		t.Errorf("the request in progress got %v, %v", resp.Status, err)
	}
	st.Close()
	a.Release()
	r.sweep(time.Now().UnixNano())
	<-s.ended
	for _, l := range []*Conn{c, d} {
		l.Release()
	}
	s.connections(t, 2)
	// An idle connection that the peer wants to end is not lent.
	k = <-s.talks
	k.do(func(fr *http2.Framer) { _ = fr.WriteGoAway(0, http2.ErrCodeNo, nil) })
	eventually(t, "GOAWAY came", func() bool { return c.H2.Available() == 0 })
	e := mustGet(t, u, Query{})
	if e.H2 == c.H2 {
		t.Error("an idle connection was lent after GOAWAY")
	}
	e.Close()
}

// TestLetGo ends connections that are no longer wanted: at once if idle, else with the last request.
func TestLetGo(t *testing.T) {
	for name, act := range map[string]func(*Registry, *Upstream){
		"endpoint gone": func(_ *Registry, u *Upstream) { u.SetEndpoints(nil) },
		"released":      func(r *Registry, u *Upstream) { r.Release(u) },
		"material":      func(_ *Registry, u *Upstream) { u.SetTLS(&plainTLS{name: "b"}) },
		"idle":          func(r *Registry, _ *Upstream) { r.sweep(time.Now().Add(time.Hour).UnixNano()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t, &script{})
			r := NewRegistry(Options{})
			defer r.Close()
			u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2})
			u.SetEndpoints([]ir.Endpoint{s.endpoint()})
			mustGet(t, u, Query{}).Release()
			lent := mustGet(t, u, Query{})
			act(r, u)
			if lent.H2.Available() == 0 {
				t.Error("a connection in use was ended")
			}
			lent.Release()
			if name == "idle" {
				act(r, u)
			}
			<-s.ended
			if s.goaways.Load() != 1 {
				t.Error("the peer was not told")
			}
			eventually(t, "the permit is back", func() bool { return u.limit.open.Load() == 0 })
		})
	}
}

// TestNotHTTP2 names what an endpoint speaks instead.
func TestNotHTTP2(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		say    string
		close  bool
		code   diag.Code
		detail string
	}{
		{"HTTP/1.1", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", true, diag.UpstreamNoHTTP2, "declare the port as http"},
		{"TLS", "\x15\x03\x01\x00\x02\x02\x46", true, diag.UpstreamSpeaksTLS, "TLS record"},
		{"nothing", "", true, diag.UpstreamClosedEarly, "before its HTTP/2 SETTINGS: the port may speak TLS"},
		{"silence", "", false, diag.UpstreamConnectTimeout, "no HTTP/2 SETTINGS"},
		{"noise", "SSH-2.0-OpenSSH_9.2 and something longer than a frame header", true, diag.UpstreamGoAway, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := listenOn(t)
			_, u := acquireHTTP2(t, ir.Pool{ConnectTimeout: 300 * time.Millisecond}, s.endpoint())
			go func() {
				s.accepted(t, 1)
				s.each(func(n net.Conn) {
					_, _ = io.ReadFull(n, make([]byte, len(http2.ClientPreface)))
					_, _ = io.WriteString(n, c.say)
					if c.close {
						_ = n.(*net.TCPConn).CloseWrite()
					}
				})
			}()
			_, err := u.Get(Query{})
			if codeOf(err) != c.code || !strings.Contains(err.Error(), c.detail) {
				t.Errorf("got %v, want %s", err, c.code)
			}
			if st := u.known()[0]; st.open.Load() != 0 || st.connectErrors.Load() != 1 || !st.cooling(time.Now().UnixNano()) {
				t.Error("the failure was not counted")
			}
		})
	}
}

// TestOtherEndpoint tries another endpoint when the chosen one fails, also for requests that joined.
func TestOtherEndpoint(t *testing.T) {
	dead := listenOn(t)
	dead.ln.Close()
	s := play(t, &script{})
	_, u := acquireHTTP2(t, ir.Pool{}, dead.endpoint(), s.endpoint())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := u.Get(Query{})
			if err != nil {
				t.Error(err)
				return
			}
			c.Release()
		})
	}
	wg.Wait()
	s.connections(t, 1)
	only := mustGet(t, u, Query{})
	defer only.Close()
	if c := mustGet(t, u, Query{NotEndpoint: only.Endpoint}); c.Endpoint != only.Endpoint {
		t.Error("an endpoint that cannot be reached was preferred")
	} else {
		c.Close()
	}
}

// TestExplain names what ended a request.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name   string
		head   func(*talk, uint32)
		code   diag.Code
		detail string
	}{
		{"reset", func(k *talk, id uint32) {
			k.do(func(fr *http2.Framer) { _ = fr.WriteRSTStream(id, http2.ErrCodeEnhanceYourCalm) })
		},
			diag.UpstreamStreamReset, "ENHANCE_YOUR_CALM"},
		{"refused", func(k *talk, id uint32) {
			k.do(func(fr *http2.Framer) { _ = fr.WriteRSTStream(id, http2.ErrCodeRefusedStream) })
		},
			diag.UpstreamRefusedStream, "REFUSED_STREAM"},
		{"GOAWAY before it", func(k *talk, _ uint32) { k.do(func(fr *http2.Framer) { _ = fr.WriteGoAway(0, http2.ErrCodeNo, nil) }) },
			diag.UpstreamRefusedStream, "GOAWAY"},
		{"GOAWAY with a fault", func(k *talk, id uint32) {
			k.do(func(fr *http2.Framer) {
				_ = fr.WriteGoAway(id, http2.ErrCodeEnhanceYourCalm, []byte("too_many\x1b[pings"))
			})
			k.conn.Close()
		}, diag.UpstreamGoAway, `GOAWAY with ENHANCE_YOUR_CALM, "too_many.[pings"`},
		{"breaks the rules", func(k *talk, _ uint32) {
			k.do(func(fr *http2.Framer) { _ = fr.WriteRawFrame(http2.FramePing, 0, 0, []byte("short")) })
		},
			diag.UpstreamGoAway, "broke the rules"},
		{"malformed answer", func(k *talk, id uint32) {
			k.do(func(fr *http2.Framer) {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x00, 1, 'X', 1, 'y'}, EndHeaders: true})
			})
		}, diag.UpstreamProtocolError, "malformed"},
		{"floods PING", func(k *talk, _ uint32) {
			k.do(func(fr *http2.Framer) {
				for range 5000 {
					if fr.WritePing(false, [8]byte{}) != nil {
						return
					}
				}
			})
		}, diag.UpstreamGoAway, diag.HTTP2ControlFlood.String()},
		{"closes", func(k *talk, _ uint32) { k.conn.Close() }, diag.UpstreamClosedEarly, "closed the connection"},
		{"huge head", func(k *talk, id uint32) {
			k.do(func(fr *http2.Framer) {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x88}})
				for range 200 {
					if fr.WriteContinuation(id, false, []byte(strings.Repeat("\x00\x01a\x7f\x01"+strings.Repeat("b", 128), 60))) != nil {
						return
					}
				}
			})
		}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, &script{head: c.head})
			_, u := acquireHTTP2(t, ir.Pool{}, s.endpoint())
			l := mustGet(t, u, Query{})
			defer l.Close()
			_, err := ask(l)
			if err == nil {
				t.Fatal("no error")
			}
			e := l.Explain(err)
			if c.code == 0 && e.Code != diag.UpstreamGoAway && e.Code != diag.UpstreamHeadTooLarge || c.code != 0 && e.Code != c.code || !strings.Contains(e.Detail, c.detail) {
				t.Errorf("%v explained as %v", err, e)
			}
		})
	}
	c := &Conn{Endpoint: newEndpoint(play(t, &script{}).ln.Addr().(*net.TCPAddr).AddrPort())}
	for _, tt := range []struct {
		err  error
		code diag.Code
	}{
		{mux.ErrNoSlot, diag.UpstreamRefusedStream},
		{mux.ErrGoingAway, diag.UpstreamRefusedStream},
		{&own.Error{Code: diag.HTTP2PingTimeout, HTTP2: own.NoError}, diag.UpstreamReset},
		{mux.ErrAborted, diag.UpstreamReset},
		{&mux.ResetError{Code: own.Cancel}, diag.UpstreamStreamReset},
		{&mux.ResetError{Code: own.ProtocolError, Cause: &own.Error{Code: diag.UpstreamHeadTooLarge, Stream: 1}}, diag.UpstreamHeadTooLarge},
	} {
		if e := c.Explain(tt.err); e.Code != tt.code {
			t.Errorf("%v explained as %v", tt.err, e)
		}
	}
}

// TestKeepAlive ends a connection whose peer is silent and does not answer PING.
func TestKeepAlive(t *testing.T) {
	s := play(t, &script{deaf: true})
	r := NewRegistry(Options{HTTP2: mux.Limits{PingInterval: time.Millisecond, PingTimeout: time.Millisecond}})
	defer r.Close()
	u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2})
	u.SetEndpoints([]ir.Endpoint{s.endpoint()})
	l := mustGet(t, u, Query{})
	failed := make(chan error, 1)
	go func() {
		_, err := ask(l)
		failed <- err
	}()
	eventually(t, "the connection ends", func() bool {
		r.sweep(time.Now().UnixNano())
		return l.H2.Available() == 0
	})
	if e := l.Explain(<-failed); e.Code != diag.UpstreamReset || !strings.Contains(e.Detail, diag.HTTP2PingTimeout.String()) {
		t.Errorf("explained as %v", e)
	}
	l.Close()
	if c := mustGet(t, u, Query{}); c.H2 == l.H2 {
		t.Error("a dead connection was lent")
	} else {
		c.Close()
	}
}

// TestSpread makes one more connection per core when each is busy.
func TestSpread(t *testing.T) {
	s := play(t, &script{})
	r, u := acquireHTTP2(t, ir.Pool{}, s.endpoint())
	r.cores = 2
	var leases []*Conn
	for range spreadAt {
		leases = append(leases, mustGet(t, u, Query{}))
	}
	s.connections(t, 1)
	leases = append(leases, mustGet(t, u, Query{}))
	g := &u.known()[0].trunks
	eventually(t, "a second connection", func() bool { return len(g.all()) == 2 })
	for range 2 * spreadAt {
		leases = append(leases, mustGet(t, u, Query{}))
	}
	if a, b := g.all()[0].lent(), g.all()[1].lent(); a-b > 1 || b-a > 1 {
		t.Errorf("%d and %d requests", a, b)
	}
	s.connections(t, 2)
	for _, l := range leases {
		l.Close()
	}
}

// TestHTTP2Goroutines leaves nothing running.
func TestHTTP2Goroutines(t *testing.T) {
	s := play(t, &script{hold: make(chan struct{})})
	r := NewRegistry(Options{})
	u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2})
	u.SetEndpoints([]ir.Endpoint{s.endpoint()})
	failed := make(chan error)
	go func() {
		_, err := u.Get(Query{})
		failed <- err
	}()
	s.accepted(t, 1)
	r.Close() // while a connection is being made
	if err := <-failed; err == nil {
		t.Error("lent after Close")
	}
	close(s.hold)
	r = NewRegistry(Options{})
	u = r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP2})
	u.SetEndpoints([]ir.Endpoint{s.endpoint()})
	c := mustGet(t, u, Query{})
	r.Close() // while it is in use
	if _, err := ask(c); err == nil {
		t.Error("a request was answered after Close")
	}
	c.Close()
	if _, err := u.Get(Query{}); err == nil {
		t.Error("lent after Close")
	}
	eventually(t, "goroutines end", func() bool {
		buf := make([]byte, 1<<20)
		return !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "http2/mux.")
	})
}
