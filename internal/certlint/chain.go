package certlint

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Known holds CA certificates by subject. It is fixed after construction; nil knows none.
type Known struct {
	bySubject map[string][]*x509.Certificate
}

// NewKnown returns the CAs of bundles and of the chains of pairs: whatever the configuration tells
// about who issued what.
func NewKnown(bundles []*secret.Bundle, pairs []*secret.KeyPair) *Known {
	k := &Known{map[string][]*x509.Certificate{}}
	add := func(c *x509.Certificate) {
		have := k.bySubject[string(c.RawSubject)]
		if !slices.ContainsFunc(have, c.Equal) {
			k.bySubject[string(c.RawSubject)] = append(have, c)
		}
	}
	for _, b := range bundles {
		for i := range b.Len() {
			add(b.Certificates[i])
		}
	}
	for _, p := range pairs {
		for _, c := range p.Issuers {
			add(c)
		}
	}
	return k
}

// issuer finds who signed c, or nil.
func (k *Known) issuer(c *x509.Certificate) *x509.Certificate {
	if k == nil {
		return nil
	}
	for _, cand := range k.bySubject[string(c.RawIssuer)] {
		if issued(cand, c) {
			return cand
		}
	}
	return nil
}

// issued reports whether ca signed c; for signatures that Go does not check, whether names and key
// identifiers agree.
func issued(ca, c *x509.Certificate) bool {
	if !bytes.Equal(ca.RawSubject, c.RawIssuer) {
		return false
	}
	err := c.CheckSignatureFrom(ca)
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &insecure) &&
		(len(c.AuthorityKeyId) == 0 || len(ca.SubjectKeyId) == 0 || bytes.Equal(c.AuthorityKeyId, ca.SubjectKeyId))
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// linked returns the leaf and those after it that really issued the one before.
func linked(p *secret.KeyPair) []*x509.Certificate {
	out := []*x509.Certificate{p.Leaf}
	for _, c := range p.Issuers {
		if selfIssued(out[len(out)-1]) || !issued(c, out[len(out)-1]) {
			break
		}
		out = append(out, c)
	}
	return out
}

// chain tells of a missing intermediate, but only on evidence: leaving out a private root is as it
// should be, and without evidence every small CA would be suspected.
func (l *lint) chain(in Input) {
	chain := linked(in.Pair)
	top := chain[len(chain)-1]
	if selfIssued(top) {
		return
	}
	const fix = "Append the intermediate certificates to tls.crt (cert), leaf first."
	if issuer := in.Known.issuer(top); issuer != nil {
		if !selfIssued(issuer) {
			l.tell(diag.ChainIncomplete, fmt.Sprintf("the chain ends at %s; its issuer %s is an intermediate, which is in the configuration but not served with the certificate",
				secret.Subject(top), secret.Subject(issuer)), fix)
		}
		return
	}
	switch {
	case in.System != nil && rooted(top, in.System):
	case intermediateNamed(top):
		l.tell(diag.ChainIncomplete, fmt.Sprintf("the chain ends at %s; its issuer %s is no root (the authority key identifier says who issued that) and is not served with the certificate",
			secret.Subject(top), secret.Issuer(top)), fix)
	case len(chain) == 1 && public(top):
		l.tell(diag.ChainIncomplete, fmt.Sprintf("the certificate of %s is from a public CA, which always issues from intermediates, and none is served with it", secret.Subject(top)), fix)
	case len(chain) == 1 && len(top.IssuingCertificateURL) > 0:
		l.add(diag.ChainIncomplete, diag.Info, fmt.Sprintf("the certificate of %s says where to fetch its issuer %s, so that may be an intermediate that clients need",
			secret.Subject(top), secret.Issuer(top)), "If it is one, append it to tls.crt (cert); if it is the root that clients trust, nothing is missing.")
	}
}

// rooted reports whether a root of the pool issued c, looked at in the middle of c's life so that
// expiry is no matter here.
func rooted(c *x509.Certificate, pool *x509.CertPool) bool {
	at := c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)
	_, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// intermediateNamed reads the authority key identifier (RFC 5280 section 4.2.1.1): where it names the
// issuer's issuer, and that is somebody else, the issuer is an intermediate.
func intermediateNamed(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 35}) {
			continue
		}
		var id struct {
			KeyID  []byte        `asn1:"optional,tag:0"`
			Issuer asn1.RawValue `asn1:"optional,tag:1"`
			Serial asn1.RawValue `asn1:"optional,tag:2"`
		}
		if _, err := asn1.Unmarshal(e.Value, &id); err != nil || len(id.Issuer.Bytes) == 0 {
			return false
		}
		// GeneralNames, of which directoryName [4] holds the name.
		var name asn1.RawValue
		if _, err := asn1.Unmarshal(id.Issuer.Bytes, &name); err != nil || name.Class != asn1.ClassContextSpecific || name.Tag != 4 {
			return false
		}
		return !bytes.Equal(name.Bytes, c.RawIssuer)
	}
	return false
}

// public reports whether the certificate shows that a publicly trusted CA issued it: timestamps of
// certificate transparency logs (RFC 6962) or a policy of the CA/Browser Forum.
func public(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}) {
			return true
		}
	}
	forum := asn1.ObjectIdentifier{2, 23, 140, 1, 2}
	return slices.ContainsFunc(c.PolicyIdentifiers, func(id asn1.ObjectIdentifier) bool {
		return len(id) > len(forum) && id[:len(forum)].Equal(forum)
	})
}
