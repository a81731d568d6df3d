package secret

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"
)

// Subject renders the certificate's subject as RFC 2253 does, most specific part first
// ("CN=client,O=client organization"). Control and non-ASCII bytes are escaped as \XX, as OpenSSL and
// Envoy do, so the text is safe in headers and logs. An empty subject gives "(empty)".
func Subject(c *x509.Certificate) string { return name(c.RawSubject) }

// Title names the certificate for people: as Subject does, or by its first subject alternative name where
// the subject is empty.
func Title(c *x509.Certificate) string {
	s := Subject(c)
	switch {
	case s != "(empty)":
	case len(c.DNSNames) > 0:
		return escape(c.DNSNames[0])
	case len(c.IPAddresses) > 0:
		return c.IPAddresses[0].String()
	case len(c.EmailAddresses) > 0:
		return escape(c.EmailAddresses[0])
	case len(c.URIs) > 0:
		return escape(c.URIs[0].String())
	}
	return s
}

// escape writes control and non-ASCII bytes as \XX.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			fmt.Fprintf(&b, "\\%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// Issuer renders the certificate's issuer as Subject does.
func Issuer(c *x509.Certificate) string { return name(c.RawIssuer) }

func name(raw []byte) string {
	var seq pkix.RDNSequence
	rest, err := asn1.Unmarshal(raw, &seq)
	if err != nil || len(rest) > 0 {
		return "#" + hex.EncodeToString(raw)
	}
	if len(seq) == 0 {
		return "(empty)"
	}
	var b strings.Builder
	for i := len(seq) - 1; i >= 0; i-- {
		for j, attr := range seq[i] {
			switch {
			case j > 0:
				b.WriteByte('+')
			case b.Len() > 0:
				b.WriteByte(',')
			}
			writeAttribute(&b, attr)
		}
	}
	return b.String()
}

func writeAttribute(b *strings.Builder, attr pkix.AttributeTypeAndValue) {
	oid := attr.Type.String()
	short := attributeName(oid)
	text, isText := attr.Value.(string)
	if !isText {
		der, err := asn1.Marshal(attr.Value)
		if err != nil {
			der = []byte(fmt.Sprint(attr.Value))
		}
		b.WriteString(oid + "=#" + hex.EncodeToString(der))
		return
	}
	if short == "" {
		short = oid
	}
	b.WriteString(short + "=")
	for i := range len(text) {
		c := text[i]
		switch {
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(b, `\%02X`, c)
		case strings.IndexByte(`,+"\<>;`, c) >= 0,
			c == '#' && i == 0,
			c == ' ' && (i == 0 || i == len(text)-1):
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}

// attributeName returns the short name OpenSSL prints for an attribute type, or "".
func attributeName(oid string) string {
	switch oid {
	case "2.5.4.3":
		return "CN"
	case "2.5.4.4":
		return "SN"
	case "2.5.4.5":
		return "serialNumber"
	case "2.5.4.6":
		return "C"
	case "2.5.4.7":
		return "L"
	case "2.5.4.8":
		return "ST"
	case "2.5.4.9":
		return "street"
	case "2.5.4.10":
		return "O"
	case "2.5.4.11":
		return "OU"
	case "2.5.4.12":
		return "title"
	case "2.5.4.17":
		return "postalCode"
	case "2.5.4.42":
		return "GN"
	case "0.9.2342.19200300.100.1.1":
		return "UID"
	case "0.9.2342.19200300.100.1.25":
		return "DC"
	case "1.2.840.113549.1.9.1":
		return "emailAddress"
	}
	return ""
}
