package compile

import (
	"crypto/tls"
	"slices"
	"testing"
)

// TestALPN holds that HTTP/2 is offered wherever TLS can carry it, and nowhere else.
func TestALPN(t *testing.T) {
	both, old := []string{"h2", "http/1.1", "http/1.0"}, []string{"http/1.1", "http/1.0"}
	for name, tc := range map[string]struct {
		settings settings
		want     []string
	}{
		"default":               {settings{min: tls.VersionTLS12, max: tls.VersionTLS13}, both},
		"1.3 alone":             {settings{min: tls.VersionTLS13, max: tls.VersionTLS13}, both},
		"1.2 alone":             {settings{min: tls.VersionTLS12, max: tls.VersionTLS12}, both},
		"1.2 with CBC":          {settings{max: tls.VersionTLS12, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}}, old},
		"1.2 with CBC and AEAD": {settings{max: tls.VersionTLS12, suites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, both},
		"1.2 with RSA exchange": {settings{max: tls.VersionTLS12, suites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, old},
		"1.1":                   {settings{min: tls.VersionTLS10, max: tls.VersionTLS11}, old},
	} {
		if got := protocols(tc.settings); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
