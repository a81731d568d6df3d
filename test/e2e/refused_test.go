//go:build e2e

package e2e

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestNoRoute tells in the log which route came nearest.
func TestNoRoute(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test")
	rules := "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: shop\nspec:\n  hosts:\n  - a.test\n  gateways:\n  - gw\n  http:\n" +
		"  - name: orders\n    match:\n    - uri:\n        prefix: /orders\n      method:\n        exact: POST\n    route:\n    - destination:\n        host: backend\n        port:\n          number: 8000\n" +
		"  - name: beta\n    match:\n    - uri:\n        prefix: /beta\n      headers:\n        x-beta:\n          exact: \"yes\"\n    route:\n    - destination:\n        host: backend\n        port:\n          number: 8000\n"
	g := gateway.Start(t, gateway.Options{Files: map[string]string{
		"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}, istioServer{host: "b.test", secret: "site"}), "route.yaml": rules, "secret.yaml": secretTLS("site", s.leaf),
	}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	trust := s.caFile(t)
	for _, c := range []struct{ url, code, route, failed string }{
		{"https://a.test/orders/1", "HK4101", "orders", "method"},
		{"https://a.test/beta", "HK4101", "beta", "x-beta"},
		{"https://a.test/nowhere", "HK4101", "", "path"},
		{"https://b.test/", "HK4102", "", ""},
	} {
		mark := g.Mark()
		a := client.Curl(t, g.Addr(443), c.url, "--cacert", trust)
		line := g.AwaitLine(mark, "kind", "request")
		if a.Status != 404 || line.S("code") != c.code || !strings.Contains(line.S("detail"), c.route) || !strings.Contains(line.S("detail"), c.failed) || line.S("flags") != "NR" {
			t.Errorf("%s: status %d; line %v; want %s, %q and %q", c.url, a.Status, line, c.code, c.route, c.failed)
		}
		wantAnswer(t, a, line, "destination_not_found", c.code)
		if strings.Contains(a.Body+a.Head, "orders") || strings.Contains(a.Body+a.Head, "x-beta") {
			t.Errorf("the answer tells of routes:\n%s", a.Body)
		}
	}
}

// TestMisdirected asks on one host's connection for another host.
func TestMisdirected(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test", "b.test", "m.test", "high.test")
	clients := testca.New(t, testca.Spec{CommonName: "Client CA"})
	g := gateway.Start(t, gateway.Options{Files: map[string]string{
		"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}, istioServer{host: "m.test", secret: "mutual", mode: "MUTUAL"},
			istioServer{host: "high.test", secret: "site", tls: "minProtocolVersion: TLSV1_3"}),
		"route.yaml":  routeAll("all", "*", "backend"),
		"secret.yaml": secretTLS("site", s.leaf) + "---\n" + testca.SecretYAML("istio-system", "mutual", s.leaf.SecretData(testca.FormatTLS, clients.CertPEM(), nil)),
	}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	alice := clients.Issue(testca.Spec{CommonName: "alice"})
	for _, c := range []struct {
		sni, host string
		status    int
	}{
		{"a.test", "a.test", 200}, {"m.test", "m.test", 200},
		{"a.test", "m.test", 421}, {"m.test", "a.test", 421}, {"a.test", "high.test", 421}, {"high.test", "a.test", 421}, {"a.test", "nobody.test", 421},
	} {
		mark := g.Mark()
		conn := client.DialTLS(t, g.Addr(443), presents(s.config(c.sni), alice.TLS()))
		resp, body := conn.Get(c.host, "/status/200")
		if resp.StatusCode != c.status && (c.host != "nobody.test" || resp.StatusCode != 404) {
			t.Errorf("SNI %s, Host %s: status %d, want %d", c.sni, c.host, resp.StatusCode, c.status)
		}
		if c.status == 421 && c.host != "nobody.test" {
			if line := g.AwaitLine(mark, "kind", "request", "sni", c.sni, "host", c.host); line.S("code") != "HK4103" || !strings.Contains(body, "HK4103") {
				t.Errorf("SNI %s, Host %s: %v\n%s", c.sni, c.host, line, body)
			}
		}
	}
}

// TestWithdrawnSecret deletes a secret: it serves new handshakes for the grace, then refuses them, while
// open connections live on; created again it serves at once.
func TestWithdrawnSecret(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}),
		"route.yaml": routeAll("all", "*", "backend"), "secret.yaml": secretTLS("site", s.leaf)},
		Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}, Args: []string{"--secret-grace", "1500ms"}})
	open := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	g.Change(func() { g.Remove("secret.yaml") })
	epoch := g.Status().Epoch
	if c, err := client.TryTLS(t, g.Addr(443), s.config("a.test")); err != nil {
		t.Errorf("within the grace: %v", err)
	} else if resp, _ := c.Get("a.test", "/status/200"); resp.StatusCode != 200 {
		t.Errorf("within the grace: status %d", resp.StatusCode)
	}
	g.AwaitEpoch(epoch) // the grace ends
	if shake := client.SClient(t, g.Addr(443), "", "-servername", "a.test"); shake.Alert != 80 || shake.Protocol != "" {
		t.Errorf("after the grace: alert %d\n%s", shake.Alert, shake.Text)
	}
	if line := g.AwaitLine(0, "kind", "handshake", "code", "HK2301"); line.S("sni") != "a.test" || !strings.Contains(line.S("detail"), "site") {
		t.Errorf("%v", line)
	}
	if g.Counter("hakone_tls_handshake_failures_total", `code="HK2301"`) != 1 {
		t.Error("the metric does not count it")
	}
	if resp, _ := open.Get("a.test", "/status/200"); resp.StatusCode != 200 {
		t.Errorf("the open connection got %d", resp.StatusCode)
	}
	g.Change(func() { g.Write("secret.yaml", secretTLS("site", s.leaf)) })
	client.DialTLS(t, g.Addr(443), s.config("a.test"))
}

// TestWithdrawnCA takes the CA away, for which there is no grace: nobody gets in, and an open connection
// ends or answers 421.
func TestWithdrawnCA(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	clients := testca.New(t, testca.Spec{CommonName: "Client CA"})
	alice := clients.Issue(testca.Spec{CommonName: "alice"})
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site", mode: "MUTUAL"}),
		"route.yaml": routeAll("all", "*", "backend"), "secret.yaml": testca.SecretYAML("istio-system", "site", s.leaf.SecretData(testca.FormatGeneric, nil, nil)),
		"ca.yaml": testca.SecretYAML("istio-system", "site-cacert", alice.SecretData(testca.FormatCACert, clients.CertPEM(), nil))},
		Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	config := presents(s.config("a.test"), alice.TLS())
	open := client.DialTLS(t, g.Addr(443), config)
	g.Change(func() { g.Remove("ca.yaml") })
	if _, err := client.TryTLS(t, g.Addr(443), config); err == nil || !strings.Contains(err.Error(), "remote error: tls: internal error") {
		t.Errorf("without the CA: %v; want alert 80", err)
	}
	g.AwaitLine(0, "kind", "handshake", "code", "HK2303", "sni", "a.test")
	open.Send("GET /status/200 HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if resp, _, err := open.TryReceive("GET"); err == nil && resp.StatusCode != 421 {
		t.Errorf("the open connection got %d", resp.StatusCode)
	}
	g.Change(func() {
		g.Write("ca.yaml", testca.SecretYAML("istio-system", "site-cacert", alice.SecretData(testca.FormatCACert, clients.CertPEM(), nil)))
	})
	client.DialTLS(t, g.Addr(443), config)
}

// TestConnectionLimit closes what is beyond the bound, and counts it.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site"}),
		"route.yaml": routeAll("all", "*", "backend"), "secret.yaml": secretTLS("site", s.leaf)},
		Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}, Args: []string{"--max-connections", "2"}})
	first := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	second := client.DialTLS(t, g.Addr(443), s.config("a.test"))
	_, err := client.TryTLS(t, g.Addr(443), s.config("a.test"))
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("a third connection: %v", err)
	}
	g.AwaitLine(0, "kind", "handshake", "code", "HK1107")
	for _, c := range []*client.Conn{first, second} {
		if resp, _ := c.Get("a.test", "/status/200"); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	second.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := client.TryTLS(t, g.Addr(443), s.config("a.test")); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of a closed connection is not free again")
		}
	}
}

// TestOptionalMutual lets clients without a certificate in, and refuses bad ones all the same.
func TestOptionalMutual(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a.test")
	clients := testca.New(t, testca.Spec{CommonName: "Client CA"})
	g := gateway.Start(t, gateway.Options{Files: map[string]string{"gateway.yaml": istioGateway(istioServer{host: "a.test", secret: "site", mode: "OPTIONAL_MUTUAL"}),
		"route.yaml": routeAll("all", "*", "backend"), "secret.yaml": testca.SecretYAML("istio-system", "site", s.leaf.SecretData(testca.FormatTLS, clients.CertPEM(), nil))},
		Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	ask := func(config *tls.Config) string {
		c, err := client.TryTLS(t, g.Addr(443), config)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n"); err != nil {
			return err.Error()
		}
		_, body, err := c.TryReceive("GET")
		if err != nil {
			return err.Error()
		}
		return body
	}
	if got := ask(s.config("a.test")); !strings.Contains(got, `"URL":"/x"`) || strings.Contains(got, "X-Forwarded-Client-Cert") {
		t.Errorf("without a certificate: %s", got)
	}
	if got := ask(presents(s.config("a.test"), clients.Issue(testca.Spec{CommonName: "alice"}).TLS())); !strings.Contains(got, "X-Forwarded-Client-Cert") || !strings.Contains(got, "CN=alice") {
		t.Errorf("with a good certificate: %s", got)
	}
	stranger := testca.New(t, testca.Spec{CommonName: "Client CA"}).Issue(testca.Spec{CommonName: "alice"})
	if got := ask(presents(s.config("a.test"), stranger.TLS())); !strings.Contains(got, "remote error: tls: unknown certificate authority") {
		t.Errorf("with a stranger's certificate: %s", got)
	}
}
