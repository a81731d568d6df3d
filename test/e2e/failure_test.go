//go:build e2e

package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/client"
	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// refusals is a gateway with a host for every way in which a handshake is refused.
type refusals struct {
	*testing.T
	g       *gateway.Gateway
	site    site
	clients *testca.Pair
	good    *testca.Pair
}

func newRefusals(t *testing.T) *refusals {
	t.Helper()
	r := &refusals{T: t, site: newSite(t, "a.test", "m.test", "san.test", "spki.test", "hash.test", "stale.test", "nolist.test", "high.test", "nosecret.test", "noca.test"),
		clients: testca.New(t, testca.Spec{CommonName: "Client CA"})}
	r.good = r.clients.Issue(testca.Spec{CommonName: "good", DNS: []string{"good.test"}})
	revoked := r.clients.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{r.revoked().Cert}})
	stale := r.clients.CRL(testca.CRLSpec{ThisUpdate: time.Now().Add(-48 * time.Hour), NextUpdate: time.Now().Add(-24 * time.Hour)})
	strange := testca.New(t, testca.Spec{CommonName: "Other"}).CRL(testca.CRLSpec{})
	spki := sha256.Sum256(r.good.Cert.RawSubjectPublicKeyInfo)
	hash := sha256.Sum256(r.good.Cert.Raw)
	old := r.site.ca.Issue(testca.Spec{DNS: []string{"old.test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	secret := func(name string, crl []byte) string {
		return testca.SecretYAML("istio-system", name, r.site.leaf.SecretData(testca.FormatTLS, r.clients.CertPEM(), crl))
	}
	r.g = gateway.Start(t, gateway.Options{Files: map[string]string{
		"gateway.yaml": istioGateway(
			istioServer{host: "a.test", secret: "plain"},
			istioServer{host: "wrong.test", secret: "plain"},
			istioServer{host: "old.test", secret: "old"},
			istioServer{host: "high.test", secret: "plain", tls: "maxProtocolVersion: TLSV1_2"},
			istioServer{host: "m.test", secret: "mutual", mode: "MUTUAL"},
			istioServer{host: "san.test", secret: "mutual", mode: "MUTUAL", tls: "subjectAltNames:\n- good.test"},
			istioServer{host: "spki.test", secret: "mutual", mode: "MUTUAL", tls: "verifyCertificateSpki:\n- " + base64.StdEncoding.EncodeToString(spki[:])},
			istioServer{host: "hash.test", secret: "mutual", mode: "MUTUAL", tls: "verifyCertificateHash:\n- " + hex.EncodeToString(hash[:])},
			istioServer{host: "stale.test", secret: "stale", mode: "MUTUAL"},
			istioServer{host: "nolist.test", secret: "nolist", mode: "MUTUAL"},
			istioServer{host: "nosecret.test", secret: "nowhere"},
			istioServer{host: "noca.test", secret: "plain", mode: "MUTUAL"},
		) + "  - port:\n      number: 80\n      name: http\n      protocol: HTTP\n    hosts:\n    - a.test\n",
		"route.yaml":  routeAll("all", "*", "backend"),
		"secret.yaml": secretTLS("plain", r.site.leaf) + "---\n" + secretTLS("old", old),
		"mutual.yaml": secret("mutual", revoked) + "---\n" + secret("stale", stale) + "---\n" + secret("nolist", strange),
	}, Args: []string{"--handshake-timeout", "2s"}, Endpoints: []string{"backend.default:8000=" + httpbin.Start(t)}})
	return r
}

// revoked is a certificate that is on the list of m.test.
func (r *refusals) revoked() *testca.Pair {
	return r.client(testca.Spec{CommonName: "revoked", Serial: revokedSerial()})
}

// client issues a certificate of the accepted CA.
func (r *refusals) client(s testca.Spec) *testca.Pair {
	if s.CommonName == "" {
		s.CommonName = "client"
	}
	return r.clients.Issue(s)
}

// refusal is one case: what a client does, and what must be recorded of it.
type refusal struct {
	name   string
	do     func(r *refusals) client.Shake
	code   string
	alert  int    // that openssl saw
	sni    string // in the record
	detail string // words of the sentence
	side   string // of the listener, "*:443" if empty
}

// openssl is a case's client with arguments.
func openssl(host string, args ...string) func(*refusals) client.Shake {
	return func(r *refusals) client.Shake {
		r.Helper()
		return client.SClient(r, r.g.Addr(443), "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n", append([]string{"-servername", host}, args...)...)
	}
}

// opensslAs is openssl with a client certificate.
func opensslAs(host string, who func(*refusals) *testca.Pair, args ...string) func(*refusals) client.Shake {
	return func(r *refusals) client.Shake {
		r.Helper()
		cert, key := who(r).Write(r.TempDir(), "client")
		return openssl(host, append(args, "-cert", cert, "-cert_chain", cert, "-key", key, "-cipher", "ALL:@SECLEVEL=0")...)(r)
	}
}

// spec is a client certificate of the accepted CA.
func spec(s testca.Spec) func(*refusals) *testca.Pair {
	return func(r *refusals) *testca.Pair { return r.client(s) }
}

// curlSees is a case with curl that must end with an exit code.
func curlSees(exit int, url string, args ...string) func(*refusals) client.Shake {
	return func(r *refusals) client.Shake {
		r.Helper()
		if a := client.Curl(r, r.g.Addr(443), url, args...); a.Exit != exit {
			r.Errorf("curl ended with %d, want %d\n%s", a.Exit, exit, a.Err)
		}
		return client.Shake{}
	}
}

// sends is a case with bytes on a socket, whose connection must be closed.
func sends(text string) func(*refusals) client.Shake {
	return func(r *refusals) client.Shake {
		r.Helper()
		c := client.Dial(r, r.g.Addr(443))
		c.Send(text)
		drain(r.T, c)
		return client.Shake{}
	}
}

// TestRefusedHandshakes makes every refusal happen with a client that causes it, and reads log line and
// metric.
func TestRefusedHandshakes(t *testing.T) {
	t.Parallel()
	r := newRefusals(t)
	for _, cases := range [][]refusal{negotiationCases(), protocolCases(), certificateCases(), peerCases(), credentialCases()} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				r := &refusals{t, r.g.For(t), r.site, r.clients, r.good}
				r.run(c)
			})
		}
	}
	// After all this good clients are served as ever.
	c := client.DialTLS(t, r.g.Addr(443), presents(r.site.config("m.test"), r.good.TLS()))
	if resp, _ := c.Get("m.test", "/status/200"); resp.StatusCode != 200 {
		t.Errorf("a good client got %d", resp.StatusCode)
	}
}

func (r *refusals) run(c refusal) {
	r.Helper()
	const name = "hakone_tls_handshake_failures_total"
	listener := c.side
	if listener == "" {
		listener = "*:443"
	}
	labels := []string{`code="` + c.code + `"`, `side="downstream"`, `listener="` + listener + `"`}
	before, mark := r.g.Counter(name, labels...), r.g.Mark()
	s := c.do(r)
	if s.Alert != c.alert {
		r.Errorf("openssl saw alert %d, want %d\n%s", s.Alert, c.alert, s.Text)
	}
	if strings.Contains(s.Text, "HTTP/1.1 200") {
		r.Errorf("the client was served\n%s", s.Text)
	}
	line := r.g.AwaitLine(mark, "kind", "handshake", "code", c.code)
	if line.S("sni") != c.sni || !strings.Contains(line.S("detail"), c.detail) || line.S("detail") == "" || line.S("reason") == "" ||
		line.S("listener") != listener || line.S("side") != "downstream" || !strings.HasPrefix(line.S("client"), "127.0.0.1:") {
		r.Errorf("want sni %q and detail with %q, got %v", c.sni, c.detail, line)
	}
	if line.S("client_subject") != "" || line.S("client_cert") != "" {
		r.Errorf("a refused client is recorded as authenticated: %v", line)
	}
	if after := r.g.Counter(name, labels...); after != before+1 {
		r.Errorf("%s{%s} went from %v to %v", name, strings.Join(labels, ","), before, after)
	}
}

func negotiationCases() []refusal {
	return []refusal{
		{name: "too old", do: openssl("a.test", legacy...), code: "HK1001", alert: 70, sni: "a.test", detail: "client offered TLS 1.1, host requires 1.2"},
		{name: "too new", do: openssl("high.test", "-tls1_3"), code: "HK1008", alert: 70, sni: "high.test", detail: "client offered TLS 1.3, host allows at most 1.2"},
		{name: "only RSA", do: openssl("a.test", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), code: "HK1002", alert: 40, sni: "a.test", detail: "client only accepts RSA certificates, host has ECDSA"},
		{name: "no common cipher", do: openssl("a.test", "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"), code: "HK1002", alert: 40, sni: "a.test", detail: "client offered"},
		{name: "no common group", do: openssl("a.test", "-groups", "X448"), code: "HK1003", alert: 40, sni: "a.test", detail: "host has"},
		{name: "no common group in TLS 1.2", do: openssl("a.test", "-groups", "X448", "-tls1_2"), code: "HK1003", alert: 40, sni: "a.test", detail: "host has"},
		{name: "no common signature", do: openssl("a.test", "-sigalgs", "RSA-PSS+SHA256"), code: "HK1011", alert: 40, sni: "a.test", detail: "ECDSA"},
		{name: "no common protocol", do: openssl("a.test", "-alpn", "spdy/3"), code: "HK1004", alert: 120, sni: "a.test", detail: "client offered only spdy/3; host speaks"},
		{name: "unknown name", do: openssl("unknown.test"), code: "HK1005", sni: "unknown.test", detail: `"unknown.test"`},
		{name: "no name", do: noName, code: "HK1006", detail: "no server name"},
	}
}

func protocolCases() []refusal {
	return []refusal{
		{name: "plain HTTP", do: plainHTTP, code: "HK1101", detail: "HTTP"},
		{name: "SSH", do: sshClient, code: "HK1102", detail: "SSH"},
		{name: "SMTP", do: sends("EHLO client.test\r\n"), code: "HK1102", detail: "SMTP"},
		{name: "PROXY protocol", do: sends("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), code: "HK4560", detail: "PROXY"},
		{name: "garbage", do: sends("\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"), code: "HK1102"},
		{name: "connect and close", do: sends(""), code: "HK1103", detail: "closed without sending"},
		{name: "silence", do: silence(""), code: "HK1103", detail: "sent nothing within"},
		{name: "half a hello, then silence", do: silence("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), code: "HK1104"},
		{name: "half a hello", do: sends("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), code: "HK1105"},
		{name: "malformed hello", do: sends("\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\xff\xff"), code: "HK1007"},
		{name: "hello without end", do: sends("\x16\x03\x01\x40\x00\x01\xff\xff\xff" + strings.Repeat("\x00", 0x4000-4)), code: "HK1009"},
		{name: "TLS on a plain port", do: tlsOnPlain, code: "HK1106", side: "*:80", detail: "TLS"},
	}
}

func certificateCases() []refusal {
	now := time.Now()
	expired := testca.Spec{NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-24 * time.Hour)}
	early := testca.Spec{NotBefore: now.Add(24 * time.Hour), NotAfter: now.Add(48 * time.Hour)}
	foreign := func(r *refusals) *testca.Pair {
		return testca.New(r, testca.Spec{CommonName: "Client CA"}).Issue(testca.Spec{CommonName: "foreign"})
	}
	var out []refusal
	for _, v := range []struct {
		flag    string
		missing int
	}{{"-tls1_3", 116}, {"-tls1_2", 40}} {
		as := func(host string, who func(*refusals) *testca.Pair) func(*refusals) client.Shake {
			return opensslAs(host, who, v.flag)
		}
		cases := []refusal{
			{name: "no certificate", do: openssl("m.test", v.flag), code: "HK2101", alert: v.missing, detail: "Client CA"},
			{name: "foreign CA of the same name", do: as("m.test", foreign), code: "HK2102", alert: 48, detail: "Client CA"},
			{name: "expired", do: as("m.test", spec(expired)), code: "HK2103", alert: 45},
			{name: "not yet valid", do: as("m.test", spec(early)), code: "HK2104", alert: 45},
			{name: "wrong usage", do: as("m.test", spec(testca.Spec{EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})), code: "HK2105", alert: 42, detail: "clientAuth"},
			{name: "revoked", do: as("m.test", (*refusals).revoked), code: "HK2106", alert: 42},
			{name: "other name", do: as("san.test", spec(testca.Spec{DNS: []string{"bad.test"}})), code: "HK2107", alert: 42, detail: "bad.test"},
			{name: "not pinned (SPKI)", do: as("spki.test", spec(testca.Spec{})), code: "HK2108", alert: 42},
			{name: "not pinned (hash)", do: as("hash.test", spec(testca.Spec{})), code: "HK2108", alert: 42},
			{name: "weak key", do: as("m.test", spec(testca.Spec{Key: testca.RSA1024})), code: "HK2112", alert: 42, detail: "1024"},
			{name: "stale list", do: as("stale.test", spec(testca.Spec{})), code: "HK2114", alert: 42},
			{name: "no list of its CA", do: as("nolist.test", spec(testca.Spec{})), code: "HK2116", alert: 42},
			{name: "chain too long", do: as("m.test", func(r *refusals) *testca.Pair {
				return r.clients.Intermediate(testca.Spec{CommonName: "I1", PathLen: -1}).Intermediate(testca.Spec{CommonName: "I2"}).Issue(testca.Spec{CommonName: "deep"})
			}), code: "HK2110", alert: 42},
			{name: "outside name constraints", do: as("m.test", func(r *refusals) *testca.Pair {
				return r.clients.Intermediate(testca.Spec{CommonName: "I", PermittedDNS: []string{"in.test"}}).Issue(testca.Spec{CommonName: "out", DNS: []string{"out.test"}})
			}), code: "HK2111", alert: 42},
		}
		for _, c := range cases {
			c.name += " " + v.flag
			c.sni = "m.test"
			if host, ok := map[string]string{"HK2107": "san.test", "HK2114": "stale.test", "HK2116": "nolist.test"}[c.code]; ok {
				c.sni = host
			}
			if c.code == "HK2108" {
				c.sni = map[bool]string{true: "spki.test", false: "hash.test"}[strings.Contains(c.name, "SPKI")]
			}
			out = append(out, c)
		}
	}
	return append(out, refusal{name: "malformed certificate", do: malformedCertificate, code: "HK2109", sni: "m.test"})
}

// peerCases are clients that refuse the host.
func peerCases() []refusal {
	return []refusal{
		{name: "curl without the CA", do: curlSees(60, "https://a.test/"), code: "HK2202", sni: "a.test", detail: "Site CA of a.test"},
		{name: "curl without the CA in TLS 1.2", do: curlSees(60, "https://a.test/", "--tls-max", "1.2"), code: "HK2202", sni: "a.test", detail: "alert 48"},
		{name: "curl finds it expired", do: func(r *refusals) client.Shake {
			return curlSees(60, "https://old.test/", "--cacert", r.site.caFile(r.T))(r)
		}, code: "HK2203", sni: "old.test", detail: "expired"},
		{name: "curl with the wrong name", do: func(r *refusals) client.Shake {
			return curlSees(60, "https://wrong.test/", "--cacert", r.site.caFile(r.T))(r)
		}, code: "HK1108", sni: "wrong.test"},
		{name: "a Go client without the CA", do: goClient(&tls.Config{ServerName: "a.test", RootCAs: x509.NewCertPool()}), code: "HK2201", sni: "a.test", detail: "alert 42"},
		{name: "a Go client with the wrong name", do: func(r *refusals) client.Shake { return goClient(r.site.config("wrong.test"))(r) },
			code: "HK2201", sni: "wrong.test", detail: `not "wrong.test"`},
	}
}

// credentialCases are faults of ours.
func credentialCases() []refusal {
	return []refusal{
		{name: "secret missing at start", do: openssl("nosecret.test"), code: "HK2302", alert: 80, sni: "nosecret.test", detail: `"nowhere" does not exist in namespace istio-system`},
		{name: "CA missing", do: opensslAs("noca.test", func(r *refusals) *testca.Pair { return r.good }), code: "HK2303", alert: 80, sni: "noca.test"},
	}
}

func noName(r *refusals) client.Shake {
	r.Helper()
	return client.SClient(r, r.g.Addr(443), "", "-noservername")
}

func plainHTTP(r *refusals) client.Shake {
	r.Helper()
	a := client.Curl(r, r.g.Addr(443), "http://a.test/secret-path")
	if a.Status != 400 || !strings.Contains(a.Body, "speaks HTTPS") || strings.Contains(a.Body, "127.0.0.1") {
		r.Errorf("status %d, body %q", a.Status, a.Body)
	}
	return client.Shake{}
}

func sshClient(r *refusals) client.Shake {
	r.Helper()
	path, err := exec.LookPath("ssh")
	if err != nil {
		// Without the program its first line does: RFC 4253 section 4.2.
		return sends("SSH-2.0-OpenSSH_9.2p1\r\n")(r)
	}
	_, port, _ := strings.Cut(r.g.Addr(443), ":")
	out, err := exec.Command(path, "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-p", port, "127.0.0.1", "true").CombinedOutput()
	if err == nil {
		r.Errorf("ssh was content: %s", out)
	}
	return client.Shake{}
}

// silence sends text and then nothing, until the gateway closes.
func silence(text string) func(*refusals) client.Shake {
	return func(r *refusals) client.Shake {
		r.Helper()
		c := client.Dial(r, r.g.Addr(443))
		c.Send(text)
		begin := time.Now()
		readToEnd(r.T, c)
		if d := time.Since(begin); d < time.Second || d > 10*time.Second {
			r.Errorf("closed after %s; the handshake timeout is 2 s", d)
		}
		return client.Shake{}
	}
}

func tlsOnPlain(r *refusals) client.Shake {
	r.Helper()
	if a := client.Curl(r, r.g.Addr(80), "https://a.test/"); a.Exit != 35 {
		r.Errorf("curl ended with %d\n%s", a.Exit, a.Err)
	}
	return client.Shake{}
}

func malformedCertificate(r *refusals) client.Shake {
	r.Helper()
	junk := r.good.TLS()
	junk.Certificate = [][]byte{[]byte("this is no certificate")}
	return goClient(presents(r.site.config("m.test"), junk))(r)
}

// goClient is a case with Go's client, whose handshake or request must fail.
func goClient(config *tls.Config) func(*refusals) client.Shake {
	return func(r *refusals) client.Shake {
		r.Helper()
		c, err := client.TryTLS(r, r.g.Addr(443), config)
		if err == nil {
			c.Send("GET / HTTP/1.1\r\nHost: " + config.ServerName + "\r\n\r\n")
			_, _, err = c.TryReceive("GET")
		}
		if err == nil {
			r.Error("the client was served")
		}
		return client.Shake{}
	}
}
