package revocation

import (
	"crypto/sha256"
	"crypto/x509"
	"time"

	"github.com/hakone-gateway/hakone/internal/trust"
)

// Forget says that what issuers have issued stands differently now, as whoever serves their authority
// knows at once: answers about it are fetched anew without delay, and until then do not say to who asks
// hard that a certificate is good. From the first call on, findings about these issuers hold only
// briefly, and nothing of them is taken from disk.
func (s *Service) Forget(issuers ...*x509.Certificate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := map[[sha256.Size]byte]bool{}
	for _, c := range issuers {
		k := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		named[k], s.own[k] = true, true
	}
	for _, e := range s.entries {
		if !named[sha256.Sum256(e.issuer.RawSubjectPublicKeyInfo)] {
			continue
		}
		e.dated++
		e.due = time.Time{}
		s.schedule(e)
	}
}

// owned reports whether Forget was told of a question's issuer. The caller holds mu.
func (s *Service) owned(q question) bool {
	return len(s.own) > 0 && s.own[sha256.Sum256(q.issuer.RawSubjectPublicKeyInfo)]
}

// bound takes account of Forget in a finding. The caller holds mu.
func (s *Service) bound(e *entry, f *trust.Finding, hard bool, now time.Time) {
	if hard && e.dated > 0 && f.Standing == trust.Good {
		f.Standing, f.Detail = trust.Unknown, "something was revoked or released since "+e.urls[0]+" was asked"
		if e.fault != "" {
			f.Detail += ", and " + e.fault
		}
	}
	if soon := now.Add(briefly); s.owned(e.question) && f.Until.After(soon) {
		f.Until = soon
	}
}
