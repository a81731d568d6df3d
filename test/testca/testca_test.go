package testca

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
)

func TestSeedCertsAreThoseOfTheWalk(t *testing.T) {
	s := SeedCerts(t, t.TempDir())
	one, two := s.Pair(Set1, "example.com"), s.Pair(Set2, "example.com")
	if one.Cert.Subject.String() != two.Cert.Subject.String() || one.Cert.Equal(two.Cert) {
		t.Error("the two roots must have one subject and different keys")
	}
	leaf := s.Pair(Set1, "client.example.com")
	if leaf.Cert.Version != 1 || len(leaf.Cert.Extensions) != 0 || leaf.Cert.SerialNumber.Int64() != 1 {
		t.Errorf("client: version %d, %d extensions, serial %v", leaf.Cert.Version, len(leaf.Cert.Extensions), leaf.Cert.SerialNumber)
	}
	if err := leaf.Cert.CheckSignatureFrom(one.Cert); err != nil {
		t.Error(err)
	}
	if err := leaf.Cert.CheckSignatureFrom(two.Cert); err == nil {
		t.Error("the second root must not have signed the first set")
	}
}

func TestChainWriteAndSecret(t *testing.T) {
	leaf := New(t, Spec{}).Intermediate(Spec{}).Issue(Spec{DNS: []string{"a.test"}})
	if len(leaf.Chain()) != 2 || leaf.Root() == leaf {
		t.Fatalf("chain of %d", len(leaf.Chain()))
	}
	crt, key := leaf.Write(t.TempDir(), "a")
	if _, err := tls.LoadX509KeyPair(crt, key); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info.Mode(), err)
	}
	if _, err := tls.X509KeyPair(leaf.ChainPEM(), leaf.OldKeyPEM()); err != nil {
		t.Error(err)
	}
	y := SecretYAML("istio-system", "a", leaf.SecretData(FormatTLS, nil, nil))
	if !strings.Contains(y, "type: kubernetes.io/tls") || !strings.Contains(y, "tls.key: ") {
		t.Error(y)
	}
	if y := SecretYAML("d", "a", leaf.SecretData(FormatGeneric, leaf.Root().CertPEM(), nil)); !strings.Contains(y, "cacert: ") || strings.Contains(y, "type:") {
		t.Error(y)
	}
}

func TestBadOnesAreBad(t *testing.T) {
	ca := New(t, Spec{Key: RSA2048})
	if c := ca.Issue(Spec{SHA1: true}).Cert; c.SignatureAlgorithm != x509.SHA1WithRSA {
		t.Error(c.SignatureAlgorithm)
	}
	if c := ca.Version1("old").Cert; c.Version != 1 || c.CheckSignatureFrom(ca.Cert) != nil {
		t.Errorf("version %d", c.Version)
	}
	if c := SelfSignedVersion1(t, "old root").Cert; c.Version != 1 || c.Subject.String() != c.Issuer.String() {
		t.Errorf("version %d", c.Version)
	}
	list := ca.CRL(CRLSpec{Revoked: []*x509.Certificate{ca.Cert}, Reason: 1})
	if !strings.Contains(string(list), "BEGIN X509 CRL") {
		t.Error("no CRL")
	}
	for _, k := range []Key{P384, P224, Ed25519, RSA1024} {
		if ca.Issue(Spec{Key: k}).Cert.PublicKey == nil {
			t.Errorf("key kind %d", k)
		}
	}
}
