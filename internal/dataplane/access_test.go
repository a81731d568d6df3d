package dataplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// edge is a world with policies: a.test/one asks for a certificate of CA One, a.test/two for one of CA Two,
// and b.test for none.
type edge struct {
	*world
	one, two *testca.Pair
	crls     []*secret.CRL
	policies []*ir.AccessPolicy
	address  string

	plainAddress string
}

func newEdge(t *testing.T, change func(*edge)) *edge {
	e := &edge{world: newWorld(t, Options{}), one: testca.New(t, testca.Spec{CommonName: "One"}), two: testca.New(t, testca.Spec{CommonName: "Two"})}
	backend := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil {
			time.Sleep(d)
		}
		_ = json.NewEncoder(rw).Encode(map[string]any{"path": r.URL.Path, "header": r.Header})
	}))
	t.Cleanup(backend.Close)
	e.backend = backend.Listener.Addr().String()
	e.policies = []*ir.AccessPolicy{
		{Name: "t/one", Trust: "t/one", Forward: []string{ir.ForwardXFCC, ir.ForwardRFC9440}},
		{Name: "t/two", Trust: "t/two", Forward: []string{ir.ForwardCloudflare}, Preset: ir.PresetCloudflare,
			Session: &ir.Session{Cookie: "CF_Authorization", Algorithm: "ES256", Audience: "aud", Duration: 24 * time.Hour, Alone: true}},
	}
	if change != nil {
		change(e)
	}
	e.serve()
	return e
}

// serve applies what e holds now.
func (e *edge) serve() {
	e.t.Helper()
	l := e.tls("a.test")
	a := l.Chains[0]
	a.TLS.ALPN = []string{"h2", "http/1.1"}
	open := *a.TLS
	a.TLS.Class, a.TLS.ClientAuth = "policy", ir.ClientAuth{Mode: ir.ClientAuthPolicy, Policies: []string{"t/one", "t/two"}}
	for _, p := range e.policies {
		if p.Reject {
			a.TLS.ClientAuth.Reject = ir.RejectBad
		}
	}
	a.Access = []ir.AccessRule{{Policy: "t/one", Host: pattern(e.t, "a.test"), Path: "/one"}, {Policy: "t/two", Host: pattern(e.t, "a.test"), Path: "/two"}}
	// c.test is of the same chain, and asks nobody.
	a.Hosts = append(a.Hosts, pattern(e.t, "c.test"))
	a.HostTLS = []ir.HostTLS{{Host: pattern(e.t, "c.test"), TLS: &open}}
	a.VirtualHosts = append(a.VirtualHosts, e.route("c.test")...)
	l.Chains = append(l.Chains, &ir.Chain{Name: "t/gw/other", Hosts: []hostname.Pattern{pattern(e.t, "b.test")}, VirtualHosts: e.route("b.test"), TLS: &open})
	p := e.plain("a.test")
	p.Chains[0].Access = a.Access
	s := e.config(p, l)
	s.Config.AccessPolicies = e.policies
	s.Trust = &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{
		"t/one": {Bundle: secret.NewBundle(e.one.Cert), CRLs: e.crls}, "t/two": {Bundle: secret.NewBundle(e.two.Cert)}}}
	s.Seal()
	applied := e.apply(s)
	e.address, e.plainAddress = e.world.address(applied, "*:443"), e.world.address(applied, "*:80")
}

// revoke puts certificates on CA One's list.
func (e *edge) revoke(number int64, certs ...*x509.Certificate) {
	e.t.Helper()
	lists, err := secret.ParseCRLs(e.one.CRL(testca.CRLSpec{Revoked: certs, Number: number}))
	if err != nil {
		e.t.Fatal(err)
	}
	e.crls = lists
}

// client is a browser of its own, over HTTP/2 or 1.1, that shows cert where it is asked; sni is what its
// connections ask for, "" for the host.
func (e *edge) client(http2 bool, cert *testca.Pair, sni string) *http.Client {
	c := e.config443(sni).Clone()
	c.NextProtos = nil
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair := cert.TLS()
			return &pair, nil
		}
	}
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: http2, DialContext: to(e.address)}
	if !http2 {
		c.NextProtos = []string{"http/1.1"}
	}
	e.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// to dials one address whatever is asked for.
func to(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
}

func (e *edge) get(c *http.Client, url string, fields ...string) (*http.Response, string) {
	e.t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		e.t.Fatalf("%s: %v", url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp, string(body)
}

func TestPoliciesDecideByPathAndCA(t *testing.T) {
	e := newEdge(t, nil)
	expired := e.one.Issue(testca.Spec{CommonName: "old", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	early := e.one.Issue(testca.Spec{CommonName: "early", NotBefore: time.Now().Add(24 * time.Hour)})
	server := e.one.Issue(testca.Spec{CommonName: "server", EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	clients := map[string]*testca.Pair{"none": nil, "one": e.one.Issue(testca.Spec{CommonName: "vera"}), "two": e.two.Issue(testca.Spec{CommonName: "willi"}),
		"v1": e.one.Version1("localhost"), "expired": expired, "early": early, "server": server}
	for _, k := range []struct{ client, path, want string }{
		{"none", "/one", "HK2101"}, {"none", "/one/below", "HK2101"}, {"none", "//x/..//%6Fne;a/", "HK2101"}, {"none", "/ONE", "HK2101"}, {"none", "/", ""}, {"none", "/one0", ""},
		{"none", "/two", "HK2101"}, {"one", "/one", ""}, {"one", "/two", "HK2102"}, {"one", "/", ""}, {"two", "/one", "HK2102"}, {"two", "/two", ""},
		{"v1", "/one", ""}, {"expired", "/one", "HK2103"}, {"early", "/one", "HK2104"}, {"server", "/one", "HK2105"}, {"expired", "/", ""},
	} {
		for _, http2 := range []bool{false, true} {
			resp, body := e.get(e.client(http2, clients[k.client], ""), "https://a.test"+k.path)
			var page struct{ Code, RequestID, Path string }
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				t.Fatalf("%s %s: %v in %s", k.client, k.path, err, body)
			}
			if (resp.StatusCode == 403) != (k.want != "") || page.Code != k.want || resp.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s %s: %s %v %s, want %q", k.client, k.path, resp.Status, resp.Header, body, k.want)
			}
			if k.want != "" && (page.RequestID != resp.Header.Get("X-Request-Id") || resp.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("%s %s: %v %s", k.client, k.path, resp.Header, body)
			}
		}
	}
	// The last record is made a moment after its answer.
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && e.sink.count() < 26; time.Sleep(time.Millisecond) {
	}
	e.sink.mu.Lock()
	defer e.sink.mu.Unlock()
	for _, a := range e.sink.decided {
		if a.PolicyVerdict != "allow" && a.PolicyVerdict != "deny" || (a.PolicyCode == 0) != (a.PolicyVerdict == "allow") || a.PolicyCode != a.Code ||
			(a.PeerHash != "") != (a.PolicyVerdict == "allow") || a.Route != "r" || len(a.ID) == 0 {
			t.Errorf("recorded %+v", a)
		}
	}
	if n := len(e.sink.decided); n != 26 {
		t.Errorf("%d requests were decided by policies", n)
	}
}

// A certificate is asked for where a policy is, and nowhere else; its CAs are named.
func TestOnlyHostsWithPoliciesAsk(t *testing.T) {
	e := newEdge(t, nil)
	for host, want := range map[string]int{"a.test": 2, "b.test": -1, "c.test": -1} {
		named := -1
		c := e.config443(host).Clone()
		c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			named = len(r.AcceptableCAs)
			return &tls.Certificate{}, nil
		}
		conn, err := tls.Dial("tcp", e.address, c)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if named != want {
			t.Errorf("%s named %d CAs, want %d", host, named, want)
		}
	}
}

// Over plain HTTP nobody is let in.
func TestPolicyOnPlainListener(t *testing.T) {
	e := newEdge(t, nil)
	c := &http.Client{Transport: &http.Transport{DialContext: to(e.plainAddress)}}
	defer c.CloseIdleConnections()
	if resp, body := e.get(c, "http://a.test/one"); resp.StatusCode != 403 || !strings.Contains(body, "HK2123") {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp, _ := e.get(c, "http://a.test/"); resp.StatusCode != 200 {
		t.Errorf("%s", resp.Status)
	}
}

// What is told to the origin is the deciding policy's, and never the client's word.
func TestPoliciesForward(t *testing.T) {
	e := newEdge(t, nil)
	vera, willi := e.one.Issue(testca.Spec{CommonName: "vera"}), e.two.Issue(testca.Spec{CommonName: "willi"})
	lies := []string{"X-Forwarded-Client-Cert", "forged", "Client-Cert", ":Zm9yZ2Vk:", "Cf-Client-Cert-Der-Base64", "forged", "Cf-Client-Cert-Sha256", "forged", "Cf_Client_Cert_Sha256", "forged", "Client_Cert", "forged"}
	seen := func(cert *testca.Pair, path string) http.Header {
		_, body := e.get(e.client(true, cert, ""), "https://a.test"+path, lies...)
		var echo struct{ Header http.Header }
		if err := json.Unmarshal([]byte(body), &echo); err != nil || echo.Header == nil || strings.Contains(body, "forged") || strings.Contains(body, "Zm9yZ2Vk") {
			t.Errorf("%s: %s %v", path, body, err)
		}
		return echo.Header
	}
	h := seen(vera, "/one")
	if !strings.Contains(h.Get("X-Forwarded-Client-Cert"), `Subject="CN=vera"`) || h.Get("Client-Cert") == "" || h.Get("Cf-Client-Cert-Sha256") != "" {
		t.Errorf("/one: %v", h)
	}
	h = seen(willi, "/two")
	if len(h.Get("Cf-Client-Cert-Sha256")) != 64 || h.Get("Cf-Client-Cert-Der-Base64") == "" || h.Get("X-Forwarded-Client-Cert") != "" {
		t.Errorf("/two: %v", h)
	}
	for _, cert := range []*testca.Pair{nil, vera} {
		if h = seen(cert, "/"); h.Get("X-Forwarded-Client-Cert")+h.Get("Client-Cert")+h.Get("Cf-Client-Cert-Sha256") != "" {
			t.Errorf("/: %v", h)
		}
	}
}

// A client that was let in by its certificate gets a cookie, which opens the path alone.
func TestIdentityCookie(t *testing.T) {
	e := newEdge(t, nil)
	resp, _ := e.get(e.client(true, e.two.Issue(testca.Spec{CommonName: "willi"}), ""), "https://a.test/two")
	if len(resp.Cookies()) != 1 || resp.Header.Get("Cf-Ray") != resp.Header.Get("X-Request-Id") {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	cookie := resp.Cookies()[0]
	if cookie.Name != "CF_Authorization" || !cookie.Secure || !cookie.HttpOnly || cookie.Path != "/" || time.Until(cookie.Expires) < 23*time.Hour {
		t.Errorf("%+v", cookie)
	}
	anybody := e.client(true, nil, "")
	with := func(path, value string) string {
		r, body := e.get(anybody, "https://a.test"+path, "Cookie", "a=b; CF_Authorization="+value+"; c=d")
		if r.StatusCode == 200 {
			if len(r.Cookies()) > 0 {
				t.Error("a client without a certificate got a cookie")
			}
			return "200"
		}
		if r.Header.Get("Cf-Access-Aud") != "aud" && path == "/two" || r.Header.Get("Cf-Access-Domain") != "a.test" && path == "/two" {
			t.Errorf("%v", r.Header)
		}
		var page struct{ Code string }
		_ = json.Unmarshal([]byte(body), &page)
		return page.Code
	}
	if got := with("/two", cookie.Value); got != "200" {
		t.Errorf("the cookie alone: %s", got)
	}
	if got := with("/one", cookie.Value); got != "HK2101" {
		t.Errorf("the cookie at another policy's path: %s", got)
	}
	if got := with("/two", cookie.Value[:len(cookie.Value)-2]+"AA"); got != "HK2120" {
		t.Errorf("a forged cookie: %s", got)
	}
	for _, path := range []string{"/.well-known/hakone/jwks.json", "/cdn-cgi/access/certs"} {
		if r, body := e.get(anybody, "https://a.test"+path); r.StatusCode != 200 || !strings.Contains(body, `"kty":"EC"`) || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %s", path, r.Status, body)
		}
		if _, body := e.get(e.client(true, nil, ""), "https://b.test"+path); strings.Contains(body, "kty") {
			t.Errorf("%s is served at a host without sessions", path)
		}
	}
	e.serve() // nothing but the certificate changes: the key stays
	if got := with("/two", cookie.Value); got != "200" {
		t.Errorf("the cookie after another snapshot: %s", got)
	}
	changed := *e.policies[1]
	changed.Deny = []ir.CertificateRule{{CommonNames: []string{"otto"}}}
	e.policies = []*ir.AccessPolicy{e.policies[0], &changed}
	e.serve()
	if got := with("/two", cookie.Value); got != "HK2122" {
		t.Errorf("the cookie under other rules: %s", got)
	}
}

// oneTicket offers the last ticket to whatever host.
type oneTicket struct {
	mu   sync.Mutex
	last *tls.ClientSessionState
}

func (o *oneTicket) Get(string) (*tls.ClientSessionState, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last, o.last != nil
}

func (o *oneTicket) Put(_ string, s *tls.ClientSessionState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s != nil {
		o.last = s
	}
}

// A ticket carries a client's certificate to the same host under the same policies, CAs and lists, and
// nowhere else.
func TestTicketsDoNotCrossPolicies(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		e := newEdge(t, nil)
		vera := e.one.Issue(testca.Spec{CommonName: "vera"})
		otto := e.one.Issue(testca.Spec{CommonName: "otto"})
		tickets := &oneTicket{}
		visit := func(host, path string, cert *testca.Pair) (resumed bool, status int) {
			c := e.config443(host).Clone()
			c.MinVersion, c.MaxVersion, c.ClientSessionCache, c.NextProtos = version, version, tickets, []string{"http/1.1"}
			// crypto/tls offers a ticket only where the certificate that it came with names the host: *.test does.
			if cert != nil {
				c.Certificates = []tls.Certificate{cert.TLS()}
			}
			conn := dial(t, e.address, c)
			defer conn.conn.Close()
			status, _ = conn.get(host, path)
			return conn.conn.(*tls.Conn).ConnectionState().DidResume, status
		}
		expect := func(what, host, path string, cert *testca.Pair, resumed bool, status int) {
			t.Helper()
			if r, s := visit(host, path, cert); r != resumed || s != status {
				t.Errorf("%s, %s: resumed %v, %d; want %v, %d", tls.VersionName(version), what, r, s, resumed, status)
			}
		}
		expect("first", "b.test", "/", nil, false, 200)
		expect("again", "b.test", "/", nil, true, 200)
		expect("a ticket of an open host", "a.test", "/one", vera, false, 200)
		expect("again", "a.test", "/one", vera, true, 200)
		expect("the certificate is in the ticket", "a.test", "/one", nil, true, 200)
		expect("a ticket of a protected host", "b.test", "/one", nil, false, 200)
		expect("of the other", "c.test", "/", nil, false, 200)
		expect("back", "a.test", "/one", vera, false, 200)
		e.revoke(1)
		e.serve()
		expect("under a new list", "a.test", "/one", vera, false, 200)
		expect("again", "a.test", "/one", vera, true, 200)
		e.revoke(2, vera.Cert)
		e.serve()
		expect("revoked", "a.test", "/one", vera, false, 403)
		expect("a refused certificate is in the ticket too", "a.test", "/one", nil, true, 403)
		expect("none", "a.test", "/", otto, true, 200)
		tickets.last = nil
		expect("none", "a.test", "/", nil, false, 200)
		expect("who came without a certificate is asked again", "a.test", "/one", otto, false, 200)
	}
}

// A connection of HTTP/2 for a host that asks nobody serves no host that does.
func TestCoalescingDoesNotCrossPolicies(t *testing.T) {
	e := newEdge(t, nil)
	vera := e.one.Issue(testca.Spec{CommonName: "vera"})
	for _, k := range []struct {
		sni, host string
		want      int
	}{{"a.test", "a.test", 200}, {"b.test", "a.test", 421}, {"c.test", "a.test", 421}, {"a.test", "c.test", 421}, {"a.test", "b.test", 421}, {"c.test", "c.test", 200}} {
		if resp, _ := e.get(e.client(true, vera, k.sni), "https://"+k.host+"/one"); resp.StatusCode != k.want || resp.ProtoMajor != 2 {
			t.Errorf("%s on a connection for %s: %s %s", k.host, k.sni, resp.Proto, resp.Status)
		}
	}
}

// A revocation is felt by the next request; with CloseNow it ends what is in progress, within a second or so.
func TestRevocationOnOpenConnections(t *testing.T) {
	for _, now := range []bool{false, true} {
		t.Run(fmt.Sprintf("closeNow %v", now), func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, func(e *edge) { e.policies[0].CloseNow = now })
			e.revokeUnderWay(now)
		})
	}
}

func (e *edge) revokeUnderWay(now bool) {
	t := e.t
	vera, otto := e.one.Issue(testca.Spec{CommonName: "vera"}), e.one.Issue(testca.Spec{CommonName: "otto"})
	with := func(p *testca.Pair) *client {
		c := e.config443("a.test").Clone()
		if p != nil {
			c.Certificates = []tls.Certificate{p.TLS()}
		}
		return dial(t, e.address, c)
	}
	revoked, good, stranger := with(vera), with(otto), with(nil)
	for _, c := range []*client{revoked, good} {
		if status, _ := c.get("a.test", "/one"); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	begun := time.Now()
	for _, c := range []*client{revoked, good, stranger} {
		c.send("a.test", map[bool]string{true: "/?wait=2s", false: "/one?wait=2s"}[c == stranger])
	}
	time.Sleep(50 * time.Millisecond)
	e.revoke(1, vera.Cert)
	e.serve()
	_, err := revoked.r.Peek(1)
	if cut := err != nil; cut != now || now && time.Since(begun) > 1800*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	for _, c := range []*client{good, stranger} {
		if resp, _ := c.read(); resp.StatusCode != 200 {
			t.Errorf("who was not concerned got %d", resp.StatusCode)
		}
	}
	if status, _ := good.get("a.test", "/one"); status != 200 {
		t.Errorf("who was not concerned got %d afterwards", status)
	}
	if now {
		return
	}
	if resp, _ := revoked.read(); resp.StatusCode != 200 {
		t.Errorf("what was in progress: %d", resp.StatusCode)
	}
	if status, _ := revoked.get("a.test", "/one"); status != 403 {
		t.Errorf("the next request: %d", status)
	}
}

// A policy may refuse bad certificates in the handshake.
func TestRejectInTheHandshake(t *testing.T) {
	e := newEdge(t, func(e *edge) { e.policies[0].Reject = true })
	for _, k := range []struct {
		cert *testca.Pair
		fits bool
	}{{nil, true}, {e.one.Issue(testca.Spec{}), true}, {e.two.Issue(testca.Spec{}), false}} {
		c := e.config443("a.test").Clone()
		c.MaxVersion = tls.VersionTLS12
		if k.cert != nil {
			c.Certificates = []tls.Certificate{k.cert.TLS()}
		}
		conn, err := tls.Dial("tcp", e.address, c)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != k.fits {
			t.Errorf("%v: %v", k.cert, err)
		}
	}
}

// Calls, upgrades and bodies are refused like other requests: in their own words, before anything is read.
func TestPoliciesRefuseEveryKind(t *testing.T) {
	e := newEdge(t, nil)
	for path, want := range map[string]string{"/one": "16", "/": ""} {
		req, err := http.NewRequest(http.MethodPost, "https://a.test"+path, strings.NewReader("\x00\x00\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := e.client(true, nil, "").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Grpc-Status"); resp.StatusCode != 200 || got != want {
			t.Errorf("%s: a call got %s, grpc-status %q", path, resp.Status, got)
		}
	}
	strange := e.client(true, e.two.Issue(testca.Spec{}), "")
	req, err := http.NewRequest(http.MethodPost, "https://a.test/one", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	if resp, err := strange.Do(req); err != nil || resp.Header.Get("Grpc-Status") != "7" {
		t.Errorf("a call of a stranger: %v %v", resp, err)
	}
	for _, fields := range []string{
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
		"Content-Length: 1000000000\r\n",
		"Content-Length: 1000000000\r\nExpect: 100-continue\r\n",
		"Transfer-Encoding: chunked\r\n",
	} {
		c := dial(t, e.address, e.config443("a.test"))
		method := "POST"
		if strings.HasPrefix(fields, "Conn") {
			method = "GET"
		}
		if _, err := fmt.Fprintf(c.conn, "%s /one HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\n%s\r\n", method, fields); err != nil {
			t.Fatal(err)
		}
		if resp, body := c.read(); resp.StatusCode != 403 || !strings.Contains(body, "HK2101") {
			t.Errorf("%q: %s %s", fields, resp.Status, body)
		}
	}
}

// A path below a protected one is nobody's business, whether or not a route has it.
func TestPolicyOutweighsMissingRoute(t *testing.T) {
	e := newEdge(t, nil)
	l := e.tls("a.test")
	l.Chains[0].TLS.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthPolicy, Policies: []string{"t/one"}}
	l.Chains[0].Access = []ir.AccessRule{{Policy: "t/one", Host: pattern(t, "a.test"), Path: "/one"},
		{Policy: "t/open", Host: pattern(t, "a.test"), Route: &ir.RouteTarget{Object: diag.Object{Kind: "HTTPRoute", Name: "public"}}}, {Policy: "t/one", Host: pattern(t, "a.test"), Path: ""}}
	r := l.Chains[0].VirtualHosts[0].Routes[0]
	r.Match.Path, r.Origin.Object = ir.PathMatch{Kind: ir.MatchSegmentPrefix, Value: "/here"}, diag.Object{Kind: "HTTPRoute", Name: "public"}
	s := e.config(l)
	s.Config.AccessPolicies = append(e.policies, &ir.AccessPolicy{Name: "t/open", Open: true})
	s.Trust = &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"t/one": {Bundle: secret.NewBundle(e.one.Cert)}}}
	s.Seal()
	e.address = e.world.address(e.apply(s), "*:443")
	nobody, vera := e.client(false, nil, ""), e.client(false, e.one.Issue(testca.Spec{}), "")
	for _, k := range []struct {
		client *http.Client
		path   string
		want   int
	}{{nobody, "/one/gone", 403}, {vera, "/one/gone", 404}, {nobody, "/gone", 403}, {nobody, "/here", 200}, {vera, "/here", 200}} {
		if resp, _ := e.get(k.client, "https://a.test"+k.path); resp.StatusCode != k.want {
			t.Errorf("%s: %s, want %d", k.path, resp.Status, k.want)
		}
	}
}
