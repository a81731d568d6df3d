package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/secret"
)

const (
	// clockSkew is how far in the future a list may have been issued.
	clockSkew = 5 * time.Minute
	// maxSigners bounds the remembered signature checks of lists.
	maxSigners = 256
)

// crlIndex finds the list of an issuer. A list is the issuer's if the name is equal and the signature
// verifies; that is remembered, for a list may be large.
type crlIndex struct {
	lists []*secret.CRL
	names [][16]byte // digests of the issuers' names

	mu     sync.Mutex // guards signed
	signed map[signer]bool
}

type signer struct {
	list   int
	issuer [sha256.Size]byte
}

func newCRLIndex(lists []*secret.CRL) *crlIndex {
	x := &crlIndex{lists: lists, signed: map[signer]bool{}}
	for _, l := range lists {
		x.names = append(x.names, short(l.RawIssuer))
	}
	return x
}

func (x *crlIndex) signedBy(i int, issuer *x509.Certificate) bool {
	if !bytes.Equal(x.lists[i].RawIssuer, issuer.RawSubject) {
		return false
	}
	key := signer{i, sha256.Sum256(issuer.Raw)}
	x.mu.Lock()
	ok, known := x.signed[key]
	x.mu.Unlock()
	if known {
		return ok
	}
	ok = x.lists[i].SignedBy(issuer) == nil
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.signed) >= maxSigners {
		clear(x.signed)
	}
	x.signed[key] = ok
	return ok
}

// newest returns the issuer's most recent list, nil if it has none.
func (x *crlIndex) newest(issuer *x509.Certificate) *secret.CRL {
	var best *secret.CRL
	for i, l := range x.lists {
		if (best == nil || l.ThisUpdate.After(best.ThisUpdate)) && x.signedBy(i, issuer) {
			best = l
		}
	}
	return best
}

func (v *Verifier) issuerOf(chain []*x509.Certificate, i int) *x509.Certificate {
	if i+1 < len(chain) {
		return chain[i+1]
	}
	anchor := chain[i]
	if selfIssued(anchor) {
		return nil
	}
	for _, r := range v.policy.Roots.Anchors() {
		if bytes.Equal(r.RawSubject, anchor.RawIssuer) && anchor.CheckSignatureFrom(r) == nil {
			return r
		}
	}
	return nil
}

// usable says why a list without an entry proves nothing.
func usable(list *secret.CRL, issuer *x509.Certificate, who string, c causes, now time.Time) refusal {
	switch {
	case list == nil:
		return refusal{c.crlMissing, fmt.Sprintf("revocation of the %s cannot be judged: no list was issued by its issuer %q (%.16s…)", who, secret.Subject(issuer), secret.Fingerprint(issuer))}
	case list.ThisUpdate.After(now.Add(clockSkew)):
		return refusal{c.crlStale, fmt.Sprintf("the revocation list of %q is valid from %s, %s from now; is a clock wrong?", list.Issuer, stamp(list.ThisUpdate), span(list.ThisUpdate.Sub(now)))}
	case !list.NextUpdate.IsZero() && now.After(list.NextUpdate):
		return refusal{c.crlStale, fmt.Sprintf("the revocation list of %q was due for renewal at %s, %s ago", list.Issuer, stamp(list.NextUpdate), span(now.Sub(list.NextUpdate)))}
	}
	return refusal{}
}
