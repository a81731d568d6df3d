package dataplane

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/test/testca"
)

// log keeps access records.
type log struct {
	sink
	mu     sync.Mutex
	access []telemetry.Access
}

func (l *log) Access(a *telemetry.Access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := *a
	kept.URL, kept.Method, kept.ID = bytes.Clone(a.URL), bytes.Clone(a.Method), nil
	l.access = append(l.access, kept)
}

// lines returns records as Squid tells them.
func (l *log) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, a := range l.access {
		out = append(out, fmt.Sprintf("%s/%d %s %s %s %s %s", a.Result, a.Status, a.Method, a.URL, or(a.User), a.Hierarchy, or(a.Bump)))
	}
	return out
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// outsideWorld is a plane with a forward proxy, and origins outside.
type outsideWorld struct {
	*world
	log      *log
	mesh     *testca.Pair // the interception CA
	public   *testca.Pair // what destinations are signed by
	stranger *testca.Pair
	snap     *ir.Snapshot
	forward  *ir.Forward
	applied  *ir.Applied
}

func newOutside(t *testing.T, change func(*ir.Forward, *ir.Snapshot)) *outsideWorld {
	t.Helper()
	return newOutsideWith(t, Options{}, change)
}

// newOutsideWith is newOutside with options of the plane.
func newOutsideWith(t *testing.T, opts Options, change func(*ir.Forward, *ir.Snapshot)) *outsideWorld {
	t.Helper()
	l := &log{}
	opts.Sink, opts.PortMap = l, map[uint16]uint16{80: 0, 443: 0, 3128: 0, 3129: 0}
	o := &outsideWorld{world: newWorld(t, opts), log: l,
		mesh: testca.New(t, testca.Spec{CommonName: "mesh"}), public: testca.New(t, testca.Spec{CommonName: "public"}), stranger: testca.New(t, testca.Spec{CommonName: "stranger"})}
	o.use(change)
	return o
}

// use applies a configuration.
func (o *outsideWorld) use(change func(*ir.Forward, *ir.Snapshot)) {
	o.t.Helper()
	origin := ir.Origin{Object: diag.Object{Kind: "ForwardProxy", Namespace: "t", Name: "out"}}
	o.forward = &ir.Forward{Name: "t/out", Origin: origin, Hostname: "out", Revision: "1", Loopback: true, Via: true,
		Template: ir.Upstream{Protocol: ir.UpstreamAuto, Balancing: ir.RoundRobin, TLS: &ir.UpstreamTLS{HostSNI: true, Trust: "t/public"}},
		Interception: &ir.Interception{CA: "t/mesh", KeyType: "ecdsa", Validity: time.Hour,
			TLS: ir.TLS{Class: "9", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ALPN: []string{"h2", "http/1.1"}, ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone}}}}
	chain := &ir.Chain{Name: "t/out/proxy", Origin: origin, Hosts: []hostname.Pattern{hostname.Any()}}
	listener := &ir.Listener{Name: "*:3128", Port: 3128, Chains: []*ir.Chain{chain}, Forward: &ir.ForwardListener{Policy: "t/out", Section: "proxy", Mode: ir.ForwardExplicit, Intercept: true}}
	gateway := &ir.Listener{Name: "*:3129", Port: 3129, Chains: []*ir.Chain{{Name: "t/out/gateway", Origin: origin, Hosts: []hostname.Pattern{hostname.Any()}}},
		Forward: &ir.ForwardListener{Policy: "t/out", Section: "gateway", Mode: ir.ForwardGateway, Intercept: true}}
	o.snap = o.config(listener, gateway)
	o.snap.Config.Forwards = []*ir.Forward{o.forward}
	pair, _, err := secret.ParseKeyPair(o.mesh.ChainPEM(), o.mesh.KeyPEM())
	if err != nil {
		o.t.Fatal(err)
	}
	o.snap.Secrets = &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{"t/mesh": {Pair: pair}}}
	bundle, _, err := secret.ParseBundle(o.public.CertPEM())
	if err != nil {
		o.t.Fatal(err)
	}
	o.snap.Trust = &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"t/public": {Revision: "1", Bundle: bundle}}}
	if change != nil {
		change(o.forward, o.snap)
	}
	o.snap.Seal()
	o.applied = o.apply(o.snap)
}

// origin serves TLS with a certificate for localhost and *.test.
func (o *outsideWorld) origin(by *testca.Pair, spec testca.Spec) string {
	o.t.Helper()
	if spec.DNS == nil {
		spec.DNS, spec.IPs = []string{"localhost", "*.test"}, []string{"127.0.0.1"}
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Leaked", r.Header.Get("Proxy-Authorization"))
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.Host, r.URL.Path)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{by.Issue(spec).TLS()}}
	s.Config.ErrorLog = stdlog.New(io.Discard, "", 0)
	s.StartTLS()
	o.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// via is a client that uses the proxy.
func (o *outsideWorld) via(change func(*http.Transport)) *http.Client {
	t := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: o.address(o.applied, "*:3128")}), ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{RootCAs: o.mesh.Pool()}}
	if change != nil {
		change(t)
	}
	o.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (o *outsideWorld) fetch(c *http.Client, url string) (*http.Response, string) {
	o.t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		o.t.Fatalf("GET %s: %v", url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return resp, string(b)
}

func (o *outsideWorld) logged(want string) {
	o.t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		lines := o.log.lines()
		if slices.Contains(lines, want) {
			return
		}
		if time.Now().After(end) {
			o.t.Fatalf("no line\n%s\nin\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// connect asks for a tunnel and starts TLS in it.
func (o *outsideWorld) connect(target string, config *tls.Config) (net.Conn, int, error) {
	o.t.Helper()
	conn, err := net.Dial("tcp", o.address(o.applied, "*:3128"))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), &http.Request{Method: "CONNECT"})
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != 200 || config == nil {
		return conn, resp.StatusCode, nil
	}
	c := tls.Client(conn, config)
	return c, 200, c.Handshake()
}

func TestForwardBumps(t *testing.T) {
	o := newOutside(t, nil)
	_, port, _ := net.SplitHostPort(o.origin(o.public, testca.Spec{}))
	for _, h2 := range []bool{true, false} {
		c := o.via(func(tr *http.Transport) {
			if !h2 {
				tr.ForceAttemptHTTP2 = false
				tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
			}
		})
		resp, body := o.fetch(c, "https://localhost:"+port+"/page")
		if resp.StatusCode != 200 || !strings.HasSuffix(body, "localhost:"+port+" /page") || (resp.ProtoMajor == 2) != h2 {
			t.Fatalf("HTTP/2 %v: %d %s %q", h2, resp.StatusCode, resp.Proto, body)
		}
		if got := resp.TLS.PeerCertificates[0].Issuer.CommonName; got != "mesh" {
			t.Errorf("the leaf is signed by %q", got)
		}
	}
	o.logged("NONE_NONE/200 CONNECT localhost:" + port + " - HIER_DIRECT bump")
	o.logged("TCP_MISS/200 GET https://localhost:" + port + "/page - HIER_DIRECT bump")
}

func TestForwardPlain(t *testing.T) {
	o := newOutside(t, nil)
	resp, body := o.fetch(o.via(nil), "http://"+o.backend+"/x?y=1")
	if resp.StatusCode != 200 || body != o.backend+" /x" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	o.logged("TCP_MISS/200 GET http://" + o.backend + "/x?y=1 - HIER_DIRECT -")
}

// TestForwardSteps has each way through the three steps.
func TestForwardSteps(t *testing.T) {
	s1, s2, s3 := "step1", "step2", "step3"
	for _, c := range []struct {
		name  string
		rules []string
		want  string // "splice", "bump", "terminate"
		max   uint16 // of the client's TLS
	}{
		{"default", nil, "bump", 0},
		{"peek, bump", []string{"peek step1", "bump all"}, "bump", 0},
		{"bump at step 1", []string{"bump all"}, "bump", 0},
		{"splice at step 1", []string{"splice all"}, "splice", 0},
		{"splice by name", []string{"peek step1", "splice named", "bump all"}, "splice", 0},
		{"bump another name", []string{"peek step1", "splice other", "bump all"}, "bump", 0},
		{"nothing matches", []string{"peek step1"}, "splice", 0},
		{"no step 1 rule", []string{"bump step2"}, "splice", 0},
		{"terminate at step 2", []string{"peek step1", "terminate named"}, "terminate", 0},
		{"peek twice, then bump: impossible", []string{"peek step1", "peek step2", "bump all"}, "splice", 0},
		{"peek twice, then splice", []string{"peek step1", "peek step2", "splice all"}, "splice", 0},
		{"peek twice, then terminate by certificate", []string{"peek step1", "peek step2", "terminate provided"}, "terminate", tls.VersionTLS12},
		{"TLS 1.3 hides the certificate", []string{"peek step1", "peek step2", "terminate provided"}, "splice", 0},
		{"stare, then bump", []string{"peek step1", "stare step2", "bump all"}, "bump", 0},
		{"stare, then splice: impossible", []string{"peek step1", "stare step2", "splice all"}, "bump", 0},
		{"stare, terminate by certificate", []string{"peek step1", "stare step2", "terminate provided"}, "terminate", 0},
		{"stare at step 1", []string{"stare step1", "bump all"}, "bump", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) {
				f.ACLs = []ir.ACL{{Name: s1, Type: "at_step", Values: []string{"SslBump1"}}, {Name: s2, Type: "at_step", Values: []string{"SslBump2"}}, {Name: s3, Type: "at_step", Values: []string{"SslBump3"}},
					{Name: "named", Type: "ssl::server_name", Values: []string{".a.test"}}, {Name: "other", Type: "ssl::server_name", Values: []string{"b.test"}},
					{Name: "provided", Type: "ssl::server_name", Options: []string{"--server-provided"}, Values: []string{".a.test"}}}
				for _, r := range c.rules {
					words := strings.Fields(r)
					f.Interception.Rules = append(f.Interception.Rules, ir.ForwardRule{Action: words[0], ACLs: words[1:]})
				}
			})
			target := o.origin(o.public, testca.Spec{DNS: []string{"a.test"}})
			conn, status, err := o.connect(target, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, MaxVersion: c.max})
			got := "terminate"
			if status == 200 && err == nil {
				got = "splice"
				if conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Issuer.CommonName == "mesh" {
					got = "bump"
				}
				fmt.Fprintf(conn, "GET /z HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
				answer, err := io.ReadAll(conn)
				if !strings.Contains(string(answer), "200 OK") {
					t.Errorf("answered %q, %v", answer, err)
				}
			}
			if got != c.want {
				t.Errorf("%s, want %s (status %d, %v)", got, c.want, status, err)
			}
		})
	}
}

// TestForwardUntrusted asks for destinations whose certificates do not verify.
func TestForwardUntrusted(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name    string
		by      func(*outsideWorld) *testca.Pair
		spec    testca.Spec
		allow   string
		status  int
		says    string
		trusted bool // the leaf is signed by the CA
	}{
		{"unknown CA", func(o *outsideWorld) *testca.Pair { return o.stranger }, testca.Spec{}, "", 503, "upstream_unknown_ca", true},
		{"expired", func(o *outsideWorld) *testca.Pair { return o.public }, testca.Spec{NotBefore: past.Add(-time.Hour), NotAfter: past}, "", 503, "upstream_cert_expired", true},
		{"unknown CA allowed", func(o *outsideWorld) *testca.Pair { return o.stranger }, testca.Spec{}, "all", 200, "", false},
		{"expired allowed", func(o *outsideWorld) *testca.Pair { return o.public }, testca.Spec{NotBefore: past.Add(-time.Hour), NotAfter: past}, "ssl::certHasExpired", 200, "", true},
		{"expired and untrusted, expired allowed", func(o *outsideWorld) *testca.Pair { return o.stranger }, testca.Spec{NotBefore: past.Add(-time.Hour), NotAfter: past}, "ssl::certHasExpired", 503, "HK45", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) {
				if c.allow != "" {
					f.Interception.Errors = []ir.ForwardRule{{Action: "allow", ACLs: []string{c.allow}}}
				}
			})
			_, port, _ := net.SplitHostPort(o.origin(c.by(o), c.spec))
			client := o.via(func(tr *http.Transport) { tr.TLSClientConfig.InsecureSkipVerify = true })
			resp, body := o.fetch(client, "https://localhost:"+port+"/")
			if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
				t.Errorf("%d %q", resp.StatusCode, body)
			}
			if got := resp.TLS.PeerCertificates[0].Issuer.CommonName == "mesh"; got != c.trusted {
				t.Errorf("signed by %q", resp.TLS.PeerCertificates[0].Issuer)
			}
		})
	}
}

// TestForwardTrustChange ends connections that were intercepted with a CA that is gone, and no others.
func TestForwardTrustChange(t *testing.T) {
	o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) {
		f.ACLs = []ir.ACL{{Name: "step1", Type: "at_step", Values: []string{"SslBump1"}}, {Name: "spliced", Type: "ssl::server_name", Values: []string{"s.test"}}}
		f.Interception.Rules = []ir.ForwardRule{{Action: "peek", ACLs: []string{"step1"}}, {Action: "splice", ACLs: []string{"spliced"}}, {Action: "bump", ACLs: []string{"all"}}}
	})
	target := o.origin(o.public, testca.Spec{})
	ask := func(c net.Conn, host string) string {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return "ended"
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Status
	}
	bumped, _, err := o.connect(target, &tls.Config{ServerName: "b.test", RootCAs: o.mesh.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	spliced, _, err := o.connect(target, &tls.Config{ServerName: "s.test", RootCAs: o.public.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := ask(bumped, "b.test"), ask(spliced, "s.test"); a != "200 OK" || b != "200 OK" {
		t.Fatal(a, b)
	}
	o.mesh = testca.New(t, testca.Spec{CommonName: "next"})
	rules, acls := o.forward.Interception.Rules, o.forward.ACLs
	o.use(func(f *ir.Forward, _ *ir.Snapshot) { f.Interception.Rules, f.ACLs, f.Revision = rules, acls, "2" })
	if got := ask(spliced, "s.test"); got != "200 OK" {
		t.Errorf("the spliced connection: %s", got)
	}
	if ask(bumped, "b.test"); ask(bumped, "b.test") == "200 OK" {
		t.Error("the bumped connection goes on")
	}
	if _, _, err := o.connect(target, &tls.Config{ServerName: "b.test", RootCAs: o.mesh.Pool()}); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}

// TestForwardGateway takes the proxy for the destination.
func TestForwardGateway(t *testing.T) {
	o := newOutside(t, nil)
	_, port, _ := net.SplitHostPort(o.origin(o.public, testca.Spec{}))
	o.use(func(_ *ir.Forward, s *ir.Snapshot) {
		f := s.Config.Listeners[1].Forward
		_, _ = fmt.Sscan(port, &f.OriginatePort)
		f.OriginateTLS = true
	})
	at := o.address(o.applied, "*:3129")
	if code, body := dial(t, at, nil).get("localhost", "/a"); code != 200 || !strings.HasSuffix(body, "localhost:"+port+" /a") {
		t.Errorf("way A: %d %q", code, body)
	}
	if code, body := dial(t, at, &tls.Config{ServerName: "localhost", RootCAs: o.mesh.Pool()}).get("localhost", "/b"); code != 200 || !strings.HasSuffix(body, "localhost:"+port+" /b") {
		t.Errorf("way B: %d %q", code, body)
	}
	if code, body := dial(t, at, nil).get("10.0.0.1", "/.well-known/hakone/trust"); code != 200 || !strings.Contains(body, "update-ca-certificates") {
		t.Errorf("trust page: %d %q", code, body)
	}
}
