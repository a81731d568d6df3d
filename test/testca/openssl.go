package testca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Seed is a folder with the certificates of the walk through secure ingress: a root (a CA named
// example.com), httpbin, helloworld and client, each NAME.example.com.crt and .key. All but the root
// are X.509 version 1 with a common name only.
type Seed struct {
	Dir string // holds example_certs1 and example_certs2
	tb  testing.TB
}

// Set1 and Set2 are the two sets of certificates. Their roots have the same subject, and Set2 has
// httpbin only.
const (
	Set1 = "example_certs1"
	Set2 = "example_certs2"
)

// SeedCerts runs the openssl commands of the walk in dir. It takes a second or two, for the RSA keys.
func SeedCerts(tb testing.TB, dir string) *Seed {
	tb.Helper()
	for _, set := range []string{Set1, Set2} {
		if err := os.MkdirAll(filepath.Join(dir, set), 0o755); err != nil {
			tb.Fatal(err)
		}
		OpenSSL(tb, dir, "req", "-x509", "-sha256", "-nodes", "-days", "365", "-newkey", "rsa:2048", "-subj", "/O=example Inc./CN=example.com",
			"-keyout", set+"/example.com.key", "-out", set+"/example.com.crt")
	}
	seedLeaf(tb, dir, Set1, "httpbin", "0")
	seedLeaf(tb, dir, Set2, "httpbin", "0")
	seedLeaf(tb, dir, Set1, "helloworld", "1")
	seedLeaf(tb, dir, Set1, "client", "1")
	return &Seed{Dir: dir, tb: tb}
}

func seedLeaf(tb testing.TB, dir, set, name, serial string) {
	tb.Helper()
	base := set + "/" + name + ".example.com"
	OpenSSL(tb, dir, "req", "-out", base+".csr", "-newkey", "rsa:2048", "-nodes", "-keyout", base+".key",
		"-subj", "/CN="+name+".example.com/O="+name+" organization")
	OpenSSL(tb, dir, "x509", "-req", "-sha256", "-days", "365", "-CA", set+"/example.com.crt", "-CAkey", set+"/example.com.key",
		"-set_serial", serial, "-in", base+".csr", "-out", base+".crt")
}

// Path returns the path of a file of a set, as in Path(Set1, "httpbin.example.com.crt").
func (s *Seed) Path(set, file string) string { return filepath.Join(s.Dir, set, file) }

// Read returns the content of such a file.
func (s *Seed) Read(set, file string) []byte {
	s.tb.Helper()
	data, err := os.ReadFile(s.Path(set, file))
	if err != nil {
		s.tb.Fatal(err)
	}
	return data
}

// Pair returns certificate and key of "example.com", "httpbin.example.com" and so on. Leaves have the
// set's root as issuer.
func (s *Seed) Pair(set, name string) *Pair {
	s.tb.Helper()
	p := ParsePair(s.tb, s.Read(set, name+".crt"), s.Read(set, name+".key"))
	if name != "example.com" {
		p.Issuer = s.Pair(set, "example.com")
	}
	return p
}

// ParsePair reads the first certificate and a PKCS #8 key.
func ParsePair(tb testing.TB, certPEM, keyPEM []byte) *Pair {
	tb.Helper()
	cb, _ := pem.Decode(certPEM)
	kb, _ := pem.Decode(keyPEM)
	if cb == nil || kb == nil {
		tb.Fatal("no PEM in certificate or key")
	}
	cert, err := x509.ParseCertificate(cb.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(kb.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return &Pair{Cert: cert, Key: key.(crypto.Signer), tb: tb}
}

// OpenSSL runs an openssl command in dir and returns its standard output. Failure ends the test with
// what openssl printed.
func OpenSSL(tb testing.TB, dir string, args ...string) []byte {
	tb.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		tb.Fatalf("openssl %v: %v\n%s", args, err, errOut.String())
	}
	return out.Bytes()
}

// OpenSeed returns the certificates that SeedCerts made in dir before.
func OpenSeed(tb testing.TB, dir string) *Seed { return &Seed{Dir: dir, tb: tb} }

// SeedClient issues a client certificate with the walk's commands and subject from the root of a set
// into dir, and returns the paths of certificate and key.
func (s *Seed) SeedClient(set, dir string) (cert, key string) {
	s.tb.Helper()
	base := filepath.Join(dir, "client.example.com")
	OpenSSL(s.tb, dir, "req", "-out", base+".csr", "-newkey", "rsa:2048", "-nodes", "-keyout", base+".key", "-subj", "/CN=client.example.com/O=client organization")
	OpenSSL(s.tb, dir, "x509", "-req", "-sha256", "-days", "365", "-CA", s.Path(set, "example.com.crt"), "-CAkey", s.Path(set, "example.com.key"),
		"-set_serial", "1", "-in", base+".csr", "-out", base+".crt")
	return base + ".crt", base + ".key"
}
