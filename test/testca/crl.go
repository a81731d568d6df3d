package testca

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// CRLSpec says what revocation list to make. Zero times mean issued an hour ago, due in a week.
type CRLSpec struct {
	Revoked    []*x509.Certificate
	Reason     int // of every entry
	ThisUpdate time.Time
	NextUpdate time.Time
	Number     int64
	Extra      []pkix.Extension // for example an issuing distribution point
}

// CRL issues a revocation list as PEM.
func (p *Pair) CRL(s CRLSpec) []byte {
	p.tb.Helper()
	t := &x509.RevocationList{Number: big.NewInt(max(s.Number, 1)), ThisUpdate: s.ThisUpdate, NextUpdate: s.NextUpdate, ExtraExtensions: s.Extra}
	if t.ThisUpdate.IsZero() {
		t.ThisUpdate = time.Now().Add(-time.Hour)
	}
	if t.NextUpdate.IsZero() {
		t.NextUpdate = time.Now().Add(7 * 24 * time.Hour)
	}
	for _, c := range s.Revoked {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: t.ThisUpdate, ReasonCode: s.Reason})
	}
	der, err := x509.CreateRevocationList(rand.Reader, t, p.Cert, p.Key)
	if err != nil {
		p.tb.Fatalf("issue CRL: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}
