package secret

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
)

// Scope is which of its issuer's certificates a revocation list speaks for (the issuing distribution
// point of RFC 5280 section 5.2.5).
type Scope struct {
	URLs          []string // the list holds what names one of these as its distribution point; empty: no limit
	UsersOnly     bool     // no CAs
	AuthorityOnly bool     // only CAs
}

// Covers returns nil if the list speaks for the certificate; its issuer is another question (SignedBy).
func (c *CRL) Covers(cert *x509.Certificate) error {
	s := c.Scope
	switch {
	case s == nil:
		return nil
	case s.UsersOnly && cert.IsCA:
		return errors.New("the list is for certificates of no CAs")
	case s.AuthorityOnly && !cert.IsCA:
		return errors.New("the list is for certificates of CAs only")
	case len(s.URLs) > 0 && !slices.ContainsFunc(cert.CRLDistributionPoints, func(u string) bool { return slices.Contains(s.URLs, u) }):
		return fmt.Errorf("the list is for certificates that name %q as their distribution point", s.URLs[0])
	}
	return nil
}

// ParseFetchedCRL reads the one list (DER or PEM) that a distribution point serves. Unlike lists of the
// configuration, which must be complete, it may be limited to a distribution point: ask Covers.
func ParseFetchedCRL(data []byte) (*CRL, error) {
	if len(data) == 0 || data[0] != 0x30 {
		if bs := blocks(data); len(bs) != 1 || !bs[0].isCRL() || bs[0].der == nil {
			return nil, errors.New("what is served is neither a DER list nor exactly one PEM list")
		} else {
			data = bs[0].der
		}
	}
	return parseCRL(data, true)
}

// issuingPoint is RFC 5280's IssuingDistributionPoint.
type issuingPoint struct {
	Name struct {
		Full []asn1.RawValue `asn1:"optional,tag:0"`
		Rel  asn1.RawValue   `asn1:"optional,tag:1"`
	} `asn1:"optional,tag:0"`
	Users      bool           `asn1:"optional,tag:1"`
	CAs        bool           `asn1:"optional,tag:2"`
	Reasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect   bool           `asn1:"optional,tag:4"`
	Attributes bool           `asn1:"optional,tag:5"`
}

// parseScope reads the extension; lists that name other issuers' certificates, or revoke for some
// reasons only, cannot be used.
func parseScope(e pkix.Extension) (*Scope, error) {
	var p issuingPoint
	if rest, err := asn1.Unmarshal(e.Value, &p); err != nil || len(rest) > 0 {
		return nil, errors.New("its issuing distribution point is malformed")
	}
	switch {
	case p.Indirect:
		return nil, errors.New("it is an indirect list, which speaks for other issuers too")
	case p.Reasons.BitLength > 0:
		return nil, errors.New("it is limited to some reasons of revocation")
	case p.Attributes:
		return nil, errors.New("it is for attribute certificates")
	case len(p.Name.Rel.FullBytes) > 0:
		return nil, errors.New("its distribution point is named relative to the issuer")
	}
	s := &Scope{UsersOnly: p.Users, AuthorityOnly: p.CAs}
	for _, n := range p.Name.Full {
		if n.Class == asn1.ClassContextSpecific && n.Tag == 6 {
			s.URLs = append(s.URLs, string(n.Bytes))
		}
	}
	if len(p.Name.Full) > 0 && len(s.URLs) == 0 {
		return nil, errors.New("its distribution point has no URL")
	}
	return s, nil
}
