package secret_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"testing"

	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

func writeAll(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParseKeyPair(f *testing.F) {
	ca := testca.New(f, testca.Spec{})
	leaf := ca.Intermediate(testca.Spec{}).Issue(testca.Spec{})
	f.Add(leaf.ChainPEM(), leaf.KeyPEM())
	f.Add(leaf.ChainPEM(), leaf.OldKeyPEM())
	f.Add(leaf.KeyPEM(), leaf.CertPEM())
	f.Add([]byte("-----BEGIN -----BEGIN CERTIFICATE-----"), []byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"))
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		k, _, err := secret.ParseKeyPair(cert, key)
		if (k == nil) == (err == nil) {
			t.Fatal("a pair or an error")
		}
		if err != nil {
			if code(err) == 0 || err.Error() == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if len(k.Chain) == 0 || k.Leaf == nil || k.Signer() == nil || k.Fingerprint == "" || k.TLS() == nil {
			t.Fatal("half a pair")
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	ca := testca.New(f, testca.Spec{})
	f.Add(ca.CertPEM())
	f.Add(join(ca.CertPEM(), ca.KeyPEM(), ca.CertPEM()))
	f.Add([]byte("\xef\xbb\xbf-----BEGIN CERTIFICATE-----\r\nMII\r\n-----END CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, _, err := secret.ParseBundle(data)
		if (b == nil) == (err == nil) || b.Len() == 0 && err == nil {
			t.Fatal("certificates or an error")
		}
		for i := range b.Len() {
			_ = secret.Subject(b.Certificates[i])
		}
	})
}

func FuzzParseCRLs(f *testing.F) {
	ca := testca.New(f, testca.Spec{})
	f.Add(ca.CRL(testca.CRLSpec{Revoked: []*x509.Certificate{ca.Cert}, Reason: 6}))
	f.Add([]byte("0\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		crls, err := secret.ParseCRLs(data)
		if (len(crls) == 0) == (err == nil) {
			t.Fatal("lists or an error")
		}
		for _, c := range crls {
			_ = c.SignedBy(ca.Cert)
		}
	})
}

func FuzzParseFetchedCRL(f *testing.F) {
	ca := testca.New(f, testca.Spec{})
	leaf := ca.Issue(testca.Spec{CRLs: []string{"http://a.test/1.crl"}})
	point := func(value []byte) []byte {
		return ca.CRL(testca.CRLSpec{Extra: []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: value}}})
	}
	f.Add(ca.CRL(testca.CRLSpec{}))
	f.Add(point([]byte{0x30, 3, 0x81, 1, 0xff}))
	f.Add(point(append([]byte{0x30, 0x19, 0xa0, 0x17, 0xa0, 0x15, 0x86, 0x13}, "http://a.test/1.crl"...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := secret.ParseFetchedCRL(data)
		if (c == nil) == (err == nil) {
			t.Fatal("a list or an error")
		}
		if c != nil {
			_, _ = c.SignedBy(ca.Cert), c.Covers(leaf.Cert)
		}
	})
}
