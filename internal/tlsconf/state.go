package tlsconf

import (
	"crypto/x509"
	"sync"
	"time"

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

	verdicts *trust.Cache
	system   func() *x509.CertPool // the system's roots, read once; nil if there are none
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

// Index returns the index of open connections.
func (s *State) Index() *Index { return &s.index }
