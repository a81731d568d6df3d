package tlsconf

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestNegotiation proves the rows of docs/handshakes.md that Go clients can cause.
func TestNegotiation(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	ecdsa, rsa := ca.Issue(testca.Spec{DNS: []string{"a.test"}}), ca.Issue(testca.Spec{DNS: []string{"a.test"}, Key: testca.RSA2048})
	rsaSuite, ecSuite := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	for _, c := range []struct {
		name   string
		certs  []*testca.Pair
		host   func(*ir.TLS)
		client func(*tls.Config)
		alert  uint8
		code   diag.Code
		detail string
	}{
		{"floor", nil, func(s *ir.TLS) { s.MinVersion = tls.VersionTLS13 }, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 },
			70, diag.TLSVersionTooLow, "client offered TLS 1.2, host requires 1.3"},
		{"floor, old client", nil, func(*ir.TLS) {}, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
			70, diag.TLSVersionTooLow, "client offered TLS 1.0–1.1, host requires 1.2"},
		{"ceiling", nil, func(s *ir.TLS) { s.MaxVersion = tls.VersionTLS12 }, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 },
			70, diag.TLSVersionTooHigh, "client offered TLS 1.3, host allows at most 1.2"},
		{"RSA client", nil, func(*ir.TLS) {}, func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, rsaSuite },
			40, diag.NoCommonCipher, "client only accepts RSA certificates, host has ECDSA-P256"},
		{"ECDSA client", []*testca.Pair{rsa}, func(*ir.TLS) {}, func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, ecSuite },
			40, diag.NoCommonCipher, "client only accepts ECDSA certificates, host has RSA-2048"},
		{"other suites", nil, func(s *ir.TLS) { s.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384} },
			func(c *tls.Config) { c.MaxVersion, c.CipherSuites = tls.VersionTLS12, ecSuite },
			40, diag.NoCommonCipher, "client offered TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; host has TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		{"groups 1.3", nil, func(s *ir.TLS) { s.Groups = []tls.CurveID{tls.CurveP384} }, func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} },
			40, diag.NoCommonGroup, "client offered the groups X25519; host has CurveP384"},
		{"groups 1.2", nil, func(s *ir.TLS) { s.Groups = []tls.CurveID{tls.CurveP384} },
			func(c *tls.Config) { c.MaxVersion, c.CurvePreferences = tls.VersionTLS12, []tls.CurveID{tls.X25519} },
			40, diag.NoCommonGroup, "client offered the groups X25519; host has CurveP384"},
		{"ALPN 1.3", nil, func(*ir.TLS) {}, func(c *tls.Config) { c.NextProtos = []string{"h2"} },
			120, diag.NoCommonALPN, "client offered only h2; host speaks http/1.1"},
		{"ALPN 1.2", nil, func(*ir.TLS) {}, func(c *tls.Config) { c.MaxVersion, c.NextProtos = tls.VersionTLS12, []string{"h2"} },
			120, diag.NoCommonALPN, "client offered only h2; host speaks http/1.1"},
		{"unknown name", nil, func(*ir.TLS) {}, func(c *tls.Config) { c.ServerName = "b.test" },
			0, diag.SNIUnknown, `the client asked for "b.test"`},
		{"no name", nil, func(*ir.TLS) {}, func(c *tls.Config) { c.ServerName = "127.0.0.1" },
			0, diag.SNIMissing, "the client sent no server name"},
		{"Go client of another CA", nil, func(*ir.TLS) {}, func(c *tls.Config) { c.RootCAs = testca.New(t, testca.Spec{CommonName: "Other"}).Pool() },
			0, diag.PeerRejectedCert, `the client may not know the issuer "CN=Test Root"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			if c.certs == nil {
				c.certs = []*testca.Pair{ecdsa}
			}
			settings := w.host(t, "a.test", c.certs...)
			c.host(settings)
			g := w.serve(t)
			config := client(ca, "a.test")
			c.client(config)
			out := g.dial(config)
			rec := g.record()
			if out.err == nil || out.alert != c.alert || rec.Code != c.code || !strings.Contains(rec.Detail, c.detail) {
				t.Errorf("client: alert %d %v; record: %s %q (%s)", out.alert, out.err, rec.Code, rec.Detail, rec.Err)
			}
			if (c.code == diag.SNIUnknown || c.code == diag.SNIMissing) && !isClosed(out.err) {
				t.Errorf("an unmatched name ends with %v, not with a plain close", out.err)
			}
			if rec.Hello.JA4 == "" || len(rec.Hello.Versions) == 0 || rec.Listener != "*:443" {
				t.Errorf("the record lacks facts of the hello: %+v", rec)
			}
		})
	}
}

// TestMissing refuses hosts without credential or trust, and serves the others.
func TestMissing(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	w.host(t, "good.test", ca.Issue(testca.Spec{DNS: []string{"good.test"}}))
	w.host(t, "never.test").Certificates = []ir.SecretRef{"test/never"}
	gone := w.host(t, "gone.test")
	gone.Certificates = []ir.SecretRef{"test/gone"}
	w.secrets.ByRef["test/gone"] = &ir.Credential{Code: diag.CredentialWithdrawn, Detail: "secret test/gone was deleted"}
	for _, mode := range []ir.ClientAuthMode{ir.ClientAuthRequire, ir.ClientAuthOptional} {
		s := w.host(t, string(mode)+".test", ca.Issue(testca.Spec{DNS: []string{string(mode) + ".test"}}))
		s.ClientAuth.Mode, s.ClientAuth.Trust = mode, "test/no-such-ca"
	}
	pins := w.host(t, "pins.test", ca.Issue(testca.Spec{DNS: []string{"pins.test"}}))
	w.clients(pins, ir.ClientAuthRequire, ca)
	pins.ClientAuth.SPKI = []string{"not a pin"}
	w.host(t, "request.test", ca.Issue(testca.Spec{DNS: []string{"request.test"}})).ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthRequest, Trust: "test/no-such-ca"}
	g := w.serve(t)
	for name, want := range map[string]diag.Code{"good.test": 0, "never.test": diag.CredentialMissing, "gone.test": diag.CredentialWithdrawn,
		"require.test": diag.TrustMissing, "optional.test": diag.TrustMissing, "pins.test": diag.TrustMissing, "request.test": 0} {
		out := g.dial(client(ca, name))
		rec := g.record()
		alert := uint8(80)
		if want == 0 {
			alert = 0
		}
		if rec.Code != want || out.alert != alert {
			t.Errorf("%s: %s %q, alert %d %v", name, rec.Code, rec.Detail, out.alert, out.err)
		}
	}
}

// TestTwoCertificates prefers ECDSA and serves RSA to whom it must.
func TestTwoCertificates(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	// The certificates name another host on purpose: choosing must not depend on it.
	rsa, ecdsa := ca.Issue(testca.Spec{DNS: []string{"b.test"}, Key: testca.RSA2048}), ca.Issue(testca.Spec{DNS: []string{"b.test"}})
	w := newWorld()
	w.host(t, "a.test", rsa, ecdsa)
	g := w.serve(t)
	for _, c := range []struct {
		suites []uint16
		max    uint16
		want   *testca.Pair
	}{
		{nil, tls.VersionTLS13, ecdsa},
		{nil, tls.VersionTLS12, ecdsa},
		{[]uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, tls.VersionTLS12, rsa},
	} {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "a.test", CipherSuites: c.suites, MaxVersion: c.max}
		out := g.dial(config)
		rec := g.record()
		if out.err != nil || !out.state.PeerCertificates[0].Equal(c.want.Cert) || rec.Cert != keyPair(t, c.want).Fingerprint {
			t.Errorf("%v: %v, served %s", c, out.err, rec.Cert)
		}
	}
}

// TestHostPolicy applies the narrower settings of one host of a wildcard chain.
func TestHostPolicy(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	wide := w.host(t, "*.test", ca.Issue(testca.Spec{DNS: []string{"*.test"}}))
	narrow := *wide
	narrow.MinVersion, narrow.Class = tls.VersionTLS13, "narrow"
	strict := w.host(t, "strict.test") // borrowed for its pattern
	pattern := w.listener.Chains[1].Hosts[0]
	w.listener.Chains = w.listener.Chains[:1]
	_ = strict
	w.listener.Chains[0].HostTLS = []ir.HostTLS{{Host: pattern, TLS: &narrow}}
	g := w.serve(t)
	for name, want := range map[string]diag.Code{"lax.test": 0, "strict.test": diag.TLSVersionTooLow, "STRICT.test": diag.TLSVersionTooLow} {
		config := client(ca, name)
		config.MaxVersion = tls.VersionTLS12
		g.dial(config)
		if rec := g.record(); rec.Code != want {
			t.Errorf("%s: %s %s", name, rec.Code, rec.Detail)
		}
	}
	chain, settings, ok := g.term.Load().Lookup("strict.test")
	if !ok || settings != &narrow || chain != w.listener.Chains[0] {
		t.Error("Lookup does not find the narrower settings")
	}
}

// TestNotTLS speaks something else to the port.
func TestNotTLS(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	w.opts.Timeout = 300 * time.Millisecond
	g := w.serve(t)
	for _, c := range []struct {
		name, send string
		shut       bool // close the sending side after it
		code       diag.Code
		answer     string
		detail     string
	}{
		{"HTTP", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false, diag.PlaintextOnTLSPort, "HTTP/1.1 400 Bad Request\r\n", "HTTP/1"},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n", false, diag.PlaintextOnTLSPort, "HTTP/1.1 400 Bad Request\r\n", "HTTP/1"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, diag.PlaintextOnTLSPort, "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "HTTP/2"},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", false, diag.NotTLS, "This port speaks TLS.\r\n", "SSH"},
		{"PROXY", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", false, diag.ProxyHeaderUnwanted, "\x15\x03\x03\x00\x02\x02\x28", "PROXY"},
		{"silence", "", false, diag.ClosedBeforeHello, "", "sent nothing"},
		{"closed", "", true, diag.ClosedBeforeHello, "", "without sending"},
		{"half a hello", "\x16\x03\x01\x02\x00\x01", true, diag.ClosedInHandshake, "", "in the middle"},
		{"half a hello, patiently", "\x16\x03\x01\x02\x00\x01", false, diag.HandshakeTimeout, "", "not complete"},
		{"no hello", "\x16\x03\x01\x00\x04\x02\x00\x00\x00", false, diag.HelloMalformed, "\x15\x03\x03\x00\x02\x02\x32", "no ClientHello"},
		{"too large", "\x16\x03\x01\x00\x04\x01\x02\x00\x00", false, diag.HelloTooLarge, "\x15\x03\x03\x00\x02\x02\x32", "64 KiB"},
		{"SSL 2", "\x80\x2e\x01\x00\x02\x00\x15", false, diag.TLSVersionTooLow, "\x15\x03\x03\x00\x02\x02\x46", "SSL 2"},
	} {
		raw, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(raw, c.send)
		if c.shut {
			_ = raw.(*net.TCPConn).CloseWrite()
		}
		got, err := io.ReadAll(raw)
		raw.Close()
		rec := g.record()
		if rec.Code != c.code || !strings.HasPrefix(string(got), c.answer) || (c.answer == "") != (len(got) == 0) || !strings.Contains(rec.Detail, c.detail) {
			t.Errorf("%s: %s %q, answer %q", c.name, rec.Code, rec.Detail, got)
		}
		if c.name == "HEAD" && !strings.HasSuffix(string(got), "\r\n\r\n") || c.answer != "" && err != nil {
			t.Errorf("%s: answer %q ends with %v", c.name, got, err)
		}
	}
}

// TestInHandshake ends the connection in the middle.
func TestInHandshake(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	w.opts.Timeout = 300 * time.Millisecond
	g := w.serve(t)
	hello := helloOf(t, client(ca, "a.test"))
	for _, c := range []struct {
		stay bool
		code diag.Code
	}{{false, diag.ClosedInHandshake}, {true, diag.HandshakeTimeout}} {
		raw, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = raw.Write(hello)
		if !c.stay {
			_ = raw.(*net.TCPConn).CloseWrite()
		}
		_, _ = io.Copy(io.Discard, raw)
		raw.Close()
		if rec := g.record(); rec.Code != c.code || rec.Hello.SNI != "a.test" {
			t.Errorf("%s %q, want %s", rec.Code, rec.Detail, c.code)
		}
	}
}

// helloOf returns the bytes that a client sends first.
func helloOf(t *testing.T, config *tls.Config) []byte {
	t.Helper()
	here, there := net.Pipe()
	go func() { _ = tls.Client(there, config).Handshake() }()
	defer here.Close()
	buf := make([]byte, 16<<10)
	n, err := here.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// TestAfterHandshake names what ends a connection before its first request.
func TestAfterHandshake(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"wrong.test"}}))
	g := w.serve(t)
	config := client(ca, "a.test")
	config.InsecureSkipVerify = true
	if out := g.dial(config); out.err != nil {
		t.Fatal(out.err)
	}
	res := g.result()
	rec := res.AfterHandshake(io.EOF)
	if rec.Code != diag.ClosedAfterShake || !strings.Contains(rec.Detail, `asked for "a.test", the certificate names wrong.test`) || res.Record.Code != 0 {
		t.Errorf("%s %q", rec.Code, rec.Detail)
	}
}
