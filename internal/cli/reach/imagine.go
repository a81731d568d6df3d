package reach

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/certname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Person is a client that nobody has a certificate of: what one would say.
type Person struct {
	Subject string   // RFC 2253: "CN=vera,O=Example"
	Names   []string // "dns:", "uri:", "email:" or "ip:" and a subject alternative name
	Issuer  string   // common name of one of the CAs of the configuration; "" for each of them in turn
}

// Imagined is a person with a certificate of one CA.
type Imagined struct {
	Issuer    string
	Presented []*x509.Certificate
}

// Imagine returns a world in which the persons' certificates verify as ones of the configuration's CAs
// would, and those certificates. Rules on fingerprints, keys and serial numbers hold for none of them.
func Imagine(s *ir.Snapshot, now time.Time, who Person) (*World, []Imagined, error) {
	stand, x, err := shadowed(s, now, true)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if template.Subject, err = certname.ParseSubject(who.Subject, ",+"); err != nil {
		return nil, nil, err
	}
	if err := addNames(template, who.Names); err != nil {
		return nil, nil, err
	}
	var out []Imagined
	var known []string
	for i, ca := range x.list {
		known = append(known, x.name(ca))
		if who.Issuer != "" && who.Issuer != x.name(ca) && who.Issuer != ca.cert.Subject.CommonName {
			continue
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("make a key: %w", err)
		}
		template.SerialNumber = big.NewInt(int64(4000 + i))
		cert, err := sign(template, ca.cert, key, ca.key)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, Imagined{x.name(ca), []*x509.Certificate{cert}})
	}
	switch {
	case len(x.list) == 0:
		return nil, nil, errors.New("the configuration trusts no CA of clients")
	case len(out) == 0:
		return nil, nil, fmt.Errorf("the configuration trusts no CA %q; there are %s", who.Issuer, strings.Join(known, ", "))
	}
	return New(stand, now), out, nil
}

func addNames(c *x509.Certificate, names []string) error {
	for _, name := range names {
		kind, value, ok := strings.Cut(name, ":")
		if !ok || value == "" {
			return fmt.Errorf("%q is no subject alternative name: write dns:NAME, uri:URI, email:ADDRESS or ip:ADDRESS", name)
		}
		switch strings.ToLower(kind) {
		case "dns":
			c.DNSNames = append(c.DNSNames, value)
		case "email":
			c.EmailAddresses = append(c.EmailAddresses, value)
		case "ip":
			ip, err := netip.ParseAddr(value)
			if err != nil {
				return fmt.Errorf("%q is no address", value)
			}
			c.IPAddresses = append(c.IPAddresses, ip.AsSlice())
		case "uri":
			u, err := url.Parse(value)
			if err != nil {
				return fmt.Errorf("%q is no URI: %w", value, err)
			}
			c.URIs = append(c.URIs, u)
		default:
			return fmt.Errorf("%q is no kind of name: use dns, uri, email or ip", kind)
		}
	}
	return nil
}
