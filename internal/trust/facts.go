package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hakone-gateway/hakone/internal/secret"
)

// Facts are what logs, headers and policies need of a certificate, as text. They say nothing about
// trust. Shared between goroutines: do not change.
type Facts struct {
	Subject    string // RFC 2253, ASCII, escaped; "(empty)" for an empty name
	Issuer     string
	CommonName string // the last one of the subject, unescaped; never an identity by itself
	Serial     string // lower-case hex, without leading zeros
	Hash       string // SHA-256 over the certificate, lower-case hex
	SPKI       string // SHA-256 over SubjectPublicKeyInfo, base64
	KeyType    string
	Version    int
	NotBefore  time.Time
	NotAfter   time.Time

	// The subject alternative names, byte for byte as they stand in the certificate; printable ASCII.
	HasSAN bool // the extension is there, whatever is in it
	DNS    []string
	URIs   []string
	Emails []string
	IPs    []string
}

// NewFacts reads a certificate. The error says that a name holds bytes no name has (a line end, say);
// the facts returned with it lack the names, and the certificate must be refused.
func NewFacts(c *x509.Certificate) (*Facts, error) {
	hash, spki := sha256.Sum256(c.Raw), sha256.Sum256(c.RawSubjectPublicKeyInfo)
	f := &Facts{
		Subject: secret.Subject(c), Issuer: secret.Issuer(c), CommonName: c.Subject.CommonName,
		Serial: c.SerialNumber.Text(16), Hash: hex.EncodeToString(hash[:]), SPKI: base64.StdEncoding.EncodeToString(spki[:]),
		KeyType: secret.KeyType(c.PublicKey), Version: c.Version, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
	}
	if err := f.readNames(c); err != nil {
		f.DNS, f.URIs, f.Emails, f.IPs = nil, nil, nil, nil
		return f, err
	}
	return f, nil
}

// readNames takes the names from the extension itself: crypto/x509 parses URIs, and what is compared
// should be what was signed.
func (f *Facts) readNames(c *x509.Certificate) error {
	for _, e := range c.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		f.HasSAN = true
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return errors.New("its subject alternative names are malformed")
		}
		for _, n := range names {
			if n.Class != asn1.ClassContextSpecific {
				continue
			}
			if err := f.addName(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// addName adds one GeneralName (RFC 5280 section 4.2.1.6); kinds not listed there are passed over.
func (f *Facts) addName(n asn1.RawValue) error {
	text := string(n.Bytes)
	switch n.Tag {
	case 1, 2, 6:
		for i := range len(text) {
			if text[i] < 0x20 || text[i] >= 0x7f {
				return fmt.Errorf("a subject alternative name holds the byte 0x%02x", text[i])
			}
		}
	}
	switch n.Tag {
	case 1:
		f.Emails = append(f.Emails, text)
	case 2:
		f.DNS = append(f.DNS, text)
	case 6:
		f.URIs = append(f.URIs, text)
	case 7:
		addr, ok := netip.AddrFromSlice(n.Bytes)
		if !ok {
			return fmt.Errorf("an IP address of %d bytes is among its names", len(n.Bytes))
		}
		f.IPs = append(f.IPs, addr.String())
	}
	return nil
}
