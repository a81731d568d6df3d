package certlint

import (
	"crypto/x509"
	"slices"

	"github.com/hakone-gateway/hakone/internal/secret"
)

// Single judges one leaf certificate by itself, without its key and the hosts it is to serve: form,
// strength, usages and length of life. Its dates are not compared with any clock, so authorities ask it
// before they sign. usages are those that its holder needs.
func Single(c *x509.Certificate, usages ...x509.ExtKeyUsage) []secret.Finding {
	l := &lint{}
	l.form(c, false)
	l.strength(c, "the certificate")
	for _, u := range usages {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			l.usage(c, false)
		case x509.ExtKeyUsageClientAuth:
			l.usage(c, true)
		}
	}
	if slices.Contains(usages, x509.ExtKeyUsageServerAuth) {
		l.life(c)
	}
	return l.found
}
