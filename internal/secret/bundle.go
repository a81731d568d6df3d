package secret

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Bundle is a set of certificates to trust, or to know. It is told apart by content, never by
// subject: CAs with one name and different keys stand side by side. Fixed after construction, safe
// for concurrent use; the fields must not be changed. A nil Bundle is empty.
type Bundle struct {
	Certificates []*x509.Certificate // ordered by fingerprint, without repeats
	Digest       string              // of the set, whatever the order it was written in

	pool *x509.CertPool

	// Which of Certificates end chains; see Anchors.
	anchors, paths []*x509.Certificate
	anchorPool     *x509.CertPool
	partial        bool
}

// NewBundle makes a bundle of parsed certificates, in any order and with repeats.
func NewBundle(certs ...*x509.Certificate) *Bundle {
	byPrint := make(map[string]*x509.Certificate, len(certs))
	for _, c := range certs {
		byPrint[Fingerprint(c)] = c
	}
	prints := make([]string, 0, len(byPrint))
	for p := range byPrint {
		prints = append(prints, p)
	}
	slices.Sort(prints)
	b := &Bundle{Digest: digest([]byte(strings.Join(prints, ","))), pool: x509.NewCertPool()}
	for _, p := range prints {
		b.Certificates = append(b.Certificates, byPrint[p])
		b.pool.AddCert(byPrint[p])
	}
	b.split()
	return b
}

// Merge returns the union of bundles; nil ones are skipped.
func Merge(bundles ...*Bundle) *Bundle {
	var all []*x509.Certificate
	for _, b := range bundles {
		if b != nil {
			all = append(all, b.Certificates...)
		}
	}
	return NewBundle(all...)
}

// Len returns the number of certificates; 0 for nil.
func (b *Bundle) Len() int {
	if b == nil {
		return 0
	}
	return len(b.Certificates)
}

// Pool returns the certificates as crypto/tls takes them: always the same pointer, not to be
// changed. A nil bundle has an empty pool, which trusts nothing (a nil pool would mean the system's).
func (b *Bundle) Pool() *x509.CertPool {
	if b == nil {
		return x509.NewCertPool()
	}
	return b.pool
}

// Contains reports whether exactly this certificate is in the bundle.
func (b *Bundle) Contains(c *x509.Certificate) bool {
	return b != nil && slices.ContainsFunc(b.Certificates, c.Equal)
}

// Subjects returns the distinct subjects as text, sorted.
func (b *Bundle) Subjects() []string {
	var out []string
	for i := range b.Len() {
		out = append(out, Subject(b.Certificates[i]))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// String returns the count and the beginning of the digest.
func (b *Bundle) String() string {
	if b == nil {
		return "no certificates"
	}
	return fmt.Sprintf("%d certificates, digest %.16s", b.Len(), b.Digest)
}

// LogValue returns what String returns.
func (b *Bundle) LogValue() slog.Value { return slog.StringValue(b.String()) }

// ParseBundle reads concatenated PEM certificates. A block that does not parse is left out with a
// warning, which only ever trusts less; a bundle without any usable certificate is an *Error with
// code CAInvalid.
func ParseBundle(data []byte) (*Bundle, []Finding, error) { return parseBundle(data, tlsNames.ca) }

func parseBundle(data []byte, name string) (*Bundle, []Finding, error) {
	var certs []*x509.Certificate
	var found []Finding
	for _, b := range blocks(data) {
		var why string
		switch {
		case b.isKey():
			found = append(found, warn(diag.CAInvalid, name,
				fmt.Sprintf("%s line %d: a private key stands in the CA bundle; it is not used", name, b.line), "Remove it: a CA's key does not belong on a gateway."))
			continue
		case b.der == nil:
			why = "the PEM block is broken (base64 or END line)"
		case b.label == "TRUSTED CERTIFICATE":
			why = "OpenSSL's TRUSTED CERTIFICATE format is not read"
		case !b.isCertificate():
			continue
		default:
			c, err := x509.ParseCertificate(b.der)
			if err == nil {
				certs = append(certs, c)
				continue
			}
			why = err.Error()
		}
		found = append(found, warn(diag.CertUnparsable, name,
			fmt.Sprintf("%s line %d: a certificate of the bundle is left out: %s", name, b.line, why), "Paste the whole PEM block again, or remove it."))
	}
	if len(certs) == 0 {
		what, fix := guess(data, "certificate")
		if len(found) > 0 {
			what, fix = "has no usable certificate: "+found[0].Message, found[0].Fix
		}
		return nil, nil, fail(diag.CAInvalid, name, name+" "+what, fix)
	}
	b := NewBundle(certs...)
	return b, append(found, judgeAnchors(b, name)...), nil
}

func warn(code diag.Code, key, message, fix string) Finding {
	f := finding(code, key, message, fix)
	f.Severity = diag.Warning
	return f
}
