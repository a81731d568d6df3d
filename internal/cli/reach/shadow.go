package reach

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Client is somebody whom a survey lets knock. Certificates are of shadow CAs: CAs with the names of
// those of the configuration and keys of their own, which take their places in the surveyed world.
type Client struct {
	Name  string `json:"name"`            // "none", or the CA's subject
	State string `json:"state,omitempty"` // "", revoked, expired

	presented []*x509.Certificate
}

// States of clients.
const (
	stateRevoked = "revoked"
	stateExpired = "expired"
)

// shadow is a CA of the configuration with a key that we hold.
type shadow struct {
	real    *x509.Certificate
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	revoked *x509.Certificate // one that it issued and revoked
}

// shadows stand in for the CAs of a snapshot.
type shadows struct {
	list []*shadow // in the order of their names
	now  time.Time
}

// shadowed replaces every CA of a snapshot. The copy decides about clients of the shadow CAs as the
// original does about those of the real ones. Without rules, what names single certificates (allow,
// deny) is taken out of the policies.
func shadowed(s *ir.Snapshot, now time.Time, rules bool) (*ir.Snapshot, *shadows, error) {
	x := &shadows{now: now}
	out := *s
	out.Trust = &ir.Trust{Revision: s.Trust.Revision, ByRef: map[ir.TrustRef]*ir.TrustBundle{}}
	config := *s.Config
	fetches := map[ir.TrustRef]bool{}
	config.AccessPolicies = nil
	for _, p := range s.Config.AccessPolicies {
		copied := *p
		if !rules {
			copied.Allow, copied.Deny = nil, nil
		}
		fetches[p.Trust] = fetches[p.Trust] || p.Revocation.FetchCRL || p.Revocation.OCSP
		config.AccessPolicies = append(config.AccessPolicies, &copied)
	}
	out.Config = &config
	clients := ofClients(s.Config)
	for ref, b := range s.Trust.ByRef {
		copied := *b
		if b.Bundle != nil && clients[ref] {
			if err := x.replace(&copied, fetches[ref]); err != nil {
				return nil, nil, fmt.Errorf("stand in for the CAs of %s: %w", ref, err)
			}
		}
		out.Trust.ByRef[ref] = &copied
	}
	slices.SortFunc(x.list, func(a, b *shadow) int {
		return bytes.Compare([]byte(secret.Subject(a.cert)), []byte(secret.Subject(b.cert)))
	})
	return &out, x, nil
}

// ofClients returns the bundles that clients are judged by.
func ofClients(c *ir.Config) map[ir.TrustRef]bool {
	out := map[ir.TrustRef]bool{}
	for _, p := range c.AccessPolicies {
		out[p.Trust] = true
	}
	for _, l := range c.Listeners {
		for _, chain := range l.Chains {
			if chain.TLS == nil {
				continue
			}
			out[chain.TLS.ClientAuth.Trust] = true
			for _, h := range chain.HostTLS {
				out[h.TLS.ClientAuth.Trust] = true
			}
		}
	}
	return out
}

// replace puts shadows into a bundle, with revocation lists where the original has some for the CA, or
// would fetch them.
func (x *shadows) replace(b *ir.TrustBundle, fetches bool) error {
	var certs []*x509.Certificate
	var crls []*secret.CRL
	for _, real := range b.Bundle.Anchors() {
		s, err := x.of(real)
		if err != nil {
			return err
		}
		certs = append(certs, s.cert)
		until, listed := x.now.Add(time.Hour), fetches
		for _, l := range b.CRLs {
			if bytes.Equal(l.RawIssuer, real.RawSubject) {
				listed, until = true, l.NextUpdate
			}
		}
		if !listed {
			continue
		}
		list, err := s.crl(x.now, until)
		if err != nil {
			return err
		}
		crls = append(crls, list)
	}
	b.Bundle, b.CRLs = secret.NewBundle(certs...), crls
	return nil
}

// of returns the shadow of a CA, making it.
func (x *shadows) of(real *x509.Certificate) (*shadow, error) {
	for _, s := range x.list {
		if s.real.Equal(real) {
			return s, nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	s := &shadow{real: real, key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(x.list)) + 1), RawSubject: real.RawSubject, NotBefore: real.NotBefore, NotAfter: real.NotAfter,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	if s.cert, err = sign(template, template, key, key); err != nil {
		return nil, err
	}
	if s.revoked, err = s.client(x.now.Add(-time.Hour), x.now.Add(24*time.Hour), 1001); err != nil {
		return nil, err
	}
	x.list = append(x.list, s)
	return s, nil
}

// client issues a client certificate.
func (s *shadow) client(from, until time.Time, serial int64) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return sign(&x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "a client"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}, s.cert, key, s.key)
}

// sign issues a certificate for a new key.
func sign(template, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	return cert, nil
}

// crl lists the revoked client.
func (s *shadow) crl(now, until time.Time) (*secret.CRL, error) {
	from := now.Add(-time.Hour)
	if !until.IsZero() && !until.After(from) {
		from = until.Add(-time.Hour) // a stale list stays stale
	}
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: until,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: s.revoked.SerialNumber, RevocationTime: from}}}
	if until.IsZero() {
		template.NextUpdate = now.Add(24 * time.Hour)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, s.cert, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign a revocation list: %w", err)
	}
	lists, err := secret.ParseCRLs(der)
	if err != nil {
		return nil, fmt.Errorf("read a revocation list: %w", err)
	}
	return lists[0], nil
}

// name returns a CA's common name, told apart from others of that name.
func (x *shadows) name(s *shadow) string {
	name := s.cert.Subject.CommonName
	if name == "" {
		name = secret.Subject(s.cert)
	}
	for _, other := range x.list {
		if other != s && other.cert.Subject.CommonName == s.cert.Subject.CommonName {
			return fmt.Sprintf("%s (%.8s)", name, secret.Fingerprint(s.real))
		}
	}
	return name
}

// clients returns who knocks: nobody in particular, and for each CA a good client, a revoked and an
// expired one.
func (x *shadows) clients() ([]Client, error) {
	out := []Client{{Name: "none"}}
	for i, s := range x.list {
		name := x.name(s)
		good, err := s.client(x.now.Add(-time.Hour), x.now.Add(24*time.Hour), int64(2000+i))
		if err != nil {
			return nil, err
		}
		old, err := s.client(x.now.Add(-48*time.Hour), x.now.Add(-24*time.Hour), int64(3000+i))
		if err != nil {
			return nil, err
		}
		out = append(out, Client{Name: name, presented: []*x509.Certificate{good}},
			Client{Name: name, State: stateRevoked, presented: []*x509.Certificate{s.revoked}},
			Client{Name: name, State: stateExpired, presented: []*x509.Certificate{old}})
	}
	return out, nil
}
