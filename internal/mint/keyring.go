package mint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// keyECDSA384 is what KeyMimic chooses for destinations with longer curves.
const keyECDSA384 = "ecdsa384"

// leafKey is a key that many leaves have. It is immutable.
type leafKey struct {
	id     [16]byte // beginning of the SHA-256 of its SubjectPublicKeyInfo
	kind   string
	signer crypto.Signer
	ski    []byte
	made   time.Time
}

// keyrings hold the present key of each type.
type keyrings struct {
	life time.Duration
	now  func() time.Time
	disk *disk // keeps keys; nil: none

	rings map[string]*keyring // fixed after construction
}

// keyring is the present key of one type.
type keyring struct {
	mu      sync.Mutex // held while a key is made
	current atomic.Pointer[leafKey]
}

func newKeyrings(life time.Duration, now func() time.Time) *keyrings {
	return &keyrings{life: life, now: now, rings: map[string]*keyring{KeyECDSA: {}, keyECDSA384: {}, KeyRSA: {}}}
}

// get returns the present key, or makes the first or next one. While a next one is made, which takes a
// tenth of a second for RSA, the present one goes on.
func (s *keyrings) get(kind string) (*leafKey, error) {
	r := s.rings[kind]
	if r == nil {
		return nil, fmt.Errorf("no key type %q", kind)
	}
	now := s.now()
	fresh := func(k *leafKey) bool { return k != nil && now.Sub(k.made) < s.life }
	k := r.current.Load()
	if fresh(k) {
		return k, nil
	}
	if k == nil {
		r.mu.Lock()
	} else if !r.mu.TryLock() {
		return k, nil
	}
	defer r.mu.Unlock()
	if k = r.current.Load(); fresh(k) {
		return k, nil
	}
	if k == nil && s.disk != nil {
		if k = s.disk.newestKey(kind); fresh(k) {
			r.current.Store(k)
			return k, nil
		}
	}
	signer, err := generate(kind)
	if err != nil {
		return nil, err
	}
	if k, err = newLeafKey(kind, signer, now); err != nil {
		return nil, err
	}
	r.current.Store(k)
	return k, nil
}

func generate(kind string) (crypto.Signer, error) {
	switch kind {
	case KeyRSA:
		return rsa.GenerateKey(rand.Reader, 2048)
	case keyECDSA384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func newLeafKey(kind string, signer crypto.Signer, made time.Time) (*leafKey, error) {
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(spki)
	k := &leafKey{kind: kind, signer: signer, made: made, ski: sum[:20]}
	copy(k.id[:], sum[:])
	return k, nil
}
