package upstream

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
	"github.com/hakone-gateway/hakone/test/testproxy"
)

func failure(c diag.Code) *Error { return &Error{Code: c, Detail: "because"} }

// TestProxyBackoff: an address that cannot be used is left alone for 1 s, 2 s, 4 s and so on up to 30 s, and one
// connection tries it then.
func TestProxyBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{})
		defer r.Close()
		r.SetProxies([]ProxyMaterial{{Settings: &ir.Proxy{Name: "a/b", Addresses: []ir.ProxyAddress{{Host: "192.0.2.1", Port: 3128}}}}})
		a := r.proxyMap()["a/b"].at.Load().addrs[0]
		admit := func() bool { return a.admit(time.Now().UnixNano()) }
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			a.failed(failure(diag.ProxyUnreachable), false)
			time.Sleep(want*time.Second - time.Nanosecond)
			if admit() {
				t.Fatalf("admitted before %d s", want)
			}
			time.Sleep(time.Nanosecond)
			if !admit() || admit() {
				t.Fatalf("after %d s not exactly one is admitted", want)
			}
		}
		a.worked(time.Millisecond)
		if first, second := admit(), admit(); !first || !second || a.cause.Load() != nil {
			t.Error("not admitted after a success")
		}
		for i, code := range []diag.Code{diag.ProxyTimeout, diag.ProxyClosed, diag.ProxyTimeout} { // of destinations, perhaps
			if !admit() {
				t.Errorf("out after %d late answers", i)
			}
			a.failed(failure(code), true)
		}
		if admit() {
			t.Error("admitted after three late answers in a row")
		}
		time.Sleep(time.Second)
		a.failed(failure(diag.ProxyDenied), true)
		if !admit() {
			t.Error("out although it answers")
		}
		a.failed(failure(diag.ProxyTimeout), false) // TCP: it is dead
		if admit() {
			t.Error("admitted although it takes no connection")
		}
	})
}

// TestProxyFailuresTogether: connections that fail at once are one failure, and a probe that passes brings an address back
// that connections put out, though no request tries it.
func TestProxyFailuresTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry(Options{})
		defer r.Close()
		settings := &ir.Proxy{Name: "a/b", Addresses: []ir.ProxyAddress{{Host: "192.0.2.1", Port: 3128}}}
		r.SetProxies([]ProxyMaterial{{Settings: settings}})
		s := r.proxyMap()["a/b"].at.Load()
		a := s.addrs[0]
		for range 8 {
			a.failed(failure(diag.ProxyUnreachable), false)
		}
		time.Sleep(time.Second)
		if !a.healthy(time.Now().UnixNano()) {
			t.Error("eight failures at once put the address out for longer than one does")
		}
		a.failed(failure(diag.ProxyUnreachable), false)
		settings.Probe = &ir.ProxyProbe{Host: "a.test", Port: 443}
		(&proxyProbe{addr: a}).judge(s, nil, time.Millisecond)
		if !a.healthy(time.Now().UnixNano()) || a.cause.Load() != nil {
			t.Error("out although a probe passes")
		}
	})
}

// TestProxyProbes: probes take an address out after so many failures, and bring it back.
func TestProxyProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		r := NewRegistry(Options{Dial: func(context.Context, string, string) (net.Conn, error) {
			probes.Add(1)
			return nil, syscall.ECONNREFUSED
		}, Resolver: answers{}})
		defer r.Close()
		p := &ir.Proxy{Name: "a/b", Addresses: []ir.ProxyAddress{{Host: "proxy.example", Port: 3128}},
			Probe: &ir.ProxyProbe{Host: "www.example.com", Port: 443, Interval: 10 * time.Second, Timeout: time.Second, Up: 1, Down: 2}}
		r.SetProxies([]ProxyMaterial{{Settings: p}})
		a := r.proxyMap()["a/b"].at.Load().addrs[0]
		synctest.Wait()
		if !a.healthy(time.Now().UnixNano()) || probes.Load() != 1 {
			t.Error("out after one probe")
		}
		time.Sleep(12 * time.Second)
		if code, why, wait := a.why(time.Now().UnixNano()); a.healthy(time.Now().UnixNano()) || code != diag.ProxyUnreachable || why == "" || wait != 0 {
			t.Errorf("%v %q %v", code, why, wait)
		}
		if s := r.Proxies()[0].Addresses[0]; s.Healthy || s.Probed == nil || s.Code != diag.ProxyUnreachable {
			t.Errorf("%+v", s)
		}
		r.SetProxies([]ProxyMaterial{{Settings: p}}) // the same: the probe goes on
		if a.healthy(time.Now().UnixNano()) {
			t.Error("a commit without changes forgot the verdict")
		}
		q := *p
		q.Probe = nil
		r.SetProxies([]ProxyMaterial{{Settings: &q}})
		before := probes.Load()
		time.Sleep(time.Minute)
		if !a.healthy(time.Now().UnixNano()) || probes.Load() != before {
			t.Error("probed, or out, without a probe")
		}
		r.SetProxies(nil)
		if len(r.Proxies()) != 0 {
			t.Error("the proxy is still there")
		}
	})
}

type answers struct{}

func (answers) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

// TestProxyProbeVerifies: a probe goes through CONNECT and TLS, so that a CA that the proxy changed takes the
// address out for its true reason.
func TestProxyProbeVerifies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(nil)
	x := w.proxy(p)
	x.Probe = &ir.ProxyProbe{Host: faraway, Port: 443, Interval: time.Second, Timeout: 5 * time.Second, Up: 1, Down: 1}
	w.commit()
	wait := func(healthy bool, code diag.Code) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			s := w.reg.Proxies()[0].Addresses[0]
			if s.Probed != nil && s.Healthy == healthy && s.Code == code {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%+v", s)
			}
		}
	}
	wait(true, 0)
	p.CA.Store(testca.New(t, testca.Spec{CommonName: "Company CA"}))
	wait(false, diag.InterceptionUnknownCA)
	w.refused(diag.InterceptionUnknownCA, "(probe)")
	p.CA.Store(w.company)
	wait(true, 0)
	c, _ := w.fetch()
	c.Close()
}

// TestPlainProxyAsUpstream: TLS that is begun with a proxy's plain port has its own reason.
func TestPlainProxyAsUpstream(t *testing.T) {
	for _, is := range []bool{true, false} {
		w := newWorld(t)
		p := w.start(func(p *testproxy.Proxy) {
			p.Raw = func(c net.Conn) {
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
				_, _ = io.Copy(io.Discard, c)
			}
		})
		w.up.Via, w.up.Resolve, w.up.IsProxy = nil, nil, is
		w.commit()
		w.u.SetEndpoints([]ir.Endpoint{{Host: "127.0.0.1", Port: p.Port()}})
		want := diag.UpstreamSpeaksPlaintext
		if is {
			want = diag.ProxySpeaksPlaintext
		}
		w.refused(want)
	}
}
