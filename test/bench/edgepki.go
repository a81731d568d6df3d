//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

// issueCards issues n client certificates, each with a key of its own, into Cards; one more that is
// revoked, one of another CA, and the list, whose other entries are of nobody who comes.
func (p *pki) issueCards(n int) error {
	pair, err := tls.LoadX509KeyPair(p.CA, filepath.Join(p.dir, "ca.key"))
	if err != nil {
		return err
	}
	issuer := pair.Leaf
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("the CA's key is a %T", pair.PrivateKey)
	}
	if p.Cards, err = p.cards("clients.pem", n, big.NewInt(1<<40), issuer, key); err != nil {
		return err
	}
	revoked := new(big.Int).Lsh(big.NewInt(3), 100)
	if p.Revoked, err = p.cards("revoked.pem", 1, revoked, issuer, key); err != nil {
		return err
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	stranger := &x509.Certificate{Subject: pkix.Name{CommonName: "Another Root"}}
	if p.Stranger, err = p.cards("stranger.pem", 1, big.NewInt(9), stranger, other); err != nil {
		return err
	}
	now := time.Now()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(30 * 24 * time.Hour)}
	for i := range listed {
		serial := new(big.Int).Add(revoked, new(big.Int).Lsh(big.NewInt(int64(i)), 40))
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now.Add(-time.Hour), ReasonCode: 4})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, issuer, key)
	if err != nil {
		return err
	}
	p.List, err = p.write("list.pem", "X509 CRL", der)
	return err
}

// cards writes n certificates, each before its key, into one file.
func (p *pki) cards(name string, n int, serial *big.Int, issuer *x509.Certificate, signer *ecdsa.PrivateKey) (string, error) {
	var out bytes.Buffer
	now := time.Now()
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return "", err
		}
		t := &x509.Certificate{
			SerialNumber: new(big.Int).Add(serial, big.NewInt(int64(i))), Subject: pkix.Name{CommonName: fmt.Sprintf("client %d", i), Organization: []string{"Benchmark"}},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(30 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, t, issuer, key.Public(), signer)
		if err != nil {
			return "", err
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return "", err
		}
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
		_ = pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	}
	path := filepath.Join(p.dir, name)
	return path, os.WriteFile(path, out.Bytes(), 0o600)
}

// readCards reads count certificates with their keys, of which the first is number from; after the last
// of the file comes the first again.
func readCards(path string, from, count int) ([]tls.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var blocks []*pem.Block
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		blocks = append(blocks, block)
	}
	if len(blocks) == 0 || len(blocks)%2 != 0 {
		return nil, fmt.Errorf("%s holds %d blocks", path, len(blocks))
	}
	pairs := make([]tls.Certificate, count)
	for i := range pairs {
		at := (from + i) % (len(blocks) / 2) * 2
		key, err := x509.ParsePKCS8PrivateKey(blocks[at+1].Bytes)
		if err != nil {
			return nil, err
		}
		leaf, err := x509.ParseCertificate(blocks[at].Bytes)
		if err != nil {
			return nil, err
		}
		pairs[i] = tls.Certificate{Certificate: [][]byte{blocks[at].Bytes}, PrivateKey: key, Leaf: leaf}
	}
	return pairs, nil
}
