package trust

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/secret"
)

const (
	// maxOCSP bounds an answer, in bytes; with a responder's certificate in it one is a few kilobytes.
	maxOCSP = 64 << 10
	// agelessOCSP is how long an answer without nextUpdate is believed: its responder says that it has
	// newer ones at any time (RFC 6960 section 2.4).
	agelessOCSP = 24 * time.Hour
)

// OCSP is a responder's answer about one certificate (RFC 6960). It has been verified but for its time.
type OCSP struct {
	Standing   Standing // Unknown: the responder does not know the certificate
	At         time.Time
	Reason     string
	ThisUpdate time.Time
	NextUpdate time.Time // never zero; made up where the responder names none
}

// ParseOCSP reads an answer (DER) about cert, which issuer issued. It is an error unless the answer is
// about exactly this certificate, and signed by the issuer itself or by a responder with a certificate
// for that from the issuer (RFC 6960 section 4.2.2.2), which must be valid at now.
func ParseOCSP(der []byte, cert, issuer *x509.Certificate, now time.Time) (OCSP, error) {
	if len(der) > maxOCSP {
		return OCSP{}, fmt.Errorf("the answer has %d bytes; %d are looked at", len(der), maxOCSP)
	}
	// Without an issuer the library verifies by the certificate in the answer alone: what that has to be
	// is decided here, as the library looks neither at its usage nor at its time.
	resp, err := ocsp.ParseResponseForCert(der, cert, nil)
	if err != nil {
		var refused ocsp.ResponseError
		if errors.As(err, &refused) {
			return OCSP{}, fmt.Errorf("the responder refuses: %s", refused.Status)
		}
		return OCSP{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	if err := aboutCert(resp.TBSResponseData, cert, issuer); err != nil {
		return OCSP{}, err
	}
	if err := signedFor(resp, issuer, now); err != nil {
		return OCSP{}, err
	}
	return said(resp), nil
}

// PeekOCSP is ParseOCSP without an issuer: nothing is verified but that the answer has the certificate's
// serial number.
func PeekOCSP(der []byte, cert *x509.Certificate) (OCSP, error) {
	if len(der) > maxOCSP {
		return OCSP{}, fmt.Errorf("the answer has %d bytes; %d are looked at", len(der), maxOCSP)
	}
	resp, err := ocsp.ParseResponseForCert(der, cert, nil)
	if err != nil {
		return OCSP{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	return said(resp), nil
}

// said is what an answer says.
func said(resp *ocsp.Response) OCSP {
	out := OCSP{ThisUpdate: resp.ThisUpdate, NextUpdate: resp.NextUpdate}
	if out.NextUpdate.IsZero() {
		out.NextUpdate = out.ThisUpdate.Add(agelessOCSP)
	}
	switch resp.Status {
	case ocsp.Good:
		out.Standing = Good
	case ocsp.Revoked:
		out.Standing, out.At, out.Reason = Revoked, resp.RevokedAt, secret.Revocation{Reason: resp.RevocationReason}.ReasonText()
	}
	return out
}

// Stale says in words why an answer is not of now, "" if it is.
func (o OCSP) Stale(now time.Time) string {
	switch {
	case o.ThisUpdate.After(now.Add(clockSkew)):
		return fmt.Sprintf("the OCSP answer is valid from %s, %s from now; is a clock wrong?", stamp(o.ThisUpdate), span(o.ThisUpdate.Sub(now)))
	case now.After(o.NextUpdate):
		return fmt.Sprintf("the OCSP answer was due for renewal at %s, %s ago", stamp(o.NextUpdate), span(now.Sub(o.NextUpdate)))
	}
	return ""
}

// signedFor checks who signed an answer. A responder's own certificate is not asked about in turn: RFC
// 6960 section 4.2.2.2.1 leaves that to the validity that its CA gives it.
func signedFor(resp *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	if !signable(resp.SignatureAlgorithm) {
		return fmt.Errorf("the answer's signature algorithm (%s) is not accepted", resp.SignatureAlgorithm)
	}
	by := resp.Certificate
	if by == nil || bytes.Equal(by.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo) {
		if err := resp.CheckSignatureFrom(issuer); err != nil {
			return fmt.Errorf("the answer is not signed by the certificate's issuer %q", secret.Subject(issuer))
		}
		return nil
	}
	who := secret.Subject(by)
	switch {
	case !bytes.Equal(by.RawIssuer, issuer.RawSubject) || !signable(by.SignatureAlgorithm) ||
		issuer.CheckSignature(by.SignatureAlgorithm, by.RawTBSCertificate, by.Signature) != nil:
		return fmt.Errorf("the answer is signed by %q, whose certificate is not of the issuer %q", who, secret.Subject(issuer))
	case !slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return fmt.Errorf("the answer is signed by %q, whose certificate is not for signing OCSP answers (extended key usage)", who)
	case now.Before(by.NotBefore) || now.After(by.NotAfter):
		return fmt.Errorf("the answer is signed by %q, whose certificate is valid from %s to %s only", who, stamp(by.NotBefore), stamp(by.NotAfter))
	}
	return nil // the signature itself has been verified by the library, with by's key
}

// signable reports whether signatures of a kind count.
func signable(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return true
	}
	return false
}

// responseData is as much of RFC 6960's ResponseData as names certificates.
type responseData struct {
	Version     int `asn1:"optional,default:0,explicit,tag:0"`
	ResponderID asn1.RawValue
	ProducedAt  time.Time `asn1:"generalized"`
	Responses   []struct {
		ID   certID
		Rest asn1.RawValue
		This time.Time        `asn1:"generalized"`
		Next time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Ext  []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
}

type certID struct {
	Algorithm pkix.AlgorithmIdentifier
	NameHash  []byte
	KeyHash   []byte
	Serial    *big.Int
}

// aboutCert checks the issuer in the first answer with the certificate's serial number, which is the
// one that the library takes: it compares nothing else, and two CAs may use one number.
func aboutCert(tbs []byte, cert, issuer *x509.Certificate) error {
	var data responseData
	if _, err := asn1.Unmarshal(tbs, &data); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	for _, r := range data.Responses {
		if r.ID.Serial == nil || r.ID.Serial.Cmp(cert.SerialNumber) != 0 {
			continue
		}
		sum := hashOf(r.ID.Algorithm.Algorithm)
		if sum == nil {
			return errors.New("the answer names the issuer by a hash that is not known")
		}
		key, err := keyBits(issuer)
		if err != nil {
			return err
		}
		if !bytes.Equal(digestBy(sum, issuer.RawSubject), r.ID.NameHash) || !bytes.Equal(digestBy(sum, key), r.ID.KeyHash) {
			return fmt.Errorf("the answer is about a certificate of another issuer than %q", secret.Subject(issuer))
		}
		return nil
	}
	return errors.New("the answer is about other certificates")
}

// hashOf returns the hash of an OID; SHA-1 here is a name and protects nothing.
func hashOf(oid asn1.ObjectIdentifier) func() hash.Hash {
	switch oid.String() {
	case "1.3.14.3.2.26":
		return sha1.New
	case "2.16.840.1.101.3.4.2.1":
		return sha256.New
	case "2.16.840.1.101.3.4.2.2":
		return sha512.New384
	case "2.16.840.1.101.3.4.2.3":
		return sha512.New
	}
	return nil
}

func digestBy(make func() hash.Hash, b []byte) []byte {
	h := make()
	_, _ = h.Write(b)
	return h.Sum(nil)
}

// keyBits returns the bits of a public key, without its algorithm.
func keyBits(c *x509.Certificate) ([]byte, error) {
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &spki); err != nil {
		return nil, fmt.Errorf("the key of %q cannot be read: %w", secret.Subject(c), err)
	}
	return spki.Key.RightAlign(), nil
}

// OCSPRequest makes the request (DER) about cert. Issuers are named by SHA-1, as RFC 5019 section 2.1.1
// wants it: that names, and protects nothing.
func OCSPRequest(cert, issuer *x509.Certificate) ([]byte, error) {
	return ocsp.CreateRequest(cert, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
}

// MustStaple reports whether a certificate demands a stapled answer: its TLS feature extension (RFC
// 7633) lists status_request.
func MustStaple(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
			continue
		}
		var features []int
		if _, err := asn1.Unmarshal(e.Value, &features); err == nil && slices.Contains(features, 5) {
			return true
		}
	}
	return false
}
