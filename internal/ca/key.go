package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// KeyKind is a kind and size of keys.
type KeyKind string

// Kinds of keys that are made here.
const (
	RSA2048   KeyKind = "rsa-2048"
	RSA3072   KeyKind = "rsa-3072"
	RSA4096   KeyKind = "rsa-4096"
	ECDSAP256 KeyKind = "ecdsa-p256"
	ECDSAP384 KeyKind = "ecdsa-p384"
	Ed25519   KeyKind = "ed25519"
)

// KeyKinds returns all of them.
func KeyKinds() []KeyKind {
	return []KeyKind{ECDSAP256, ECDSAP384, Ed25519, RSA2048, RSA3072, RSA4096}
}

// ParseKeyKind reads a kind without regard to case; "rsa" is rsa-2048, "ecdsa", "ecc" and "ec" are
// ecdsa-p256. An empty text gives ECDSAP256. The error is an *Error.
func ParseKeyKind(s string) (KeyKind, error) {
	t := KeyKind(strings.ToLower(strings.TrimSpace(s)))
	switch t {
	case "", "ecdsa", "ecc", "ec", "p256", "p-256", "ecdsa-p-256":
		return ECDSAP256, nil
	case "p384", "p-384", "ecdsa-p-384":
		return ECDSAP384, nil
	case "rsa":
		return RSA2048, nil
	}
	for _, k := range KeyKinds() {
		if t == k || string(t) == strings.ReplaceAll(string(k), "-", "") {
			return k, nil
		}
	}
	return "", fail(diag.IssueInvalid, fmt.Sprintf("Use one of %s.", join(KeyKinds())), "%q is no kind of key", s)
}

func join[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

// kindOf returns the kind of a public key, or ECDSAP256 for kinds that are not made here.
func kindOf(public any) KeyKind {
	switch k := public.(type) {
	case *rsa.PublicKey:
		switch {
		case k.N.BitLen() >= 4096:
			return RSA4096
		case k.N.BitLen() >= 3072:
			return RSA3072
		}
		return RSA2048
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize > 256 {
			return ECDSAP384
		}
	case ed25519.PublicKey:
		return Ed25519
	}
	return ECDSAP256
}

func newKey(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case "", ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fail(diag.IssueInvalid, fmt.Sprintf("Use one of %s.", join(KeyKinds())), "%q is no kind of key", kind)
}

const (
	labelKey       = "PRIVATE KEY"
	labelEncrypted = "ENCRYPTED PRIVATE KEY"
	labelCert      = "CERTIFICATE"
	labelList      = "X509 CRL"
)

// sealKey writes a key as PKCS #8 in PEM, encrypted if there is a passphrase.
func sealKey(key crypto.Signer, passphrase secret.Bytes) (secret.Bytes, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("encode key: %w", err)
	}
	label := labelKey
	if passphrase.Len() > 0 {
		if der, err = encryptPKCS8(der, passphrase.Expose()); err != nil {
			return secret.Bytes{}, fmt.Errorf("encrypt key: %w", err)
		}
		label = labelEncrypted
	}
	return secret.NewBytes(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})), nil
}

// openKey reads what sealKey wrote. where names the key for people.
func openKey(data []byte, passphrase secret.Bytes, where string) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fail(diag.AuthorityKey, "Restore the key from a backup.", "%s holds no PEM block", where)
	}
	der := block.Bytes
	if block.Type == labelEncrypted {
		if passphrase.Len() == 0 {
			return nil, fail(diag.AuthorityKey, "Give the file with the passphrase: --ca-passphrase-file FILE.", "%s is encrypted and no passphrase was given", where)
		}
		var err error
		if der, err = decryptPKCS8(der, passphrase.Expose()); err != nil {
			return nil, failWith(err, diag.AuthorityKey, "Give the passphrase that the authority was made with.", "%s cannot be decrypted", where)
		}
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	signer, ok := k.(crypto.Signer)
	if err != nil || !ok {
		// Go's error may describe the bytes.
		return nil, fail(diag.AuthorityKey, "Restore the key from a backup.", "%s holds no PKCS #8 key that can sign", where)
	}
	return signer, nil
}

// keyID returns the subject key identifier of a public key: the leftmost 160 bits of the SHA-256 of the
// bit string (RFC 7093 section 2, method 1).
func keyID(public any) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	bits, err := keyBits(spki)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}

func spkiDigest(public any) ([32]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return [32]byte{}, fmt.Errorf("encode public key: %w", err)
	}
	return sha256.Sum256(spki), nil
}
