package clientcert

import (
	"encoding/base64"
	"strings"

	"github.com/hakone-gateway/hakone/internal/filter"
)

// Details say what of the certificate is sent. The zero value sends nothing.
type Details struct {
	// Parts of X-Forwarded-Client-Cert, in Envoy's order. By holds the URI names of our own certificate.
	By                                   []string
	Hash, Cert, Chain, Subject, URI, DNS bool
	ClientCert, ClientCertChain          bool // RFC 9440
	Cloudflare                           bool // Cf-Client-Cert-Der-Base64 and Cf-Client-Cert-Sha256
}

// Default is what Istio's gateways send in X-Forwarded-Client-Cert, and Client-Cert.
func Default() Details {
	return Details{Hash: true, Cert: true, Subject: true, URI: true, DNS: true, ClientCert: true}
}

// Prepare makes the values that are sent for a client certificate. It is called once per connection,
// after the handshake; nil for no certificate and for one that did not verify.
func Prepare(c *filter.ClientCert, d Details) *filter.Identity {
	if c == nil || !c.Verified || len(c.DER) == 0 {
		return nil
	}
	id := &filter.Identity{XFCC: []byte(element(c, d))}
	if d.ClientCert {
		id.Cert = byteSequence(nil, c.DER[0])
	}
	if d.ClientCertChain {
		for _, der := range c.DER[1:] {
			if len(id.Chain) > 0 {
				id.Chain = append(id.Chain, ", "...)
			}
			id.Chain = byteSequence(id.Chain, der)
		}
	}
	if d.Cloudflare {
		id.CfDER, id.CfHash = base64.StdEncoding.AppendEncode(nil, c.DER[0]), []byte(c.Hash)
	}
	return id
}

// byteSequence appends a structured field's byte sequence (RFC 9651 section 3.3.5).
func byteSequence(dst, b []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(dst, ':'), b), ':')
}

// element is one element of X-Forwarded-Client-Cert.
func element(c *filter.ClientCert, d Details) string {
	var parts []string
	part := func(key, value string) { parts = append(parts, key+"="+value) }
	for _, uri := range d.By {
		part("By", guarded(uri))
	}
	if d.Hash && c.Hash != "" {
		part("Hash", c.Hash)
	}
	if d.Cert {
		part("Cert", `"`+urlPEM(c.DER[:1])+`"`)
	}
	if d.Chain {
		part("Chain", `"`+urlPEM(c.DER)+`"`)
	}
	if d.Subject {
		part("Subject", quoted(c.Subject))
	}
	if d.URI {
		for _, uri := range c.URI {
			part("URI", guarded(uri))
		}
	}
	if d.DNS {
		for _, name := range c.DNS {
			part("DNS", guarded(name))
		}
	}
	return strings.Join(parts, ";")
}

// guarded quotes a value that would otherwise end its part: names in certificates are the issuer's
// choice, or its customer's.
func guarded(s string) string {
	if s != "" && !strings.ContainsAny(s, `,;="\`) && visible(s) == s {
		return s
	}
	return quoted(s)
}

// quoted puts a value in quotes. A quote inside gets a backslash unless it has one already, as in
// RFC 2253 subjects.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	escaped := false
	for _, c := range []byte(visible(s)) {
		if c == '"' && !escaped {
			b.WriteByte('\\')
		}
		escaped = c == '\\' && !escaped
		b.WriteByte(c)
	}
	if escaped { // a lone backslash would hide the closing quote
		b.WriteByte('\\')
	}
	b.WriteByte('"')
	return b.String()
}

// visible replaces bytes that no field value may hold by %XX.
func visible(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f {
			b.WriteString("%" + string(upperHex[c>>4]) + string(upperHex[c&15]))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

const upperHex = "0123456789ABCDEF"

// urlPEM is PEM in Envoy's URL encoding.
func urlPEM(ders [][]byte) string {
	escape := strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")
	var b strings.Builder
	for _, der := range ders {
		b.WriteString("-----BEGIN CERTIFICATE-----\n")
		for s := base64.StdEncoding.EncodeToString(der); len(s) > 0; {
			n := min(64, len(s))
			b.WriteString(s[:n] + "\n")
			s = s[n:]
		}
		b.WriteString("-----END CERTIFICATE-----\n")
	}
	return escape.Replace(b.String())
}
