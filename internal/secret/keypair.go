package secret

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// KeyPair is a private key with the chain that belongs to it. It is fixed after construction and
// safe for concurrent use; the exported fields must not be changed. It prints as its fingerprint.
type KeyPair struct {
	Chain       [][]byte          // DER, the leaf first, each next one the issuer of the one before
	Leaf        *x509.Certificate // Chain[0]
	Issuers     []*x509.Certificate
	Fingerprint string // SHA-256 of the leaf's DER, lower-case hex
	Digest      string // of the whole chain and the staple: equal means nothing to rotate
	Staple      []byte // OCSP response, DER; nil without one

	// Root is the self-signed certificate beside the pair of a CA (ca.crt of its secret) that the chain leads to;
	// nil without one.
	Root *x509.Certificate

	// The key is in here only, behind a function: see Bytes for why.
	cert func() *tls.Certificate
}

// Signer returns the private key.
func (k *KeyPair) Signer() crypto.Signer { return k.cert().PrivateKey.(crypto.Signer) }

// TLS returns the pair as crypto/tls takes it: always the same pointer, not to be changed.
func (k *KeyPair) TLS() *tls.Certificate { return k.cert() }

// KeyType names kind and size of the key: "RSA-2048", "ECDSA-P256", "Ed25519".
func (k *KeyPair) KeyType() string { return KeyType(k.Leaf.PublicKey) }

// IsECDSA reports whether the key is an elliptic curve key for ECDSA.
func (k *KeyPair) IsECDSA() bool { _, ok := k.Leaf.PublicKey.(*ecdsa.PublicKey); return ok }

// IsRSA reports whether the key is an RSA key.
func (k *KeyPair) IsRSA() bool { _, ok := k.Leaf.PublicKey.(*rsa.PublicKey); return ok }

// String returns the key's type and the fingerprint.
func (k KeyPair) String() string {
	if k.Leaf == nil {
		return "no key pair"
	}
	return k.KeyType() + " sha256:" + k.Fingerprint
}

// GoString returns the same as String.
func (k KeyPair) GoString() string { return k.String() }

// Format writes what String returns for every verb and flag.
func (k KeyPair) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, k.String()) }

// MarshalText writes what String returns.
func (k KeyPair) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue returns what String returns.
func (k KeyPair) LogValue() slog.Value { return slog.StringValue(k.String()) }

// WithStaple returns a copy that staples the OCSP response (DER) to handshakes; empty removes it.
func (k *KeyPair) WithStaple(staple []byte) *KeyPair {
	return newKeyPair(append([]*x509.Certificate{k.Leaf}, k.Issuers...), k.Signer(), staple)
}

// KeyType names kind and size of a public key, as KeyPair.KeyType does; a Go type for others.
func KeyType(pub any) string {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", p.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ECDSA-P%d", p.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", pub)
}

// ParseKeyPair reads a PEM chain and a PEM key (PKCS #8, PKCS #1 or SEC 1) and puts the chain in
// order. Findings tell what was repaired. The error is an *Error with code CertUnparsable,
// KeyUnparsable, KeyMismatch, CertWeakKey (RSA below 1024 bits, which Go does not sign with) or
// SecretInvalid (key and certificate swapped).
func ParseKeyPair(certPEM, keyPEM []byte) (*KeyPair, []Finding, error) {
	return parseKeyPair(certPEM, NewBytes(keyPEM), tlsNames)
}

// entryNames are the entries of a secret that messages speak of.
type entryNames struct{ cert, key, ca, crl, staple string }

func parseKeyPair(certPEM []byte, keyPEM Bytes, names entryNames) (*KeyPair, []Finding, error) {
	certBlocks, keyBlocks := blocks(certPEM), blocks(keyPEM.Expose())
	if !slices.ContainsFunc(certBlocks, block.isCertificate) && slices.ContainsFunc(certBlocks, block.isKey) {
		if slices.ContainsFunc(keyBlocks, block.isCertificate) {
			return nil, nil, fail(diag.SecretInvalid, names.cert,
				fmt.Sprintf("%s holds the private key and %s the certificate: they are swapped", names.cert, names.key),
				fmt.Sprintf("Put the certificate into %s and the key into %s.", names.cert, names.key))
		}
		return nil, nil, fail(diag.SecretInvalid, names.cert,
			fmt.Sprintf("%s holds a private key instead of a certificate", names.cert),
			fmt.Sprintf("Put the certificate chain into %s, and treat the key as exposed if others may read it.", names.cert))
	}
	certs, err := parseCertificates(certPEM, certBlocks, names.cert)
	if err != nil {
		return nil, nil, err
	}
	keys, err := parseKeys(keyPEM.Expose(), keyBlocks, names.key)
	if err != nil {
		return nil, nil, err
	}
	key, leaf := match(keys, certs)
	if key == nil {
		return nil, nil, fail(diag.KeyMismatch, names.key,
			fmt.Sprintf("the key in %s (%s) does not belong to the certificate of %s (%s) in %s",
				names.key, KeyType(keys[0].Public()), Subject(certs[0]), KeyType(certs[0].PublicKey), names.cert),
			fmt.Sprintf("Put the key and the certificate that were made together into %s and %s.", names.key, names.cert))
	}
	if r, ok := key.Public().(*rsa.PublicKey); ok && r.N.BitLen() < 1024 {
		return nil, nil, fail(diag.CertWeakKey, names.key,
			fmt.Sprintf("the key in %s is %s, too short to sign with", names.key, KeyType(r)), "Re-issue with RSA 2048 or ECDSA P-256.")
	}
	ordered := order(certs, leaf)
	var found []Finding
	if !slices.Equal(ordered, certs) {
		found = append(found, finding(diag.CertChainOrder, names.cert,
			fmt.Sprintf("the certificates in %s are out of order or repeated; they are served as %s", names.cert, chainWords(ordered)),
			"Put the leaf first, then each certificate that issued the one before, each once."))
	}
	return newKeyPair(ordered, key, nil), found, nil
}

// NewKeyPair makes a pair of what was made here: chain begins with the leaf, whose key is key's.
func NewKeyPair(chain []*x509.Certificate, key crypto.Signer) *KeyPair {
	return newKeyPair(chain, key, nil)
}

func newKeyPair(certs []*x509.Certificate, key crypto.Signer, staple []byte) *KeyPair {
	k := &KeyPair{Leaf: certs[0], Issuers: certs[1:], Staple: staple}
	for _, c := range certs {
		k.Chain = append(k.Chain, c.Raw)
	}
	k.Fingerprint = Fingerprint(k.Leaf)
	k.Digest = digest(append(slices.Clone(k.Chain), staple)...)
	c := &tls.Certificate{Certificate: k.Chain, PrivateKey: key, Leaf: k.Leaf, OCSPStaple: staple}
	k.cert = func() *tls.Certificate { return c }
	return k
}

// Anchor returns what others have to trust so that they trust what a CA's pair signs: the root that its chain leads to,
// where that is known, else the last certificate of the chain.
func (k *KeyPair) Anchor() *x509.Certificate {
	switch {
	case k.Root != nil:
		return k.Root
	case len(k.Issuers) > 0:
		return k.Issuers[len(k.Issuers)-1]
	}
	return k.Leaf
}

// withRoot returns the pair of a CA with the root among roots that its chain leads to; k itself if there is none.
func (k *KeyPair) withRoot(roots []*x509.Certificate) *KeyPair {
	last := k.Leaf
	if len(k.Issuers) > 0 {
		last = k.Issuers[len(k.Issuers)-1]
	}
	if !k.Leaf.IsCA || SelfSigned(last) {
		return k
	}
	for _, r := range roots {
		if SelfSigned(r) && last.CheckSignatureFrom(r) == nil {
			with := *k
			with.Root, with.Digest = r, digest([]byte(k.Digest), r.Raw)
			return &with
		}
	}
	return k
}

// Fingerprint returns the SHA-256 of the certificate's DER in lower-case hex.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// parseCertificates parses every certificate block; one that is broken makes the whole entry
// unusable, because a chain with a hole fails at clients in ways that are hard to see.
func parseCertificates(data []byte, bs []block, name string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, b := range bs {
		switch {
		case b.der == nil:
			return nil, fail(diag.CertUnparsable, name,
				fmt.Sprintf("%s line %d: the PEM block %q is broken (base64 or END line)", name, b.line, b.label), "Paste the whole PEM block again.")
		case b.isCertificate():
			c, err := x509.ParseCertificate(b.der)
			if err != nil {
				return nil, failWith(err, diag.CertUnparsable, name,
					fmt.Sprintf("%s line %d: certificate %d cannot be parsed", name, b.line, len(certs)+1), "Paste the whole PEM block again, or re-issue the certificate with current tools.")
			}
			certs = append(certs, c)
		case b.label == "TRUSTED CERTIFICATE":
			return nil, fail(diag.CertUnparsable, name,
				fmt.Sprintf("%s line %d: OpenSSL's TRUSTED CERTIFICATE format is not read", name, b.line), "Convert it: openssl x509 -in FILE -out FILE.pem.")
		}
	}
	if len(certs) > 0 {
		return certs, nil
	}
	if slices.ContainsFunc(bs, func(b block) bool { return b.label == "CERTIFICATE REQUEST" || b.label == "NEW CERTIFICATE REQUEST" }) {
		return nil, fail(diag.CertUnparsable, name, name+" holds a certificate request, not a certificate", "Have the request signed by a CA and put the certificate here.")
	}
	what, fix := guess(data, "certificate")
	return nil, fail(diag.CertUnparsable, name, name+" "+what, fix)
}

// match finds the first key with a certificate of its own, preferring a leaf over a CA that was made
// with the same key.
func match(keys []crypto.Signer, certs []*x509.Certificate) (crypto.Signer, *x509.Certificate) {
	for _, wantCA := range []bool{false, true} {
		for _, k := range keys {
			for _, c := range certs {
				if c.IsCA == wantCA && samePublic(k.Public(), c.PublicKey) {
					return k, c
				}
			}
		}
	}
	return nil, nil
}

func samePublic(a, b any) bool {
	e, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// order returns leaf, its issuer, that one's issuer and so on, then what remains (cross-signed
// certificates, say) as it stood, without repeats.
func order(certs []*x509.Certificate, leaf *x509.Certificate) []*x509.Certificate {
	rest := make([]*x509.Certificate, 0, len(certs))
	for _, c := range certs {
		if !c.Equal(leaf) && !slices.ContainsFunc(rest, c.Equal) {
			rest = append(rest, c)
		}
	}
	out := []*x509.Certificate{leaf}
	for child := leaf; !selfIssued(child); {
		i := issuerIndex(child, rest)
		if i < 0 {
			break
		}
		child = rest[i]
		out = append(out, child)
		rest = slices.Delete(rest, i, i+1)
	}
	return append(out, rest...)
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// issuerIndex finds who signed child. A signature that Go does not check (SHA-1) falls back to names
// and key identifiers.
func issuerIndex(child *x509.Certificate, among []*x509.Certificate) int {
	named := -1
	for i, c := range among {
		if !bytes.Equal(child.RawIssuer, c.RawSubject) {
			continue
		}
		if child.CheckSignatureFrom(c) == nil {
			return i
		}
		ids := len(child.AuthorityKeyId) == 0 || len(c.SubjectKeyId) == 0 || bytes.Equal(child.AuthorityKeyId, c.SubjectKeyId)
		if named < 0 && ids {
			named = i
		}
	}
	return named
}

func chainWords(certs []*x509.Certificate) string {
	var b bytes.Buffer
	for i, c := range certs {
		if i > 0 {
			b.WriteString(" ← ")
		}
		if i == 5 {
			fmt.Fprintf(&b, "%d more", len(certs)-i)
			break
		}
		b.WriteString(Subject(c))
	}
	return b.String()
}
