package secret

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// parseKeys parses every key block of data, skipping parameters and certificates. At least one key
// is returned without an error. Errors never quote the input.
func parseKeys(data []byte, bs []block, name string) ([]crypto.Signer, error) {
	var keys []crypto.Signer
	certificates := 0
	for _, b := range bs {
		switch {
		case b.isCertificate():
			certificates++
			continue
		case !b.isKey():
			continue
		case b.der == nil:
			return nil, fail(diag.KeyUnparsable, name,
				fmt.Sprintf("%s line %d: the PEM block %q is broken (base64 or END line)", name, b.line, b.label), "Paste the whole PEM block again.")
		case b.encrypted():
			return nil, fail(diag.KeyUnparsable, name,
				fmt.Sprintf("%s line %d: the private key is encrypted with a passphrase, which nothing here could enter", name, b.line),
				"Decrypt it: openssl pkey -in KEY -out KEY.pem.")
		case b.label == "OPENSSH PRIVATE KEY":
			return nil, fail(diag.KeyUnparsable, name,
				fmt.Sprintf("%s line %d: this is an OpenSSH key", name, b.line), "Convert it: ssh-keygen -p -m PKCS8 -N '' -f KEY.")
		}
		k, err := ParseKey(b.der)
		if err != nil {
			return nil, failWith(err, diag.KeyUnparsable, name,
				fmt.Sprintf("%s line %d: the private key cannot be used", name, b.line), "Use an RSA, ECDSA or Ed25519 key; convert with openssl pkey -in KEY -out KEY.pem.")
		}
		keys = append(keys, k)
	}
	switch {
	case len(keys) > 0:
		return keys, nil
	case certificates > 0:
		return nil, fail(diag.KeyUnparsable, name, name+" holds a certificate instead of the private key", "Put the private key into "+name+".")
	}
	what, fix := guess(data, "private key")
	return nil, fail(diag.KeyUnparsable, name, name+" "+what, fix)
}

// Causes why a key cannot be used. Go's own errors are not passed on: some describe the bytes.
var (
	errKeyFormat = errors.New("it is neither PKCS #8, PKCS #1 nor SEC 1")
	errKeyX25519 = errors.New("a key for key exchange cannot sign")
	errKeyKind   = errors.New("its kind is not known to TLS")
)

// ParseKey reads a private key in PKCS #8, PKCS #1 or SEC 1 (DER) that TLS can sign with. Its errors say
// what is wrong without a byte of it.
func ParseKey(der []byte) (crypto.Signer, error) {
	if k, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		switch k := k.(type) {
		case *rsa.PrivateKey:
			return k, nil
		case *ecdsa.PrivateKey:
			return k, nil
		case ed25519.PrivateKey:
			return k, nil
		case *ecdh.PrivateKey:
			return nil, errKeyX25519
		}
		return nil, errKeyKind
	}
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	return nil, errKeyFormat
}
