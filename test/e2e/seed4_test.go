//go:build e2e

package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

const (
	httpbinHost    = "httpbin.example.com"
	helloworldHost = "helloworld.example.com"
)

// walk starts a gateway with documents of the walk in an API, the samples, and secrets by file name.
func walk(t *testing.T, family string, secrets map[string]string, names ...string) *gateway.Gateway {
	t.Helper()
	paths := []string{"samples.yaml"}
	for _, n := range names {
		paths = append(paths, family+"/"+n)
	}
	files := documents(t, paths...)
	for name, text := range secrets {
		files[name] = text
	}
	addr := httpbin.Start(t)
	return gateway.Start(t, gateway.Options{Files: files,
		Endpoints: []string{"httpbin.default:8000=" + addr, "helloworld.default:5000=" + addr}})
}

// seedCurl is the walk's line:
//
//	curl -v -HHost:$HOST --resolve "$HOST:$SECURE_INGRESS_PORT:$INGRESS_HOST" --cacert $CA "https://$HOST:$SECURE_INGRESS_PORT$PATH"
func seedCurl(t *testing.T, g *gateway.Gateway, host, path, ca string, more ...string) client.Answer {
	t.Helper()
	return client.Curl(t, g.Addr(443), "https://"+host+path, append([]string{"-v", "-HHost:" + host, "--cacert", ca}, more...)...)
}

// wantTeapot judges an answer to a client that offers HTTP/2.
func wantTeapot(t *testing.T, a client.Answer) {
	t.Helper()
	wantTeapotOver(t, "HTTP/2", a)
}

func wantTeapotOver(t *testing.T, version string, a client.Answer) {
	t.Helper()
	if a.Exit != 0 || a.Status != 418 || !strings.Contains(a.Body, httpbin.Teapot) || !strings.HasPrefix(a.Head, version+" 418") {
		t.Errorf("want %s 418 and the teapot, got exit %d, head %q, body %q\n%s", version, a.Exit, a.Head, a.Body, a.Err)
	}
}

func httpbinSecret(s *testca.Seed, set string) string {
	return secretTLS("httpbin-credential", s.Pair(set, httpbinHost))
}

// TestSeed4Single is the walk's single host.
func TestSeed4Single(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		seed := seedCerts(t)
		g := walk(t, family, map[string]string{"secret.yaml": httpbinSecret(seed, testca.Set1)}, "single.yaml", "httpbin.yaml")
		ca := seed.Path(testca.Set1, "example.com.crt")
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca))
		wantTeapotOver(t, "HTTP/1.1", seedCurl(t, g, httpbinHost, "/status/418", ca, "--http1.1"))
		line := g.AwaitLine(0, "kind", "request", "host", httpbinHost)
		if line.N("status") != 418 || line.S("tls") == "" || line.S("sni") != httpbinHost || !strings.Contains(line.S("origin"), "default/httpbin") {
			t.Errorf("access log: %v", line)
		}
		if a := seedCurl(t, g, httpbinHost, "/hello", ca); a.Status != 404 {
			t.Errorf("/hello is no route of this host; status %d", a.Status)
		}
	})
}

// TestSeed4TwoHosts serves two hosts with a certificate each on one port.
func TestSeed4TwoHosts(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		seed := seedCerts(t)
		g := walk(t, family, map[string]string{
			"httpbin-secret.yaml":    httpbinSecret(seed, testca.Set1),
			"helloworld-secret.yaml": secretTLS("helloworld-credential", seed.Pair(testca.Set1, helloworldHost)),
		}, "two.yaml", "httpbin.yaml", "helloworld.yaml")
		ca := seed.Path(testca.Set1, "example.com.crt")
		if a := seedCurl(t, g, helloworldHost, "/hello", ca); a.Status != 200 || !strings.HasPrefix(a.Body, "Hello version: v1") {
			t.Errorf("/hello: status %d, exit %d, body %q\n%s", a.Status, a.Exit, a.Body, a.Err)
		}
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca))
		// Istio's prefix is one of bytes, the Gateway API's one of segments.
		beyond := map[string]int{"istio": 200, "gatewayapi": 404}[family]
		for _, c := range []struct {
			host, path string
			status     int
		}{{helloworldHost, "/hello/", 404}, {httpbinHost, "/hello", 404}, {httpbinHost, "/statuses/418", beyond}} {
			if a := seedCurl(t, g, c.host, c.path, ca); a.Status != c.status {
				t.Errorf("%s%s: status %d, want %d", c.host, c.path, a.Status, c.status)
			}
		}
		if s := client.SClient(t, g.Addr(443), "", "-servername", helloworldHost); !strings.Contains(s.Subject, "CN = "+helloworldHost) {
			t.Errorf("helloworld got the certificate %q", s.Subject)
		}
	})
}

// TestSeed4Rotation deletes the secret and creates it again with another certificate, under load.
func TestSeed4Rotation(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		seed := seedCerts(t)
		g := walk(t, family, map[string]string{"secret.yaml": httpbinSecret(seed, testca.Set1)}, "single.yaml", "httpbin.yaml")
		one, two := seed.Pair(testca.Set1, "example.com"), seed.Pair(testca.Set2, "example.com")
		old := client.DialTLS(t, g.Addr(443), walkTrust(seed, httpbinHost))
		if !issuedBy(old.TLS(), one) {
			t.Fatal("the first certificate is not of the first set")
		}
		pid := g.PID()
		load := startLoad(t, g.Addr(443), httpbinHost, "/status/418", 418, walkTrust(seed, httpbinHost))

		g.Change(func() { g.Remove("secret.yaml") })
		g.AwaitStderr("secret was deleted", "istio-system/httpbin-credential")
		load.more(20)
		g.Change(func() { g.Write("secret.yaml", httpbinSecret(seed, testca.Set2)) })
		load.more(20)

		if resp, _ := old.Get(httpbinHost, "/status/418"); resp.StatusCode != 418 {
			t.Errorf("the connection opened before got %d", resp.StatusCode)
		}
		fresh := client.DialTLS(t, g.Addr(443), walkTrust(seed, httpbinHost))
		if !issuedBy(fresh.TLS(), two) {
			t.Error("a new handshake does not get the new certificate")
		}
		load.stop()
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", seed.Path(testca.Set2, "example.com.crt")))
		// The old CA has the new one's name, so curl finds it and sees the signature fail: 35, as the walk shows it.
		if a := seedCurl(t, g, httpbinHost, "/status/418", seed.Path(testca.Set1, "example.com.crt")); a.Exit != 35 || a.Status != 0 {
			t.Errorf("the old CA must fail in curl with 35, got %d, status %d\n%s", a.Exit, a.Status, a.Err)
		}
		if line := g.AwaitLine(0, "kind", "handshake", "code", "HK2202", "sni", httpbinHost); !strings.Contains(line.S("detail"), "of the same name") {
			t.Errorf("handshake log: %v", line)
		}
		if a := seedCurl(t, g, httpbinHost, "/status/418", pemFile(t, testca.New(t, testca.Spec{}).CertPEM())); a.Exit != 60 {
			t.Errorf("a strange CA must fail in curl with 60, got %d, status %d\n%s", a.Exit, a.Status, a.Err)
		}
		g.AwaitStderr("istio-system/httpbin-credential", "fingerprint", "listener")
		if g.PID() != pid || g.Ended() {
			t.Error("the process was restarted")
		}
	})
}

// mutualSecret is the walk's generic secret with tls.key, tls.crt and ca.crt.
func mutualSecret(s *testca.Seed) string {
	return testca.SecretYAML("istio-system", "httpbin-credential",
		s.Pair(testca.Set1, httpbinHost).SecretData(testca.FormatTLS, s.Read(testca.Set1, "example.com.crt"), nil))
}

const teapotRequest = "GET /status/418 HTTP/1.1\r\nHost: httpbin.example.com\r\nConnection: close\r\n\r\n"

// TestSeed4Mutual asks for client certificates.
func TestSeed4Mutual(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		seed := seedCerts(t)
		g := walk(t, family, map[string]string{"secret.yaml": mutualSecret(seed)}, "mutual.yaml", "httpbin.yaml")
		ca := seed.Path(testca.Set1, "example.com.crt")
		good := []string{"--cert", seed.Path(testca.Set1, "client.example.com.crt"), "--key", seed.Path(testca.Set1, "client.example.com.key")}

		if a := seedCurl(t, g, httpbinHost, "/status/418", ca); a.Exit == 0 || !strings.Contains(a.Err, "alert certificate required") {
			t.Errorf("without a certificate curl must see the alert, got exit %d\n%s", a.Exit, a.Err)
		}
		for version, alert := range map[string]int{"-tls1_3": 116, "-tls1_2": 40} {
			if s := client.SClient(t, g.Addr(443), teapotRequest, "-servername", httpbinHost, version); s.Alert != alert {
				t.Errorf("%s without certificate: alert %d, want %d\n%s", version, s.Alert, alert, s.Text)
			}
		}
		if line := g.AwaitLine(0, "kind", "handshake", "code", "HK2101"); line.S("reason") != "client_cert_missing" {
			t.Errorf("handshake log: %v", line)
		}
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca, good...))
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca, append(good, "--tls-max", "1.2")...))
		line := g.AwaitLine(0, "kind", "request", "tls", "1.3")
		if !strings.Contains(line.S("client_subject"), "client.example.com") || line.S("client_cert") == "" {
			t.Errorf("the request's line does not name the client: %v", line)
		}

		mark := g.Mark()
		cert, key := seed.SeedClient(testca.Set2, t.TempDir())
		if a := seedCurl(t, g, httpbinHost, "/status/418", ca, "--cert", cert, "--key", key); a.Exit == 0 || !strings.Contains(a.Err, "unknown ca") {
			t.Errorf("a client of the foreign CA: exit %d\n%s", a.Exit, a.Err)
		}
		for _, version := range []string{"-tls1_3", "-tls1_2"} {
			s := client.SClient(t, g.Addr(443), teapotRequest, "-servername", httpbinHost, version, "-cert", cert, "-key", key)
			if s.Alert != 48 || strings.Contains(s.Text, "HTTP/1.1") {
				t.Errorf("%s with a foreign CA's certificate: alert %d, want 48\n%s", version, s.Alert, s.Text)
			}
		}
		line = g.AwaitLine(mark, "kind", "handshake", "code", "HK2102")
		if line.S("client_subject") != "" || line.S("client_cert") != "" || line.S("offered_cert") == "" {
			t.Errorf("a refused certificate is recorded as %v", line)
		}
	})
}

// TestSeed4SecretFormats serves mutual TLS from every format of secret.
func TestSeed4SecretFormats(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		seed := seedCerts(t)
		server := seed.Pair(testca.Set1, httpbinHost)
		ca1, ca2 := seed.Read(testca.Set1, "example.com.crt"), seed.Read(testca.Set2, "example.com.crt")
		secret := func(name string, data map[string][]byte) string { return testca.SecretYAML("istio-system", name, data) }
		cert2, key2 := seed.SeedClient(testca.Set2, t.TempDir())
		const name = "httpbin-credential"
		formats := []struct {
			what      string
			secrets   []string
			mutual    bool
			secondToo bool // clients of the second set get in
		}{
			{"tls.crt and tls.key", []string{secret(name, server.SecretData(testca.FormatTLS, nil, nil))}, false, false},
			{"tls.crt, tls.key and ca.crt", []string{secret(name, server.SecretData(testca.FormatTLS, ca1, nil))}, true, false},
			{"cert and key", []string{secret(name, server.SecretData(testca.FormatGeneric, nil, nil))}, false, false},
			{"cert, key and cacert", []string{secret(name, server.SecretData(testca.FormatGeneric, ca1, nil))}, true, false},
			{"cert and key, cacert beside", []string{secret(name, server.SecretData(testca.FormatGeneric, nil, nil)),
				secret(name+"-cacert", server.SecretData(testca.FormatCACert, ca1, nil))}, true, false},
			{"tls.crt and tls.key, cacert beside", []string{secret(name, server.SecretData(testca.FormatTLS, nil, nil)),
				secret(name+"-cacert", server.SecretData(testca.FormatCACert, ca1, nil))}, true, false},
			{"a bundle of two CAs in cacert", []string{secret(name, server.SecretData(testca.FormatGeneric, append(append([]byte{}, ca1...), ca2...), nil))}, true, true},
			{"a bundle of two CAs beside", []string{secret(name, server.SecretData(testca.FormatGeneric, nil, nil)),
				secret(name+"-cacert", server.SecretData(testca.FormatCACert, append(append([]byte{}, ca2...), ca1...), nil))}, true, true},
		}
		ca := seed.Path(testca.Set1, "example.com.crt")
		first := []string{"--cert", seed.Path(testca.Set1, "client.example.com.crt"), "--key", seed.Path(testca.Set1, "client.example.com.key")}
		g := walk(t, family, map[string]string{"secret.yaml": strings.Join(formats[0].secrets, "---\n")}, "single.yaml", "httpbin.yaml")
		for i, f := range formats {
			if i > 0 {
				g.Remove("secret.yaml") // nothing of the format before stays
				g.Remove("single.yaml")
				g.Change(func() { g.Write("secret.yaml", strings.Join(f.secrets, "---\n")) })
				mode := "single.yaml"
				if f.mutual {
					mode = "mutual.yaml"
				}
				g.Change(func() { g.Write("single.yaml", document(t, family, mode)) })
			}
			a := seedCurl(t, g, httpbinHost, "/status/418", ca)
			if got := a.Exit == 0; got == f.mutual {
				t.Errorf("%s: without a client certificate exit %d, status %d\n%s", f.what, a.Exit, a.Status, a.Err)
			}
			if a := seedCurl(t, g, httpbinHost, "/status/418", ca, first...); a.Status != 418 {
				t.Errorf("%s: with a client certificate exit %d, status %d\n%s", f.what, a.Exit, a.Status, a.Err)
			}
			if !f.mutual {
				continue
			}
			if a := seedCurl(t, g, httpbinHost, "/status/418", ca, "--cert", cert2, "--key", key2); (a.Status == 418) != f.secondToo {
				t.Errorf("%s: with a certificate of the second CA exit %d, status %d\n%s", f.what, a.Exit, a.Status, a.Err)
			}
		}
	})
}

// TestSeed4CleanUp removes the Gateway, which closes its port, and brings it back.
func TestSeed4CleanUp(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		seed := seedCerts(t)
		g := walk(t, family, map[string]string{"secret.yaml": httpbinSecret(seed, testca.Set1)}, "single.yaml", "httpbin.yaml")
		ca := seed.Path(testca.Set1, "example.com.crt")
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca))
		g.Change(func() { g.Remove("single.yaml") })
		if c, err := net.DialTimeout("tcp", g.Addr(443), time.Second); err == nil {
			c.Close()
			t.Error("the port is open although its Gateway is gone")
		}
		if a := seedCurl(t, g, httpbinHost, "/status/418", ca); a.Exit != 7 {
			t.Errorf("curl must fail to connect (7), got %d", a.Exit)
		}
		g.Change(func() { g.Write("single.yaml", document(t, family, "single.yaml")) })
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca))
	})
}

// TestSeed4Clients connects with clients of TLS 1.2 only, and for a name that nobody serves.
func TestSeed4Clients(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		seed := seedCerts(t)
		g := walk(t, family, map[string]string{"secret.yaml": httpbinSecret(seed, testca.Set1)}, "single.yaml", "httpbin.yaml")
		ca := seed.Path(testca.Set1, "example.com.crt")
		wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca, "--tls-max", "1.2"))
		for flag, protocol := range map[string]string{"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"} {
			if s := client.SClient(t, g.Addr(443), "", "-servername", httpbinHost, flag, "-CAfile", ca, "-verify_return_error"); s.Protocol != protocol || s.Exit != 0 {
				t.Errorf("%s: protocol %q, exit %d\n%s", flag, s.Protocol, s.Exit, s.Text)
			}
		}
		for _, args := range [][]string{{"-servername", "other.example.com"}, {"-noservername"}} {
			s := client.SClient(t, g.Addr(443), "", args...)
			if s.Alert != 0 || s.Protocol != "" || !strings.Contains(s.Text, "no peer certificate available") {
				t.Errorf("%v: alert %d, protocol %q; want a close without an alert\n%s", args, s.Alert, s.Protocol, s.Text)
			}
		}
		line := g.AwaitLine(0, "kind", "handshake", "code", "HK1005")
		if line.S("sni") != "other.example.com" || !strings.Contains(line.S("detail"), "other.example.com") {
			t.Errorf("handshake log: %v", line)
		}
		g.AwaitLine(0, "kind", "handshake", "code", "HK1006")
	})
}

// TestSeed4Frontend is the way in which Gateway API spells mutual TLS today.
func TestSeed4Frontend(t *testing.T) {
	t.Parallel()
	seed := seedCerts(t)
	frontend := strings.Replace(document(t, "gatewayapi", "single.yaml"), "  listeners:\n",
		"  tls:\n    frontend:\n      default:\n        validation:\n          caCertificateRefs:\n          - group: \"\"\n            kind: ConfigMap\n            name: clients\n  listeners:\n", 1)
	bundle := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: clients\n  namespace: istio-system\ndata:\n  ca.crt: |\n" +
		indented("    ", []string{strings.TrimSpace(string(seed.Read(testca.Set1, "example.com.crt")))})
	g := walk(t, "gatewayapi", map[string]string{"secret.yaml": httpbinSecret(seed, testca.Set1), "ca.yaml": bundle, "gateway.yaml": frontend}, "httpbin.yaml")
	ca := seed.Path(testca.Set1, "example.com.crt")
	if s := client.SClient(t, g.Addr(443), teapotRequest, "-servername", httpbinHost); s.Alert != 116 {
		t.Errorf("without certificate: alert %d\n%s", s.Alert, s.Text)
	}
	wantTeapot(t, seedCurl(t, g, httpbinHost, "/status/418", ca,
		"--cert", seed.Path(testca.Set1, "client.example.com.crt"), "--key", seed.Path(testca.Set1, "client.example.com.key")))
}

// TestSeed4FlatYAML checks documents whose indentation was lost, as on the walk's web page.
func TestSeed4FlatYAML(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"istio-single", "istio-two", "istio-httpbin", "gatewayapi-single", "gatewayapi-httpbin"} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "flat.yaml"), document(t, "flat", name+".yaml"))
		r := gateway.Command(t, nil, "", "check", dir)
		if r.Code != 3 || !strings.Contains(r.Out, "HK5008") || !strings.Contains(r.Out, "flat.yaml:") {
			t.Errorf("%s: exit %d, want 3 and HK5008\n%s%s", name, r.Code, r.Out, r.Err)
		}
	}
}
