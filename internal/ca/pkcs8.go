package ca

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
)

// Encrypted PKCS #8 as RFC 8018 defines it and openssl pkcs8 -v2 aes-256-cbc -v2prf hmacWithSHA256 writes
// it: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC. Others are not read, so that a weak one is never
// taken silently.

// iterations of PBKDF2: what OWASP asks for HMAC-SHA256. It costs about a fifth of a second.
const (
	iterations    = 600_000
	maxIterations = 10_000_000
)

type encryptedKey struct {
	Algorithm pbes2
	Data      []byte
}

type pbes2 struct {
	ID     asn1.ObjectIdentifier
	Params struct {
		KDF struct {
			ID     asn1.ObjectIdentifier
			Params kdfParams
		}
		Cipher struct {
			ID asn1.ObjectIdentifier
			IV []byte
		}
	}
}

type kdfParams struct {
	Salt       []byte
	Iterations int
	Length     int `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier
}

func oidPBES2() asn1.ObjectIdentifier  { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13} }
func oidPBKDF2() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12} }
func oidHMACSHA256() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
}
func oidAES256CBC() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
}

var (
	errPassphrase = errors.New("the passphrase is wrong or the file is damaged")
	errPKCS8      = errors.New("it is not encrypted as PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC")
)

func encryptPKCS8(der, passphrase []byte) ([]byte, error) {
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	_, _ = rand.Read(salt) // never fails
	_, _ = rand.Read(iv)
	var e encryptedKey
	e.Algorithm.ID = oidPBES2()
	e.Algorithm.Params.KDF.ID = oidPBKDF2()
	e.Algorithm.Params.KDF.Params = kdfParams{Salt: salt, Iterations: iterations, PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256(), Parameters: asn1.NullRawValue}}
	e.Algorithm.Params.Cipher.ID, e.Algorithm.Params.Cipher.IV = oidAES256CBC(), iv
	block, err := cipherOf(passphrase, salt, iterations)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(der)%aes.BlockSize
	e.Data = append(bytes.Clone(der), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(e.Data, e.Data)
	return asn1.Marshal(e)
}

func decryptPKCS8(der, passphrase []byte) ([]byte, error) {
	var e encryptedKey
	if rest, err := asn1.Unmarshal(der, &e); err != nil || len(rest) > 0 {
		return nil, errPKCS8
	}
	kdf, p := e.Algorithm.Params.KDF, e.Algorithm.Params
	if !e.Algorithm.ID.Equal(oidPBES2()) || !kdf.ID.Equal(oidPBKDF2()) || !kdf.Params.PRF.Algorithm.Equal(oidHMACSHA256()) || !p.Cipher.ID.Equal(oidAES256CBC()) ||
		len(p.Cipher.IV) != aes.BlockSize || kdf.Params.Iterations < 1 || kdf.Params.Iterations > maxIterations || len(e.Data) == 0 || len(e.Data)%aes.BlockSize != 0 {
		return nil, errPKCS8
	}
	block, err := cipherOf(passphrase, kdf.Params.Salt, kdf.Params.Iterations)
	if err != nil {
		return nil, err
	}
	cipher.NewCBCDecrypter(block, p.Cipher.IV).CryptBlocks(e.Data, e.Data)
	pad := int(e.Data[len(e.Data)-1])
	if pad < 1 || pad > aes.BlockSize || !bytes.Equal(e.Data[len(e.Data)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errPassphrase
	}
	return e.Data[:len(e.Data)-pad], nil
}

func cipherOf(passphrase, salt []byte, rounds int) (cipher.Block, error) {
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt, rounds, 32)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}

// keyBits returns the bit string of a SubjectPublicKeyInfo.
func keyBits(spki []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil, err
	}
	return info.Key.RightAlign(), nil
}
