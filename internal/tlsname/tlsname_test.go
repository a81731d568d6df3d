package tlsname

import (
	"crypto/tls"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]uint16{"1.0": tls.VersionTLS10, "TLSv1": tls.VersionTLS10, "TLSV1_1": tls.VersionTLS11, "TLS 1.2": tls.VersionTLS12,
		"tlsv1.2": tls.VersionTLS12, " 1.3 ": tls.VersionTLS13, "TLS1.3": tls.VersionTLS13} {
		got, ok := ParseVersion(in)
		if !ok || got != want {
			t.Errorf("ParseVersion(%q) = %#x, %v; want %#x", in, got, ok, want)
		}
		if back, ok := ParseVersion(Version(want)); !ok || back != want {
			t.Errorf("ParseVersion(Version(%#x)) = %#x, %v", want, back, ok)
		}
	}
	for _, bad := range []string{"", "1.4", "2", "SSLv3", "TLS_AUTO", "1.2.3", "12"} {
		if v, ok := ParseVersion(bad); ok {
			t.Errorf("ParseVersion(%q) = %#x, want none", bad, v)
		}
	}
}

func TestParseGroup(t *testing.T) {
	for in, want := range map[string]tls.CurveID{"X25519MLKEM768": tls.X25519MLKEM768, "secp256r1": tls.CurveP256, "P-256": tls.CurveP256, "prime256v1": tls.CurveP256,
		"x25519": tls.X25519, "P-384": tls.CurveP384, "secp521r1": tls.CurveP521, "SecP256r1MLKEM768": tls.SecP256r1MLKEM768, "SecP384r1MLKEM1024": tls.SecP384r1MLKEM1024} {
		got, ok := ParseGroup(in)
		if !ok || got != want {
			t.Errorf("ParseGroup(%q) = %v, %v; want %v", in, got, ok, want)
		}
		if back, ok := ParseGroup(Group(want)); !ok || back != want {
			t.Errorf("ParseGroup(Group(%v)) = %v, %v", want, back, ok)
		}
	}
	for _, bad := range []string{"", "X448", "ffdhe2048", "Kyber768"} {
		if g, ok := ParseGroup(bad); ok {
			t.Errorf("ParseGroup(%q) = %v, want none", bad, g)
		}
	}
}

func TestParseSuite(t *testing.T) {
	for _, c := range []struct {
		in      string
		id      uint16
		verdict Verdict
	}{
		{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Offerable},
		{"ecdhe-rsa-aes128-gcm-sha256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Offerable},
		{"ECDHE-ECDSA-CHACHA20-POLY1305", tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, Offerable},
		{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, Offerable},
		{"AES256-SHA", tls.TLS_RSA_WITH_AES_256_CBC_SHA, Offerable},
		{"AES128-GCM-SHA256", tls.TLS_RSA_WITH_AES_128_GCM_SHA256, Offerable},
		{"DES-CBC3-SHA", tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, Offerable},
		{"ECDHE-RSA-AES128-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, Offerable},
		{"RC4-SHA", tls.TLS_RSA_WITH_RC4_128_SHA, Offerable},
		{"TLS_AES_128_GCM_SHA256", tls.TLS_AES_128_GCM_SHA256, TLS13},
		{"DHE-RSA-AES128-GCM-SHA256", 0, Unsupported},
		{"TLS_DHE_RSA_WITH_AES_256_CBC_SHA256", 0, Unsupported},
		{"ECDHE-ECDSA-AES256-CCM8", 0, Unsupported},
		{"ECDHE-RSA-AES256-SHA384", 0, Unsupported},
		{"CAMELLIA256-SHA", 0, Unsupported},
		{"TLS_ECDHE_RSA_WITH_CAMELLIA_128_CBC_SHA256", 0, Unsupported},
		{"EDH-RSA-DES-CBC3-SHA", 0, Unsupported},
		{"ECDHE-RSA-AES129-GCM-SHA256", 0, Unknown},
		{"HIGH:!aNULL", 0, Unknown}, {"", 0, Unknown}, {"AES128", 0, Unknown}, {"TLS_WITH_", 0, Unknown}, {"ECDHE-RSA", 0, Unknown},
	} {
		id, verdict := ParseSuite(c.in)
		if verdict != c.verdict || c.id != 0 && id != c.id {
			t.Errorf("ParseSuite(%q) = %#x, %d; want %#x, %d", c.in, id, verdict, c.id, c.verdict)
		}
	}
}

func TestEverySuiteIsKnownByBothNames(t *testing.T) {
	for _, id := range OfferableSuites() {
		for _, name := range []string{Suite(id), OpenSSL(id)} {
			if got, v := ParseSuite(name); got != id || v != Offerable {
				t.Errorf("ParseSuite(%q) = %#x, %d; want %#x", name, got, v, id)
			}
		}
	}
	if n := len(OfferableSuites()); n < 18 {
		t.Errorf("only %d suites", n)
	}
}
