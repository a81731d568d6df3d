//go:build linux

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// pki is the benchmark's certificates as files of one folder. The same files serve all targets.
type pki struct {
	dir string

	CA, Server, ServerKey, RSA, RSAKey, Client, ClientKey string // paths

	// Of the edge: client certificates with their keys, one that is revoked, one of another CA, and the
	// revocation list. Empty until issueCards.
	Cards, Revoked, Stranger, List string
}

// newPKI makes a CA, a server certificate of each key kind for host, and a client certificate.
func newPKI(dir, host string) (*pki, error) {
	p := &pki{dir: dir}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Benchmark Root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	if p.CA, err = p.write("ca.crt", "CERTIFICATE", der); err != nil {
		return nil, err
	}
	caDER, err := x509.MarshalPKCS8PrivateKey(caKey)
	if err != nil {
		return nil, err
	}
	if _, err := p.write("ca.key", "PRIVATE KEY", caDER); err != nil {
		return nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	clientKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	for i, leaf := range []struct {
		name      string
		key       crypto.Signer
		cert, kex *string
	}{{"server", serverKey, &p.Server, &p.ServerKey}, {"rsa", rsaKey, &p.RSA, &p.RSAKey}, {"client", clientKey, &p.Client, &p.ClientKey}} {
		t := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: leaf.name}, DNSNames: []string{host},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, t, root, leaf.key.Public(), caKey)
		if err != nil {
			return nil, err
		}
		if *leaf.cert, err = p.write(leaf.name+".crt", "CERTIFICATE", der); err != nil {
			return nil, err
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(leaf.key)
		if err != nil {
			return nil, err
		}
		if *leaf.kex, err = p.write(leaf.name+".key", "PRIVATE KEY", keyDER); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pki) write(name, kind string, der []byte) (string, error) {
	path := filepath.Join(p.dir, name)
	return path, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func pool(ca string) (*x509.CertPool, error) {
	b, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	return roots, nil
}

// serverTLS is the configuration of the upstream that asks for client certificates.
func serverTLS(cert, key, ca string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	roots, err := pool(ca)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}, nil
}

// clientTLS is what the Go loader offers: TLS 1.3 and X25519 only, so that every target does the same
// key exchange; and full records, as OpenSSL sends. The server's chain is checked only where asked: a loader is not what is measured.
func clientTLS(p loadSpec) (*tls.Config, error) {
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS13, InsecureSkipVerify: !p.Verify, DynamicRecordSizingDisabled: true}
	conf.CurvePreferences = []tls.CurveID{tls.X25519}
	if p.Hybrid {
		conf.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768}
	}
	if p.TLS12 { // where the certificate's curve is one of these
		conf.CurvePreferences = append(conf.CurvePreferences, tls.CurveP256)
		conf.MinVersion, conf.MaxVersion, conf.CipherSuites = tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	}
	if p.Verify {
		roots, err := pool(p.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = roots
	}
	if p.Cert != "" {
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
