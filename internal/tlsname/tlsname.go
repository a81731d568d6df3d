// Package tlsname holds the names of TLS versions, cipher suites and key exchange groups, as people
// write them (IANA, OpenSSL, Istio, NIST), and the numbers that crypto/tls has for them.
//
// It refuses to know which of them are wise: presets and policies are others' business. Begin reading
// at ParseVersion, ParseSuite and ParseGroup.
package tlsname

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// ParseVersion reads "1.2", "TLS1.2", "TLSv1.2", "TLS 1.2", "TLSV1_2" and the like, without regard to
// case. SSL 3.0 and older are not known.
func ParseVersion(s string) (uint16, bool) {
	v := strings.ToLower(strings.TrimSpace(s))
	v = strings.TrimLeft(strings.TrimPrefix(v, "tls"), "v _-")
	switch strings.ReplaceAll(v, "_", ".") {
	case "1.0", "1":
		return tls.VersionTLS10, true
	case "1.1":
		return tls.VersionTLS11, true
	case "1.2":
		return tls.VersionTLS12, true
	case "1.3":
		return tls.VersionTLS13, true
	}
	return 0, false
}

// Version returns "1.2" for tls.VersionTLS12, and hexadecimal for versions that are not known.
func Version(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "1.0"
	case tls.VersionTLS11:
		return "1.1"
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return fmt.Sprintf("0x%04x", v)
}

// ParseGroup reads the name of a key exchange group that crypto/tls can offer, by any of its names
// and without regard to case.
func ParseGroup(s string) (tls.CurveID, bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "x25519mlkem768":
		return tls.X25519MLKEM768, true
	case "secp256r1mlkem768", "p256mlkem768":
		return tls.SecP256r1MLKEM768, true
	case "secp384r1mlkem1024", "p384mlkem1024":
		return tls.SecP384r1MLKEM1024, true
	case "x25519":
		return tls.X25519, true
	case "p-256", "p256", "secp256r1", "prime256v1":
		return tls.CurveP256, true
	case "p-384", "p384", "secp384r1":
		return tls.CurveP384, true
	case "p-521", "p521", "secp521r1":
		return tls.CurveP521, true
	}
	return 0, false
}

// Group returns the name of a group: "X25519MLKEM768", "P-256". Groups that are not known come in
// hexadecimal.
func Group(id tls.CurveID) string {
	switch id {
	case tls.X25519MLKEM768:
		return "X25519MLKEM768"
	case tls.SecP256r1MLKEM768:
		return "SecP256r1MLKEM768"
	case tls.SecP384r1MLKEM1024:
		return "SecP384r1MLKEM1024"
	case tls.X25519:
		return "X25519"
	case tls.CurveP256:
		return "P-256"
	case tls.CurveP384:
		return "P-384"
	case tls.CurveP521:
		return "P-521"
	}
	return fmt.Sprintf("0x%04x", uint16(id))
}
