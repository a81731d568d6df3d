package dataplane

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/test/testca"
)

// sink keeps handshake records.
type sink struct {
	mu         sync.Mutex
	handshakes []telemetry.Handshake
	decided    []telemetry.Access // requests with a policy
	relayed    []telemetry.Access // connections that are not HTTP
}

func (s *sink) Access(a *telemetry.Access) {
	if a.Policy == "" && a.Proto != telemetry.ProtoTCP {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Proto == telemetry.ProtoTCP {
		s.relayed = append(s.relayed, *a)
		return
	}
	kept := *a
	kept.ID = bytes.Clone(a.ID)
	s.decided = append(s.decided, kept)
}

// count returns how many requests a policy has decided.
func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.decided)
}

func (s *sink) Handshake(h *telemetry.Handshake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handshakes = append(s.handshakes, *h)
}

// codes counts handshakes by code.
func (s *sink) codes() map[diag.Code]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[diag.Code]int{}
	for _, h := range s.handshakes {
		n[h.Code]++
	}
	return n
}

// world is a plane on loopback ports that the kernel chooses, and what it is told to serve.
type world struct {
	t       *testing.T
	plane   *Plane
	sink    *sink
	epoch   uint64
	ca      *testca.Pair
	backend string

	snapshot *ir.Snapshot
}

// newWorld runs a plane whose ports 80 and 443 the kernel chooses, and a backend.
func newWorld(t *testing.T, opts Options) *world {
	t.Helper()
	w := &world{t: t, sink: &sink{}, ca: testca.New(t, testca.Spec{})}
	backend := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil {
			time.Sleep(d)
		}
		fmt.Fprintf(rw, "%s %s", r.Host, r.URL.Path)
	}))
	t.Cleanup(backend.Close)
	w.backend = backend.Listener.Addr().String()
	if opts.Address == "" {
		opts.Address = "127.0.0.1"
	}
	if opts.PortMap == nil {
		opts.PortMap = map[uint16]uint16{80: 0, 443: 0}
	}
	if opts.Logger = slog.New(slog.DiscardHandler); opts.Sink == nil {
		opts.Sink = w.sink
	}
	w.plane = New(opts)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.plane.Run(ctx) }()
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.plane.Drain(end)
		stop()
		<-done
	})
	w.snapshot = w.config(w.plain("a.test"), w.tls("a.test"))
	return w
}

func pattern(t *testing.T, host string) hostname.Pattern {
	t.Helper()
	p, err := hostname.Parse(host)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// route forwards everything to the backend.
func (w *world) route(host string) []*ir.VirtualHost {
	r := &ir.Route{Name: "r", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}}
	return []*ir.VirtualHost{{Hosts: []hostname.Pattern{pattern(w.t, host)}, Routes: []*ir.Route{r}}}
}

func (w *world) plain(host string) *ir.Listener {
	c := &ir.Chain{Name: "t/gw/http", Hosts: []hostname.Pattern{pattern(w.t, host)}, VirtualHosts: w.route(host)}
	return &ir.Listener{Name: "*:80", Port: 80, Chains: []*ir.Chain{c}}
}

func (w *world) tls(host string) *ir.Listener {
	c := &ir.Chain{Name: "t/gw/https", Hosts: []hostname.Pattern{pattern(w.t, host)}, VirtualHosts: w.route(host), TLS: &ir.TLS{
		Class: "1", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ALPN: []string{"http/1.1"},
		Certificates: []ir.SecretRef{"t/cert"}, ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone},
	}}
	return &ir.Listener{Name: "*:443", Port: 443, TLS: true, Chains: []*ir.Chain{c}}
}

// config is a snapshot of listeners with one upstream and a fresh certificate.
func (w *world) config(listeners ...*ir.Listener) *ir.Snapshot {
	host, port, _ := net.SplitHostPort(w.backend)
	n, _ := strconv.Atoi(port)
	s := &ir.Snapshot{
		Config:    &ir.Config{Listeners: listeners, Upstreams: []*ir.Upstream{{Name: "u", Protocol: ir.UpstreamHTTP1, Balancing: ir.RoundRobin}}},
		Endpoints: &ir.Endpoints{ByUpstream: map[string][]ir.Endpoint{"u": {{Host: host, Port: uint16(n)}}}},
		Secrets:   w.secrets(), Trust: &ir.Trust{},
	}
	s.Seal()
	return s
}

// secrets holds a new certificate for every host of .test.
func (w *world) secrets() *ir.Secrets {
	w.t.Helper()
	leaf := w.ca.Issue(testca.Spec{DNS: []string{"*.test"}})
	pair, _, err := secret.ParseKeyPair(leaf.ChainPEM(), leaf.KeyPEM())
	if err != nil {
		w.t.Fatal(err)
	}
	return &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"t/cert": {Pair: pair}}}
}

func (w *world) prepare(s *ir.Snapshot) *Staged {
	w.t.Helper()
	w.epoch++
	staged, err := w.plane.Prepare(w.t.Context(), &ir.Generation{Epoch: w.epoch, Hash: s.Hash(), Snapshot: s})
	if err != nil {
		w.t.Fatal(err)
	}
	return staged
}

func (w *world) apply(s *ir.Snapshot) *ir.Applied {
	w.t.Helper()
	return w.prepare(s).Commit()
}

// address is where a listener serves; it must.
func (w *world) address(a *ir.Applied, name string) string {
	w.t.Helper()
	for _, l := range a.Listeners {
		if l.Name == name {
			if l.Code != 0 {
				w.t.Fatalf("%s does not serve: %s", name, l.Detail)
			}
			return l.Address
		}
	}
	w.t.Fatalf("no listener %s in %+v", name, a.Listeners)
	return ""
}

// client is a keep-alive connection.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, address string, config *tls.Config) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if config != nil {
		conn = tls.Client(conn, config)
	}
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(host, target string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("read the answer: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(b)
}

func (c *client) get(host, target string) (int, string) {
	c.t.Helper()
	c.send(host, target)
	resp, body := c.read()
	return resp.StatusCode, body
}

// ended reports whether the gateway closes the connection.
func (c *client) ended() bool {
	_, err := c.r.ReadByte()
	var timeout net.Error
	return err != nil && !(errors.As(err, &timeout) && timeout.Timeout())
}

func (w *world) config443(host string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: w.ca.Pool()}
}

// eventually waits until what is said holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestServesBothProtocols(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.apply(w.snapshot)
	if code, body := dial(t, w.address(a, "*:80"), nil).get("a.test", "/x"); code != 200 || body != "a.test /x" {
		t.Errorf("plain: %d %q", code, body)
	}
	if code, body := dial(t, w.address(a, "*:443"), w.config443("a.test")).get("a.test", "/x"); code != 200 || body != "a.test /x" {
		t.Errorf("TLS: %d %q", code, body)
	}
	if _, err := tls.Dial("tcp", w.address(a, "*:443"), w.config443("b.test")); err == nil {
		t.Error("a host that nobody serves was served")
	}
	eventually(t, "records of both handshakes", func() bool { n := w.sink.codes(); return n[0] == 1 && n[diag.SNIUnknown] == 1 })
	eventually(t, "one open connection each", func() bool { n := w.plane.OpenConnections(); return n["*:80"] == 1 && n["*:443"] == 1 })
}

// What is prepared is invisible until it is committed, and leaves nothing behind when discarded.
func TestDiscardUndoesPrepare(t *testing.T) {
	w := newWorld(t, Options{})
	staged := w.prepare(w.snapshot)
	address := staged.results[0].Address
	if len(w.plane.OpenConnections()) != 0 {
		t.Error("a prepared generation is visible")
	}
	staged.Discard()
	if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		c.Close()
		t.Error("a discarded socket still listens")
	}
	if n := len(w.plane.UpstreamStats()); n != 0 {
		t.Errorf("%d endpoints stay after Discard", n)
	}
	a := w.apply(w.snapshot)
	next := w.config(w.plain("b.test"))
	w.prepare(next).Discard()
	if code, _ := dial(t, w.address(a, "*:80"), nil).get("a.test", "/"); code != 200 {
		t.Errorf("after a discarded change: %d", code)
	}
}

func TestRotationRebuildsNoRoutes(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.apply(w.snapshot)
	address := w.address(a, "*:443")
	old := dial(t, address, w.config443("a.test"))
	if code, _ := old.get("a.test", "/"); code != 200 {
		t.Fatal(code)
	}
	states := func() map[string]*proxy.State {
		m := map[string]*proxy.State{}
		for name, l := range *w.plane.listeners.Load() {
			m[name] = l.state.Load()
		}
		return m
	}
	serial := func() string {
		conn, err := tls.Dial("tcp", address, w.config443("a.test"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before, first, upstreams := states(), serial(), w.plane.held["u"]
	rotated := *w.snapshot
	rotated.Secrets = w.secrets()
	rotated.Seal()
	w.apply(&rotated)
	for name, s := range states() {
		if s != before[name] {
			t.Errorf("the routes of %s were compiled again", name)
		}
	}
	if w.plane.held["u"] != upstreams {
		t.Error("the upstream was made anew")
	}
	if serial() == first {
		t.Error("the old certificate still serves")
	}
	if code, _ := old.get("a.test", "/"); code != 200 {
		t.Errorf("an old connection after the rotation: %d", code)
	}
	moved := rotated
	moved.Endpoints = &ir.Endpoints{ByUpstream: map[string][]ir.Endpoint{}}
	moved.Seal()
	w.apply(&moved)
	for name, s := range states() {
		if s != before[name] {
			t.Errorf("new endpoints compiled the routes of %s again", name)
		}
	}
	if code, _ := old.get("a.test", "/"); code != 503 {
		t.Errorf("without endpoints: %d", code)
	}
}

func TestNewRoutesHoldFromTheNextRequest(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.apply(w.snapshot)
	address := w.address(a, "*:80")
	c := dial(t, address, nil)
	c.get("a.test", "/")
	next := w.config(w.plain("*.test"))
	if again := w.apply(next); w.address(again, "*:80") != address {
		t.Error("a socket that stays was bound again")
	}
	if code, body := c.get("b.test", "/"); code != 200 || body != "b.test /" {
		t.Errorf("%d %q", code, body)
	}
}

func TestRemovedListenerEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	a := w.apply(w.snapshot)
	plain, secure := w.address(a, "*:80"), w.address(a, "*:443")
	idle, busy, stays := dial(t, plain, nil), dial(t, plain, nil), dial(t, secure, w.config443("a.test"))
	idle.get("a.test", "/")
	busy.get("a.test", "/")
	stays.get("a.test", "/")
	busy.send("a.test", "/last?wait=300ms")
	time.Sleep(100 * time.Millisecond) // until the request is on its way
	w.apply(w.config(w.tls("a.test")))
	if c, err := net.DialTimeout("tcp", plain, time.Second); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
	if resp, body := busy.read(); resp.StatusCode != 200 || body != "a.test /last" {
		t.Errorf("the answer at hand: %d %q", resp.StatusCode, body)
	}
	if !busy.ended() || !idle.ended() {
		t.Error("connections of the listener stay open")
	}
	if code, _ := stays.get("a.test", "/"); code != 200 {
		t.Errorf("the other listener: %d", code)
	}
}

func TestRefusedBind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint16(taken.Addr().(*net.TCPAddr).Port)
	w := newWorld(t, Options{PortMap: map[uint16]uint16{80: port, 443: 0}})
	a := w.apply(w.snapshot)
	var refused ir.ListenerResult
	for _, l := range a.Listeners {
		if l.Name == "*:80" {
			refused = l
		}
	}
	if refused.Code != diag.BindRefused || refused.Address != taken.Addr().String() || !strings.Contains(refused.Detail, "address already in use") {
		t.Errorf("%+v", refused)
	}
	if want := fmt.Sprintf("--port-map 80=%d", suggest(port)); !strings.Contains(refused.Fix, "another process has port") || !strings.Contains(refused.Fix, want) {
		t.Errorf("fix %q, want %q in it", refused.Fix, want)
	}
	if code, _ := dial(t, w.address(a, "*:443"), w.config443("a.test")).get("a.test", "/"); code != 200 {
		t.Errorf("the other listener: %d", code)
	}
	taken.Close()
	if code, _ := dial(t, w.address(w.apply(w.snapshot), "*:80"), nil).get("a.test", "/"); code != 200 {
		t.Errorf("once the port is free: %d", code)
	}
}

// The flag that helps is printed for each cause; the causes themselves need other machines.
func TestFixOfARefusedBind(t *testing.T) {
	p := &Plane{}
	bound := func(address string, err error) listen.Bound {
		return listen.Bound{Spec: listen.Spec{Name: "of " + address, Address: address}, Err: err}
	}
	refused := func(err error) listen.Bound { return bound("127.0.0.1:443", err) }
	for _, c := range []struct {
		bound, other listen.Bound
		want         string
	}{
		{refused(syscall.EACCES), listen.Bound{}, "--port-map 443=8443, or grant CAP_NET_BIND_SERVICE"},
		{refused(syscall.EADDRINUSE), listen.Bound{}, "another process has port 443: stop it, or start with --port-map 443=8443"},
		{refused(syscall.EADDRNOTAVAIL), listen.Bound{}, "--address"},
		{refused(errors.New("boom")), listen.Bound{}, "--port-map 443=8443"},
		{refused(syscall.EADDRINUSE), bound("0.0.0.0:443", nil), "listener of 0.0.0.0:443 of this configuration"},
		{bound(":443", syscall.EADDRINUSE), bound("127.0.0.1:443", nil), "listener of 127.0.0.1:443 of this configuration"},
		{refused(syscall.EADDRINUSE), bound("127.0.0.2:443", nil), "another process"},
	} {
		r := p.result(&ir.Listener{Name: "x", Port: 443}, c.bound, []listen.Bound{c.bound, c.other})
		if r.Code != diag.BindRefused || !strings.Contains(r.Fix, c.want) {
			t.Errorf("%v: %+v, want %q", c.bound, r, c.want)
		}
	}
	for port, want := range map[uint16]uint16{80: 8080, 443: 8443, 8443: 18443, 60000: 50000} {
		if got := suggest(port); got != want {
			t.Errorf("suggest(%d) = %d, want %d", port, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	p := &Plane{opts: Options{Address: "127.0.0.1", PortMap: map[uint16]uint16{443: 8443}}}
	for _, c := range []struct {
		l    ir.Listener
		want string
	}{
		{ir.Listener{Port: 443}, "127.0.0.1:8443"}, {ir.Listener{Port: 80}, "127.0.0.1:80"},
		{ir.Listener{Port: 443, Bind: "::1"}, "[::1]:8443"}, {ir.Listener{Port: 80, Bind: "127.0.0.2"}, "127.0.0.2:80"},
	} {
		if got := p.address(&c.l); got != c.want {
			t.Errorf("%+v: %s, want %s", c.l, got, c.want)
		}
	}
	if got := (&Plane{}).address(&ir.Listener{Port: 80}); got != ":80" {
		t.Errorf("without --address: %s", got)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	a := w.apply(w.snapshot)
	idle, busy := dial(t, w.address(a, "*:80"), nil), dial(t, w.address(a, "*:443"), w.config443("a.test"))
	idle.get("a.test", "/")
	busy.get("a.test", "/")
	busy.send("a.test", "/last?wait=300ms")
	time.Sleep(100 * time.Millisecond) // until the request is on its way
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		drained <- w.plane.Drain(ctx)
	}()
	if !idle.ended() {
		t.Error("an idle connection outlives the drain")
	}
	resp, body := busy.read()
	if resp.StatusCode != 200 || body != "a.test /last" || !resp.Close {
		t.Errorf("the answer at hand: %d %q, close %v", resp.StatusCode, body, resp.Close)
	}
	if err := <-drained; err != nil {
		t.Errorf("Drain: %v", err)
	}
	if c, err := net.DialTimeout("tcp", w.address(a, "*:80"), time.Second); err == nil {
		c.Close()
		t.Error("a drained plane accepts")
	}
}

func TestDrainCutsWhatIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	a := w.apply(w.snapshot)
	busy := dial(t, w.address(a, "*:80"), nil)
	busy.send("a.test", "/?wait=1s")
	time.Sleep(100 * time.Millisecond) // until the request is on its way
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := w.plane.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
	if resp, body := busy.read(); resp.StatusCode != 503 || !strings.Contains(body, "HK4105") || !resp.Close {
		t.Errorf("what was waiting: %d %q, close %v", resp.StatusCode, body, resp.Close)
	}
	if !busy.ended() {
		t.Error("the connection was not cut")
	}
}

func TestUpstreamsAreLetGo(t *testing.T) {
	w := newWorld(t, Options{RetireAfter: 100 * time.Millisecond})
	a := w.apply(w.snapshot)
	c := dial(t, w.address(a, "*:80"), nil)
	c.get("a.test", "/")
	names := func() string {
		var out []string
		for _, s := range w.plane.UpstreamStats() {
			out = append(out, s.Upstream)
		}
		return strings.Join(out, ",")
	}
	renamed := w.plain("a.test")
	renamed.Chains[0].VirtualHosts[0].Routes[0].Forward[0].Upstream = "v"
	next := w.config(renamed)
	next.Config.Upstreams[0].Name = "v"
	next.Endpoints.ByUpstream["v"] = next.Endpoints.ByUpstream["u"]
	next.Seal()
	w.apply(next)
	if got := names(); got != "u,v" {
		t.Errorf("right after the change there are %q", got)
	}
	if code, _ := c.get("a.test", "/"); code != 200 {
		t.Errorf("through the new upstream: %d", code)
	}
	eventually(t, "only the new upstream", func() bool { return names() == "v" })
}

// A plane that ended leaves no goroutine behind, also where upstreams still waited to retire, and where a forward proxy
// keeps leaves on disk.
func TestRunEndsEverything(t *testing.T) {
	for name, life := range map[string]func(*testing.T){
		"requests": func(t *testing.T) {
			w := newWorld(t, Options{})
			a := w.apply(w.snapshot)
			dial(t, w.address(a, "*:443"), w.config443("a.test")).get("a.test", "/")
			w.apply(w.config(w.plain("b.test")))
		},
		"interception": func(t *testing.T) {
			dir := t.TempDir() // removed when the plane has ended
			o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) { f.Interception.DiskPath = dir })
			resp, err := o.via(nil).Get("https://" + o.origin(o.public, testca.Spec{}) + "/")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		},
	} {
		before := runtime.NumGoroutine()
		t.Run(name, life)
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				b := make([]byte, 64<<10)
				t.Fatalf("%s: %d goroutines, %d before\n%s", name, runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
			}
		}
	}
}

func TestConnectionBound(t *testing.T) {
	w := newWorld(t, Options{MaxConnections: 1})
	a := w.apply(w.snapshot)
	first := dial(t, w.address(a, "*:80"), nil)
	first.get("a.test", "/")
	second := dial(t, w.address(a, "*:80"), nil)
	if !second.ended() {
		t.Error("a connection over the bound was served")
	}
	if n := w.sink.codes()[diag.ConnectionLimit]; n != 1 {
		t.Errorf("%d records of it", n)
	}
	if code, _ := first.get("a.test", "/"); code != 200 {
		t.Errorf("the connection within the bound: %d", code)
	}
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	if remote := w.sink.handshakes[0].Remote; remote.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("the record names %v", remote)
	}
}
