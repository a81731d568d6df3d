package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/test/testca"
	"github.com/hakone-gateway/hakone/test/testproxy"
)

const faraway = "www.example.com"

// seen keeps records and events.
type seen struct {
	mu     sync.Mutex
	shakes []*telemetry.Handshake
	events []*telemetry.EgressEvent
}

func (s *seen) Handshake(h *telemetry.Handshake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shakes = append(s.shakes, h)
}
func (s *seen) Access(*telemetry.Access) {}
func (s *seen) Egress(e *telemetry.EgressEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *seen) last(t *testing.T) (*telemetry.Handshake, *telemetry.EgressEvent) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) == 0 {
		t.Fatal("no event")
	}
	var h *telemetry.Handshake
	if len(s.shakes) > 0 {
		h = s.shakes[len(s.shakes)-1]
	}
	return h, s.events[len(s.events)-1]
}

// world is a destination, the company's CA and what Hakone knows of both.
type world struct {
	t       *testing.T
	company *testca.Pair // signs what the proxy makes
	public  *testca.Pair // signs the destination's own
	origin  string
	seen    seen

	state   *tlsconf.State
	bundles *ir.Trust
	up      *ir.Upstream
	proxies []*ir.Proxy
	login   *ir.Login
	reg     *Registry
	u       *Upstream
	made    map[string]*tlsconf.Originator
}

// newWorld serves a destination in HTTP/1.1 and HTTP/2, and prepares an upstream that reaches it by a proxy.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, company: testca.New(t, testca.Spec{CommonName: "Company CA"}), public: testca.New(t, testca.Spec{CommonName: "Public CA"}), state: tlsconf.NewState(nil), made: map[string]*tlsconf.Originator{}}
	w.origin = serveTLS(t, w.public, "h2", "http/1.1")
	w.bundles = &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{
		"company": {Bundle: secret.NewBundle(w.company.Cert)}, "public": {Bundle: secret.NewBundle(w.public.Cert)},
	}}
	w.up = &ir.Upstream{Name: "out", Balancing: ir.RoundRobin, Destination: faraway, Resolve: &ir.ResolveDNS{Host: faraway, Port: 443},
		TLS: &ir.UpstreamTLS{SNI: faraway, VerifyName: faraway, Trust: "public", Interceptors: []ir.TrustRef{"company"}}, Via: &ir.Via{Proxies: []string{"corp/squid"}}}
	w.reg = NewRegistry(Options{Sink: &w.seen, Egress: &w.seen})
	t.Cleanup(w.reg.Close)
	return w
}

func serveTLS(t *testing.T, ca *testca.Pair, alpn ...string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	pair := ca.Issue(testca.Spec{CommonName: faraway, DNS: []string{faraway}})
	s := &http.Server{Protocols: p, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, NextProtos: alpn}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello from "+r.Host+" over "+r.Proto)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

func (w *world) proxy(p *testproxy.Proxy) *ir.Proxy {
	x := &ir.Proxy{Name: "corp/squid", Interception: "company", Addresses: []ir.ProxyAddress{{Host: "127.0.0.1", Port: p.Port(), TLS: p.TLS != nil}}}
	w.proxies = []*ir.Proxy{x}
	return x
}

// start begins a proxy that intercepts.
func (w *world) start(change func(*testproxy.Proxy)) *testproxy.Proxy {
	w.t.Helper()
	return testproxy.Start(w.t, func(p *testproxy.Proxy) {
		p.Origin, p.ALPN = w.origin, []string{"h2", "http/1.1"}
		p.CA.Store(w.company)
		if change != nil {
			change(p)
		}
	})
}

// commit gives the registry what the world has come to.
func (w *world) commit() {
	none := &ir.Secrets{}
	var list []ProxyMaterial
	var tunnels []tlsconf.Tunnel
	for _, p := range w.proxies {
		m := ProxyMaterial{Settings: p, Login: w.login}
		if p.Addresses[0].TLS {
			t := p.TLS
			if t == nil {
				t = &ir.UpstreamTLS{HostSNI: true}
			}
			w.made["hop"] = tlsconf.Originate("hop", t, none, w.bundles, w.state, w.made["hop"])
			m.Hop = w.made["hop"]
		}
		tunnel := tlsconf.Tunnel{Proxy: p.Name, Interception: p.Interception, Either: p.Either}
		if p.Probe != nil {
			m.Probe = tlsconf.OriginateVia("probe", &ir.UpstreamTLS{HostSNI: true, Trust: "public"}, []tlsconf.Tunnel{tunnel}, none, w.bundles, w.state, nil)
		}
		list, tunnels = append(list, m), append(tunnels, tunnel)
	}
	w.reg.SetProxies(list)
	if w.u == nil {
		w.u = w.reg.Acquire(w.up)
		u := w.u
		w.t.Cleanup(func() { w.reg.Release(u) })
	}
	if w.up.TLS != nil {
		w.made["up"] = tlsconf.OriginateVia("out", w.up.TLS, tunnels, none, w.bundles, w.state, w.made["up"])
		w.u.SetTLS(w.made["up"])
	}
}

// fetch asks the destination in HTTP/1.1.
func (w *world) fetch() (*Conn, string) {
	w.t.Helper()
	c, err := w.u.Get(Query{HTTP1: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return c, w.ask(c)
}

func (w *world) ask(c net.Conn) string {
	w.t.Helper()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	defer c.SetDeadline(time.Time{})
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+faraway+"\r\n\r\n"); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}

// refused asks for a connection that there is none of.
func (w *world) refused(want diag.Code, words ...string) *Error {
	w.t.Helper()
	c, err := w.u.Get(Query{})
	if err == nil {
		c.Close()
		w.t.Fatalf("there is a connection, want %s", want)
	}
	e := err.(*Error)
	if e.Code != want {
		w.t.Fatalf("%s %s: %v, want %s %s", e.Code, e.Code.Slug(), err, want, want.Slug())
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			w.t.Errorf("%q is not in %q", word, err)
		}
	}
	return e
}

func TestViaInterceptingProxy(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil)
	x := w.proxy(p)
	x.Headers = []ir.NameValue{{Name: "X-From", Value: "here"}}
	password := "correct horse"
	both := "hakone:" + password
	p.Login.Store(&both)
	w.login = &ir.Login{User: "hakone", Password: secret.NewBytes([]byte(password))}
	w.commit()
	c, body := w.fetch()
	if body != "hello from www.example.com over HTTP/1.1" {
		t.Error(body)
	}
	if c.Via == nil || c.Via.Proxy != "corp/squid" || c.Via.Address != p.Address() || c.Via.Status != 200 || !c.Via.Intercepted || !strings.Contains(c.Via.Issuer, "Company CA") {
		t.Errorf("%+v", c.Via)
	}
	if c.Endpoint.Text != "www.example.com:443" {
		t.Error(c.Endpoint.Text)
	}
	c.Release()
	again, _ := w.fetch()
	if !again.Reused || p.Connects.Load() != 1 {
		t.Error("the connection was not used again")
	}
	again.Release()
	asked := p.Asked()[0]
	if asked.Method != "CONNECT" || asked.Host != "www.example.com:443" || asked.Header.Get("X-From") != "here" {
		t.Errorf("%s %s %v", asked.Method, asked.Host, asked.Header)
	}
	h, e := w.seen.last(t)
	if h.Proxy != "corp/squid" || !strings.Contains(h.Issuer, "Company CA") || !h.Intercepted || h.Hello.SNI != faraway {
		t.Errorf("%+v", h)
	}
	if e.Host != faraway || e.Port != 443 || e.Proxy != "corp/squid" || !e.Intercepted || e.Code != 0 || len(e.IssuerKey) != 64 {
		t.Errorf("%+v", e)
	}
	if s := w.reg.Proxies(); len(s) != 1 || !s[0].Addresses[0].Healthy || s[0].Addresses[0].Open != 1 || s[0].Addresses[0].Connects != 1 || s[0].Addresses[0].Took.Count != 1 {
		t.Errorf("%+v", s)
	}
	again.up.SetTLS(w.made["up"]) // equal: nothing changes
	if s := w.u.set.Load().endpoints[0].stats(w.u); s.Open != 1 || s.Target != "www.example.com:443" {
		t.Errorf("%+v", s)
	}
}

func TestViaHTTP2Inside(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil)
	w.proxy(p)
	w.up.Protocol = ir.UpstreamAuto
	w.commit()
	c, err := w.u.Get(Query{HTTP2: true})
	if err != nil {
		t.Fatal(err)
	}
	if c.H2 == nil || c.Via == nil || !c.Via.Intercepted {
		t.Errorf("%+v", c)
	}
	d, err := w.u.Get(Query{HTTP2: true})
	if err != nil {
		t.Fatal(err)
	}
	if d.H2 != c.H2 || d.Via == nil || p.Connects.Load() != 1 {
		t.Error("the connection is not shared")
	}
	c.Close()
	d.Close()
}

// TestViaAnswers has every answer of a proxy, and every way of not answering.
func TestViaAnswers(t *testing.T) {
	say := func(s string) func(net.Conn, *http.Request) {
		return func(c net.Conn, _ *http.Request) { _, _ = io.WriteString(c, s) }
	}
	hang := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	cases := []struct {
		name   string
		answer func(net.Conn, *http.Request)
		raw    func(net.Conn)
		code   diag.Code
		words  []string
	}{
		{name: "407", answer: say("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 5\r\n\r\nlogin"),
			code: diag.ProxyAuthRequired, words: []string{"no user name and password are configured", "Negotiate, Basic", `"login"`}},
		{name: "403 with a page", answer: say("HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 69\r\n\r\n<html><head>\n<TITLE>ERROR: it could\n not be retrieved</TITLE></head></html>"),
			code: diag.ProxyDenied, words: []string{"403 Forbidden", "ERROR: it could not be retrieved", "ERR_ACCESS_DENIED"}},
		{name: "502", answer: say("HTTP/1.1 502 Bad Gateway\r\n\r\n"), code: diag.ProxyCannotReach},
		{name: "503", answer: say("HTTP/1.1 503 Service Unavailable\r\n\r\n"), code: diag.ProxyCannotReach},
		{name: "504", answer: say("HTTP/1.1 504 Gateway Timeout\r\n\r\n"), code: diag.ProxyCannotReach},
		{name: "400", answer: say("HTTP/1.1 400 Bad Request\r\n\r\n"), code: diag.ProxyRejectedRequest},
		{name: "405", answer: say("HTTP/1.0 405 No\r\n\r\n"), code: diag.ProxyRejectedRequest},
		{name: "501", answer: say("HTTP/1.1 501\r\n\r\n"), code: diag.ProxyRejectedRequest},
		{name: "302", answer: say("HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n"), code: diag.ProxyOtherAnswer, words: []string{"302 Found"}},
		{name: "101", answer: say("HTTP/1.1 101 Switching Protocols\r\n\r\n"), code: diag.ProxyOtherAnswer},
		{name: "an endless page", answer: func(c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
			for {
				if _, err := io.WriteString(c, strings.Repeat("no ", 1000)); err != nil {
					return
				}
			}
		}, code: diag.ProxyDenied},
		{name: "garbage", raw: func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example ESMTP\r\n"); hang(c) }, code: diag.ProxyNotHTTP, words: []string{"220 mail.example"}},
		{name: "HTTP/2", raw: func(c net.Conn) { _, _ = c.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}); hang(c) }, code: diag.ProxyNotHTTP, words: []string{"HTTP/2"}},
		{name: "TLS on the plain port", raw: func(c net.Conn) { _, _ = c.Write([]byte{21, 3, 1, 0, 2, 2, 70}); hang(c) }, code: diag.ProxySpeaksTLS, words: []string{"https"}},
		{name: "bare line feeds", raw: func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\n\n"); hang(c) }, code: diag.ProxyNotHTTP, words: []string{"bare LF"}},
		{name: "an endless head", raw: func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(c, "X-More: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, code: diag.ProxyNotHTTP, words: []string{"16384"}},
		{name: "endless interim answers", raw: func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
					return
				}
			}
		}, code: diag.ProxyNotHTTP, words: []string{"interim"}},
		{name: "closed at once", raw: func(net.Conn) {}, code: diag.ProxyClosed},
		{name: "closed in the middle", answer: say("HTTP/1.1 200 Conn"), code: diag.ProxyClosed, words: []string{"in the middle"}},
		{name: "silence", raw: hang, code: diag.ProxyTimeout},
		{name: "a byte at a time", raw: func(c net.Conn) {
			for _, b := range []byte("HTTP/1.1 200 OK and so on") {
				time.Sleep(100 * time.Millisecond)
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		}, code: diag.ProxyTimeout},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			x := w.proxy(w.start(func(p *testproxy.Proxy) { p.Answer, p.Raw = c.answer, c.raw }))
			x.ConnectTimeout = time.Second
			w.commit()
			e := w.refused(c.code, append(c.words, "corp/squid")...)
			if e.Via == nil || e.Via.Proxy != "corp/squid" {
				t.Errorf("%+v", e.Via)
			}
			if _, ev := w.seen.last(t); ev.Code != c.code || ev.Proxy != "corp/squid" || ev.Host != faraway {
				t.Errorf("%+v", ev)
			}
			if s := w.reg.Proxies()[0].Addresses[0]; s.Failures[c.code] != 1 || s.Healthy == hard(c.code) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestViaInterimAndEarlyBytes(t *testing.T) {
	w := newWorld(t)
	w.up.TLS, w.up.Resolve.Port = nil, 25
	w.proxy(w.start(func(p *testproxy.Proxy) {
		p.Answer = func(c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 299 Fine\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n220 mail.example ready\r\n")
			_, _ = io.Copy(c, c)
		}
	}))
	w.commit()
	s, err := w.u.Connect(context.Background(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.TCP != nil || s.ConnectStatus != 299 || s.Proxy != "corp/squid" {
		t.Errorf("%+v", s)
	}
	_ = s.SetDeadline(time.Now().Add(5 * time.Second))
	br := bufio.NewReader(s)
	if line, err := br.ReadString('\n'); err != nil || line != "220 mail.example ready\r\n" {
		t.Errorf("%q, %v", line, err)
	}
	fmt.Fprintf(s, "EHLO\r\n")
	if line, err := br.ReadString('\n'); err != nil || line != "EHLO\r\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Error(err)
	}
	s.Close()
	s.Close()
	if open := w.reg.Proxies()[0].Addresses[0].Open; open != 0 || w.u.limit.open.Load() != 0 {
		t.Error(open, w.u.limit.open.Load())
	}
}

func TestViaStreams(t *testing.T) {
	w := newWorld(t)
	p := w.start(func(p *testproxy.Proxy) { p.CA.Store(nil) })
	w.proxy(p).Interception = ""
	w.up.TLS = nil
	w.commit()
	s, err := w.u.Connect(context.Background(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	if s.TCP == nil {
		t.Error("the connection could be spliced, and is not told")
	}
	c := tls.Client(s, &tls.Config{ServerName: faraway, RootCAs: w.public.Pool()})
	if got := w.ask(c); !strings.HasPrefix(got, "hello") {
		t.Error(got)
	}
	s.Close()
	if _, e := w.seen.last(t); e.Proxy != "corp/squid" || e.Code != 0 {
		t.Errorf("%+v", e)
	}
}

// TestViaTrust has every certificate that can be shown behind a proxy and on direct connections.
func TestViaTrust(t *testing.T) {
	hour := time.Hour
	cases := []struct {
		name   string
		leaf   func(string, *testca.Spec)
		other  bool // the proxy signs with another CA
		splice bool
		either bool
		plain  bool // the proxy is expected to tunnel only
		direct bool
		code   diag.Code
	}{
		{name: "made by the proxy"},
		{name: "either, made", either: true},
		{name: "either, the destination's own", either: true, splice: true},
		{name: "a proxy that tunnels", plain: true, splice: true},
		{name: "unknown CA", other: true, code: diag.InterceptionUnknownCA},
		{name: "either, unknown CA", other: true, either: true, code: diag.InterceptionUnknownCA},
		{name: "expired", leaf: func(_ string, s *testca.Spec) {
			s.NotBefore, s.NotAfter = time.Now().Add(-2*hour), time.Now().Add(-hour)
		}, code: diag.InterceptionExpired},
		{name: "either, expired", either: true, leaf: func(_ string, s *testca.Spec) {
			s.NotBefore, s.NotAfter = time.Now().Add(-2*hour), time.Now().Add(-hour)
		}, code: diag.InterceptionExpired},
		{name: "not valid yet", leaf: func(_ string, s *testca.Spec) { s.NotBefore, s.NotAfter = time.Now().Add(hour), time.Now().Add(2*hour) }, code: diag.InterceptionExpired},
		{name: "expired, of another CA", other: true, leaf: func(_ string, s *testca.Spec) {
			s.NotBefore, s.NotAfter = time.Now().Add(-2*hour), time.Now().Add(-hour)
		}, code: diag.InterceptionUnknownCA},
		{name: "another name", leaf: func(_ string, s *testca.Spec) { s.DNS = []string{"proxy.corp.example"} }, code: diag.InterceptionNameMismatch},
		{name: "no name", leaf: func(_ string, s *testca.Spec) { s.DNS = nil }, code: diag.InterceptionNameMismatch},
		{name: "not intercepted", splice: true, code: diag.InterceptionMissing},
		{name: "a proxy that is to tunnel intercepts", plain: true, code: diag.UnexpectedInterception},
		{name: "direct, intercepted", direct: true, code: diag.UnexpectedInterception},
		{name: "direct, unknown CA", direct: true, other: true, code: diag.UpstreamUnknownCA},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			x := w.proxy(w.start(func(p *testproxy.Proxy) {
				p.Leaf = c.leaf
				if c.other {
					p.CA.Store(testca.New(t, testca.Spec{CommonName: "Company CA"})) // of the same name
				}
				if c.splice {
					p.Splice = func(string) bool { return true }
				}
			}))
			x.Either = c.either
			if c.plain {
				x.Interception = ""
			}
			if c.direct { // somebody on the way intercepts
				w.up.Via, w.up.Resolve = nil, nil
				ca := w.company
				if c.other {
					ca = testca.New(t, testca.Spec{CommonName: "Company CA"})
				}
				addr := serveTLS(t, ca, "http/1.1")
				w.commit()
				a := net.TCPAddrFromAddrPort(mustAddrPort(t, addr))
				w.u.SetEndpoints([]ir.Endpoint{{Host: a.IP.String(), Port: uint16(a.Port)}})
			} else {
				w.commit()
			}
			if c.code == 0 {
				conn, body := w.fetch()
				if !strings.HasPrefix(body, "hello") || conn.Via.Intercepted == c.splice {
					t.Errorf("%q, %+v", body, conn.Via)
				}
				conn.Release()
				return
			}
			w.refused(c.code)
			h, e := w.seen.last(t)
			if h.Code != c.code || e.Code != c.code || e.Issuer == "" || e.Intercepted {
				t.Errorf("%+v\n%+v", h, e)
			}
		})
	}
}

func TestViaTLSHop(t *testing.T) {
	hopCA := testca.New(t, testca.Spec{CommonName: "Proxy's CA"})
	config := func(names ...string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{hopCA.Issue(testca.Spec{CommonName: "proxy", DNS: names, IPs: []string{"127.0.0.1"}}).TLS()}}
	}
	cases := []struct {
		name string
		hop  *ir.UpstreamTLS
		raw  func(net.Conn)
		code diag.Code
	}{
		{name: "good", hop: &ir.UpstreamTLS{SNI: "proxy.corp.example", VerifyName: "proxy.corp.example", Trust: "hop"}},
		{name: "its address", hop: &ir.UpstreamTLS{HostSNI: true, Trust: "hop"}},
		{name: "untrusted", hop: &ir.UpstreamTLS{HostSNI: true, Trust: "public"}, code: diag.ProxyUntrusted},
		{name: "another name", hop: &ir.UpstreamTLS{SNI: "other.corp.example", VerifyName: "other.corp.example", Trust: "hop"}, code: diag.ProxyUntrusted},
		{name: "the interception CA does not vouch for the hop", hop: &ir.UpstreamTLS{HostSNI: true, Trust: "company"}, code: diag.ProxyUntrusted},
		{name: "plain text", hop: &ir.UpstreamTLS{HostSNI: true, Trust: "hop"}, raw: func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, code: diag.ProxySpeaksPlaintext},
		{name: "silence", hop: &ir.UpstreamTLS{HostSNI: true, Trust: "hop"}, raw: func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, code: diag.ProxyTimeout},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.bundles.ByRef["hop"] = &ir.TrustBundle{Bundle: secret.NewBundle(hopCA.Cert)}
			x := w.proxy(w.start(func(p *testproxy.Proxy) { p.TLS, p.Raw = config("proxy.corp.example"), c.raw }))
			x.TLS, x.ConnectTimeout = c.hop, time.Second
			w.commit()
			if c.code != 0 {
				w.refused(c.code)
				if h, _ := w.seen.last(t); h.Code != c.code || h.Listener != "hop" {
					t.Errorf("%+v", h)
				}
				return
			}
			conn, _ := w.fetch()
			conn.Release()
			again, _ := w.fetch() // probing works through both layers
			if !again.Reused {
				t.Error("the connection was not used again")
			}
			again.Close()
		})
	}
}

func TestViaRotation(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil)
	w.proxy(p)
	w.commit()
	c, _ := w.fetch()
	c.Release()
	w.commit() // nothing changed
	c, _ = w.fetch()
	if !c.Reused {
		t.Error("a commit without changes withdrew a connection")
	}
	c.Release()

	next := testca.New(t, testca.Spec{CommonName: "Company CA"})
	w.bundles = &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"public": w.bundles.ByRef["public"], "company": {Bundle: secret.NewBundle(next.Cert)}}}
	w.commit()
	w.refused(diag.InterceptionUnknownCA) // the connection made by the old CA is not used
	p.CA.Store(next)
	c, _ = w.fetch()
	c.Release()

	login := "hakone:new"
	p.Login.Store(&login)
	w.login = &ir.Login{User: "hakone", Password: secret.NewBytes([]byte("wrong"))}
	w.commit()
	w.refused(diag.ProxyAuthRequired, "were sent")
	w.login = &ir.Login{User: "hakone", Password: secret.NewBytes([]byte("new"))}
	w.commit()
	c, _ = w.fetch()
	c.Release()
	w.login.Fault = &ir.Fault{Code: diag.UpstreamCredentialMissing, Detail: "the Secret is gone"}
	w.login = &ir.Login{Fault: w.login.Fault}
	w.commit()
	w.refused(diag.UpstreamCredentialMissing, "the Secret is gone")
}

func TestViaFailover(t *testing.T) {
	w := newWorld(t)
	first, second := w.start(nil), w.start(nil)
	x := w.proxy(first)
	x.Addresses = append(x.Addresses, ir.ProxyAddress{Host: "127.0.0.1", Port: second.Port()})
	w.commit()
	c, _ := w.fetch()
	if c.Via.Address != first.Address() {
		t.Error(c.Via)
	}
	c.Close()
	first.Stop()
	c, _ = w.fetch() // the same request goes on by the second
	if c.Via.Address != second.Address() {
		t.Error(c.Via)
	}
	c.Close()
	if s := w.reg.Proxies()[0].Addresses; s[0].Healthy || s[0].Code != diag.ProxyUnreachable || s[0].Until == nil || !s[1].Healthy {
		t.Errorf("%+v", s)
	}
	second.Stop()
	w.refused(diag.ProxyUnreachable)
	w.refused(diag.ProxyUnavailable, first.Address(), second.Address(), "HK3308")
}

func TestViaDirectFallback(t *testing.T) {
	w := newWorld(t)
	p := w.start(nil)
	x := w.proxy(p)
	x.Direct = true
	a := mustAddrPort(t, w.origin)
	w.up.Resolve = nil
	w.commit()
	w.u.SetEndpoints([]ir.Endpoint{{Host: a.Addr().String(), Port: a.Port()}})
	c, _ := w.fetch()
	if c.Via == nil || p.Asked()[0].Host != fmt.Sprintf("%s:%d", faraway, a.Port()) {
		t.Error("the proxy is not asked for the destination's name")
	}
	c.Close()
	p.Stop()
	c, body := w.fetch()
	if c.Via != nil || !strings.HasPrefix(body, "hello") {
		t.Error("not direct")
	}
	c.Close()
	w.bundles.ByRef["public"] = &ir.TrustBundle{Bundle: secret.NewBundle(testca.New(t, testca.Spec{}).Cert)}
	w.commit()
	w.refused(diag.UpstreamUnknownCA)
}

func TestViaPost(t *testing.T) {
	w := newWorld(t)
	w.up.TLS = nil
	w.up.Via.Method, w.up.Via.Host, w.up.Via.Port = "POST", "inner.example", 9000
	w.proxy(w.start(func(p *testproxy.Proxy) {
		p.Answer = func(c net.Conn, r *http.Request) {
			if r.Method != "POST" || r.Host != "inner.example:9000" || len(r.TransferEncoding) != 1 {
				_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1")
			body, err := io.ReadAll(r.Body) // to the last chunk
			if err != nil {
				return
			}
			fmt.Fprintf(c, "\r\n \r\n%x\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n", len(body), body)
		}
	}))
	w.commit()
	s, err := w.u.Connect(context.Background(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_ = s.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(s, "to the ")
	_, _ = io.WriteString(s, "inner world")
	if err := s.CloseWrite(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(s); err != nil || string(b) != "hello to the inner world" {
		t.Errorf("%q, %v", b, err)
	}
}

func mustAddrPort(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
