package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// maxVerdicts bounds the remembered verdicts on peers; an entry takes a few kilobytes.
const maxVerdicts = 4096

// State is what outlives snapshots: the keys of session tickets, the index of open connections, and
// verdicts on peers seen before. One per process, shared by all Terminators and
// Originators. It is safe for concurrent use.
type State struct {
	now     func() time.Time
	tickets ticketKeys
	index   Index

	online  trust.Online // nil: nothing is fetched
	staples Stapler      // nil: only what secrets hold is stapled

	verdicts *trust.Cache
	system   func() *x509.CertPool // the system's roots, read once; nil if there are none
}

// Stapler keeps OCSP answers about the certificates that are served.
type Stapler interface {
	// Staple returns the pair as crypto/tls takes it, with the answer that is at hand, if any. It does
	// not wait; what it returns must not be changed.
	Staple(pair *secret.KeyPair) *tls.Certificate
}

// NewState returns an empty State with fresh ticket keys. now may be nil and is time.Now then.
func NewState(now func() time.Time) *State {
	if now == nil {
		now = time.Now
	}
	return &State{now: now, verdicts: trust.NewCache(maxVerdicts), system: sync.OnceValue(systemRoots)}
}

// systemRoots reads the system's roots. A machine without any trusts no upstream by them.
func systemRoots() *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil
	}
	return pool
}

// UseOnline says what finds out about the revocation of peers. Call it before anything is built with the
// State.
func (s *State) UseOnline(online trust.Online) { s.online = online }

// UseStapler says what staples. Call it before anything is built with the State.
func (s *State) UseStapler(staples Stapler) { s.staples = staples }

// Online finds out about the revocation of peers; nil if nothing is fetched.
func (s *State) Online() trust.Online { return s.online }

// certificate returns what is served of a pair.
func (s *State) certificate(pair *secret.KeyPair) *tls.Certificate {
	if s.staples == nil {
		return pair.TLS()
	}
	return s.staples.Staple(pair)
}

// Verdicts returns the cache of verdicts on peers.
func (s *State) Verdicts() *trust.Cache { return s.verdicts }

// Index returns the index of open connections.
func (s *State) Index() *Index { return &s.index }
