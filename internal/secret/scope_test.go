package secret_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/rand"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// scoped makes a list with an issuing distribution point by openssl, which knows how they are written.
func scoped(t *testing.T, ca *testca.Pair, point string) []byte {
	t.Helper()
	dir := t.TempDir()
	ca.Write(dir, "ca")
	writeAll(t, dir, map[string]string{"index.txt": "", "crlnumber": "01\n",
		"ca.cnf": "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_crl_days=7\ncrl_extensions=x\n[x]\nissuingDistributionPoint=critical,@p\n[p]\n" + point + "\n"})
	testca.OpenSSL(t, dir, "ca", "-config", "ca.cnf", "-gencrl", "-cert", "ca.crt", "-keyfile", "ca.key", "-out", "list.pem", "-md", "sha256")
	list, err := os.ReadFile(filepath.Join(dir, "list.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestScopedLists(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	inter := ca.Intermediate(testca.Spec{})
	leaf := ca.Issue(testca.Spec{})
	leaf.Cert.CRLDistributionPoints = []string{"http://a.test/1.crl"}
	tests := []struct{ name, point, broken, leaf, inter string }{
		{"of a distribution point", "fullname=URI:http://a.test/1.crl", "", "", "distribution point"},
		{"of another", "fullname=URI:http://a.test/2.crl", "", "http://a.test/2.crl", "http://a.test/2.crl"},
		{"of users", "onlyuser=TRUE", "", "", "no CAs"},
		{"of CAs", "onlyCA=TRUE", "", "CAs only", ""},
		{"indirect", "indirectCRL=TRUE", "indirect", "", ""},
		{"for attributes", "onlyAA=TRUE", "attribute", "", ""},
		{"for some reasons", "onlysomereasons=keyCompromise", "some reasons", "", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			data := scoped(t, ca, tc.point)
			if _, err := secret.ParseCRLs(data); err == nil {
				t.Error("a list of the configuration must be complete")
			}
			c, err := secret.ParseFetchedCRL(data)
			if err != nil || tc.broken != "" {
				if err == nil || !strings.Contains(err.Error(), tc.broken) || tc.broken == "" {
					t.Fatalf("error %v, want %q", err, tc.broken)
				}
				return
			}
			for cert, want := range map[*x509.Certificate]string{leaf.Cert: tc.leaf, inter.Cert: tc.inter} {
				if err := c.Covers(cert); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("covers %s: %v, want %q", secret.Subject(cert), err, want)
				}
			}
		})
	}
	plain := ca.CRL(testca.CRLSpec{})
	block, _ := pem.Decode(plain)
	for name, data := range map[string][]byte{"PEM": plain, "DER": block.Bytes} {
		if c, err := secret.ParseFetchedCRL(data); err != nil || c.Covers(leaf.Cert) != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{"two lists": append(plain[:len(plain):len(plain)], plain...), "nothing": nil, "a page": []byte("<html>"), "a certificate": ca.CertPEM()} {
		if _, err := secret.ParseFetchedCRL(data); err == nil {
			t.Errorf("%s is taken for a list", name)
		}
	}
}

func TestAnchors(t *testing.T) {
	root, other := testca.New(t, testca.Spec{CommonName: "Root"}), testca.New(t, testca.Spec{CommonName: "Other"})
	inter, stranger := root.Intermediate(testca.Spec{CommonName: "Inter"}), other.Intermediate(testca.Spec{CommonName: "Stranger"})
	deep := inter.Intermediate(testca.Spec{CommonName: "Deep"})
	alone := testca.SelfSigned(t, testca.Spec{CommonName: "alone"})
	// The same name, signed by the old key: self-issued, but no anchor (RFC 4210's "new with old").
	rolled := root.Intermediate(testca.Spec{CommonName: "Root"})
	tests := []struct {
		name    string
		certs   []*testca.Pair
		anchors []*testca.Pair
		found   []diag.Code
	}{
		{"a root", []*testca.Pair{root}, []*testca.Pair{root}, nil},
		{"a full chain", []*testca.Pair{deep, inter, root}, []*testca.Pair{root}, nil},
		{"an intermediate alone", []*testca.Pair{inter}, []*testca.Pair{inter}, []diag.Code{diag.BundlePartial}},
		{"intermediates alone", []*testca.Pair{inter, stranger}, []*testca.Pair{inter, stranger}, []diag.Code{diag.BundlePartial}},
		{"a stranger beside a root", []*testca.Pair{root, stranger}, []*testca.Pair{root}, []diag.Code{diag.BundleOrphan}},
		{"a self-signed leaf", []*testca.Pair{alone}, []*testca.Pair{alone}, nil},
		{"a rolled key", []*testca.Pair{root, rolled}, []*testca.Pair{root}, nil},
	}
	for _, tc := range tests {
		var pems []byte
		for _, p := range tc.certs {
			pems = append(pems, p.CertPEM()...)
		}
		b, found, err := secret.ParseBundle(pems)
		if err != nil {
			t.Fatal(tc.name, err)
		}
		if len(b.Anchors()) != len(tc.anchors) || len(b.Anchors())+len(b.Paths()) != len(tc.certs) {
			t.Errorf("%s: %d anchors, %d paths", tc.name, len(b.Anchors()), len(b.Paths()))
		}
		for _, want := range tc.anchors {
			if !secret.NewBundle(b.Anchors()...).Contains(want.Cert) {
				t.Errorf("%s: %s is no anchor", tc.name, secret.Subject(want.Cert))
			}
		}
		var codes []diag.Code
		for _, f := range found {
			codes = append(codes, f.Code)
		}
		if len(codes) != len(tc.found) || len(codes) > 0 && codes[0] != tc.found[0] {
			t.Errorf("%s: found %v, want %v", tc.name, found, tc.found)
		}
	}
}

// bigList signs a list with n entries of 16 bytes.
func bigList(b *testing.B, n int) []byte {
	ca := testca.New(b, testca.Spec{})
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for i := range n {
		serial := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 127), big.NewInt(int64(i)*2))
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now(), ReasonCode: 1,
			Extensions: []pkix.Extension{}})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.Key)
	if err != nil {
		b.Fatal(err)
	}
	return der
}

func BenchmarkParseCRL100000(b *testing.B) {
	der := bigList(b, 100_000)
	b.ReportAllocs()
	b.SetBytes(int64(len(der)))
	for b.Loop() {
		if _, err := secret.ParseCRLs(der); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookupCRL100000(b *testing.B) {
	crls, err := secret.ParseCRLs(bigList(b, 100_000))
	if err != nil {
		b.Fatal(err)
	}
	hit := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 127), big.NewInt(2*77_777))
	miss := new(big.Int).Add(hit, big.NewInt(1))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := crls[0].Lookup(hit); !ok {
			b.Fatal("missed")
		}
		if _, ok := crls[0].Lookup(miss); ok {
			b.Fatal("found")
		}
	}
}
