package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// origin is an upstream on loopback; handle gets each raw connection.
func origin(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// tlsOrigin greets with "ok" over TLS.
func tlsOrigin(t *testing.T, config *tls.Config) string {
	return origin(t, func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		s := tls.Server(c, config)
		if s.Handshake() == nil {
			_, _ = io.WriteString(s, "ok")
			_, _ = io.Copy(io.Discard, s)
		} else {
			_, _ = io.Copy(io.Discard, c)
		}
	})
}

// originated is what came of a handshake and the first read.
type originated struct {
	code    diag.Code
	detail  string
	resumed bool
	alpn    string
}

// reach makes one handshake with the origin, offering http/1.1, and reads the greeting.
func reach(t *testing.T, o *Originator, addr, host string) originated {
	t.Helper()
	return reachAs(t, o, addr, host, ir.UpstreamHTTP1)
}

// reachAs is reach with another offer.
func reachAs(t *testing.T, o *Originator, addr, host string, speak ir.UpstreamProtocol) originated {
	t.Helper()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, rec := o.Handshake(ctx, raw, host, speak)
	if (c == nil) != (rec.Code != 0) {
		t.Fatalf("connection %v with code %s", c, rec.Code)
	}
	out := originated{rec.Code, rec.Detail, rec.Resumed, rec.ALPN}
	if c == nil {
		return out
	}
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		code, detail, ok := o.ReadError(err)
		if !ok {
			t.Fatalf("reading: %v", err)
		}
		out.code, out.detail = code, detail
	}
	return out
}

// TestUpstreamCauses proves each 31xx code with an upstream that causes it.
func TestUpstreamCauses(t *testing.T) {
	ca, other := testca.New(t, testca.Spec{CommonName: "CA"}), testca.New(t, testca.Spec{CommonName: "Other"})
	good := ca.Issue(testca.Spec{DNS: []string{"up.test"}})
	cert := func(p *testca.Pair) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{p.TLS()}} }
	clients := func(mode tls.ClientAuthType, pool *testca.Pair) *tls.Config {
		c := cert(good)
		c.ClientAuth, c.ClientCAs = mode, pool.Pool()
		return c
	}
	const pair, bundle = ir.SecretRef("test/client"), ir.TrustRef("test/ca")
	base := ir.UpstreamTLS{SNI: "up.test", VerifyName: "up.test", Trust: bundle}
	mutual := base
	mutual.Certificate = pair
	for _, c := range []struct {
		name   string
		server *tls.Config
		up     func(*ir.UpstreamTLS)
		code   diag.Code
		detail string
	}{
		{"good", cert(good), nil, 0, ""},
		{"unknown CA", cert(other.Issue(testca.Spec{DNS: []string{"up.test"}})), nil, diag.UpstreamUnknownCA, "CN=Other"},
		{"expired", cert(ca.Issue(testca.Spec{DNS: []string{"up.test"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})), nil, diag.UpstreamCertExpired, "expired at"},
		{"not yet", cert(ca.Issue(testca.Spec{DNS: []string{"up.test"}, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})), nil, diag.UpstreamCertNotYetValid, "valid from"},
		{"name", cert(ca.Issue(testca.Spec{DNS: []string{"else.test"}})), nil, diag.UpstreamNameMismatch, "else.test"},
		{"no SAN", cert(ca.Issue(testca.Spec{CommonName: "up.test"})), nil, diag.UpstreamCertNoSAN, "common name"},
		{"usage", cert(ca.Issue(testca.Spec{DNS: []string{"up.test"}, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})), nil, diag.UpstreamCertInvalid, "usage"},
		{"skip", cert(other.Issue(testca.Spec{})), func(u *ir.UpstreamTLS) { u.InsecureSkipVerify = true }, 0, ""},
		{"SAN list", cert(good), func(u *ir.UpstreamTLS) { u.SANs = []string{"nobody.test"} }, diag.UpstreamNameMismatch, "nobody.test"},
		{"system roots", cert(good), func(u *ir.UpstreamTLS) { u.Trust = "" }, diag.UpstreamUnknownCA, ""},
		{"trust missing", cert(good), func(u *ir.UpstreamTLS) { u.Trust = "test/none" }, diag.UpstreamCredentialMissing, "test/none"},
		{"client certificate missing here", cert(good), func(u *ir.UpstreamTLS) { u.Certificate = "test/none" }, diag.UpstreamCredentialMissing, "test/none"},
		{"mutual", clients(tls.RequireAndVerifyClientCert, ca), func(u *ir.UpstreamTLS) { *u = mutual }, 0, ""},
		{"wants certificate, 1.3", clients(tls.RequireAndVerifyClientCert, ca), nil, diag.UpstreamRequiresCert, "116"},
		{"wants certificate, 1.2", clients(tls.RequireAndVerifyClientCert, ca), func(u *ir.UpstreamTLS) { u.MaxVersion = tls.VersionTLS12 }, diag.UpstreamRequiresCert, "40"},
		{"rejects certificate, 1.3", clients(tls.RequireAndVerifyClientCert, other), func(u *ir.UpstreamTLS) { *u = mutual }, diag.UpstreamRejectedCert, "48 (unknown_ca) about our client certificate"},
		{"rejects certificate, 1.2", clients(tls.RequireAndVerifyClientCert, other), func(u *ir.UpstreamTLS) { *u = mutual; u.MaxVersion = tls.VersionTLS12 }, diag.UpstreamRejectedCert, "48"},
		{"version", &tls.Config{Certificates: []tls.Certificate{good.TLS()}, MinVersion: tls.VersionTLS13}, func(u *ir.UpstreamTLS) { u.MaxVersion = tls.VersionTLS12 }, diag.UpstreamTLSVersion, "70"},
		{"suites", &tls.Config{Certificates: []tls.Certificate{good.TLS()}, MaxVersion: tls.VersionTLS12},
			func(u *ir.UpstreamTLS) { u.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} }, diag.UpstreamTLSNoCommon, "40"},
		{"ALPN", &tls.Config{Certificates: []tls.Certificate{good.TLS()}, NextProtos: []string{"spdy"}}, nil, diag.UpstreamTLSNoCommon, "120"},
		{"name not served", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}, nil, diag.UpstreamTLSFailed, "112"},
	} {
		t.Run(c.name, func(t *testing.T) {
			up := base
			if c.up != nil {
				c.up(&up)
			}
			secrets := &ir.Secrets{ByRef: map[ir.SecretRef]*ir.Credential{pair: {Pair: keyPair(t, ca.Issue(testca.Spec{CommonName: "gw"}))}}}
			bundles := &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{bundle: {Bundle: secret.NewBundle(ca.Cert)}}}
			o := Originate("up", &up, secrets, bundles, NewState(nil), nil)
			if got := reach(t, o, tlsOrigin(t, c.server), ""); got.code != c.code || !strings.Contains(got.detail, c.detail) {
				t.Errorf("%s %q, want %s with %q", got.code, got.detail, c.code, c.detail)
			}
		})
	}
}

// TestUpstreamNoTLS meets upstreams that speak no TLS, close or stay silent.
func TestUpstreamNoTLS(t *testing.T) {
	o := Originate("up", &ir.UpstreamTLS{SNI: "up.test", InsecureSkipVerify: true}, &ir.Secrets{}, &ir.Trust{}, NewState(nil), nil)
	for _, c := range []struct {
		handle func(net.Conn)
		code   diag.Code
		detail string
	}{
		{func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, diag.UpstreamSpeaksPlaintext, `"HTTP/"`},
		{func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }, diag.UpstreamTLSFailed, "the upstream closed"},
		{func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, diag.UpstreamConnectTimeout, "not finished"},
	} {
		if got := reach(t, o, origin(t, c.handle), ""); got.code != c.code || !strings.Contains(got.detail, c.detail) {
			t.Errorf("%s %q, want %s", got.code, got.detail, c.code)
		}
	}
}

// TestUpstreamResumption resumes only under the same trust, and lets the request's host choose name
// and verification.
func TestUpstreamResumption(t *testing.T) {
	ca, other := testca.New(t, testca.Spec{CommonName: "CA"}), testca.New(t, testca.Spec{CommonName: "Other"})
	addr := tlsOrigin(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue(testca.Spec{DNS: []string{"a.test", "b.test"}}).TLS()}})
	up := &ir.UpstreamTLS{HostSNI: true, Trust: "test/ca"}
	trusting := func(c *testca.Pair) *ir.Trust {
		return &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"test/ca": {Bundle: secret.NewBundle(c.Cert)}}}
	}
	state := NewState(nil)
	o := Originate("up", up, &ir.Secrets{}, trusting(ca), state, nil)
	for _, want := range []struct {
		host    string
		resumed bool
		code    diag.Code
	}{{"a.test", false, 0}, {"a.test", true, 0}, {"b.test", false, 0}, {"c.test", false, diag.UpstreamNameMismatch}, {"", false, diag.UpstreamNameMismatch}} {
		if got := reach(t, o, addr, want.host); got.resumed != want.resumed || got.code != want.code {
			t.Errorf("%s: %+v", want.host, got)
		}
	}
	copied := *up
	if again := Originate("up", &copied, &ir.Secrets{}, trusting(ca), state, o); again != o {
		t.Error("equal content makes a new Originator")
	}
	changed := Originate("up", up, &ir.Secrets{}, trusting(other), state, o)
	if changed == o {
		t.Fatal("another CA keeps the old Originator")
	}
	if got := reach(t, changed, addr, "a.test"); got.code != diag.UpstreamUnknownCA {
		t.Errorf("a session crossed trust: %+v", got)
	}
}

// TestUpstreamProtocol negotiates by ALPN what the upstream is declared to speak.
func TestUpstreamProtocol(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	cert := ca.Issue(testca.Spec{DNS: []string{"up.test"}}).TLS()
	o := Originate("up", &ir.UpstreamTLS{SNI: "up.test", InsecureSkipVerify: true}, &ir.Secrets{}, &ir.Trust{}, NewState(nil), nil)
	for _, c := range []struct {
		speak  ir.UpstreamProtocol
		server []string
		alpn   string
		code   diag.Code
		detail string
	}{
		{ir.UpstreamHTTP1, []string{"h2", "http/1.1"}, "http/1.1", 0, ""},
		{"", []string{"h2", "http/1.1"}, "http/1.1", 0, ""},
		{ir.UpstreamHTTP2, []string{"http/1.1", "h2"}, "h2", 0, ""},
		{ir.UpstreamAuto, []string{"h2", "http/1.1"}, "h2", 0, ""},
		{ir.UpstreamAuto, []string{"http/1.1"}, "http/1.1", 0, ""},
		{ir.UpstreamAuto, nil, "", 0, ""},
		{ir.UpstreamHTTP2, []string{"http/1.1"}, "", diag.UpstreamNoHTTP2, "120 (no_application_protocol)"},
		{ir.UpstreamHTTP2, nil, "", diag.UpstreamNoHTTP2, "declare it as http"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			addr := tlsOrigin(t, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: c.server, MaxVersion: version})
			for range 2 { // again, where there is a ticket
				got := reachAs(t, o, addr, "", c.speak)
				if got.alpn != c.alpn || got.code != c.code || !strings.Contains(got.detail, c.detail) {
					t.Errorf("%q to a server of %v: %+v", c.speak, c.server, got)
				}
			}
		}
	}
}
