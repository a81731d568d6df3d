package authz

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Algorithms of identity cookies (RFC 7518 section 3.1).
const (
	algRS256 = "RS256"
	algES256 = "ES256"
)

// Keyring holds the signing keys of policies. It outlives snapshots, so that keys which the process makes
// itself last as long as it does, and former keys verify cookies until these expire. Safe for concurrent
// use.
type Keyring struct {
	mu    sync.Mutex          // guards all
	made  map[string]*lazyKey // by algorithm
	rings map[string]*ring    // by policy
}

// NewKeyring returns an empty ring.
func NewKeyring() *Keyring {
	return &Keyring{made: map[string]*lazyKey{}, rings: map[string]*ring{}}
}

// ring is the keys of one policy. Its fields are guarded by mu.
type ring struct {
	mu      sync.Mutex
	current *lazyKey
	life    time.Duration // of cookies signed with current
	former  []formerKey
}

type formerKey struct {
	key   *lazyKey
	until time.Time
}

// lazyKey is a key that may have to be made, which takes long for RSA.
type lazyKey struct {
	id  string // tells keys apart without making them
	get func() (*signingKey, error)
}

// ring returns the keys of a policy, and the one that is to sign from when the policy serves. It is put in
// front at once only where there is none yet.
func (k *Keyring) ring(policy string, s *ir.Session, cred *ir.Credential) (*ring, *lazyKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := k.key(s, cred)
	r := k.rings[policy]
	if r == nil {
		r = &ring{}
		k.rings[policy] = r
	}
	if r.current == nil {
		r.adopt(key, s.Duration)
	}
	return r, key
}

// adopt puts a key in front. The former one goes on verifying for as long as cookies last that were signed
// with it.
func (r *ring) adopt(key *lazyKey, life time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && r.current.id != key.id {
		r.former = append(r.former, formerKey{r.current, time.Now().Add(r.life)})
		if more := len(r.former) - maxFormer; more > 0 {
			r.former = r.former[more:]
		}
	}
	r.current, r.life = key, life
}

// Serve makes the keys of a Set those that sign, and forgets the keys of policies that are gone. Until then
// a Set that is made, and may be discarded, changes no other's cookies.
func (s *Set) Serve(k *Keyring) {
	for _, p := range s.policies {
		if p.session != nil {
			p.session.ring.adopt(p.session.key, p.ir.Session.Duration)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.rings {
		if p := s.byName[name]; p == nil || p.session == nil {
			delete(k.rings, name)
		}
	}
}

// maxFormer bounds the former keys of a policy.
const maxFormer = 8

func (k *Keyring) key(s *ir.Session, cred *ir.Credential) *lazyKey {
	if s.Key == "" {
		// One for all policies: whoever asks for the keys of a host has all of them made, and RSA takes long.
		id := "made " + s.Algorithm
		if k.made[id] == nil {
			k.made[id] = &lazyKey{id, sync.OnceValues(func() (*signingKey, error) { return makeKey(s.Algorithm) })}
		}
		return k.made[id]
	}
	if cred == nil || cred.Pair == nil {
		return &lazyKey{"missing", func() (*signingKey, error) {
			return nil, fmt.Errorf("the secret %s with the signing key is missing or unusable", s.Key)
		}}
	}
	pair, algorithm := cred.Pair, s.Algorithm
	return &lazyKey{algorithm + " " + pair.Digest, sync.OnceValues(func() (*signingKey, error) { return newSigningKey(algorithm, pair.Signer()) })}
}

// keys returns the usable keys, the present one first; usable is nil then if there is none.
func (r *ring) keys(now time.Time) (present *signingKey, all []*signingKey, err error) {
	r.mu.Lock()
	current, former := r.current, r.former[:0:0]
	for _, f := range r.former {
		if now.Before(f.until) && f.key.id != current.id {
			former = append(former, f)
		}
	}
	r.former = former
	r.mu.Unlock()
	if present, err = current.get(); err == nil {
		all = append(all, present)
	}
	for _, f := range former {
		if old, err := f.key.get(); err == nil {
			all = append(all, old)
		}
	}
	return present, all, err
}

// signingKey signs and verifies tokens. It is immutable.
type signingKey struct {
	algorithm string
	id        string // RFC 7638 thumbprint, hex
	header    string // of every token, base64url
	signer    crypto.Signer
	jwk       json.RawMessage // the public key with kid, alg and use (RFC 7517)
}

func makeKey(algorithm string) (*signingKey, error) {
	if algorithm == algES256 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a signing key: %w", err)
		}
		return newSigningKey(algorithm, k)
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return newSigningKey(algorithm, k)
}

// newSigningKey checks that the key fits the algorithm.
func newSigningKey(algorithm string, signer crypto.Signer) (*signingKey, error) {
	k := &signingKey{algorithm: algorithm, signer: signer}
	var members [][2]string // in the order of RFC 7638 section 3.2
	switch pub := signer.Public().(type) {
	case *rsa.PublicKey:
		if algorithm != algRS256 {
			return nil, errors.New("the signing key is an RSA key, which fits RS256 alone")
		}
		if pub.N.BitLen() < 2048 {
			return nil, fmt.Errorf("the signing key is RSA-%d; RS256 asks for 2048 bits (RFC 7518 section 3.3)", pub.N.BitLen())
		}
		members = [][2]string{{"e", b64(big.NewInt(int64(pub.E)).Bytes())}, {"kty", "RSA"}, {"n", b64(pub.N.Bytes())}}
	case *ecdsa.PublicKey:
		if algorithm != algES256 || pub.Curve != elliptic.P256() {
			return nil, errors.New("the signing key is an elliptic one; ES256 asks for P-256, and RS256 for RSA")
		}
		point, err := pub.Bytes()
		if err != nil {
			return nil, fmt.Errorf("the signing key is unusable: %w", err)
		}
		members = [][2]string{{"crv", "P-256"}, {"kty", "EC"}, {"x", b64(point[1:33])}, {"y", b64(point[33:])}}
	default:
		return nil, fmt.Errorf("the signing key is of type %T; RS256 asks for RSA, and ES256 for P-256", pub)
	}
	sum := sha256.Sum256(object(members))
	k.id = hex.EncodeToString(sum[:])
	k.jwk = object(append(members, [2]string{"alg", algorithm}, [2]string{"kid", k.id}, [2]string{"use", "sig"}))
	k.header = b64(object([][2]string{{"kid", k.id}, {"alg", algorithm}, {"typ", "JWT"}}))
	return k, nil
}

// object writes a JSON object in the order given, of values that need no escapes.
func object(members [][2]string) []byte {
	var b bytes.Buffer
	for i, m := range members {
		b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&b, `"%s":"%s"`, m[0], m[1])
	}
	b.WriteByte('}')
	return b.Bytes()
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign returns the signature of a token's first two parts (RFC 7518 sections 3.3 and 3.4).
func (k *signingKey) sign(text string) ([]byte, error) {
	sum := sha256.Sum256([]byte(text))
	ec, ok := k.signer.(*ecdsa.PrivateKey)
	if !ok {
		return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	r, s, err := ecdsa.Sign(rand.Reader, ec, sum[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

func (k *signingKey) verify(text string, signature []byte) bool {
	sum := sha256.Sum256([]byte(text))
	switch pub := k.signer.Public().(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], signature) == nil
	case *ecdsa.PublicKey:
		return len(signature) == 64 && ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return false
}
