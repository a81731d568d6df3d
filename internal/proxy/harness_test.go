package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/build"
	"github.com/hakone-gateway/hakone/internal/filter/forwarded"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// logged is what a test looks at of an access record.
type logged struct {
	telemetry.Access
	ID, Target string
}

type sink struct {
	access     chan logged
	handshakes chan telemetry.Handshake
}

func (s *sink) Handshake(h *telemetry.Handshake) { s.handshakes <- *h }
func (s *sink) Access(a *telemetry.Access) {
	kept := *a // whose bytes are the engine's again after this call
	for _, b := range []*[]byte{&kept.ID, &kept.Method, &kept.Protocol, &kept.Authority, &kept.Target, &kept.Path, &kept.UserAgent, &kept.Referer, &kept.XFF, &kept.ContentType, &kept.URL} {
		*b = bytes.Clone(*b)
	}
	select {
	case s.access <- logged{kept, string(a.ID), string(a.Target)}:
	default:
	}
}

// gateway is a proxy on a loopback socket with one chain and an upstream "u".
type gateway struct {
	t     testing.TB
	p     *Proxy
	sink  *sink
	state atomic.Pointer[State]
	reg   *upstream.Registry
	up    *upstream.Upstream
	addr  string
	ln    net.Listener
	chain *ir.Chain
	build route.Builder
	told  forwarded.Settings
}

type setup struct {
	limits   Limits
	pool     ir.Pool
	backend  string // host:port of the upstream
	backends []string
	tls      bool
	upTLS    upstream.TLS
	protocol ir.UpstreamProtocol
	web      bool
	routes   []*ir.Route // instead of one that forwards everything
	filters  []filter.Filter
	admits   Admission
	bounds   *overload.Bounds
	told     forwarded.Settings         // whose word is taken of the client
	sink     func(*sink) telemetry.Sink // instead of the one that is given
}

func start(t testing.TB, s setup) *gateway {
	t.Helper()
	g := &gateway{t: t, told: s.told, sink: &sink{make(chan logged, 1000), make(chan telemetry.Handshake, 100)}}
	opts := Options{Limits: s.limits, Sink: g.sink, Bounds: s.bounds}
	if s.sink != nil {
		opts.Sink = s.sink(g.sink)
	}
	mark(fmt.Sprintf("%s %p", t.Name(), g))
	g.p = New(opts)
	g.reg = upstream.NewRegistry(upstream.Options{})
	settings := &ir.Upstream{Name: "u", Balancing: ir.RoundRobin, Pool: s.pool, Protocol: s.protocol, GRPCWeb: s.web}
	if s.upTLS != nil {
		settings.TLS = &ir.UpstreamTLS{}
	}
	g.up = g.reg.Acquire(settings)
	if s.upTLS != nil {
		g.up.SetTLS(s.upTLS)
	}
	if s.backend != "" {
		s.backends = append(s.backends, s.backend)
	}
	var eps []ir.Endpoint
	for _, b := range s.backends {
		a, err := net.ResolveTCPAddr("tcp", b)
		if err != nil {
			t.Fatal(err)
		}
		eps = append(eps, ir.Endpoint{Host: a.IP.String(), Port: uint16(a.Port)})
	}
	g.up.SetEndpoints(eps)
	routes := s.routes
	if routes == nil {
		routes = []*ir.Route{{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}}}
	}
	g.chain = &ir.Chain{Name: "ns/gw/main", Hosts: []hostname.Pattern{hostname.Any()},
		VirtualHosts: []*ir.VirtualHost{{Hosts: []hostname.Pattern{hostname.Any()}, Routes: routes}}}
	g.build = func(r *ir.Route, b *ir.Backend) ([]filter.Filter, error) {
		out, err := build.Route(r, b)
		if b == nil {
			out = append(append([]filter.Filter(nil), s.filters...), out...)
		}
		return out, err
	}
	g.state.Store(g.compile(g.chain))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.ln, g.addr = ln, ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.p.Run(ctx) })
	wg.Go(func() { _ = g.reg.Run(ctx) })
	wg.Go(func() { g.accept(s.tls, s.admits) })
	t.Cleanup(func() {
		ln.Close()
		drain, stop := context.WithTimeout(context.Background(), 100*time.Millisecond)
		_ = g.p.Drain(drain)
		stop()
		cancel()
		wg.Wait()
		g.reg.Release(g.up)
		g.reg.Close()
		leaked(t, fmt.Sprintf("%s %p", t.Name(), g))
	})
	return g
}

// TestMain lets more tests run at once than there are processors: most wait most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = f.Value.Set("16")
	}
	os.Exit(m.Run())
}

// mark gives this goroutine, and those that begin on it and on them, a label.
func mark(label string) {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("gateway", label)))
}

// leaked fails the test if goroutines with the label remain, this one aside, which loses it.
func leaked(t testing.TB, label string) {
	t.Helper()
	pprof.SetGoroutineLabels(context.Background())
	var left bytes.Buffer
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		left.Reset()
		_ = pprof.Lookup("goroutine").WriteTo(&left, 1)
		if !bytes.Contains(left.Bytes(), []byte(label)) {
			return
		}
	}
	for stack := range strings.SplitSeq(left.String(), "\n\n") {
		if strings.Contains(stack, label) {
			t.Errorf("goroutines left at the end:\n%s", stack)
		}
	}
}

func (g *gateway) compile(chains ...*ir.Chain) *State {
	return g.p.Compile(&ir.Listener{Name: "*:80", Port: 80, Chains: chains}, Wiring{
		Build: g.build, Standard: build.Standard(g.told), Upstreams: map[string]*upstream.Upstream{"u": g.up}})
}

func (g *gateway) accept(secure bool, admits Admission) {
	var config *tls.Config
	if secure {
		config = selfSigned()
	}
	spec := &listen.Spec{Name: "*:80", Port: 80}
	for id := uint64(1); ; id++ {
		conn, err := g.ln.Accept()
		if err != nil {
			return
		}
		raw := listen.NewConn(conn.(*net.TCPConn), id, spec)
		d := Downstream{Raw: raw, Admission: admits, Peer: &filter.Peer{Remote: raw.Remote(), Local: raw.Local(), ListenPort: 80}}
		go func() {
			if secure {
				d.TLS = tls.Server(raw, config)
				if d.TLS.Handshake() != nil {
					raw.Close()
					return
				}
				raw.HandshakeDone()
				d.Peer.TLS, d.Peer.SNI, d.Chain = true, d.TLS.ConnectionState().ServerName, "ns/gw/main"
				d.Handshake = &telemetry.Handshake{Version: tls.VersionTLS13}
				d.Closed = func(err error) *telemetry.Handshake {
					return &telemetry.Handshake{Code: diag.ClosedAfterShake, Err: err.Error()}
				}
			}
			go g.p.Serve(d, &g.state)
		}()
	}
}

func selfSigned() *tls.Config {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, _ := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, DynamicRecordSizingDisabled: true,
		NextProtos: []string{"h2", "http/1.1"}}
}

// dial connects to the gateway; everything on the connection is over within ten seconds.
func (g *gateway) dial() net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	g.t.Cleanup(func() { c.Close() })
	return c
}

func (g *gateway) dialTLS() *tls.Conn {
	return tls.Client(g.dial(), &tls.Config{InsecureSkipVerify: true, ServerName: "a.test"})
}

// record returns the next access record.
func (g *gateway) record() logged {
	g.t.Helper()
	select {
	case a := <-g.sink.access:
		return a
	case <-time.After(5 * time.Second):
		g.t.Fatal("no access record came")
		return logged{}
	}
}

// exchange sends bytes and parses one answer; method is that of the request.
func roundTrip(t testing.TB, c io.ReadWriter, r *bufio.Reader, method, request string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the body: %v", err)
	}
	return resp, string(body)
}

// rawOrigin is a raw upstream: serve is called for every connection.
type rawOrigin struct {
	addr  string
	conns atomic.Int32
}

func newOrigin(t testing.TB, serve func(net.Conn, *bufio.Reader)) *rawOrigin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &rawOrigin{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			o.conns.Add(1)
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return o
}

// readHead returns a head with its empty line, "" at the end.
func readHead(r *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// answering is an origin that answers every request without body with the same bytes.
func answering(t testing.TB, answer string) *rawOrigin {
	return newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

func sized(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
