package secret_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

func code(err error) diag.Code {
	var e *secret.Error
	if !asError(err, &e) {
		return 0
	}
	return e.Code
}

func asError(err error, e **secret.Error) bool { return errors.As(err, e) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestParseKeyPairAccepts(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	inter := ca.Intermediate(testca.Spec{})
	leaf := inter.Issue(testca.Spec{CommonName: "a"})
	rsa := ca.Issue(testca.Spec{Key: testca.RSA2048})
	ed := ca.Issue(testca.Spec{Key: testca.Ed25519})
	v1 := ca.Version1("old")
	crlf := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) }
	oneLine := func(b []byte) []byte {
		p, _ := pem.Decode(b)
		return []byte("-----BEGIN " + p.Type + "-----\n" + base64.StdEncoding.EncodeToString(p.Bytes) + "\n-----END " + p.Type + "-----")
	}
	root := inter.Issuer
	tests := []struct {
		name      string
		cert, key []byte
		chain     int
		typ       string
		repaired  bool
	}{
		{"chain, PKCS #8", leaf.ChainPEM(), leaf.KeyPEM(), 2, "ECDSA-P256", false},
		{"SEC 1 behind EC PARAMETERS", leaf.ChainPEM(), leaf.OldKeyPEM(), 2, "ECDSA-P256", false},
		{"PKCS #1", rsa.CertPEM(), rsa.OldKeyPEM(), 1, "RSA-2048", false},
		{"Ed25519", ed.CertPEM(), ed.KeyPEM(), 1, "Ed25519", false},
		{"X.509 version 1", v1.CertPEM(), v1.KeyPEM(), 1, "ECDSA-P256", false},
		{"CRLF", crlf(leaf.ChainPEM()), crlf(leaf.KeyPEM()), 2, "ECDSA-P256", false},
		{"byte order mark and text around", join([]byte("\xef\xbb\xbf"), leaf.CertPEM(), []byte("subject=/CN=x\n\n"), inter.CertPEM(), []byte("bye")), join([]byte("Key:\n"), leaf.KeyPEM()), 2, "ECDSA-P256", false},
		{"trailing blanks", bytes.ReplaceAll(leaf.CertPEM(), []byte("\n"), []byte(" \t\n")), leaf.KeyPEM(), 1, "ECDSA-P256", false},
		{"one long line, no line end", oneLine(leaf.CertPEM()), oneLine(leaf.KeyPEM()), 1, "ECDSA-P256", false},
		{"no line end between certificates", join(bytes.TrimSpace(leaf.CertPEM()), inter.CertPEM()), leaf.KeyPEM(), 2, "ECDSA-P256", false},
		{"everything in both entries", join(leaf.KeyPEM(), leaf.ChainPEM()), join(leaf.ChainPEM(), leaf.KeyPEM()), 2, "ECDSA-P256", false},
		{"reversed", join(root.CertPEM(), inter.CertPEM(), leaf.CertPEM()), leaf.KeyPEM(), 3, "ECDSA-P256", true},
		{"intermediate first", join(inter.CertPEM(), leaf.CertPEM()), leaf.KeyPEM(), 2, "ECDSA-P256", true},
		{"repeated", join(leaf.CertPEM(), leaf.CertPEM(), inter.CertPEM()), leaf.KeyPEM(), 2, "ECDSA-P256", true},
		{"stranger stays at the end", join(leaf.CertPEM(), rsa.CertPEM(), inter.CertPEM()), leaf.KeyPEM(), 3, "ECDSA-P256", true},
		{"second key fits", leaf.ChainPEM(), join(rsa.KeyPEM(), leaf.KeyPEM()), 2, "ECDSA-P256", false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			k, found, err := secret.ParseKeyPair(tc.cert, tc.key)
			if err != nil {
				t.Fatal(err)
			}
			if len(k.Chain) != tc.chain || k.KeyType() != tc.typ {
				t.Errorf("%d certificates, key %s", len(k.Chain), k.KeyType())
			}
			if repaired := slices.ContainsFunc(found, func(f secret.Finding) bool { return f.Code == diag.CertChainOrder }); repaired != tc.repaired {
				t.Errorf("findings %v", found)
			}
			for i := 1; i < min(tc.chain, 3) && tc.name != "stranger stays at the end"; i++ {
				c, _ := x509.ParseCertificate(k.Chain[i-1])
				p, _ := x509.ParseCertificate(k.Chain[i])
				if err := c.CheckSignatureFrom(p); err != nil {
					t.Errorf("certificate %d did not issue %d: %v", i, i-1, err)
				}
			}
			if first := k.TLS(); first != k.TLS() || !samePublic(k.Signer().Public(), k.Leaf.PublicKey) || k.TLS().Leaf != k.Leaf {
				t.Error("TLS must be cached and hold key and leaf")
			}
			if _, err := tls.X509KeyPair(join(pemOf(k.Chain)...), leafKey(k)); err != nil {
				t.Error(err)
			}
		})
	}
}

func samePublic(a, b any) bool {
	return a.(interface{ Equal(crypto.PublicKey) bool }).Equal(b)
}

func pemOf(chain [][]byte) [][]byte {
	var out [][]byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out
}

func leafKey(k *secret.KeyPair) []byte {
	der, _ := x509.MarshalPKCS8PrivateKey(k.Signer())
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestParseKeyPairRefuses(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	leaf, other := ca.Issue(testca.Spec{CommonName: "a"}), ca.Issue(testca.Spec{})
	block, _ := pem.Decode(leaf.CertPEM())
	dir := t.TempDir()
	leaf.Write(dir, "a")
	testca.OpenSSL(t, dir, "pkcs8", "-topk8", "-in", "a.key", "-out", "enc.key", "-passout", "pass:x")
	testca.OpenSSL(t, dir, "ec", "-in", "a.key", "-aes128", "-out", "old.key", "-passout", "pass:x")
	testca.OpenSSL(t, dir, "genpkey", "-algorithm", "X25519", "-out", "x25519.key")
	testca.OpenSSL(t, dir, "req", "-new", "-key", "a.key", "-subj", "/CN=a", "-out", "a.csr")
	testca.OpenSSL(t, dir, "x509", "-in", "a.crt", "-trustout", "-out", "trusted.crt")
	file := func(n string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	broken := bytes.Replace(leaf.CertPEM(), []byte("\n"), []byte("\n*"), 1)
	truncated := leaf.CertPEM()[:300]
	tests := []struct {
		name      string
		cert, key []byte
		code      diag.Code
		words     string
	}{
		{"key of another", leaf.CertPEM(), other.KeyPEM(), diag.KeyMismatch, "does not belong to the certificate of CN=a (ECDSA-P256)"},
		{"swapped", leaf.KeyPEM(), leaf.CertPEM(), diag.SecretInvalid, "swapped"},
		{"two keys", leaf.KeyPEM(), leaf.KeyPEM(), diag.SecretInvalid, "private key instead of a certificate"},
		{"two certificates", leaf.CertPEM(), leaf.CertPEM(), diag.KeyUnparsable, "certificate instead of the private key"},
		{"encrypted PKCS #8", leaf.CertPEM(), file("enc.key"), diag.KeyUnparsable, "encrypted"},
		{"encrypted SEC 1", leaf.CertPEM(), file("old.key"), diag.KeyUnparsable, "encrypted"},
		{"X25519", leaf.CertPEM(), file("x25519.key"), diag.KeyUnparsable, "cannot sign"},
		{"junk in a key block", leaf.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("junk")}), diag.KeyUnparsable, "neither PKCS #8"},
		{"OpenSSH", leaf.CertPEM(), pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("junk")}), diag.KeyUnparsable, "OpenSSH"},
		{"request", file("a.csr"), leaf.KeyPEM(), diag.CertUnparsable, "certificate request"},
		{"trusted certificate", file("trusted.crt"), leaf.KeyPEM(), diag.CertUnparsable, "TRUSTED CERTIFICATE"},
		{"DER", block.Bytes, leaf.KeyPEM(), diag.CertUnparsable, "is DER"},
		{"encoded twice", []byte(base64.StdEncoding.EncodeToString(leaf.CertPEM())), leaf.KeyPEM(), diag.CertUnparsable, "encoded twice"},
		{"bare base64", []byte(base64.StdEncoding.EncodeToString(block.Bytes)), leaf.KeyPEM(), diag.CertUnparsable, "without its BEGIN"},
		{"indented", bytes.ReplaceAll(leaf.CertPEM(), []byte("-----BEGIN"), []byte("  -----BEGIN")), leaf.KeyPEM(), diag.CertUnparsable, "beginning of a line"},
		{"broken base64", join([]byte("x\n"), broken), leaf.KeyPEM(), diag.CertUnparsable, "line 2"},
		{"broken second block", join(leaf.CertPEM(), broken), leaf.KeyPEM(), diag.CertUnparsable, "broken"},
		{"truncated", truncated, leaf.KeyPEM(), diag.CertUnparsable, "broken"},
		{"junk in a certificate block", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("junk")}), leaf.KeyPEM(), diag.CertUnparsable, "certificate 1 cannot be parsed"},
		{"nothing", nil, nil, diag.CertUnparsable, "tls.crt is empty"},
		{"no key", leaf.CertPEM(), []byte(" \n"), diag.KeyUnparsable, "tls.key is empty"},
		{"a path", []byte("/etc/certs/a.crt"), leaf.KeyPEM(), diag.CertUnparsable, "no PEM block"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			k, _, err := secret.ParseKeyPair(tc.cert, tc.key)
			if k != nil || code(err) != tc.code || !strings.Contains(err.Error(), tc.words) {
				t.Fatalf("got %v, error %v (%v)", k, err, code(err))
			}
			var e *secret.Error
			asError(err, &e)
			if e.Fix == "" || strings.HasSuffix(e.Message, ".") {
				t.Errorf("message %q, fix %q", e.Message, e.Fix)
			}
		})
	}
}

func TestParseSeedPair(t *testing.T) {
	seed := testca.SeedCerts(t, t.TempDir())
	k, found, err := secret.ParseKeyPair(seed.Read(testca.Set1, "httpbin.example.com.crt"), seed.Read(testca.Set1, "httpbin.example.com.key"))
	if err != nil || len(found) != 0 {
		t.Fatal(found, err)
	}
	if k.KeyType() != "RSA-2048" || secret.Subject(k.Leaf) != "O=httpbin organization,CN=httpbin.example.com" {
		t.Error(k.KeyType(), secret.Subject(k.Leaf))
	}
	one, _, err1 := secret.ParseBundle(seed.Read(testca.Set1, "example.com.crt"))
	two, _, err2 := secret.ParseBundle(seed.Read(testca.Set2, "example.com.crt"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if both := secret.Merge(one, two, nil, one); both.Len() != 2 || len(both.Subjects()) != 1 || one.Digest == two.Digest {
		t.Errorf("CAs of one subject must stay two: %v %v", both, both.Subjects())
	}
}

func TestParseBundle(t *testing.T) {
	a, b := testca.New(t, testca.Spec{CommonName: "A"}), testca.New(t, testca.Spec{CommonName: "B"})
	ab, found, err := secret.ParseBundle(join(a.CertPEM(), b.CertPEM()))
	if err != nil || len(found) != 0 || ab.Len() != 2 {
		t.Fatal(ab, found, err)
	}
	ba, _, _ := secret.ParseBundle(join([]byte("# B\r\n"), b.CertPEM(), a.CertPEM(), b.CertPEM()))
	if ab.Digest != ba.Digest || ba.Len() != 2 || !ba.Contains(a.Cert) {
		t.Error("order and repeats must not matter")
	}
	if just, _, _ := secret.ParseBundle(a.CertPEM()); just.Digest == ab.Digest || just.Contains(b.Cert) {
		t.Error("another set must have another digest")
	}
	part, found, err := secret.ParseBundle(join([]byte("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"), a.CertPEM(), b.KeyPEM()))
	if err != nil || part.Len() != 1 || len(found) != 2 || found[0].Severity != diag.Warning || !strings.Contains(found[0].Message, "line 1") {
		t.Errorf("%v %v %v", part, found, err)
	}
	for name, data := range map[string][]byte{"nothing": nil, "junk": []byte("junk"), "a key": a.KeyPEM(),
		"only broken": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")} {
		if b, _, err := secret.ParseBundle(data); b != nil || code(err) != diag.CAInvalid {
			t.Errorf("%s: %v %v", name, b, err)
		}
	}
	var none *secret.Bundle
	if none.Len() != 0 || none.Contains(a.Cert) || none.Pool() == nil || len(none.Subjects()) != 0 {
		t.Error("a nil bundle is empty")
	}
}

func TestSubjectIsSafeText(t *testing.T) {
	dir := t.TempDir()
	testca.OpenSSL(t, dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8", "-keyout", "k", "-out", "c",
		"-subj", "/DC=test/C=JP/O=箱根, \"Inc\"/CN= a+b;\n#/emailAddress=x@a.test/UID=u1", "-multivalue-rdn")
	pemBytes, err := os.ReadFile(filepath.Join(dir, "c"))
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := secret.ParseBundle(pemBytes)
	if err != nil {
		t.Fatal(err)
	}
	got := secret.Subject(b.Certificates[0])
	want := strings.TrimSpace(strings.TrimPrefix(string(testca.OpenSSL(t, dir, "x509", "-in", "c", "-noout", "-subject", "-nameopt", "RFC2253")), "subject="))
	if got != want {
		t.Errorf("got  %s\nwant %s (openssl)", got, want)
	}
	empty := testca.SelfSigned(t, testca.Spec{})
	if got := secret.Subject(empty.Cert); got != "(empty)" {
		t.Error(got)
	}
}
