// Package testca makes certificates for tests: good ones and every kind of bad one, as parsed values,
// PEM files and Kubernetes Secrets. SeedCerts runs the openssl commands of a user's walk through
// secure ingress, word for word.
//
// It is for tests only: keys lie about in the clear and mistakes end the test. Begin reading at New
// and Spec.
package testca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Key is a kind of key. The zero value is P256.
type Key int

// Kinds of keys. RSA1024 and P224 are weak on purpose.
const (
	P256 Key = iota
	P384
	P224
	Ed25519
	RSA2048
	RSA1024
)

// Spec says what certificate to make. The zero value is a good leaf for server and client
// authentication without names, valid from an hour ago for 90 days.
type Spec struct {
	CommonName   string
	Organization string
	Subject      *pkix.Name // instead of the two above
	DNS          []string
	URIs         []string
	IPs          []string
	Emails       []string

	Key       Key
	Reuse     crypto.Signer // this key instead of a new one
	SHA1      bool          // sign with SHA-1; the issuer's key must be RSA or ECDSA
	NotBefore time.Time
	NotAfter  time.Time
	Serial    *big.Int // random if nil

	CA           bool // set by New and Intermediate
	PathLen      int  // CAs only; below 0 means zero intermediates, 0 means no limit
	PermittedDNS []string
	ExcludedDNS  []string
	EKU          []x509.ExtKeyUsage // nil: server and client authentication for leaves, none for CAs
	NoEKU        bool
	KeyUsage     x509.KeyUsage // 0: what the certificate needs
	Extra        []pkix.Extension

	CRLs       []string // CRL distribution points
	Responders []string // OCSP responders
	MustStaple bool     // TLS feature status_request (RFC 7633)
}

// Pair is a certificate with its key, and the pair that issued it (nil for roots).
type Pair struct {
	Cert   *x509.Certificate
	Key    crypto.Signer
	Issuer *Pair

	tb testing.TB
}

// New makes a self-signed root CA.
func New(tb testing.TB, s Spec) *Pair {
	tb.Helper()
	s.CA = true
	if s.CommonName == "" && s.Subject == nil {
		s.CommonName = "Test Root"
	}
	return issue(tb, nil, s)
}

// SelfSigned makes a self-signed leaf.
func SelfSigned(tb testing.TB, s Spec) *Pair {
	tb.Helper()
	return issue(tb, nil, s)
}

// Intermediate issues a CA certificate.
func (p *Pair) Intermediate(s Spec) *Pair {
	p.tb.Helper()
	s.CA = true
	if s.CommonName == "" && s.Subject == nil {
		s.CommonName = "Test Intermediate"
	}
	return issue(p.tb, p, s)
}

// Issue issues a leaf.
func (p *Pair) Issue(s Spec) *Pair {
	p.tb.Helper()
	return issue(p.tb, p, s)
}

func issue(tb testing.TB, parent *Pair, s Spec) *Pair {
	tb.Helper()
	key := s.Reuse
	if key == nil {
		key = NewKey(tb, s.Key)
	}
	t := template(tb, s)
	signer, issuer := key, t
	if parent != nil {
		signer, issuer = parent.Key, parent.Cert
	}
	if s.SHA1 {
		t.SignatureAlgorithm = x509.ECDSAWithSHA1
		if _, ok := signer.Public().(*rsa.PublicKey); ok {
			t.SignatureAlgorithm = x509.SHA1WithRSA
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, issuer, key.Public(), signer)
	if err != nil {
		tb.Fatalf("issue %q: %v", s.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("parse %q: %v", s.CommonName, err)
	}
	return &Pair{Cert: cert, Key: key, Issuer: parent, tb: tb}
}

func template(tb testing.TB, s Spec) *x509.Certificate {
	tb.Helper()
	t := &x509.Certificate{
		SerialNumber: s.Serial, NotBefore: s.NotBefore, NotAfter: s.NotAfter, DNSNames: s.DNS, EmailAddresses: s.Emails,
		KeyUsage: s.KeyUsage, ExtKeyUsage: s.EKU, ExtraExtensions: s.Extra, CRLDistributionPoints: s.CRLs, OCSPServer: s.Responders,
		PermittedDNSDomains: s.PermittedDNS, ExcludedDNSDomains: s.ExcludedDNS,
		PermittedDNSDomainsCritical: len(s.PermittedDNS)+len(s.ExcludedDNS) > 0,
		Subject:                     pkix.Name{CommonName: s.CommonName},
	}
	if s.MustStaple {
		t.ExtraExtensions = append(slices.Clone(s.Extra), pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
	}
	if s.Organization != "" {
		t.Subject.Organization = []string{s.Organization}
	}
	if s.Subject != nil {
		t.Subject = *s.Subject
	}
	if t.SerialNumber == nil {
		t.SerialNumber, _ = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().Add(90 * 24 * time.Hour)
	}
	for _, ip := range s.IPs {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(ip))
	}
	for _, raw := range s.URIs {
		u, err := url.Parse(raw)
		if err != nil {
			tb.Fatalf("URI %q: %v", raw, err)
		}
		t.URIs = append(t.URIs, u)
	}
	if s.CA {
		t.IsCA, t.BasicConstraintsValid = true, true
		t.MaxPathLen, t.MaxPathLenZero = max(s.PathLen, 0), s.PathLen < 0
		if t.KeyUsage == 0 {
			t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		}
		return t
	}
	if t.KeyUsage == 0 {
		t.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if t.ExtKeyUsage == nil && !s.NoEKU {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return t
}

// NewKey generates a key.
func NewKey(tb testing.TB, k Key) crypto.Signer {
	tb.Helper()
	var key crypto.Signer
	var err error
	switch k {
	case P384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P224:
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case RSA1024:
		key, err = rsa.GenerateKey(rand.Reader, 1024)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		tb.Fatalf("generate key: %v", err)
	}
	return key
}

// Chain returns the certificate and its intermediates, without the root.
func (p *Pair) Chain() []*x509.Certificate {
	out := []*x509.Certificate{p.Cert}
	for i := p.Issuer; i != nil && i.Issuer != nil; i = i.Issuer {
		out = append(out, i.Cert)
	}
	return out
}

// Root returns the pair at the top; p itself if it is self-signed.
func (p *Pair) Root() *Pair {
	for p.Issuer != nil {
		p = p.Issuer
	}
	return p
}

// Pool returns a pool of this one certificate.
func (p *Pair) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Cert)
	return pool
}

// TLS returns chain and key as crypto/tls takes them.
func (p *Pair) TLS() tls.Certificate {
	c := tls.Certificate{PrivateKey: p.Key, Leaf: p.Cert}
	for _, x := range p.Chain() {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}

// CertPEM returns the certificate alone.
func (p *Pair) CertPEM() []byte { return PEM(p.Cert) }

// ChainPEM returns the chain that Chain returns.
func (p *Pair) ChainPEM() []byte { return PEM(p.Chain()...) }

// KeyPEM returns the key as PKCS #8.
func (p *Pair) KeyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		p.tb.Fatalf("marshal key: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// OldKeyPEM returns the key as PKCS #1 (RSA) or SEC 1 behind its EC PARAMETERS block (ECDSA), as old
// openssl commands write it.
func (p *Pair) OldKeyPEM() []byte {
	switch k := p.Key.(type) {
	case *rsa.PrivateKey:
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			p.tb.Fatalf("marshal key: %v", err)
		}
		params := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
		return append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: params}),
			pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
	}
	p.tb.Fatalf("no old format for %T", p.Key)
	return nil
}

// PEM concatenates certificates.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// Write writes name.crt (the chain) and name.key (mode 0600) into dir and returns their paths.
func (p *Pair) Write(dir, name string) (cert, key string) {
	p.tb.Helper()
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	writeFile(p.tb, cert, p.ChainPEM(), 0o644)
	writeFile(p.tb, key, p.KeyPEM(), 0o600)
	return cert, key
}

func writeFile(tb testing.TB, path string, data []byte, mode os.FileMode) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		tb.Fatal(err)
	}
}
