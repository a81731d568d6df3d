package mint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// issuer is who signs.
type issuer struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain []*x509.Certificate // goes with each leaf
}

// made is a leaf as caches hold it.
type made struct {
	pair    *secret.KeyPair
	renew   time.Time // a new one would be valid for longer
	expires time.Time
	key     *leafKey
}

// expiringSoon is when the end of the CA is told; of CAs of a few weeks when a third of their time is left.
const expiringSoon = 14 * 24 * time.Hour

// Leaf returns a certificate with its key as w wants it: from the cache, or made now, at the cost of one
// signature. Many who want the same wait for one. What is returned is shared and must not be changed; it is
// valid for a while, so ask again for each handshake. The error is an *Error.
func (a *Authority) Leaf(w Want) (*secret.KeyPair, error) {
	if w.Sign == "" {
		w.Sign = Trusted
	}
	if w.Sign == Trusted {
		fault := a.Fault()
		if fault == nil {
			fault = a.limits.permits(w.Names, w.IPs)
		}
		if fault != nil {
			a.stats.refused.Add(1)
			return nil, fault
		}
		a.warnExpiring()
	}
	kind := w.keyType(a.opts.KeyType)
	k := w.key(kind)
	now := a.opts.Now()
	m, hit, err := a.cache.get(k, now, func() (*made, error) { return a.obtain(k, &w, kind, now) })
	switch {
	case err != nil:
		a.stats.refused.Add(1)
		return nil, err
	case hit:
		a.stats.hits.Add(1)
	}
	return m.pair, nil
}

// warnExpiring tells once that the CA's end is near.
func (a *Authority) warnExpiring() {
	ca := a.pair.Leaf
	if left := ca.NotAfter.Sub(a.opts.Now()); left < min(expiringSoon, ca.NotAfter.Sub(ca.NotBefore)/3) {
		a.warn.Do(func() {
			a.opts.Logger.Warn("the interception CA expires soon", "code", diag.MintCAExpiring, "name", secret.Subject(ca), "expires", ca.NotAfter.UTC().Format(time.RFC3339))
		})
	}
}

// obtain takes a leaf from the disk or makes it.
func (a *Authority) obtain(k key, w *Want, kind string, now time.Time) (*made, error) {
	keep := a.disk != nil && w.Sign == Trusted
	if keep {
		if m := a.disk.load(k, a.issuer, now); m != nil {
			a.stats.diskHits.Add(1)
			return m, nil
		}
	}
	m, err := a.mint(w, kind, now)
	if err != nil {
		return nil, err
	}
	a.stats.minted.Add(1)
	if keep {
		a.disk.keep(k, m)
	}
	return m, nil
}

// mint makes a leaf.
func (a *Authority) mint(w *Want, kind string, now time.Time) (*made, error) {
	leafKey, err := a.keys.get(kind)
	if err != nil {
		return nil, &Error{Code: diag.MintFailed, Detail: "making a key for leaves failed", Err: err}
	}
	by := a.issuer
	switch w.Sign {
	case Untrusted:
		if by, err = a.distrusted(); err != nil {
			return nil, &Error{Code: diag.MintFailed, Detail: "making the authority that nobody trusts failed", Err: err}
		}
	case Self:
		by = issuer{key: leafKey.signer}
	}
	names := w.names()
	if w.Sign == Trusted {
		if fault := a.limits.keep(&names); fault != nil {
			return nil, fault
		}
	}
	if len(names.dns)+len(names.ips) == 0 {
		return nil, &Error{Code: diag.MintFailed, Detail: "the destination has no name that a certificate can carry"}
	}
	template, renew := a.template(w, names, by.cert, now)
	template.SubjectKeyId = leafKey.ski
	if kind == KeyRSA {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	parent := by.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, leafKey.signer.Public(), by.key)
	if err != nil {
		return nil, &Error{Code: diag.MintFailed, Detail: fmt.Sprintf("signing a certificate for %s failed", names.words()), Err: err}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &Error{Code: diag.MintFailed, Detail: fmt.Sprintf("the certificate made for %s cannot be read back", names.words()), Err: err}
	}
	pair := secret.NewKeyPair(append([]*x509.Certificate{leaf}, by.chain...), leafKey.signer)
	return &made{pair: pair, renew: renew, expires: leaf.NotAfter, key: leafKey}, nil
}

// template returns what is signed, and when a new one is wanted.
func (a *Authority) template(w *Want, names subjectNames, ca *x509.Certificate, now time.Time) (*x509.Certificate, time.Time) {
	t := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: names.common},
		DNSNames:              names.dns,
		IPAddresses:           names.ips,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if w.Mimic != nil && w.CommonName == "" {
		s := w.Mimic.Subject
		t.Subject.Organization, t.Subject.OrganizationalUnit = s.Organization, s.OrganizationalUnit
		t.Subject.Country, t.Subject.Province, t.Subject.Locality = s.Country, s.Province, s.Locality
	}
	var renew time.Time
	t.NotBefore, t.NotAfter, renew = a.validity(w, ca, now)
	return t, renew
}

// validity returns the leaf's: as long as configured, but not beyond the original's nor the CA's. It begins
// a little in the past, for clients whose clocks are behind. Where the original is expired or not valid
// yet, so is the leaf: whoever wants otherwise says so by w.
func (a *Authority) validity(w *Want, ca *x509.Certificate, now time.Time) (from, to, renew time.Time) {
	from, to = now.Add(-a.opts.Skew), now.Add(a.opts.Validity)
	renew = now.Add(a.opts.Validity / 4 * 3)
	earliest, latest := w.NotBefore, w.NotAfter
	if w.Mimic != nil {
		if earliest.IsZero() {
			earliest = w.Mimic.NotBefore
		}
		if latest.IsZero() {
			latest = w.Mimic.NotAfter
		}
	}
	if !latest.IsZero() && latest.Before(to) {
		to, renew = latest, latest
	}
	if earliest.After(from) || !to.After(from) && !earliest.IsZero() {
		from = earliest
	}
	if ca != nil {
		if ca.NotAfter.Before(to) {
			to, renew = ca.NotAfter, ca.NotAfter
		}
		if ca.NotBefore.After(from) && ca.NotBefore.Before(to) {
			from = ca.NotBefore
		}
	}
	if !to.After(from) { // not valid yet
		to = from.Add(a.opts.Validity)
		if !latest.IsZero() && latest.Before(to) {
			to = latest
		}
	}
	if !renew.After(now) {
		renew = now.Add(a.opts.Validity)
	}
	return from, to, renew
}

// serial returns a positive random number of 127 bits: equal ones of one issuer make browsers refuse.
func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// newDistrusted makes the authority that nobody trusts. It lives as long as a.
func (a *Authority) newDistrusted() (issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issuer{}, err
	}
	now := a.opts.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Destination not verified", Organization: []string{"Hakone"}},
		NotBefore:             now.Add(-a.opts.Skew),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return issuer{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return issuer{cert: cert, key: key}, err
}
