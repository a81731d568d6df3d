package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	encodingasn1 "encoding/asn1"
	"errors"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// OCSP messages (RFC 6960). golang.org/x/crypto/ocsp reads neither nonces nor several certificates of a
// request, and writes no extensions of an answer, so the messages are read and written here.

const (
	maxAsked = 16  // certificates of one request
	maxNonce = 128 // octets, RFC 9654
)

var (
	errOCSPRequest = errors.New("it is no OCSP request")

	tagContext0 = asn1.Tag(0).ContextSpecific().Constructed()
	tagContext1 = asn1.Tag(1).ContextSpecific().Constructed()
	tagContext2 = asn1.Tag(2).ContextSpecific().Constructed()
)

// askedCert is a CertID of a request.
type askedCert struct {
	raw       []byte // DER of the CertID
	hash      crypto.Hash
	nameHash  []byte
	keyHash   []byte
	serial    *big.Int
	issuerKey string // hash, nameHash and keyHash: what a CA is found by
}

type ocspRequest struct {
	certs []askedCert
	nonce []byte // the extension's value, nil without one
}

func oidNonce() encodingasn1.ObjectIdentifier {
	return encodingasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
}

func oidBasicResponse() encodingasn1.ObjectIdentifier {
	return encodingasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
}

func oidECDSAWithSHA256() encodingasn1.ObjectIdentifier {
	return encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
}

// ocspHash returns the hash of an algorithm's OID, or 0.
func ocspHash(oid encodingasn1.ObjectIdentifier) crypto.Hash {
	switch oid.String() {
	case "1.3.14.3.2.26":
		return crypto.SHA1
	case "2.16.840.1.101.3.4.2.1":
		return crypto.SHA256
	case "2.16.840.1.101.3.4.2.2":
		return crypto.SHA384
	case "2.16.840.1.101.3.4.2.3":
		return crypto.SHA512
	}
	return 0
}

// parseOCSPRequest reads a request in DER. A signature of the asker is not looked at: everybody may ask.
func parseOCSPRequest(der []byte) (*ocspRequest, error) {
	in := cryptobyte.String(der)
	var request, tbs, list cryptobyte.String
	if !in.ReadASN1(&request, asn1.SEQUENCE) || !in.Empty() || !request.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!request.SkipOptionalASN1(tagContext0) || !request.Empty() ||
		!tbs.SkipOptionalASN1(tagContext0) || !tbs.SkipOptionalASN1(tagContext1) || !tbs.ReadASN1(&list, asn1.SEQUENCE) {
		return nil, errOCSPRequest
	}
	out := &ocspRequest{}
	for !list.Empty() {
		if len(out.certs) == maxAsked {
			return nil, errors.New("it asks about too many certificates")
		}
		c, err := readAsked(&list)
		if err != nil {
			return nil, err
		}
		out.certs = append(out.certs, c)
	}
	if len(out.certs) == 0 {
		return nil, errors.New("it asks about no certificate")
	}
	var wrapped cryptobyte.String
	var present bool
	if !tbs.ReadOptionalASN1(&wrapped, &present, tagContext2) || !tbs.Empty() {
		return nil, errOCSPRequest
	}
	if !present {
		return out, nil
	}
	var exts cryptobyte.String
	if !wrapped.ReadASN1(&exts, asn1.SEQUENCE) || !wrapped.Empty() {
		return nil, errOCSPRequest
	}
	return out, out.extensions(exts)
}

func readAsked(list *cryptobyte.String) (askedCert, error) {
	var c askedCert
	var single, id, algorithm, parameters cryptobyte.String
	var oid encodingasn1.ObjectIdentifier
	var any asn1.Tag
	if !list.ReadASN1(&single, asn1.SEQUENCE) {
		return c, errOCSPRequest
	}
	var element cryptobyte.String
	if !single.ReadASN1Element(&element, asn1.SEQUENCE) || !single.SkipOptionalASN1(tagContext0) || !single.Empty() {
		return c, errOCSPRequest
	}
	c.raw = element
	c.serial = new(big.Int)
	if !element.ReadASN1(&id, asn1.SEQUENCE) || !id.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!algorithm.Empty() && (!algorithm.ReadAnyASN1(&parameters, &any) || !algorithm.Empty()) ||
		!id.ReadASN1Bytes(&c.nameHash, asn1.OCTET_STRING) || !id.ReadASN1Bytes(&c.keyHash, asn1.OCTET_STRING) || !id.ReadASN1Integer(c.serial) || !id.Empty() {
		return c, errOCSPRequest
	}
	if c.hash = ocspHash(oid); c.hash != 0 && (len(c.nameHash) != c.hash.Size() || len(c.keyHash) != c.hash.Size()) {
		return c, errors.New("a hash has the wrong length")
	}
	c.issuerKey = issuerKey(c.hash, c.nameHash, c.keyHash)
	return c, nil
}

// extensions reads the request's extensions, of which only the nonce (RFC 9654) means something here.
func (q *ocspRequest) extensions(exts cryptobyte.String) error {
	for !exts.Empty() {
		var ext, value cryptobyte.String
		var oid encodingasn1.ObjectIdentifier
		var critical bool
		if !exts.ReadASN1(&ext, asn1.SEQUENCE) || !ext.ReadASN1ObjectIdentifier(&oid) || ext.PeekASN1Tag(asn1.BOOLEAN) && !ext.ReadASN1Boolean(&critical) ||
			!ext.ReadASN1(&value, asn1.OCTET_STRING) || !ext.Empty() {
			return errOCSPRequest
		}
		switch {
		case oid.Equal(oidNonce()):
			// Some clients leave out the OCTET STRING inside; what came is what goes back.
			if len(value) == 0 || len(value) > maxNonce+3 || q.nonce != nil {
				return errors.New("its nonce is empty, too long or repeated")
			}
			q.nonce = value
		case critical:
			return errors.New("it holds a critical extension that is not known")
		}
	}
	return nil
}

func issuerKey(hash crypto.Hash, name, key []byte) string {
	return string(rune(hash)) + string(name) + string(key)
}

// issuerKeys returns what a CA is found by, for every hash that clients use.
func issuerKeys(c *x509.Certificate) ([]string, error) {
	bits, err := keyBits(c.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		sum := func(b []byte) []byte { w := h.New(); w.Write(b); return w.Sum(nil) }
		out = append(out, issuerKey(h, sum(c.RawSubject), sum(bits)))
	}
	return out, nil
}

// standing is what an answer says about one certificate.
type standing struct {
	cert    askedCert
	known   bool
	revoked time.Time // zero: good, if it is known
	reason  int
}

// answer is an OCSP answer before it is signed.
type answer struct {
	certs    []standing
	nonce    []byte
	this     time.Time
	next     time.Time
	signer   crypto.Signer // ECDSA P-256
	delegate *x509.Certificate
	keyHash  []byte // SHA-1 of the signer's public key
}

// build signs the answer (RFC 6960 section 4.2.1).
func (r *answer) build() ([]byte, error) {
	var tbs cryptobyte.Builder
	tbs.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tagContext2, func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.keyHash) })
		b.AddASN1GeneralizedTime(r.this)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, s := range r.certs {
				r.single(b, s)
			}
		})
		if r.nonce != nil {
			b.AddASN1(tagContext1, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidNonce())
						b.AddASN1OctetString(r.nonce)
					})
				})
			})
		}
	})
	data, err := tbs.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	signature, err := r.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var basic, out cryptobyte.Builder
	basic.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(data)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidECDSAWithSHA256()) })
		b.AddASN1BitString(signature)
		b.AddASN1(tagContext0, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(r.delegate.Raw) })
		})
	})
	inner, err := basic.Bytes()
	if err != nil {
		return nil, err
	}
	out.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(0) // successful
		b.AddASN1(tagContext0, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasicResponse())
				b.AddASN1OctetString(inner)
			})
		})
	})
	return out.Bytes()
}

func (r *answer) single(b *cryptobyte.Builder, s standing) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(s.cert.raw)
		switch {
		case !s.known:
			b.AddASN1(asn1.Tag(2).ContextSpecific(), func(*cryptobyte.Builder) {})
		case s.revoked.IsZero():
			b.AddASN1(asn1.Tag(0).ContextSpecific(), func(*cryptobyte.Builder) {})
		default:
			b.AddASN1(tagContext1, func(b *cryptobyte.Builder) {
				b.AddASN1GeneralizedTime(s.revoked)
				if s.reason != 0 {
					b.AddASN1(tagContext0, func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(s.reason)) })
				}
			})
		}
		b.AddASN1GeneralizedTime(r.this)
		b.AddASN1(tagContext0, func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(r.next) })
	})
}
