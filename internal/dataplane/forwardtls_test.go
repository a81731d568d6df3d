package dataplane

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestForwardPinned splices hosts whose clients refused our leaf twice, if it may.
func TestForwardPinned(t *testing.T) {
	for _, learn := range []bool{true, false} {
		o := newOutside(t, func(f *ir.Forward, _ *ir.Snapshot) { f.Interception.LearnPinned = learn })
		target := o.origin(o.public, testca.Spec{})
		pins := &tls.Config{ServerName: "pins.test", RootCAs: o.public.Pool()}
		var last error
		for range 3 {
			_, _, last = o.connect(target, pins)
			time.Sleep(20 * time.Millisecond) // what the server makes of the alert
		}
		if (last == nil) != learn {
			t.Errorf("learnPinned %v: the third attempt: %v", learn, last)
		}
		if _, _, err := o.connect(target, &tls.Config{ServerName: "other.test", RootCAs: o.mesh.Pool()}); err != nil {
			t.Errorf("another host: %v", err)
		}
	}
}

// TestForwardOverTLS speaks TLS with the proxy itself; the client's certificate is its user.
func TestForwardOverTLS(t *testing.T) {
	clients := testca.New(t, testca.Spec{CommonName: "clients"})
	proxyCA := testca.New(t, testca.Spec{})
	o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
		leaf := proxyCA.Issue(testca.Spec{DNS: []string{"localhost"}, IPs: []string{"127.0.0.1"}})
		pair, _, err := secret.ParseKeyPair(leaf.ChainPEM(), leaf.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		bundle, _, err := secret.ParseBundle(clients.CertPEM())
		if err != nil {
			t.Fatal(err)
		}
		s.Secrets.ByRef["t/proxy"] = &ir.Credential{Pair: pair}
		s.Trust.ByRef["t/clients"] = &ir.TrustBundle{Revision: "1", Bundle: bundle}
		l := s.Config.Listeners[0]
		l.TLS = true
		l.Chains[0].TLS = &ir.TLS{Class: "7", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, ALPN: []string{"http/1.1"}, Certificates: []ir.SecretRef{"t/proxy"},
			ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthOptional, Trust: "t/clients"}}
		f.ACLs = []ir.ACL{{Name: "alice", Type: "user_cert", Values: []string{"CN", "alice"}}}
		f.Access = []ir.ForwardRule{{Action: "allow", ACLs: []string{"alice"}}, {Action: "deny", ACLs: []string{"all"}}}
	})
	_, port, _ := net.SplitHostPort(o.origin(o.public, testca.Spec{}))
	for name, status := range map[string]int{"alice": 200, "bob": 403, "": 403} {
		pool := o.mesh.Pool()
		pool.AddCert(proxyCA.Cert)
		config := &tls.Config{RootCAs: pool}
		if name != "" {
			config.Certificates = []tls.Certificate{clients.Issue(testca.Spec{CommonName: name}).TLS()}
		}
		c := o.via(func(tr *http.Transport) {
			tr.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: o.address(o.applied, "*:3128")})
			tr.TLSClientConfig = config
		})
		resp, err := c.Get("https://localhost:" + port + "/")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%q: %d", name, resp.StatusCode)
		}
		if status == 200 {
			o.logged("TCP_MISS/200 GET https://localhost:" + port + "/ alice HIER_DIRECT bump")
		}
	}
}

// TestForwardPageInTLS shows the page of a refused CONNECT in TLS, which browsers show, and does so once: the next
// CONNECT is decided about anew. A CA that may not sign for the name leaves the status of CONNECT.
func TestForwardPageInTLS(t *testing.T) {
	deny := func(f *ir.Forward, _ *ir.Snapshot) {
		f.ACLs = []ir.ACL{{Name: "bad", Type: "dstdomain", Values: []string{".bad.test"}}}
		f.Access = []ir.ForwardRule{{Action: "deny", ACLs: []string{"bad"}}, {Action: "allow", ACLs: []string{"all"}}}
	}
	o := newOutside(t, deny)
	c := o.via(nil)
	for range 2 {
		resp, body := o.fetch(c, "https://www.bad.test:8443/x")
		if resp.StatusCode != 403 || !strings.Contains(body, "access rule 1 (deny bad)") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	o.logged("TCP_DENIED/200 CONNECT www.bad.test:8443 - HIER_NONE bump")
	o.logged("NONE_NONE/403 GET https://www.bad.test:8443/x - HIER_NONE bump")
	o.log.mu.Lock()
	connects := 0
	for _, a := range o.log.access {
		if string(a.Method) == "CONNECT" {
			connects++
		}
	}
	o.log.mu.Unlock()
	if connects != 2 {
		t.Errorf("%d CONNECT requests, want one for each page", connects)
	}

	narrow := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
		deny(f, s)
		ca := testca.New(t, testca.Spec{PermittedDNS: []string{"good.test"}})
		pair, _, err := secret.ParseKeyPair(ca.ChainPEM(), ca.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		s.Secrets.ByRef[f.Interception.CA] = &ir.Credential{Pair: pair}
	})
	if resp, body := narrow.ask("CONNECT www.bad.test:443 HTTP/1.1\nHost: www.bad.test:443"); resp.StatusCode != 403 || !strings.Contains(body, "HK4502") {
		t.Errorf("a name that cannot be signed for: %d %s", resp.StatusCode, body)
	}
}

// TestForwardSilentDestination has a destination that takes connections and says nothing for longer than a client has
// for its handshake: the client gets the page that says so, in TLS.
func TestForwardSilentDestination(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	o := newOutsideWith(t, Options{HandshakeTimeout: 200 * time.Millisecond}, func(f *ir.Forward, _ *ir.Snapshot) {
		f.Template.Pool.ConnectTimeout = 600 * time.Millisecond
	})
	_, port, _ := net.SplitHostPort(silent.Addr().String())
	if resp, body := o.fetch(o.via(nil), "https://localhost:"+port+"/"); resp.StatusCode != 503 || !strings.Contains(body, "HK3202") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestForwardTrustPage: of a CA below a root that its Secret holds, the root is what clients are told to trust.
func TestForwardTrustPage(t *testing.T) {
	root := testca.New(t, testca.Spec{CommonName: "root"})
	o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
		below := root.Intermediate(testca.Spec{CommonName: "below"})
		m, _, err := secret.FromData(map[string][]byte{"tls.crt": below.CertPEM(), "tls.key": below.KeyPEM(), "ca.crt": root.CertPEM()})
		if err != nil {
			t.Fatal(err)
		}
		pair, _, err := m.KeyPair()
		if err != nil {
			t.Fatal(err)
		}
		s.Secrets.ByRef[f.Interception.CA] = &ir.Credential{Pair: pair}
	})
	if _, body := o.fetch(http.DefaultClient, "http://"+o.address(o.applied, "*:3128")+"/.well-known/hakone/trust/ca.pem"); body != string(root.CertPEM()) {
		t.Errorf("the trust page hands out\n%s", body)
	}
}

// TestForwardTrailers has trailers, as gRPC ends with, come through a bumped HTTP/2 connection.
func TestForwardTrailers(t *testing.T) {
	o := newOutside(t, nil)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %d", r.Header.Get("Te"), len(b))
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{o.public.Issue(testca.Spec{DNS: []string{"localhost"}}).TLS()}}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	req, _ := http.NewRequest("POST", "https://localhost:"+port+"/pkg.Service/Method", strings.NewReader("\x00\x00\x00\x00\x02hi"))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := o.via(nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || string(body) != "trailers 7" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("%d %q %v", resp.StatusCode, body, resp.Trailer)
	}
}

// TestForwardNoCA refuses what it is to look into and cannot, and serves everything else.
func TestForwardNoCA(t *testing.T) {
	o := newOutside(t, func(_ *ir.Forward, s *ir.Snapshot) { s.Secrets = &ir.Secrets{} })
	target := o.origin(o.public, testca.Spec{})
	if _, _, err := o.connect(target, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true}); err == nil {
		t.Error("TLS was served without a CA")
	}
	if resp, _ := o.fetch(o.via(nil), "http://"+o.backend+"/"); resp.StatusCode != 200 {
		t.Errorf("plain: %d", resp.StatusCode)
	}
	eventually(t, "a record of the refusal", func() bool {
		o.log.mu.Lock()
		defer o.log.mu.Unlock()
		for _, a := range o.log.access {
			if a.Code == diag.ForwardUnavailable {
				return true
			}
		}
		return false
	})
}

// TestForwardParent goes through another proxy: by its hosts, by a rule, and not where a direct rule says so.
func TestForwardParent(t *testing.T) {
	var asked atomic.Int32
	parent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Method != "CONNECT" || r.Header.Get("Proxy-Authorization") != "" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		fmt.Fprint(from, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(to, buf) }()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(parent.Close)
	host, port, _ := net.SplitHostPort(parent.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	for name, c := range map[string]struct {
		change func(*ir.Forward, *ir.Proxy)
		parent bool
	}{
		"hosts": {func(_ *ir.Forward, p *ir.Proxy) { p.Hosts = []hostname.Pattern{pattern(t, "localhost")} }, true},
		"except": {func(_ *ir.Forward, p *ir.Proxy) {
			p.Hosts, p.Except = []hostname.Pattern{hostname.Any()}, []hostname.Pattern{pattern(t, "localhost")}
		}, false},
		"nets": {func(_ *ir.Forward, p *ir.Proxy) {
			p.Hosts, p.ExceptNets = []hostname.Pattern{hostname.Any()}, []string{"127.0.0.0/8", "::1/128"}
		}, true}, // names are not looked up
		"127.0.0.1": {func(_ *ir.Forward, p *ir.Proxy) {
			p.Hosts, p.ExceptNets = []hostname.Pattern{hostname.Any()}, []string{"127.0.0.0/8", "::1/128"}
		}, false},
		"rule": {func(f *ir.Forward, _ *ir.Proxy) {
			f.Proxies = []ir.ForwardVia{{Proxies: []string{"t/parent"}, ACLs: []string{"all"}}}
		}, true},
		"direct": {func(f *ir.Forward, _ *ir.Proxy) {
			f.Proxies = []ir.ForwardVia{{Proxies: []string{"t/parent"}, ACLs: []string{"all"}}}
			f.Direct = []ir.ForwardRule{{Action: "allow", ACLs: []string{"all"}}}
		}, false},
	} {
		to := "localhost"
		if name == "127.0.0.1" {
			to = name
		}
		for _, splice := range []bool{false, true} {
			o := newOutside(t, func(f *ir.Forward, s *ir.Snapshot) {
				p := &ir.Proxy{Name: "t/parent", Addresses: []ir.ProxyAddress{{Host: host, Port: uint16(n)}}}
				s.Config.Proxies = []*ir.Proxy{p}
				c.change(f, p)
				if splice {
					f.Interception = nil
				}
			})
			_, port, _ := net.SplitHostPort(o.origin(o.public, testca.Spec{}))
			asked.Store(0)
			client := o.via(func(tr *http.Transport) {
				if splice {
					tr.TLSClientConfig.RootCAs = o.public.Pool()
				}
			})
			if resp, body := o.fetch(client, "https://"+to+":"+port+"/"); resp.StatusCode != 200 {
				t.Errorf("%s: %d %s", name, resp.StatusCode, body)
			}
			if (asked.Load() > 0) != c.parent {
				t.Errorf("%s, spliced %v: the parent was asked %d times", name, splice, asked.Load())
			}
			way := "HIER_DIRECT"
			if c.parent {
				way = "FIRSTUP_PARENT"
			}
			client.CloseIdleConnections()
			if splice {
				o.logged("TCP_TUNNEL/200 CONNECT " + to + ":" + port + " - " + way + " -")
			} else {
				o.logged("TCP_MISS/200 GET https://" + to + ":" + port + "/ - " + way + " bump")
			}
		}
	}
}
