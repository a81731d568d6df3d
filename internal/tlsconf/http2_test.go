package tlsconf

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestHTTP2NeedsStrongTLS offers h2 over versions and suites that HTTP/2 forbids, where a host allows them.
func TestHTTP2NeedsStrongTLS(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	w := newWorld()
	host := func(name string, keys ...testca.Key) *ir.TLS {
		var pairs []*testca.Pair
		for _, k := range keys {
			pairs = append(pairs, ca.Issue(testca.Spec{DNS: []string{name}, Key: k}))
		}
		s := w.host(t, name, pairs...)
		s.ALPN = []string{"h2", "http/1.1"}
		return s
	}
	every := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	host("ec.test", testca.P256).CipherSuites = every
	host("rsa.test", testca.RSA2048).CipherSuites = every
	host("both.test", testca.P256, testca.RSA2048).CipherSuites = every
	host("old.test", testca.RSA2048).MinVersion = tls.VersionTLS10
	only := host("only12.test", testca.P256)
	only.MaxVersion, only.CipherSuites = tls.VersionTLS12, every
	host("default.test", testca.P256)
	g := w.serve(t)
	for _, c := range []struct{ name, flag, ciphers, alpn string }{
		{"ec.test", "-tls1_2", "ECDHE-ECDSA-AES128-SHA", "http/1.1"},
		{"ec.test", "-tls1_2", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256", "h2"},
		{"ec.test", "-tls1_2", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256", "http/1.1"},
		{"ec.test", "-tls1_2", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-GCM-SHA384", "http/1.1"}, // the latter is not served
		{"ec.test", "-tls1_3", "ECDHE-ECDSA-AES128-SHA", "h2"},
		{"rsa.test", "-tls1_2", "AES128-GCM-SHA256", "http/1.1"},
		{"rsa.test", "-tls1_2", "ECDHE-RSA-AES128-SHA", "http/1.1"},
		{"rsa.test", "-tls1_2", "ALL", "h2"},
		{"both.test", "-tls1_2", "ECDHE-RSA-AES128-GCM-SHA256", "h2"},
		{"both.test", "-tls1_2", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256", "http/1.1"},
		{"old.test", "-tls1_1", "ALL:@SECLEVEL=0", "http/1.1"},
		{"old.test", "-tls1_2", "ALL", "h2"},
		{"only12.test", "", "ECDHE-ECDSA-AES128-SHA", "http/1.1"},
		{"only12.test", "", "ALL", "h2"},
		{"default.test", "-tls1_2", "ALL", "h2"},
	} {
		args := []string{"-servername", c.name, "-alpn", "h2,http/1.1", "-cipher", c.ciphers}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		out := g.openssl(args...)
		if rec := g.record(); rec.Code != 0 || rec.ALPN != c.alpn || !strings.Contains(out, "ALPN protocol: "+c.alpn) {
			t.Errorf("%v: %s, ALPN %q with %s, openssl said %s", c, rec.Code, rec.ALPN, tls.CipherSuiteName(rec.Suite), lines(out))
		}
	}
	g.openssl("-servername", "ec.test", "-tls1_2", "-alpn", "h2", "-cipher", "ECDHE-ECDSA-AES128-SHA")
	if rec := g.record(); rec.Code != diag.NoCommonALPN || !strings.Contains(rec.Detail, "cipher suite") {
		t.Errorf("a client that speaks nothing else: %s %q", rec.Code, rec.Detail)
	}
	config := &class{config: &tls.Config{NextProtos: []string{"h2", "http/1.1"}, CipherSuites: every, MinVersion: tls.VersionTLS12}}
	config.modest = withoutHTTP2(config.config)
	hello := &listen.Hello{Versions: []uint16{tls.VersionTLS12}, Suites: every, Groups: []uint16{uint16(tls.X25519)}, ALPN: []string{"h2"}}
	pairs := &servedPair{}
	if n := testing.AllocsPerRun(100, func() { config.configFor(hello, pairs) }); n != 0 || config.configFor(hello, pairs) != config.modest {
		t.Errorf("choosing a configuration costs %v allocations", n)
	}
}
