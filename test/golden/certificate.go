package golden

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"regexp"
	"strings"
	"time"
)

// Fill replaces ${NAME.crt} and ${NAME.key} by the base64 of a certificate of the CA "ca" for
// NAME.example.com and of its key. ${ca.crt} and other names that end in "ca" are CAs, signed by
// themselves. ${NAME.pem} is the PEM text itself, indented for a block scalar of a ConfigMap. Names
// that begin with "ed" have Ed25519 keys, others P-256.
func Fill(text string) string {
	return regexp.MustCompile(`\$\{([a-z0-9-]+)\.(crt|key|pem)\}`).ReplaceAllStringFunc(text, func(p string) string {
		name, part, _ := strings.Cut(strings.Trim(p, "${}"), ".")
		cert, key := Certificate(name)
		switch part {
		case "key":
			return base64.StdEncoding.EncodeToString(key)
		case "pem":
			return strings.ReplaceAll(strings.TrimSpace(string(cert)), "\n", "\n    ")
		}
		return base64.StdEncoding.EncodeToString(cert)
	})
}

// Certificate returns a certificate and key, as PEM, that depend on the name alone. See Fill. It
// panics if none can be made.
func Certificate(name string) (certPEM, keyPEM []byte) {
	key, ca := keyOf(name), strings.HasSuffix(name, "ca")
	sum := sha256.Sum256([]byte(name))
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(sum[:8]), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: ca,
	}
	issuer, issuerKey := &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}}, keyOf("ca")
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
		issuer, issuerKey = template, key
	} else {
		template.DNSNames = []string{name + ".example.com"}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(nil, template, issuer, key.Public(), issuerKey)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func keyOf(name string) crypto.Signer {
	seed := sha256.Sum256([]byte("key of " + name))
	if strings.HasPrefix(name, "ed") {
		return ed25519.NewKeyFromSeed(seed[:])
	}
	seed[0] = 0 // below the order of the curve
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	if err != nil {
		panic(err)
	}
	return key
}
