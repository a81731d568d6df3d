package upstream

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// book is a resolver with a table, which counts.
type book struct {
	asked atomic.Int32
	slow  time.Duration
	table map[string][]string
}

func (b *book) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	b.asked.Add(1)
	select {
	case <-time.After(b.slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var out []netip.Addr
	for _, a := range b.table[strings.TrimSuffix(host, ".")] {
		out = append(out, netip.MustParseAddr(a))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

// site is a TLS server that shows a certificate and echoes.
type site struct {
	port  uint16
	conns atomic.Int32
	cert  atomic.Pointer[tls.Certificate]
}

func certificateFor(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newSite(t testing.TB, name string) *site {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{port: uint16(ln.Addr().(*net.TCPAddr).Port)}
	s.cert.Store(certificateFor(t, name))
	config := &tls.Config{NextProtos: []string{"http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil }}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				tc := tls.Server(c, config)
				buf := make([]byte, 100)
				for {
					n, err := tc.Read(buf)
					if err != nil {
						return
					}
					_, _ = tc.Write(buf[:n])
				}
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
	return s
}

// verifying is TLS material that wants one name and one issuer's certificate, or verifies nothing.
type verifying struct {
	lax  bool
	good func() *x509.Certificate
}

func (v *verifying) Handshake(ctx context.Context, conn net.Conn, host string, _ ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	tc := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: host, NextProtos: []string{"http/1.1"}})
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, &telemetry.Handshake{Code: diag.UpstreamTLSFailed, Err: err.Error()}
	}
	leaf := tc.ConnectionState().PeerCertificates[0]
	if !v.lax && (v.good() == nil || !leaf.Equal(v.good())) {
		return nil, &telemetry.Handshake{Code: diag.UpstreamUnknownCA, Detail: "nobody knows it"}
	}
	return tc, &telemetry.Handshake{ALPN: "http/1.1", Version: tls.VersionTLS13}
}

func (*verifying) ReadError(error) (diag.Code, string, bool) { return 0, "", false }

// ledger counts what it is told of destinations, which must have a host and a port.
type ledger struct{ events, broken atomic.Int32 }

func (l *ledger) Egress(e *telemetry.EgressEvent) {
	l.events.Add(1)
	if e.Host == "" || e.Port == 0 {
		l.broken.Add(1)
	}
}

// outside makes destinations on loopback. good returns the one certificate that verifies.
func outside(t testing.TB, b *book, good func() *x509.Certificate, max int) (*Destinations, *Registry) {
	t.Helper()
	r := NewRegistry(Options{Resolver: b, Egress: &ledger{}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); r.Close() })
	return NewDestinations(r, forwardOf("1"), materials(good), max), r
}

func forwardOf(revision string) *ir.Forward {
	return &ir.Forward{Name: "ns/f", Revision: ir.Revision(revision), Loopback: true,
		Template: ir.Upstream{Name: "t", Protocol: ir.UpstreamAuto, Pool: ir.Pool{ConnectTimeout: 2 * time.Second}, TLS: &ir.UpstreamTLS{HostSNI: true}}}
}

func materials(good func() *x509.Certificate) func(*ir.Upstream) TLS {
	return func(u *ir.Upstream) TLS { return &verifying{lax: u.TLS.InsecureSkipVerify, good: good} }
}

func leafOf(s *site) func() *x509.Certificate {
	return func() *x509.Certificate {
		c, _ := x509.ParseCertificate(s.cert.Load().Certificate[0])
		return c
	}
}

func echo(t testing.TB, u *Upstream, host string) (*Conn, error) {
	t.Helper()
	c, err := u.Get(Query{Host: host})
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return c, nil
}

func TestDestinationsShareAndForget(t *testing.T) {
	s := newSite(t, "a.test")
	b := &book{table: map[string][]string{"a.test": {"127.0.0.1"}}}
	d, r := outside(t, b, leafOf(s), 0)
	u, release := d.Get("A.test.", s.port, true, nil)
	again, releaseAgain := d.Get("a.test", s.port, true, nil)
	plain, releasePlain := d.Get("a.test", s.port, false, nil)
	through, releaseThrough := d.Get("a.test", s.port, true, &ir.Via{Proxies: []string{"ns/p"}})
	if u != again || u == plain || u == through {
		t.Fatal("upstreams are not told apart by host, port, TLS and way")
	}
	if b.asked.Load() != 0 {
		t.Error("a name was looked up before anybody connected")
	}
	c, err := echo(t, u, "a.test")
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
	if c, err = echo(t, u, "a.test"); err != nil || !c.Reused {
		t.Fatalf("the connection was not kept: %v", err)
	}
	c.Release()
	if n := b.asked.Load(); n != 1 {
		t.Errorf("%d lookups, want 1", n)
	}
	if l := r.opt.Egress.(*ledger); l.events.Load() != 1 || l.broken.Load() != 0 {
		t.Errorf("the ledger was told %d times, %d without host and port", l.events.Load(), l.broken.Load())
	}
	release()
	releaseAgain()
	releasePlain()
	if kept, used := d.Len(); kept != 3 || used != 1 {
		t.Errorf("%d kept, %d used", kept, used)
	}
	d.sweep(time.Now().Add(destinationIdle / 2))
	if kept, _ := d.Len(); kept != 3 {
		t.Errorf("%d kept before their time", kept)
	}
	d.sweep(time.Now().Add(destinationIdle * 2))
	if kept, used := d.Len(); kept != 1 || used != 1 {
		t.Errorf("%d kept, %d used; want the one in use", kept, used)
	}
	releaseThrough()
	d.Close()
	if n := len(r.list()); n != 0 {
		t.Errorf("%d upstreams left", n)
	}
}

func TestDestinationsAreBounded(t *testing.T) {
	d, r := outside(t, &book{}, nil, 3)
	var releases []func()
	for i := range 5 {
		_, release := d.Get(fmt.Sprintf("10.0.0.%d", i), 80, false, nil)
		releases = append(releases, release)
	}
	if kept, _ := d.Len(); kept != 3 || len(r.list()) != 5 {
		t.Errorf("%d kept, %d upstreams", kept, len(r.list()))
	}
	for _, f := range releases {
		f()
	}
	if kept, used := d.Len(); kept != 3 || used != 0 || len(r.list()) != 3 {
		t.Errorf("%d kept, %d used, %d upstreams", kept, used, len(r.list()))
	}
	_, release := d.Get("10.0.0.9", 80, false, nil) // the longest unused makes room
	release()
	if _, ok := d.byKey[destinationKey{host: "10.0.0.0", port: 80}]; ok || len(r.list()) != 3 {
		t.Errorf("the longest unused one is still there, of %d", len(r.list()))
	}
}

func TestDestinationsLookUp(t *testing.T) {
	s := newSite(t, "a.test")
	b := &book{slow: 20 * time.Millisecond, table: map[string][]string{"a.test": {"127.0.0.1"}}}
	d, _ := outside(t, b, leafOf(s), 0)
	if a, ok := d.Known("a.test"); ok || b.asked.Load() != 0 {
		t.Errorf("%v is known before anybody asked", a)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if a, err := d.LookUp(context.Background(), "a.test"); err != nil || len(a) != 1 {
				t.Errorf("%v %v", a, err)
			}
		})
	}
	wg.Wait()
	if n := b.asked.Load(); n != 1 {
		t.Errorf("%d lookups for 50 who ask at once", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if a, ok := d.Known("a.test"); !ok || len(a) != 1 {
			t.Errorf("%v %v", a, ok)
		}
		_, _ = d.LookUp(context.Background(), "a.test")
	}); n != 0 {
		t.Errorf("%v allocations for a name that is known", n)
	}
	if a, err := d.LookUp(context.Background(), "192.0.2.1"); err != nil || a[0].String() != "192.0.2.1" || b.asked.Load() != 1 {
		t.Errorf("%v %v: an address needs no lookup", a, err)
	}
	if _, err := d.LookUp(context.Background(), "no.test"); err == nil {
		t.Error("a name without an answer")
	}
	if a, ok := d.Known("no.test"); ok {
		t.Errorf("%v is known of a name without an answer", a)
	}
	u, release := d.Get("no.test", 443, false, nil)
	defer release()
	_, err := u.Get(Query{})
	var failure *Error
	if !errors.As(err, &failure) || failure.Code != diag.UpstreamDNS {
		t.Errorf("%v", err)
	}
	before := b.asked.Load()
	if _, err = u.Get(Query{}); err == nil || b.asked.Load() != before {
		t.Errorf("a failure was asked for again at once: %v", err)
	}
}

// TestDestinationsTryOtherAddresses has names with addresses where nothing listens, of either family.
func TestDestinationsTryOtherAddresses(t *testing.T) {
	s := newSite(t, "a.test")
	for _, addrs := range [][]string{{"::1", "127.0.0.1"}, {"100::1", "127.0.0.1"}, {"127.0.0.2", "127.0.0.3", "127.0.0.1"}, {"100::1", "100::2", "100::3", "127.0.0.1"}} {
		d, _ := outside(t, &book{table: map[string][]string{"a.test": addrs}}, leafOf(s), 0)
		u, release := d.Get("a.test", s.port, true, nil)
		began := time.Now()
		c, err := echo(t, u, "a.test")
		if err != nil {
			t.Errorf("%v: %v", addrs, err)
		} else {
			c.Release()
		}
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("%v took %s", addrs, took)
		}
		release()
		d.Close()
	}
}

func TestDestinationsKeepOffThisMachine(t *testing.T) {
	b := &book{table: map[string][]string{"rebound.test": {"127.0.0.1"}, "meta.test": {"169.254.169.254"}}}
	d, _ := outside(t, b, nil, 0)
	f := forwardOf("2")
	f.Loopback = false
	d.Update(f, materials(nil))
	for _, host := range []string{"rebound.test", "meta.test", "127.0.0.1", "::1", "0.0.0.0", "fe80::1", "fd00:ec2::254", "224.0.0.1", "::ffff:127.0.0.1"} {
		u, release := d.Get(host, 80, false, nil)
		_, err := u.Get(Query{})
		var failure *Error
		if !errors.As(err, &failure) || failure.Code != diag.ForwardLocal {
			t.Errorf("%s: %v", host, err)
		}
		release()
	}
}

func TestFacts(t *testing.T) {
	s := newSite(t, "a.test")
	b := &book{table: map[string][]string{"a.test": {"127.0.0.1"}}}
	d, _ := outside(t, b, leafOf(s), 0)
	u, release := d.Get("a.test", s.port, true, nil)
	defer release()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			f, err := u.Facts(context.Background(), "a.test")
			if err != nil || f.Code != 0 || len(f.Chain) != 1 || f.ALPN != "http/1.1" {
				t.Errorf("%+v %v", f, err)
			}
		})
	}
	wg.Wait()
	c, err := echo(t, u, "a.test")
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections: the first was not kept for the request", n)
	}
	// Another certificate, after material has changed: facts are found out again.
	old := leafOf(s)()
	s.cert.Store(certificateFor(t, "a.test"))
	d.Update(d.forward, materials(func() *x509.Certificate { return old }))
	f, err := u.Facts(context.Background(), "a.test")
	if err != nil || f.Code != diag.UpstreamUnknownCA || len(f.Chain) != 1 || !f.Chain[0].Equal(leafOf(s)()) {
		t.Fatalf("%+v %v", f, err)
	}
	if _, err := u.Get(Query{Host: "a.test"}); err == nil {
		t.Error("a certificate that does not verify was taken")
	}
	// Tolerated: that one, apart from the others, and no other.
	lax, releaseLax := d.Tolerate(netip.Addr{}, "a.test", s.port, nil, f)
	defer releaseLax()
	if lax == u {
		t.Fatal("the pool is shared with connections that verify")
	}
	if c, err = echo(t, lax, "a.test"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	d.Update(d.forward, materials(func() *x509.Certificate { return old })) // a pin outlives new material
	s.cert.Store(certificateFor(t, "a.test"))
	var failure *Error
	if _, err = lax.Get(Query{Host: "a.test"}); !errors.As(err, &failure) || failure.Code != diag.UpstreamUnknownCA {
		t.Errorf("another certificate was taken: %v", err)
	}
}

func TestFactsOfWhatCannotBeReached(t *testing.T) {
	d, _ := outside(t, &book{}, nil, 0)
	u, release := d.Get("gone.test", 443, true, nil)
	defer release()
	_, err := u.Facts(context.Background(), "gone.test")
	var failure *Error
	if !errors.As(err, &failure) || failure.Code != diag.UpstreamDNS {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := u.Facts(ctx, "other.test"); !errors.Is(err, context.Canceled) && !errors.As(err, &failure) {
		t.Errorf("%v", err)
	}
	plain, releasePlain := d.Get("gone.test", 80, false, nil)
	defer releasePlain()
	if _, err := plain.Facts(context.Background(), "gone.test"); err == nil {
		t.Error("facts without TLS")
	}
}

// TestUpdateOfAnotherForward leaves what is in use alone.
func TestUpdateOfAnotherForward(t *testing.T) {
	s := newSite(t, "a.test")
	d, r := outside(t, &book{table: map[string][]string{"a.test": {"127.0.0.1"}}}, leafOf(s), 0)
	u, release := d.Get("a.test", s.port, true, nil)
	c, err := echo(t, u, "a.test")
	if err != nil {
		t.Fatal(err)
	}
	d.Update(forwardOf("2"), materials(leafOf(s)))
	if next, releaseNext := d.Get("a.test", s.port, true, nil); next == u {
		t.Error("the old settings are still given")
	} else {
		releaseNext()
	}
	if _, err := c.Write([]byte("y")); err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("what was in use was cut: %v", err)
	}
	c.Release()
	release()
	d.Close()
	if n := len(r.list()); n != 0 {
		t.Errorf("%d upstreams left", n)
	}
}

// TestDestinationsAreSmall measures 10,000 of them without connections.
func TestDestinationsAreSmall(t *testing.T) {
	d, _ := outside(t, &book{}, func() *x509.Certificate { return nil }, 0)
	const n = 10000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	for i := range n {
		_, release := d.Get(fmt.Sprintf("host-%d.example.test", i), 443, true, nil)
		release()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d bytes a destination", each)
	if each > 6<<10 {
		t.Errorf("a destination takes %d bytes", each)
	}
	if g := runtime.NumGoroutine(); g > goroutines+10 {
		t.Errorf("%d goroutines for %d destinations", g-goroutines, n)
	}
	if kept, _ := d.Len(); kept != n {
		t.Errorf("%d kept", kept)
	}
}

// TestLocalAddresses has the forms in which an address of this machine, or of a cloud's metadata, can be written.
func TestLocalAddresses(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254",
		"::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "2002:7f00:1::", "2002:a9fe:a9fe::1"} {
		if !IsLocal(netip.MustParseAddr(a)) {
			t.Errorf("%s is reached", a)
		}
	}
	for _, a := range []string{"10.0.0.1", "203.0.113.1", "2001:db8::1", "64:ff9b::203.0.113.1", "2002:cb00:7101::1", "fd00:ec2::1", "::ffff:203.0.113.1"} {
		if IsLocal(netip.MustParseAddr(a)) {
			t.Errorf("%s is not reached", a)
		}
	}
}

// TestFactsAreBounded has destinations show much for many names: what is remembered stays within bounds, and goes with
// them.
func TestFactsAreBounded(t *testing.T) {
	var bytes atomic.Int64
	chain := []*x509.Certificate{{Raw: make([]byte, 250<<10)}}
	var all []*facts
	kept := 0
	for range 100 {
		s := &facts{bytes: &bytes}
		all = append(all, s)
		for i := range maxFacts + 8 {
			host := fmt.Sprintf("%d.test", i)
			f, fresh := s.find(host)
			if !fresh {
				t.Fatal("known already")
			}
			f.facts, f.until = Facts{Chain: chain}, time.Now().Add(time.Hour)
			s.keep(host, f)
			close(f.done)
		}
		kept += len(s.byHost)
	}
	if n := bytes.Load(); n > maxFactsBytes || kept == 0 || kept > maxFactsBytes/(750<<10) {
		t.Errorf("%d bytes of %d names are remembered", n, kept)
	}
	for _, s := range all {
		s.forget()
	}
	if n := bytes.Load(); n != 0 {
		t.Errorf("%d bytes are counted of what is gone", n)
	}
}
