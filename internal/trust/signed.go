package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"

	"github.com/hakone-gateway/hakone/internal/secret"
)

// maxClimb bounds the steps from a leaf to an anchor.
const maxClimb = 8

// SignedBy reports whether a certificate of the bundle signed the first of presented, perhaps by others of them,
// whatever their validity, usage and names. It says who made a certificate, not that it is good.
func SignedBy(presented []*x509.Certificate, b *secret.Bundle) bool {
	if len(presented) == 0 || b.Len() == 0 {
		return false
	}
	at := presented[0]
	others := presented[1:min(len(presented), maxPresented)]
	for range maxClimb {
		if b.Contains(at) {
			return true
		}
		if issuerIn(at, b.Certificates) != nil {
			return true
		}
		if at = issuerIn(at, others); at == nil || selfIssued(at) {
			return false
		}
	}
	return false
}

// issuerIn returns the certificate of list that signed c, or nil.
func issuerIn(c *x509.Certificate, list []*x509.Certificate) *x509.Certificate {
	for _, p := range list {
		if p != c && bytes.Equal(p.RawSubject, c.RawIssuer) && p.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			return p
		}
	}
	return nil
}

// IssuerKey tells issuers of one name apart: hex of SHA-256 over the SubjectPublicKeyInfo of the certificate that
// signed the first of presented, sought among the others and in bundles, which may be nil; over the issuer's name where
// it is not found. found says which.
func IssuerKey(presented []*x509.Certificate, bundles ...*secret.Bundle) (key string, found bool) {
	if len(presented) == 0 {
		return "", false
	}
	leaf := presented[0]
	var issuer *x509.Certificate
	places := [][]*x509.Certificate{presented[1:min(len(presented), maxPresented)]}
	for _, b := range bundles {
		if b != nil {
			places = append(places, b.Certificates)
		}
	}
	for _, list := range places {
		if issuer = issuerIn(leaf, list); issuer != nil {
			break
		}
	}
	if issuer == nil {
		sum := sha256.Sum256(leaf.RawIssuer)
		return hex.EncodeToString(sum[:]), false
	}
	sum := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), true
}

// AnchoredIn reports whether a verified chain holds a certificate of the bundle, other than as its leaf.
func AnchoredIn(chain []*x509.Certificate, b *secret.Bundle) bool {
	if len(chain) < 2 || b.Len() == 0 {
		return false
	}
	return slices.ContainsFunc(chain[1:], func(c *x509.Certificate) bool {
		return slices.ContainsFunc(b.Certificates, func(a *x509.Certificate) bool {
			return bytes.Equal(a.RawSubject, c.RawSubject) && bytes.Equal(a.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo)
		})
	})
}
