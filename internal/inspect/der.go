package inspect

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// derLength returns how many bytes the first DER structure says it has, head included; 0 if the head
// itself is no DER.
func derLength(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	n := int(data[1])
	if n < 0x80 {
		return 2 + n
	}
	count := n & 0x7f
	if count == 0 || count > 4 || len(data) < 2+count {
		return 0
	}
	total := 0
	for _, b := range data[2 : 2+count] {
		total = total<<8 | int(b)
	}
	return 2 + count + total
}

// isDER reports whether data begins like a DER sequence that is not text by accident.
func isDER(data []byte) bool {
	if len(data) < 4 || data[0] != 0x30 {
		return false
	}
	n := derLength(data)
	if n < 4 || n > MaxInput {
		return false
	}
	head := 2
	if data[1] >= 0x80 {
		head += int(data[1] & 0x7f)
	}
	// "0" is 0x30 too: a structure goes on with a known tag.
	return head < len(data) && bytes.IndexByte([]byte{0x02, 0x06, 0x0a, 0x30}, data[head]) >= 0 && (data[1] >= 0x80 || n <= len(data))
}

// sequence reads one DER structure after another.
func (r *reader) sequence(s spot, data []byte) {
	if s.form == "" {
		s.form = "DER"
	}
	for first := true; isDER(data); first = false {
		n := derLength(data)
		if n > len(data) {
			r.add(s, &Item{Kind: KindBroken})
			r.tell(s, diag.InputTruncated, fmt.Sprintf("the input ends in the middle: %d of %d bytes are there", len(data), n), "Copy the whole file again.")
			return
		}
		r.one(s, data[:n], "")
		data = data[n:]
		if len(bytes.TrimSpace(data)) == 0 {
			return
		}
		if !isDER(data) || !first && len(r.report.Items) >= maxItems {
			break
		}
	}
	r.tell(s, diag.TrailingBytes, fmt.Sprintf("%d bytes follow after the end of the structure", len(data)), "Remove them: hakone cert inspect --repair FILE prints what was read.")
}

// one takes in one DER structure. label is that of the PEM block it stood in, or "".
func (r *reader) one(s spot, der []byte, label string) {
	body := der
	if n := derLength(der); n > 0 && n < len(der) {
		body = der[:n]
		if label != "TRUSTED CERTIFICATE" {
			r.tell(s, diag.TrailingBytes, fmt.Sprintf("%d bytes follow after the end of the structure", len(der)-n), "Remove them: hakone cert inspect --repair FILE prints what was read.")
		}
	}
	before := len(r.report.Items)
	r.classify(s, body, label)
	if label == "" {
		return
	}
	for _, i := range r.report.Items[before:] {
		if i.label != "" && !labelFits(label, i) {
			r.tell(s, diag.PEMLabelWrong, fmt.Sprintf("the PEM label says %q, and the block holds a %s", label, i.Kind), "Write BEGIN "+i.label+" and END "+i.label+".")
		}
	}
}

func labelFits(label string, i *Item) bool {
	switch i.Kind {
	case KindCertificate:
		return label == "CERTIFICATE" || label == "X509 CERTIFICATE" || label == "TRUSTED CERTIFICATE" || label == "PKCS7" || label == "CMS"
	case KindRequest:
		return label == "CERTIFICATE REQUEST" || label == "NEW CERTIFICATE REQUEST"
	case KindKey:
		return strings.HasSuffix(label, "PRIVATE KEY")
	case KindPublicKey:
		return strings.HasSuffix(label, "PUBLIC KEY")
	case KindCRL:
		return label == "X509 CRL" || label == "CRL"
	}
	return true
}

// classify finds out what a structure is.
func (r *reader) classify(s spot, der []byte, label string) {
	if c, err := x509.ParseCertificate(der); err == nil {
		r.add(s, certificateItem(c))
		return
	}
	if i := requestItem(der); i != nil {
		r.add(s, i)
		return
	}
	if l, err := x509.ParseRevocationList(der); err == nil {
		r.add(s, crlItem(l))
		return
	}
	if k, err := secret.ParseKey(der); err == nil {
		r.add(s, keyItem(k, der))
		return
	}
	if k := parsePublic(der); k != nil {
		r.add(s, &Item{Kind: KindPublicKey, Key: secret.KeyType(k), SPKI: spki(k), public: k, raw: secret.NewBytes(der), label: "PUBLIC KEY"})
		return
	}
	switch shapeOf(der) {
	case shapePFX:
		r.pkcs12(s, der)
	case shapePKCS7:
		r.pkcs7(s, der)
	case shapeEncrypted:
		r.encrypted(s)
	case shapeOCSP:
		r.response(s, der)
	default:
		r.broken(s, der, label)
	}
}

// shape is what a structure looks like from afar.
type shape int

const (
	shapeUnknown shape = iota
	shapePFX
	shapePKCS7
	shapeEncrypted
	shapeOCSP
)

func shapeOf(der []byte) shape {
	input := cryptobyte.String(der)
	var seq cryptobyte.String
	if !input.ReadASN1(&seq, asn1.SEQUENCE) {
		return shapeUnknown
	}
	switch {
	case seq.PeekASN1Tag(asn1.ENUM):
		return shapeOCSP
	case seq.PeekASN1Tag(asn1.OBJECT_IDENTIFIER):
		return shapePKCS7
	case seq.PeekASN1Tag(asn1.INTEGER):
		var version int
		var inner cryptobyte.String
		if seq.ReadASN1Integer(&version) && version == 3 && seq.ReadASN1(&inner, asn1.SEQUENCE) && inner.PeekASN1Tag(asn1.OBJECT_IDENTIFIER) {
			return shapePFX
		}
	case seq.PeekASN1Tag(asn1.SEQUENCE):
		var algorithm cryptobyte.String
		if seq.ReadASN1(&algorithm, asn1.SEQUENCE) && algorithm.PeekASN1Tag(asn1.OBJECT_IDENTIFIER) && seq.PeekASN1Tag(asn1.OCTET_STRING) {
			return shapeEncrypted
		}
	}
	return shapeUnknown
}

// broken says what a structure was meant to be, and what stops it from being read.
func (r *reader) broken(s spot, der []byte, label string) {
	if i := lenientCertificate(der); i != nil {
		r.add(s, i)
		_, err := x509.ParseCertificate(der)
		r.tell(s, diag.CertUnparsable, fmt.Sprintf("the certificate of %s breaks the rules of X.509: %v", i.Subject, err), "Re-issue it with current tools.")
		return
	}
	if label == "" && s.form == "DER" {
		return // Read says that nothing is known
	}
	r.add(s, &Item{Kind: KindBroken})
	if strings.HasSuffix(label, "PRIVATE KEY") {
		_, err := secret.ParseKey(der)
		r.tell(s, diag.KeyUnparsable, fmt.Sprintf("the private key cannot be used: %v", err), "Use an RSA, ECDSA or Ed25519 key; convert with openssl pkey -in KEY -out KEY.pem.")
		return
	}
	code := brokenCode(label)
	var err error
	switch code {
	case diag.CRLInvalid:
		_, err = x509.ParseRevocationList(der)
	case diag.CSRInvalid:
		_, err = x509.ParseCertificateRequest(der)
	default:
		_, err = x509.ParseCertificate(der)
	}
	r.tell(s, code, fmt.Sprintf("the content cannot be parsed: %v", err), "Copy the whole block again, or re-issue it with current tools.")
}

// lenientCertificate reads the parts of a certificate that Go's parser refuses as a whole; nil if it
// is none.
func lenientCertificate(der []byte) *Item {
	input := cryptobyte.String(der)
	var outer, tbs, validity, subject, issuer, skip cryptobyte.String
	if !input.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1(&tbs, asn1.SEQUENCE) {
		return nil
	}
	if !tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) ||
		!tbs.SkipASN1(asn1.INTEGER) || !tbs.ReadASN1(&skip, asn1.SEQUENCE) || !tbs.ReadASN1Element(&issuer, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&validity, asn1.SEQUENCE) || !tbs.ReadASN1Element(&subject, asn1.SEQUENCE) || !tbs.SkipASN1(asn1.SEQUENCE) {
		return nil
	}
	names := &x509.Certificate{RawSubject: subject, RawIssuer: issuer}
	return &Item{Kind: KindBroken, Subject: secret.Subject(names), Issuer: secret.Issuer(names)}
}

// pkcs7 reads the certificates of a .p7b bundle (RFC 5652, SignedData).
func (r *reader) pkcs7(s spot, der []byte) {
	s.form = "PKCS #7"
	input := cryptobyte.String(der)
	var info, wrapped, signed, certs cryptobyte.String
	var present bool
	ctx := asn1.Tag(0).Constructed().ContextSpecific()
	if !input.ReadASN1(&info, asn1.SEQUENCE) || !info.SkipASN1(asn1.OBJECT_IDENTIFIER) || !info.ReadASN1(&wrapped, ctx) ||
		!wrapped.ReadASN1(&signed, asn1.SEQUENCE) || !signed.SkipASN1(asn1.INTEGER) || !signed.SkipASN1(asn1.SET) ||
		!signed.SkipASN1(asn1.SEQUENCE) || !signed.ReadOptionalASN1(&certs, &present, ctx) || !present {
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, diag.CertUnparsable, "the PKCS #7 container holds no certificates", "Print what is in it: openssl pkcs7 -print_certs.")
		return
	}
	for !certs.Empty() {
		var c cryptobyte.String
		if !certs.ReadASN1Element(&c, asn1.SEQUENCE) {
			return
		}
		if parsed, err := x509.ParseCertificate(c); err != nil {
			r.broken(s, c, "CERTIFICATE")
		} else if !r.add(s, certificateItem(parsed)) {
			return
		}
	}
}

// response reads an OCSP response. Its signature is judged later, when the issuer may be known.
func (r *reader) response(s spot, der []byte) {
	resp, err := ocsp.ParseResponse(der, nil)
	var refused ocsp.ResponseError
	switch {
	case errors.As(err, &refused):
		r.add(s, &Item{Kind: KindOCSP, Status: refused.Status.String(), label: "OCSP RESPONSE", raw: secret.NewBytes(der)})
		r.tell(s, diag.OCSPResponseInvalid, "the OCSP responder answered with an error: "+refused.Status.String(), "Ask the responder again; if it stays so, the responder is wrong.")
	case err != nil:
		r.add(s, &Item{Kind: KindBroken})
		r.tell(s, diag.OCSPResponseInvalid, fmt.Sprintf("the OCSP response cannot be read: %v", err), "Ask the responder again; if it stays so, the responder is wrong.")
	default:
		r.add(s, ocspItem(resp, der))
	}
}

func parsePublic(der []byte) any {
	if k, err := x509.ParsePKIXPublicKey(der); err == nil {
		return k
	}
	if k, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return k
	}
	return nil
}
