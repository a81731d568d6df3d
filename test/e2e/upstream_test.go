//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/rawupstream"
	"github.com/hakone-gateway/hakone/test/testca"
)

// failing is one way in which an upstream fails, behind a service and path of its own.
type failing struct {
	name    string
	addr    string // of the service's endpoint; "none" if it is not ready, empty if nothing is known of it
	rule    string // lines of trafficPolicy of its DestinationRule; empty for none
	route   string // further lines of its route
	status  int
	code    string
	class   string // error type of Proxy-Status
	flags   string // Envoy's response flags
	shake   bool   // a failed handshake towards the upstream is recorded too
	partial bool   // the answer has begun before the failure
}

// tlsRule is a trafficPolicy that originates TLS.
func tlsRule(lines ...string) string {
	return "tls:\n" + strings.TrimSuffix(indented("  ", lines), "\n")
}

// refusedAddr is an address where nothing listens.
func refusedAddr(t *testing.T) string { return fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(t)) }

// rawServer runs serve for every connection, after its first bytes have come.
func rawServer(t *testing.T, serve func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := r.Peek(1); err == nil {
					serve(c, r)
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// says is an upstream that answers anything with the same bytes and closes.
func says(t *testing.T, text string) string {
	return rawServer(t, func(c net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
		time.Sleep(50 * time.Millisecond) // a close with unread bytes would be a reset
	})
}

// upstreamTLS is an upstream behind TLS.
func upstreamTLS(t *testing.T, config *tls.Config) string {
	return rawupstream.StartTLS(t, nil, config).Addr
}

func failures(t *testing.T, ca *testca.Pair) []failing {
	good := ca.Issue(testca.Spec{DNS: []string{"up.test"}})
	serve := func(p *testca.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS()}} }
	trusting := func(more ...string) string {
		return tlsRule(append([]string{"mode: SIMPLE", "credentialName: upstream-ca", "sni: up.test"}, more...)...)
	}
	mutual := serve(good)
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	old := serve(good)
	old.MaxVersion, old.MinVersion = tls.VersionTLS11, tls.VersionTLS10
	yesterday := ca.Issue(testca.Spec{DNS: []string{"up.test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	tomorrow := ca.Issue(testca.Spec{DNS: []string{"up.test"}, NotBefore: time.Now().Add(24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour)})
	strange := testca.New(t, testca.Spec{CommonName: "Strange CA"}).Issue(testca.Spec{DNS: []string{"up.test"}})
	revoked := ca.Issue(testca.Spec{DNS: []string{"up.test"}, Serial: revokedSerial()})
	hang := rawServer(t, func(c net.Conn, _ *bufio.Reader) { _, _ = io.Copy(io.Discard, c) })
	return []failing{
		{name: "refused", addr: refusedAddr(t), status: 503, code: "HK3201", class: "connection_refused", flags: "UF"},
		{name: "stalled", addr: hang, rule: trusting() + "\nconnectionPool:\n  tcp:\n    connectTimeout: 0.5s", status: 503, code: "HK3202", class: "connection_timeout", flags: "UF"},
		{name: "silent", addr: hang, route: "timeout: 0.5s", status: 504, code: "HK4203", class: "http_response_timeout", flags: "UT"},
		{name: "unresolved", status: 503, code: "HK3208", class: "dns_error", flags: "DF"},
		{name: "noendpoints", addr: "none", status: 503, code: "HK3207", class: "destination_unavailable", flags: "UH"},
		{name: "wrongca", addr: upstreamTLS(t, serve(strange)), rule: trusting(), status: 502, code: "HK3101", class: "tls_certificate_error", flags: "UF", shake: true},
		{name: "expired", addr: upstreamTLS(t, serve(yesterday)), rule: trusting(), status: 502, code: "HK3102", class: "tls_certificate_error", flags: "UF", shake: true},
		{name: "early", addr: upstreamTLS(t, serve(tomorrow)), rule: trusting(), status: 502, code: "HK3103", class: "tls_certificate_error", flags: "UF", shake: true},
		{name: "othername", addr: upstreamTLS(t, serve(ca.Issue(testca.Spec{DNS: []string{"other.test"}}))), rule: trusting(), status: 502, code: "HK3104", class: "tls_certificate_error", flags: "UF", shake: true},
		{name: "nosan", addr: upstreamTLS(t, serve(ca.Issue(testca.Spec{CommonName: "up.test"}))), rule: trusting(), status: 502, code: "HK3105", class: "tls_certificate_error", flags: "UF", shake: true},
		{name: "wantscert", addr: upstreamTLS(t, mutual), rule: trusting(), status: 502, code: "HK3106", class: "tls_alert_received", flags: "UF", shake: true},
		{name: "rejectscert", addr: upstreamTLS(t, mutual), rule: tlsRule("mode: MUTUAL", "credentialName: upstream-strange", "sni: up.test"), status: 502, code: "HK3107", class: "tls_alert_received", flags: "UF", shake: true},
		{name: "plaintext", addr: httpbin.Start(t), rule: trusting(), status: 502, code: "HK3108", class: "tls_protocol_error", flags: "UF", shake: true},
		{name: "oldtls", addr: upstreamTLS(t, old), rule: trusting(), status: 502, code: "HK3109", class: "tls_protocol_error", flags: "UF", shake: true},
		{name: "revoked", addr: upstreamTLS(t, serve(revoked)), rule: tlsRule("mode: SIMPLE", "credentialName: upstream-crl", "sni: up.test"), status: 502, code: "HK3111", class: "tls_certificate_error", flags: "UF", shake: true},
		{name: "nocredential", addr: upstreamTLS(t, serve(good)), rule: tlsRule("mode: MUTUAL", "credentialName: upstream-nowhere", "sni: up.test"), status: 503, code: "HK3114", class: "proxy_configuration_error", flags: "UF"},
		{name: "speakstls", addr: says(t, "\x15\x03\x01\x00\x02\x02\x46"), status: 502, code: "HK3212", class: "http_protocol_error", flags: "UPE"},
		{name: "resets", addr: rawServer(t, func(c net.Conn, _ *bufio.Reader) { _ = c.(*net.TCPConn).SetLinger(0) }), status: 502, code: "HK3204", class: "connection_terminated", flags: "UC"},
		{name: "closes", addr: says(t, ""), status: 502, code: "HK3205", class: "connection_terminated", flags: "UC"},
		{name: "garbage", addr: says(t, "hello, who is there?\r\n\r\n"), status: 502, code: "HK3206", class: "http_protocol_error", flags: "UPE"},
		{name: "twolengths", addr: says(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"), status: 502, code: "HK3206", class: "http_protocol_error", flags: "UPE"},
		{name: "bighead", addr: says(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 80<<10)+"\r\n\r\n"), status: 502, code: "HK3210", class: "http_response_header_section_size", flags: "UPE"},
		{name: "truncated", addr: says(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"), status: 200, code: "HK3211", flags: "UC", partial: true},
	}
}

// TestFailingUpstreams makes every failure of an upstream happen and reads answer, log and metrics.
func TestFailingUpstreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	ca := testca.New(t, testca.Spec{CommonName: "Upstream CA"})
	cases := failures(t, ca)
	foreign := testca.New(t, testca.Spec{CommonName: "Strange CA"}).Issue(testca.Spec{CommonName: "gateway"})
	files := map[string]string{
		"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}), "secret.yaml": secretTLS("site", s.leaf),
		"upstream.yaml": testca.SecretYAML("istio-system", "upstream-ca", map[string][]byte{"ca.crt": ca.CertPEM()}) + "---\n" +
			testca.SecretYAML("istio-system", "upstream-strange", foreign.SecretData(testca.FormatTLS, ca.CertPEM(), nil)) + "---\n" +
			testca.SecretYAML("istio-system", "upstream-crl", map[string][]byte{"ca.crt": ca.CertPEM(),
				"ca.crl": ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{ca.Issue(testca.Spec{Serial: revokedSerial()}).Cert}})}),
	}
	var endpoints []string
	var route strings.Builder
	route.WriteString("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: all\nspec:\n  hosts:\n  - a.test\n  gateways:\n  - gw\n  http:\n")
	for _, c := range cases {
		fmt.Fprintf(&route, "  - match:\n    - uri:\n        exact: /%s\n    route:\n    - destination:\n        host: %s\n        port:\n          number: 8000\n", c.name, c.name)
		if c.route != "" {
			route.WriteString(indented("    ", []string{c.route}))
		}
		files[c.name+".yaml"] = "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + c.name + "\nspec:\n  ports:\n  - name: http\n    port: 8000\n"
		if c.rule != "" {
			files[c.name+".yaml"] += "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: " + c.name + "\nspec:\n  host: " + c.name + "\n  trafficPolicy:\n" + indented("    ", []string{c.rule})
		}
		switch c.addr {
		case "":
		case "none": // the workload is there and not ready
			files[c.name+".yaml"] += "---\n" + slice(c.name, "127.0.0.1", 9, false)
		default:
			endpoints = append(endpoints, c.name+".default:8000="+c.addr)
		}
	}
	files["route.yaml"] = route.String()
	g := gateway.Start(t, gateway.Options{Files: files, Endpoints: endpoints})
	trust := s.caFile(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, g.For(t), trust)
		})
	}
}

func (c failing) run(t *testing.T, g *gateway.Gateway, trust string) {
	version := "--http2"
	if c.partial { // curl tells no status of a stream that was reset
		version = "--http1.1"
	}
	a := client.Curl(t, g.Addr(443), "https://a.test/"+c.name, "--cacert", trust, version)
	line := g.AwaitLine(0, "kind", "request", "target", "/"+c.name)
	if a.Status != c.status || line.N("status") != float64(c.status) || line.S("code") != c.code || line.S("flags") != c.flags || line.S("detail") == "" || line.S("reason") == "" {
		t.Errorf("answer %d (curl %d), want %d %s %s; line %v", a.Status, a.Exit, c.status, c.code, c.flags, line)
	}
	if g.Counter("hakone_http_responses_refused_total", `code="`+c.code+`"`) < 1 {
		t.Error("the metric does not count it")
	}
	if c.partial {
		if b := client.Curl(t, g.Addr(443), "https://a.test/"+c.name, "--cacert", trust, "--http2"); b.Exit != 92 {
			t.Errorf("curl must notice that the stream is cut (92), got %d", b.Exit)
		}
		if a.Exit != 18 {
			t.Errorf("curl must notice that the body is cut (18), got %d", a.Exit)
		}
		return
	}
	wantAnswer(t, a, line, c.class, c.code)
	if !c.shake {
		return
	}
	shake := g.AwaitLine(0, "kind", "handshake", "side", "upstream", "code", c.code)
	if shake.S("detail") == "" || !strings.Contains(shake.S("listener"), c.name) {
		t.Errorf("handshake line: %v", shake)
	}
	if g.Counter("hakone_tls_handshake_failures_total", `code="`+c.code+`"`, `side="upstream"`, c.name) < 1 {
		t.Error("the handshake metric does not count it")
	}
}

// wantAnswer judges an answer of the gateway's own: reason and request ID are in it, and nothing of
// the inside.
func wantAnswer(t *testing.T, a client.Answer, line gateway.Line, class, code string) {
	t.Helper()
	if status := a.Field("Proxy-Status"); status != `hakone; error=`+class+`; details="`+code+`"` {
		t.Errorf("Proxy-Status: %q, want error=%s and %s", status, class, code)
	}
	if id := a.Field("X-Request-Id"); id == "" || id != line.S("id") || !strings.Contains(a.Body, id) {
		t.Errorf("X-Request-Id %q, in the log %q, page %q", id, line.S("id"), a.Body)
	}
	all := strings.ToLower(a.Head + a.Body)
	for _, inside := range []string{"127.0.0.1", "x509", "tls:", "dial", "goroutine", ".go:", "upstream ca", "strange", "default", "istio", line.S("endpoint") + "\x00"} {
		if strings.Contains(all, inside) {
			t.Errorf("the answer tells of the inside (%q):\n%s%s", inside, a.Head, a.Body)
		}
	}
}
