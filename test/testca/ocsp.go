package testca

import (
	"crypto"
	"crypto/x509"
	"time"

	"golang.org/x/crypto/ocsp"
)

// OCSPSpec says what OCSP answer to make. Zero times mean made an hour ago, due in a day; NoNext leaves
// nextUpdate out.
type OCSPSpec struct {
	Revoked    bool
	Unknown    bool
	Reason     int
	ThisUpdate time.Time
	NextUpdate time.Time
	NoNext     bool
	By         *Pair // a responder of its own, whose certificate goes into the answer
	Hash       crypto.Hash
}

// OCSP answers (DER) about a certificate that p issued.
func (p *Pair) OCSP(cert *x509.Certificate, s OCSPSpec) []byte {
	p.tb.Helper()
	t := ocsp.Response{Status: ocsp.Good, SerialNumber: cert.SerialNumber, ThisUpdate: s.ThisUpdate, NextUpdate: s.NextUpdate, IssuerHash: s.Hash}
	if t.ThisUpdate.IsZero() {
		t.ThisUpdate = time.Now().Add(-time.Hour)
	}
	if t.NextUpdate.IsZero() && !s.NoNext {
		t.NextUpdate = time.Now().Add(24 * time.Hour)
	}
	switch {
	case s.Revoked:
		t.Status, t.RevokedAt, t.RevocationReason = ocsp.Revoked, t.ThisUpdate, s.Reason
	case s.Unknown:
		t.Status = ocsp.Unknown
	}
	signer, by := p.Key, p.Cert
	if s.By != nil {
		signer, by, t.Certificate = s.By.Key, s.By.Cert, s.By.Cert
	}
	der, err := ocsp.CreateResponse(p.Cert, by, t, signer)
	if err != nil {
		p.tb.Fatalf("answer about revocation: %v", err)
	}
	return der
}
