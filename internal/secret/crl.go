package secret

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// CRL is a complete revocation list of one issuer (RFC 5280 section 5). Its signature has not been
// checked: who issued a certificate is known only when one is verified (see SignedBy). Fixed after
// construction, safe for concurrent use.
type CRL struct {
	RawIssuer  []byte    // DER of the issuer's name
	Issuer     string    // the same as text
	ThisUpdate time.Time //
	NextUpdate time.Time // zero where the list names none: then it is never stale
	Digest     string    // of the DER
	Scope      *Scope    // which certificates the list is limited to; nil: none. Never set by ParseCRLs.

	list    *x509.RevocationList // without its entries
	revoked map[string]revokedEntry
}

// revokedEntry is a Revocation in little space: lists have up to millions.
type revokedEntry struct {
	at     int64 // Unix time
	reason int8
}

// serialKey is a serial number as bytes.
func serialKey(n *big.Int) string {
	if n.Sign() < 0 {
		return "-" + string(n.Bytes())
	}
	var buf [32]byte
	if n.BitLen() <= len(buf)*8 {
		return string(n.FillBytes(buf[:(n.BitLen()+7)/8]))
	}
	return string(n.Bytes())
}

// Revocation is one entry of a CRL.
type Revocation struct {
	At     time.Time
	Reason int // RFC 5280 section 5.3.1; 0 is unspecified
}

// ReasonText returns the reason in the words of RFC 5280 ("keyCompromise").
func (r Revocation) ReasonText() string {
	words := [...]string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
		"cessationOfOperation", "certificateHold", "reason 7", "removeFromCRL", "privilegeWithdrawn", "aACompromise"}
	if r.Reason < 0 || r.Reason >= len(words) {
		return fmt.Sprintf("reason %d", r.Reason)
	}
	return words[r.Reason]
}

// Len returns the number of entries.
func (c *CRL) Len() int { return len(c.revoked) }

// Lookup returns the entry of a serial number. It speaks only for certificates of the CRL's issuer.
func (c *CRL) Lookup(serial *big.Int) (Revocation, bool) {
	e, ok := c.revoked[serialKey(serial)]
	if !ok {
		return Revocation{}, false
	}
	return Revocation{At: time.Unix(e.at, 0).UTC(), Reason: int(e.reason)}, true
}

// SignedBy returns nil if ca issued the list: same name, good signature, and a key usage that allows
// to sign CRLs.
func (c *CRL) SignedBy(ca *x509.Certificate) error {
	if !bytes.Equal(c.RawIssuer, ca.RawSubject) {
		return errors.New("the list names another issuer")
	}
	return c.list.CheckSignatureFrom(ca)
}

// ParseCRLs reads one DER list or any number of PEM lists, and returns them ordered by digest and
// without repeats. All must be usable: who asks for revocation must not get less of it than was
// written. The error is an *Error with code CRLInvalid.
func ParseCRLs(data []byte) ([]*CRL, error) { return parseCRLs(data, tlsNames.crl) }

func parseCRLs(data []byte, name string) ([]*CRL, error) {
	bs := blocks(data)
	if len(bs) == 0 && len(data) > 0 && data[0] == 0x30 {
		bs = []block{{label: "X509 CRL", der: data, line: 1}}
	}
	var lists []*CRL
	for _, b := range bs {
		if !b.isCRL() {
			continue
		}
		if b.der == nil {
			return nil, fail(diag.CRLInvalid, name,
				fmt.Sprintf("%s line %d: the PEM block %q is broken (base64 or END line)", name, b.line, b.label), "Paste the whole PEM block again.")
		}
		c, err := parseCRL(b.der, false)
		if err != nil {
			return nil, failWith(err, diag.CRLInvalid, name,
				fmt.Sprintf("%s line %d: the revocation list cannot be used", name, b.line), "Publish a complete list: openssl ca -gencrl -out crl.pem.")
		}
		lists = append(lists, c)
	}
	if len(lists) == 0 {
		what, fix := guess(data, "revocation list")
		if len(bs) > 0 {
			what = fmt.Sprintf("holds a PEM block %q, but no X509 CRL", bs[0].label)
		}
		return nil, fail(diag.CRLInvalid, name, name+" "+what, fix)
	}
	slices.SortFunc(lists, func(a, b *CRL) int { return strings.Compare(a.Digest, b.Digest) })
	return slices.CompactFunc(lists, func(a, b *CRL) bool { return a.Digest == b.Digest }), nil
}

// parseCRL parses one list; one that is limited to some certificates only if scoped.
func parseCRL(der []byte, scoped bool) (*CRL, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	switch list.SignatureAlgorithm {
	case x509.UnknownSignatureAlgorithm, x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256, x509.ECDSAWithSHA1:
		return nil, fmt.Errorf("its signature algorithm (%s) is not accepted", list.SignatureAlgorithm)
	}
	scope, err := limits(list.Extensions, scoped)
	if err != nil {
		return nil, err
	}
	c := &CRL{RawIssuer: list.RawIssuer, Issuer: name(list.RawIssuer), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
		Digest: digest(der), Scope: scope, revoked: make(map[string]revokedEntry, len(list.RevokedCertificateEntries))}
	for _, e := range list.RevokedCertificateEntries {
		if err := plainEntry(e); err != nil {
			return nil, err
		}
		c.revoked[serialKey(e.SerialNumber)] = revokedEntry{e.RevocationTime.Unix(), int8(min(max(e.ReasonCode, -1), 127))}
	}
	// The signature is over the raw bytes; the parsed entries would only hold memory.
	c.list = &x509.RevocationList{RawTBSRevocationList: list.RawTBSRevocationList, RawIssuer: list.RawIssuer,
		Signature: list.Signature, SignatureAlgorithm: list.SignatureAlgorithm}
	return c, nil
}

// limits refuses lists that speak for a part of an issuer's certificates, unless scoped, or for several
// issuers: taking them for complete would call revoked certificates good.
func limits(exts []pkix.Extension, scoped bool) (*Scope, error) {
	var scope *Scope
	for _, e := range exts {
		switch oid := e.Id.String(); {
		case oid == "2.5.29.27":
			return nil, errors.New("it is a delta list, which is only part of one")
		case oid == "2.5.29.28" && !scoped:
			return nil, errors.New("it is limited to a distribution point (partial or indirect)")
		case oid == "2.5.29.28":
			var err error
			if scope, err = parseScope(e); err != nil {
				return nil, err
			}
		case oid == "2.5.29.20", oid == "2.5.29.35": // number, authority key identifier
		case e.Critical:
			return nil, fmt.Errorf("its critical extension %s is not known", oid)
		}
	}
	return scope, nil
}

func plainEntry(e x509.RevocationListEntry) error {
	for _, x := range e.Extensions {
		switch oid := x.Id.String(); {
		case oid == "2.5.29.29":
			return fmt.Errorf("its entry %s belongs to another issuer (indirect list)", e.SerialNumber.Text(16))
		case oid == "2.5.29.21", oid == "2.5.29.24": // reason, invalidity date
		case x.Critical:
			return fmt.Errorf("its entry %s has the critical extension %s, which is not known", e.SerialNumber.Text(16), oid)
		}
	}
	return nil
}
