package secret

import (
	"bytes"
	"crypto/x509"
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Anchors returns the certificates that end chains: the self-signed ones of the bundle, or all of it
// if none is self-signed (Partial). The rest, Paths, only helps to build chains. The slices are not to
// be changed; a nil bundle has none.
func (b *Bundle) Anchors() []*x509.Certificate {
	if b == nil {
		return nil
	}
	return b.anchors
}

// Paths returns the certificates of the bundle that are not Anchors.
func (b *Bundle) Paths() []*x509.Certificate {
	if b == nil {
		return nil
	}
	return b.paths
}

// AnchorPool returns Anchors as crypto/x509 takes them: always the same pointer, not to be changed.
func (b *Bundle) AnchorPool() *x509.CertPool {
	if b == nil {
		return x509.NewCertPool()
	}
	return b.anchorPool
}

// Partial reports whether the bundle holds certificates and no self-signed one.
func (b *Bundle) Partial() bool { return b.Len() > 0 && b.partial }

// split sorts the certificates into anchors and paths.
func (b *Bundle) split() {
	for _, c := range b.Certificates {
		if SelfSigned(c) {
			b.anchors = append(b.anchors, c)
		} else {
			b.paths = append(b.paths, c)
		}
	}
	if len(b.anchors) == 0 {
		b.anchors, b.paths, b.partial = b.paths, nil, true
	}
	b.anchorPool = b.pool
	if len(b.paths) > 0 {
		b.anchorPool = x509.NewCertPool()
		for _, c := range b.anchors {
			b.anchorPool.AddCert(c)
		}
	}
}

// SelfSigned reports whether a certificate was signed with its own key, whatever it may be used for.
// Where the signature is of a kind that is not checked (MD5, DSA), name and key identifiers decide.
func SelfSigned(c *x509.Certificate) bool {
	if !selfIssued(c) || len(c.AuthorityKeyId) > 0 && len(c.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId) {
		return false
	}
	switch c.SignatureAlgorithm {
	case x509.UnknownSignatureAlgorithm, x509.MD2WithRSA, x509.MD5WithRSA, x509.DSAWithSHA1, x509.DSAWithSHA256:
		return true
	}
	return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// judgeAnchors tells what of a bundle that somebody pasted works otherwise than it looks.
func judgeAnchors(b *Bundle, name string) []Finding {
	if b.Partial() {
		return []Finding{warn(diag.BundlePartial, name,
			fmt.Sprintf("%s holds no self-signed certificate: %s of it is trusted by itself, without its root", name, firstSubject(b.anchors)),
			"Add the root's certificate, or leave it if exactly this CA is to be trusted.")}
	}
	var found []Finding
	for _, c := range b.paths {
		if !b.leadsToAnchor(c) {
			found = append(found, warn(diag.BundleOrphan, name,
				fmt.Sprintf("%s holds %q, which has no effect: it is not self-signed, and no path leads from it to a root of the bundle", name, Subject(c)),
				fmt.Sprintf("Add the root that it leads to (its issuer is %q), or remove it.", Issuer(c))))
		}
	}
	return found
}

func firstSubject(certs []*x509.Certificate) string {
	if len(certs) == 1 {
		return fmt.Sprintf("%q", Subject(certs[0]))
	}
	return fmt.Sprintf("each of %d certificates, such as %q,", len(certs), Subject(certs[0]))
}

// leadsToAnchor follows names from a certificate of the bundle to an anchor. Names suffice for a
// warning; chains are built by signatures.
func (b *Bundle) leadsToAnchor(c *x509.Certificate) bool {
	reached := [][]byte{c.RawIssuer}
	seen := map[string]bool{}
	for len(reached) > 0 {
		name := reached[0]
		reached = reached[1:]
		if seen[string(name)] {
			continue
		}
		seen[string(name)] = true
		for _, a := range b.anchors {
			if bytes.Equal(a.RawSubject, name) {
				return true
			}
		}
		for _, p := range b.paths {
			if bytes.Equal(p.RawSubject, name) {
				reached = append(reached, p.RawIssuer)
			}
		}
	}
	return false
}
