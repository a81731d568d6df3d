package testca

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

// tbsVersion1 is a TBSCertificate of RFC 5280 §4.1 without what later versions added: version and
// extensions. x509.CreateCertificate makes version 3 only.
type tbsVersion1 struct {
	Serial    *big.Int
	Algorithm pkix.AlgorithmIdentifier
	Issuer    asn1.RawValue
	Validity  struct{ NotBefore, NotAfter time.Time }
	Subject   asn1.RawValue
	PublicKey asn1.RawValue
}

var (
	oidSHA256WithRSA   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

// Version1 issues an X.509 version 1 leaf, as "openssl x509 -req" without extensions does. It has been
// valid for an hour.
func (p *Pair) Version1(commonName string) *Pair {
	p.tb.Helper()
	leaf := p.Issue(Spec{CommonName: commonName})
	return &Pair{Cert: version1(p.tb, leaf.Cert, p.Key), Key: leaf.Key, Issuer: p, tb: p.tb}
}

// SelfSignedVersion1 makes a self-signed X.509 version 1 certificate.
func SelfSignedVersion1(tb testing.TB, commonName string) *Pair {
	tb.Helper()
	own := SelfSigned(tb, Spec{CommonName: commonName})
	return &Pair{Cert: version1(tb, own.Cert, own.Key), Key: own.Key, tb: tb}
}

// version1 signs anew what version 1 can hold of c.
func version1(tb testing.TB, c *x509.Certificate, signer crypto.Signer) *x509.Certificate {
	tb.Helper()
	algorithm := pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}
	if _, ok := signer.Public().(*rsa.PublicKey); ok {
		algorithm = pkix.AlgorithmIdentifier{Algorithm: oidSHA256WithRSA, Parameters: asn1.NullRawValue}
	}
	tbs := tbsVersion1{
		Serial: c.SerialNumber, Algorithm: algorithm, Issuer: asn1.RawValue{FullBytes: c.RawIssuer},
		Subject: asn1.RawValue{FullBytes: c.RawSubject}, PublicKey: asn1.RawValue{FullBytes: c.RawSubjectPublicKeyInfo},
	}
	tbs.Validity.NotBefore, tbs.Validity.NotAfter = time.Now().Add(-time.Hour).UTC(), c.NotAfter.UTC()
	raw, err := asn1.Marshal(tbs)
	if err != nil {
		tb.Fatal(err)
	}
	digest := sha256.Sum256(raw)
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	whole, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: raw}, algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		tb.Fatal(err)
	}
	made, err := x509.ParseCertificate(whole)
	if err != nil {
		tb.Fatal(err)
	}
	return made
}
