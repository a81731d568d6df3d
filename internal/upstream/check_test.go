package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/test/testca"
)

// originServer answers checks in several ways, by path.
func originServer(t *testing.T, config *tls.Config, protocols func(*http.Protocols)) ir.Endpoint {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		_, _ = io.WriteString(w, r.Method+" "+r.Host+" "+r.Header.Get("X-Probe")+" "+r.Proto)
	})
	mux.HandleFunc("/500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/once", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	mux.HandleFunc("/forever", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/forever", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.test/", http.StatusFound)
	})
	mux.HandleFunc("/late", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", checkBody)+"needle")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack()
		c.Close()
	})
	s := httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = protocols != nil
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	if protocols != nil {
		s.Config.Protocols = new(http.Protocols)
		protocols(s.Config.Protocols)
	}
	if s.TLS = config; config != nil {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	a := s.Listener.Addr().(*net.TCPAddr)
	return ir.Endpoint{Host: "127.0.0.1", Port: uint16(a.Port), Server: &ir.Server{Name: "o", Share: 1}}
}

func TestCheckHTTP(t *testing.T) {
	ep := originServer(t, nil, nil)
	r := NewRegistry(Options{Resolver: fixedNames{"origin.test": {netip.MustParseAddr("127.0.0.7"), netip.MustParseAddr("127.0.0.1")}}})
	defer r.Close()
	for _, c := range []struct {
		name   string
		m      ir.Monitor
		change func(*ir.Endpoint)
		code   diag.Code
		detail string
	}{
		{"fine", ir.Monitor{Path: "/"}, nil, 0, ""},
		{"method, host and header", ir.Monitor{Method: "POST", Path: "/x", Headers: []ir.NameValue{{Name: "host", Value: "h.test"}, {Name: "X-Probe", Value: "p"}}, Body: "POST h.test p"}, nil, 0, ""},
		{"the origin's host", ir.Monitor{Path: "/", Body: "GET own.test "}, func(e *ir.Endpoint) { e.Server.HostHeader = "own.test" }, 0, ""},
		{"a name, of whose addresses one answers", ir.Monitor{Path: "/", Body: "GET origin.test:"}, func(e *ir.Endpoint) { e.Host = "origin.test" }, 0, ""},
		{"a name that is none", ir.Monitor{Path: "/"}, func(e *ir.Endpoint) { e.Host = "nobody.test" }, diag.UpstreamDNS, `"nobody.test"`},
		{"status", ir.Monitor{Path: "/500"}, nil, diag.CheckUnexpectedStatus, "GET /500 was answered 500"},
		{"status that is fine here", ir.Monitor{Path: "/500", Codes: []ir.CodeRange{{From: 200, To: 299}, {From: 500, To: 500}}}, nil, 0, ""},
		{"2xx is not", ir.Monitor{Path: "/", Codes: []ir.CodeRange{{From: 404, To: 404}}}, nil, diag.CheckUnexpectedStatus, "answered 200"},
		{"body", ir.Monitor{Path: "/", Body: "missing"}, nil, diag.CheckUnexpectedBody, `do not hold "missing"`},
		{"body too far", ir.Monitor{Path: "/long", Body: "needle"}, nil, diag.CheckUnexpectedBody, "16384"},
		{"redirect", ir.Monitor{Path: "/once"}, nil, diag.CheckUnexpectedStatus, "302"},
		{"redirect that is followed", ir.Monitor{Path: "/once", FollowRedirects: true}, nil, 0, ""},
		{"redirects without end", ir.Monitor{Path: "/forever", FollowRedirects: true}, nil, diag.CheckRedirect, "more than 3"},
		{"redirect elsewhere", ir.Monitor{Path: "/away", FollowRedirects: true}, nil, diag.CheckRedirect, "http://elsewhere.test"},
		{"late", ir.Monitor{Path: "/late", Timeout: 50 * time.Millisecond}, nil, diag.UpstreamTimeout, "did not answer in 50ms"},
		{"cut", ir.Monitor{Path: "/cut"}, nil, diag.UpstreamClosedEarly, "without an answer"},
		{"another port", ir.Monitor{Path: "/", Port: 1}, nil, diag.UpstreamConnectRefused, "127.0.0.1:1"},
		{"tcp", ir.Monitor{Type: "tcp"}, nil, 0, ""},
		{"tcp refused", ir.Monitor{Type: "tcp", Port: 1}, nil, diag.UpstreamConnectRefused, "127.0.0.1:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.m.Type == "" {
				c.m.Type = "http"
			}
			to, server := ep, *ep.Server
			if to.Server = &server; c.change != nil {
				c.change(&to)
			}
			u := r.Acquire(&ir.Upstream{Name: "u", Protocol: ir.UpstreamHTTP1, Origins: &ir.OriginPool{Name: "ns/u"}})
			defer r.Release(u)
			got := r.check(context.Background(), &plan{monitor: &c.m, by: u, target: to})
			if got.code != c.code || !strings.Contains(got.detail, c.detail) || got.rtt <= 0 {
				t.Errorf("%s %q, want %s with %q", got.code, got.detail, c.code, c.detail)
			}
		})
	}
}

// TestCheckTLS holds that a check fails for the reason that requests would fail for, and with its code.
func TestCheckTLS(t *testing.T) {
	ca, other := testca.New(t, testca.Spec{CommonName: "CA"}), testca.New(t, testca.Spec{CommonName: "Other"})
	serve := func(p *testca.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS()}} }
	good := serve(ca.Issue(testca.Spec{DNS: []string{"o.test"}}))
	wants := good.Clone()
	wants.ClientAuth, wants.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	refuses := good.Clone()
	refuses.ClientAuth, refuses.ClientCAs = tls.RequireAndVerifyClientCert, other.Pool()
	const pair, bundle = ir.SecretRef("test/client"), ir.TrustRef("test/ca")
	client := ca.Issue(testca.Spec{CommonName: "edge", EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	kp, _, err := secret.ParseKeyPair(client.CertPEM(), client.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	secrets := &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{pair: {Pair: kp}}}
	bundles := &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{bundle: {Bundle: secret.NewBundle(ca.Cert)}}}
	http2 := func(p *http.Protocols) { p.SetHTTP2(true) }
	for _, c := range []struct {
		name     string
		server   *tls.Config
		tls      ir.UpstreamTLS
		verify   string
		protocol ir.UpstreamProtocol
		only     func(*http.Protocols)
		code     diag.Code
	}{
		{"fine", good, ir.UpstreamTLS{}, "o.test", ir.UpstreamHTTP1, nil, 0},
		{"the pool's name", good, ir.UpstreamTLS{SNI: "o.test", VerifyName: "o.test"}, "", ir.UpstreamHTTP1, nil, 0},
		{"the check's host", good, ir.UpstreamTLS{HostSNI: true}, "", ir.UpstreamHTTP1, nil, 0},
		{"another name", good, ir.UpstreamTLS{}, "p.test", ir.UpstreamHTTP1, nil, diag.UpstreamNameMismatch},
		{"unknown CA", serve(other.Issue(testca.Spec{DNS: []string{"o.test"}})), ir.UpstreamTLS{}, "o.test", ir.UpstreamHTTP1, nil, diag.UpstreamUnknownCA},
		{"not verified", serve(other.Issue(testca.Spec{})), ir.UpstreamTLS{InsecureSkipVerify: true}, "o.test", ir.UpstreamHTTP1, nil, 0},
		{"only a common name", serve(ca.Issue(testca.Spec{CommonName: "o.test"})), ir.UpstreamTLS{}, "o.test", ir.UpstreamHTTP1, nil, diag.UpstreamCertNoSAN},
		{"wants a certificate", wants, ir.UpstreamTLS{}, "o.test", ir.UpstreamHTTP1, nil, diag.UpstreamRequiresCert},
		{"gets one", wants, ir.UpstreamTLS{Certificate: pair}, "o.test", ir.UpstreamHTTP1, nil, 0},
		{"gets the wrong one", refuses, ir.UpstreamTLS{Certificate: pair}, "o.test", ir.UpstreamHTTP1, nil, diag.UpstreamRejectedCert},
		{"is missing here", wants, ir.UpstreamTLS{Certificate: "test/none"}, "o.test", ir.UpstreamHTTP1, nil, diag.UpstreamCredentialMissing},
		{"a pin", good, ir.UpstreamTLS{SPKI: []string{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}, "o.test", ir.UpstreamHTTP1, nil, diag.UpstreamPinMismatch},
		{"plain HTTP", nil, ir.UpstreamTLS{}, "o.test", ir.UpstreamHTTP1, nil, diag.UpstreamSpeaksPlaintext},
		{"HTTP/2 alone", good, ir.UpstreamTLS{}, "o.test", ir.UpstreamHTTP2, http2, 0},
		{"HTTP/2 by choice", good, ir.UpstreamTLS{}, "o.test", ir.UpstreamAuto, http2, 0},
		{"no HTTP/2", good, ir.UpstreamTLS{}, "o.test", ir.UpstreamHTTP2, nil, diag.UpstreamNoHTTP2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewRegistry(Options{})
			defer r.Close()
			c.tls.Trust = bundle
			settings := &ir.Upstream{Name: "u", Protocol: c.protocol, TLS: &c.tls, Origins: &ir.OriginPool{Name: "ns/u"}}
			u := r.Acquire(settings)
			defer r.Release(u)
			u.SetTLS(tlsconf.Originate("u", &c.tls, secrets, bundles, tlsconf.NewState(nil), nil))
			var config *tls.Config
			if c.server != nil {
				config = c.server.Clone()
			}
			to := originServer(t, config, c.only)
			to.Server = &ir.Server{Name: "o", Share: 1, VerifyName: c.verify}
			m := &ir.Monitor{Type: "https", Path: "/", Headers: []ir.NameValue{{Name: "Host", Value: "o.test"}}, Timeout: 3 * time.Second}
			got := r.check(context.Background(), &plan{monitor: m, by: u, target: to})
			if got.code != c.code {
				t.Errorf("%s %q, want %s", got.code, got.detail, c.code)
			}
			if got.code == 0 || c.protocol != ir.UpstreamHTTP1 {
				return
			}
			// A request meets the same.
			u.SetEndpoints([]ir.Endpoint{to})
			conn, err := u.Get(Query{Host: "o.test"})
			if err == nil { // TLS 1.3: it is told after the handshake
				_, err = conn.Read(make([]byte, 1))
				err = conn.Explain(err)
				conn.Close()
			}
			if codeOf(err) != c.code {
				t.Errorf("a request meets %v", err)
			}
		})
	}
}

// fixedNames is a resolver.
type fixedNames map[string][]netip.Addr

func (n fixedNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a := n[strings.TrimSuffix(host, ".")]; a != nil {
		return append([]netip.Addr(nil), a...), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
