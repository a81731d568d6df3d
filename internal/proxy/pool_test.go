package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// member is an origin of a pool that answers with its name, the Host that it was asked for, or a status.
type member struct {
	*httptest.Server
	status atomic.Int32 // 0: 200
	asked  atomic.Int32
	hang   atomic.Bool
}

func newMember(t *testing.T, name string, protocol ir.UpstreamProtocol, config *tls.Config) *member {
	t.Helper()
	m := &member{}
	m.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked.Add(1)
		if m.hang.Load() {
			<-r.Context().Done()
			return
		}
		if s := m.status.Load(); s != 0 {
			w.WriteHeader(int(s))
		}
		fmt.Fprintf(w, "%s %s %s", name, r.Host, r.Proto)
	}))
	m.EnableHTTP2 = protocol == ir.UpstreamHTTP2
	m.Config.Protocols = new(http.Protocols)
	m.Config.Protocols.SetHTTP1(protocol != ir.UpstreamHTTP2)
	m.Config.Protocols.SetUnencryptedHTTP2(protocol == ir.UpstreamHTTP2)
	if config != nil {
		m.TLS = config
		m.StartTLS()
	} else {
		m.Start()
	}
	t.Cleanup(m.Close)
	return m
}

func (m *member) endpoint(s ir.Server) ir.Endpoint {
	s.Share = 1
	return ir.Endpoint{Host: "127.0.0.1", Port: uint16(m.Listener.Addr().(*net.TCPAddr).Port), Server: &s}
}

// pooled makes the gateway's upstream an origin pool.
func pooled(t *testing.T, g *gateway, u *ir.Upstream, material upstream.TLS, eps ...ir.Endpoint) {
	t.Helper()
	u.Name = "u"
	g.reg.Release(g.up)
	g.up = g.reg.Acquire(u)
	if material != nil {
		g.up.SetTLS(material)
	}
	g.up.SetEndpoints(eps)
	g.reg.Settle([]*ir.Upstream{u}, map[string]*upstream.Upstream{"u": g.up})
	g.state.Store(g.compile(g.chain))
}

func TestPoolRequests(t *testing.T) {
	for _, protocol := range []ir.UpstreamProtocol{ir.UpstreamHTTP1, ir.UpstreamHTTP2} {
		t.Run(string(protocol), func(t *testing.T) {
			a, b := newMember(t, "a", protocol, nil), newMember(t, "b", protocol, nil)
			g := start(t, setup{})
			pooled(t, g, &ir.Upstream{Protocol: protocol, Balancing: ir.FirstHealthy, Origins: &ir.OriginPool{Name: "ns/p", Affinity: &ir.Affinity{Cookie: "HK_Origin", TTL: time.Hour, Failover: "sticky"},
				Passive: &ir.PassiveHealth{Failures: 2, Ejection: time.Hour, MaxPercent: 50}}}, nil,
				a.endpoint(ir.Server{Name: "first", HostHeader: "inner.test:8080"}), b.endpoint(ir.Server{Name: "second"}))
			c := g.dial()
			r := bufio.NewReader(c)
			ask := func(cookie string) (*http.Response, string, logged) {
				t.Helper()
				resp, body := roundTrip(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: x=1; "+cookie+"\r\n\r\n")
				return resp, body, g.record()
			}
			resp, body, rec := ask("y=2")
			if !strings.HasPrefix(body, "a inner.test:8080 ") {
				t.Errorf("the origin was asked for %q", body)
			}
			if rec.Pool != "ns/p" || rec.Server != "first" || rec.Upstream != "u" {
				t.Errorf("record: pool %q, server %q, upstream %q", rec.Pool, rec.Server, rec.Upstream)
			}
			set := resp.Cookies()
			if len(set) != 1 || set[0].Name != "HK_Origin" || set[0].Secure || set[0].MaxAge != 3600 {
				t.Fatalf("cookies %v", set)
			}
			session := "HK_Origin=" + set[0].Value
			if resp, _, _ := ask(session); len(resp.Cookies()) != 0 {
				t.Error("a cookie was set again")
			}
			a.status.Store(503)
			for range 2 {
				if resp, _, _ := ask(session); resp.StatusCode != 503 {
					t.Errorf("got %d", resp.StatusCode)
				}
			}
			resp, body, rec = ask(session)
			if !strings.HasPrefix(body, "b shop.test ") || rec.Server != "second" || len(resp.Cookies()) != 1 {
				t.Errorf("after two failures: %q from %q, cookies %v", body, rec.Server, resp.Cookies())
			}
			if s := g.reg.Pools()[0].Origins[0]; s.Health != upstream.OriginEjected || s.Code != diag.OriginGatewayError || s.Requests != 4 || s.Failures != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestPoolRetry sends what may be sent again to another origin, with the Host that that one wants.
func TestPoolRetry(t *testing.T) {
	a, b := newMember(t, "a", ir.UpstreamHTTP1, nil), newMember(t, "b", ir.UpstreamHTTP1, nil)
	a.status.Store(502)
	g := start(t, setup{routes: []*ir.Route{{Name: "r", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Retry: &ir.Retry{Attempts: 1, On: []ir.RetryCondition{ir.RetryGatewayError}}}}})
	pooled(t, g, &ir.Upstream{Protocol: ir.UpstreamHTTP1, Balancing: ir.FirstHealthy, Origins: &ir.OriginPool{Name: "ns/p"}}, nil,
		a.endpoint(ir.Server{Name: "a", HostHeader: "a.test"}), b.endpoint(ir.Server{Name: "b", HostHeader: "b.test"}))
	if got := readAnswer(t, g.dial(), "GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "b b.test ") {
		t.Errorf("got %q", got)
	}
	if rec := g.record(); rec.Server != "b" || rec.Attempts != 2 {
		t.Errorf("record: server %q, %d attempts", rec.Server, rec.Attempts)
	}
}

// TestPoolPassive tells what counts against an origin from what its clients caused.
func TestPoolPassive(t *testing.T) {
	t.Parallel()
	a, b := newMember(t, "a", ir.UpstreamHTTP1, nil), newMember(t, "b", ir.UpstreamHTTP1, nil)
	to := []ir.Backend{{Upstream: "u", Weight: 1}}
	g := start(t, setup{routes: []*ir.Route{{Name: "long", Forward: to, Match: ir.Match{Path: ir.PathMatch{Kind: ir.MatchExact, Value: "/long"}}},
		{Name: "short", Forward: to, BackendTimeout: 100 * time.Millisecond}}})
	pooled(t, g, &ir.Upstream{Protocol: ir.UpstreamHTTP1, Balancing: ir.FirstHealthy, Origins: &ir.OriginPool{Name: "ns/p", Passive: &ir.PassiveHealth{Failures: 1, Ejection: time.Hour, MaxPercent: 100}}}, nil,
		a.endpoint(ir.Server{Name: "a"}), b.endpoint(ir.Server{Name: "b"}))
	a.hang.Store(true)
	c := g.dial()
	_, _ = io.WriteString(c, "GET /long HTTP/1.1\r\nHost: x.test\r\n\r\n")
	for a.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	c.Close() // the client left
	if rec := g.record(); rec.Code != diag.ClientClosed {
		t.Errorf("record has %s", rec.Code)
	}
	if s := g.reg.Pools()[0].Origins[0]; s.Failures != 0 {
		t.Errorf("a client that left counts: %+v", s)
	}
	if got := readAnswer(t, g.dial(), get); !strings.HasPrefix(got, "HTTP/1.1 504 ") {
		t.Errorf("got %q", got)
	}
	if s := g.reg.Pools()[0].Origins[0]; s.Health != upstream.OriginEjected || s.Code != diag.UpstreamTimeout {
		t.Errorf("an origin that did not answer: %+v", s)
	}
	if got := readAnswer(t, g.dial(), "GET / HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "b x.test") {
		t.Errorf("got %q", got)
	}
}

// TestPoolTLS records version and suite of the connection to the origin, and refuses what has no origin.
func TestPoolTLS(t *testing.T) {
	a := newMember(t, "a", ir.UpstreamHTTP1, selfSigned())
	g := start(t, setup{})
	settings := &ir.Upstream{Protocol: ir.UpstreamHTTP1, Balancing: ir.FirstHealthy, TLS: &ir.UpstreamTLS{HostSNI: true}, Origins: &ir.OriginPool{Name: "ns/p"}}
	pooled(t, g, settings, &recording{}, a.endpoint(ir.Server{Name: "a", VerifyName: "inner.test"}))
	c := g.dial()
	r := bufio.NewReader(c)
	for range 2 { // the second on the kept connection
		if resp, body := roundTrip(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"); resp.StatusCode != 200 || body != "a x.test HTTP/1.1" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
		if rec := g.record(); rec.UpstreamTLSVersion != tls.VersionTLS13 || rec.UpstreamTLSSuite == 0 {
			t.Errorf("record: TLS %x, suite %x", rec.UpstreamTLSVersion, rec.UpstreamTLSSuite)
		}
	}
	off := *settings
	off.Origins = &ir.OriginPool{Name: "ns/p", Disabled: true}
	g.reg.Settle([]*ir.Upstream{&off}, map[string]*upstream.Upstream{"u": g.up})
	if resp, _ := roundTrip(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"); resp.StatusCode != 503 || !strings.Contains(resp.Header.Get("Proxy-Status"), "HK3219") {
		t.Errorf("got %d %v", resp.StatusCode, resp.Header)
	}
	if rec := g.record(); rec.Code != diag.PoolUnavailable || rec.Pool != "ns/p" || rec.Server != "" || rec.Flags != "UH" {
		t.Errorf("record: %s %q, flags %q", rec.Code, rec.Detail, rec.Flags)
	}
}

func TestCookie(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"a=1; HK=v; HK=w"}, "v"},
		{[]string{"a=1", "HK=v"}, "v"},
		{[]string{"XHK=v;HK=", "HK=w"}, ""},
		{[]string{"HKX=v; hk=w;; ; HK"}, ""},
		{[]string{"a=\"HK=x\";\tHK=a=b"}, "a=b"},
	} {
		var f message.Fields
		for _, l := range c.lines {
			f.AddString("Cookie", l)
		}
		if got := cookie(&f, "HK"); string(got) != c.want {
			t.Errorf("%q: %q, want %q", c.lines, got, c.want)
		}
	}
}

// recording is trusting, and makes a record as tlsconf does.
type recording struct{ trusting }

func (m *recording) Handshake(ctx context.Context, conn net.Conn, host string, speak ir.UpstreamProtocol) (*tls.Conn, *telemetry.Handshake) {
	if host != "inner.test" {
		return nil, &telemetry.Handshake{Code: diag.UpstreamNameMismatch, Detail: "asked for " + host}
	}
	tc, rec := m.trusting.Handshake(ctx, conn, host, speak)
	if tc != nil {
		cs := tc.ConnectionState()
		rec.Version, rec.Suite = cs.Version, cs.CipherSuite
	}
	return tc, rec
}
