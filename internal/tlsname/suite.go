package tlsname

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Verdict says what a cipher suite's name is good for.
type Verdict uint8

// Verdicts.
const (
	Unknown     Verdict = iota // no cipher suite has this name
	Offerable                  // crypto/tls negotiates it, for TLS 1.2 and below
	TLS13                      // a suite of TLS 1.3: always on, never chosen
	Unsupported                // a real suite that crypto/tls does not have
)

// ParseSuite reads the IANA or OpenSSL name of a cipher suite, without regard to case. The number is
// meaningful for Offerable and TLS13.
func ParseSuite(s string) (uint16, Verdict) {
	name := strings.ToUpper(strings.TrimSpace(s))
	for _, c := range suites() {
		if name == c.Name || name == openSSL(c.Name) {
			if isTLS13(c) {
				return c.ID, TLS13
			}
			return c.ID, Offerable
		}
	}
	switch name {
	case "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": // Go's old names, without the hash
		return tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, Offerable
	case "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305":
		return tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, Offerable
	case "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256":
		return 0, TLS13
	}
	if isReal(name) {
		return 0, Unsupported
	}
	return 0, Unknown
}

// Suite returns the IANA name, and hexadecimal for suites that crypto/tls does not have.
func Suite(id uint16) string {
	for _, c := range suites() {
		if c.ID == id {
			return c.Name
		}
	}
	return fmt.Sprintf("0x%04X", id)
}

// OpenSSL returns the OpenSSL name ("ECDHE-RSA-AES128-GCM-SHA256"; for TLS 1.3 the IANA name), and
// hexadecimal for suites that crypto/tls does not have.
func OpenSSL(id uint16) string {
	for _, c := range suites() {
		if c.ID == id {
			return openSSL(c.Name)
		}
	}
	return fmt.Sprintf("0x%04X", id)
}

// OfferableSuites returns every suite of TLS 1.0 to 1.2 that crypto/tls can offer, ordered by number.
func OfferableSuites() []uint16 {
	var ids []uint16
	for _, c := range suites() {
		if !isTLS13(c) {
			ids = append(ids, c.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func suites() []*tls.CipherSuite { return append(tls.CipherSuites(), tls.InsecureCipherSuites()...) }

func isTLS13(c *tls.CipherSuite) bool {
	return len(c.SupportedVersions) == 1 && c.SupportedVersions[0] == tls.VersionTLS13
}

// openSSL derives OpenSSL's name from IANA's.
func openSSL(iana string) string {
	exchange, cipher, ok := strings.Cut(strings.TrimPrefix(iana, "TLS_"), "_WITH_")
	if !ok {
		return iana
	}
	exchange = strings.ReplaceAll(exchange, "_", "-") + "-"
	if exchange == "RSA-" {
		exchange = ""
	}
	cipher = strings.NewReplacer("3DES_EDE_CBC", "DES-CBC3", "RC4_128", "RC4", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305",
		"AES_128", "AES128", "AES_256", "AES256", "_CBC", "").Replace(cipher)
	return exchange + strings.ReplaceAll(cipher, "_", "-")
}

// isReal reports whether a name is put together like that of a registered suite: a known key exchange
// and a known cipher. That is enough to tell a suite that Go lacks from a slip of the pen.
func isReal(name string) bool {
	exchange, cipher, iana := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if iana && strings.HasPrefix(name, "TLS_") {
		return slices.Contains(exchanges(), strings.ReplaceAll(exchange, "_", "-")) && isCipher(strings.ReplaceAll(cipher, "_", "-"))
	}
	for _, x := range append(exchanges(), "EDH-RSA", "EDH-DSS", "ADH", "AECDH", "EXP", "EXP-EDH-RSA", "EXP-EDH-DSS") {
		if rest, ok := strings.CutPrefix(name, x+"-"); ok && isCipher(rest) {
			return true
		}
	}
	return isCipher(name)
}

func exchanges() []string {
	return []string{"RSA", "NULL", "RSA-EXPORT", "DH-DSS", "DH-RSA", "DHE-DSS", "DHE-RSA", "DH-ANON", "KRB5", "PSK", "DHE-PSK", "RSA-PSK",
		"ECDH-ECDSA", "ECDHE-ECDSA", "ECDH-RSA", "ECDHE-RSA", "ECDH-ANON", "ECDHE-PSK", "SRP-SHA", "SRP", "SRP-RSA", "SRP-SHA-RSA", "SRP-SHA-DSS",
		"SRP-DSS", "ECCPWD"}
}

// isCipher reports whether s is cipher, mode and hash with hyphens, in IANA's or OpenSSL's spelling.
func isCipher(s string) bool {
	for _, c := range []string{"NULL", "RC4", "RC4-40", "RC4-128", "RC2-CBC-40", "RC2-CBC", "IDEA-CBC", "DES-CBC", "DES40-CBC", "DES-CBC3", "3DES-EDE-CBC",
		"AES", "AES128", "AES256", "AES-128", "AES-256", "CAMELLIA", "CAMELLIA128", "CAMELLIA256", "CAMELLIA-128", "CAMELLIA-256",
		"ARIA128", "ARIA256", "ARIA-128", "ARIA-256", "SEED", "CHACHA20-POLY1305"} {
		rest, ok := strings.CutPrefix(s, c)
		if !ok {
			continue
		}
		for _, mode := range []string{"", "-CBC", "-GCM", "-CCM", "-CCM8", "-CCM-8"} {
			for _, hash := range []string{"", "-MD5", "-SHA", "-SHA256", "-SHA384"} {
				if rest == mode+hash && mode+hash != "" || rest == "" && c == "CHACHA20-POLY1305" {
					return true
				}
			}
		}
	}
	return false
}
