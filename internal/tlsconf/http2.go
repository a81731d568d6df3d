package tlsconf

import (
	"crypto/tls"
	"slices"

	"github.com/hakone-gateway/hakone/internal/listen"
)

// HTTP/2 asks for TLS 1.2 at least, and there for suites with forward secrecy and AEAD (RFC 9113 section
// 9.2 and appendix A). Where the settings also allow others, clients that would end up with those are not
// offered h2.

// Suites of TLS 1.2 that HTTP/2 may use, for elliptic keys and for RSA.
var (
	strongECDSA = [...]uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
	strongRSA   = [...]uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
)

// weakECDSA are the other suites for elliptic keys.
var weakECDSA = [...]uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA}

// classicGroups are what TLS 1.2 clients are given where the settings name no groups.
var classicGroups = [...]tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}

// withoutHTTP2 returns config without h2 for clients that must not have it; nil if there are none, or if
// the host speaks nothing else.
func withoutHTTP2(config *tls.Config) *tls.Config {
	weak := func(id uint16) bool {
		return !slices.Contains(strongECDSA[:], id) && !slices.Contains(strongRSA[:], id)
	}
	if !slices.Contains(config.NextProtos, "h2") || config.MinVersion >= tls.VersionTLS13 ||
		config.MinVersion == tls.VersionTLS12 && config.CipherSuites != nil && !slices.ContainsFunc(config.CipherSuites, weak) {
		return nil
	}
	out := config.Clone()
	out.NextProtos = slices.DeleteFunc(slices.Clone(config.NextProtos), func(p string) bool { return p == "h2" })
	if len(out.NextProtos) == 0 {
		return nil
	}
	return out
}

// configFor returns the configuration for a client, who is served one of pairs.
func (c *class) configFor(hello *listen.Hello, pairs *servedPair) *tls.Config {
	if c.modest == nil || slices.Contains(hello.Versions, tls.VersionTLS13) && (c.config.MaxVersion == 0 || c.config.MaxVersion >= tls.VersionTLS13) ||
		!slices.Contains(hello.ALPN, "h2") {
		return c.config
	}
	if slices.Contains(hello.Versions, tls.VersionTLS12) && (c.config.MaxVersion == 0 || c.config.MaxVersion >= tls.VersionTLS12) && c.strong(hello, pairs) {
		return c.config
	}
	return c.modest
}

// strong reports whether TLS 1.2 would end up with a suite that HTTP/2 may use. crypto/tls prefers those
// whatever the order.
func (c *class) strong(hello *listen.Hello, pairs *servedPair) bool {
	groups := c.config.CurvePreferences
	if len(groups) == 0 {
		groups = classicGroups[:]
	}
	if !slices.ContainsFunc(groups, func(g tls.CurveID) bool { return slices.Contains(hello.Groups, uint16(g)) }) {
		return false
	}
	common := func(list []uint16) bool {
		return slices.ContainsFunc(list, func(id uint16) bool {
			return slices.Contains(hello.Suites, id) && (c.config.CipherSuites == nil || slices.Contains(c.config.CipherSuites, id))
		})
	}
	for _, pair := range pairs.pairs[:pairs.n] {
		switch {
		case pair.IsRSA():
			return common(strongRSA[:])
		case common(strongECDSA[:]):
			return true
		case common(weakECDSA[:]): // what the client gets then
			return false
		}
	}
	return false
}
