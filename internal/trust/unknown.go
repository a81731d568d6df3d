package trust

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/internal/secret"
)

// maxExplained bounds the signatures checked only to find words for a refusal.
const maxExplained = 16

// explainUnknown climbs from the leaf as far as certificates are there, and says why the next step
// fails: a name nobody knows, a known name with another key, an issuer that is no CA, or a signature
// too weak to count.
func (v *Verifier) explainUnknown(presented []*x509.Certificate, c causes) refusal {
	at, checks := presented[0], 0
	for step := 0; step <= maxPresented; step++ {
		parent, r := v.climb(at, presented, c, &checks)
		if r.code != 0 {
			return r
		}
		if parent == nil {
			break
		}
		at = parent
	}
	leaf := presented[0]
	if v.policy.Roots.Contains(at) && !selfIssued(at) {
		return refusal{c.unknownCA, fmt.Sprintf("the chain of %q ends at %q of the trust bundle, which only builds paths: it is not self-signed, and its issuer %q is not in the bundle", secret.Subject(leaf), secret.Subject(at), secret.Issuer(at))}
	}
	accepted := "; accepted are " + v.policy.acceptedWords()
	switch {
	case selfIssued(leaf) && at == leaf:
		return refusal{c.unknownCA, fmt.Sprintf("the %s certificate %q is self-signed and not in the trust bundle%s", c.role, secret.Subject(leaf), accepted)}
	case selfIssued(at):
		return refusal{c.unknownCA, fmt.Sprintf("the chain of %q ends at the root %q, which is not accepted%s", secret.Subject(leaf), secret.Subject(at), accepted)}
	case at != leaf:
		return refusal{c.unknownCA, fmt.Sprintf("the chain of %q ends at %q, whose issuer %q is not accepted%s", secret.Subject(leaf), secret.Subject(at), secret.Issuer(at), accepted)}
	}
	return refusal{c.unknownCA, fmt.Sprintf("the issuer %q of %q is not accepted%s", secret.Issuer(leaf), secret.Subject(leaf), accepted)}
}

// climb returns the presented certificate that issued at, or a refusal if it is clear why none of
// those that bear the issuer's name did.
func (v *Verifier) climb(at *x509.Certificate, presented []*x509.Certificate, c causes, checks *int) (*x509.Certificate, refusal) {
	var sameName, notCA *x509.Certificate
	known := false
	consider := func(cand *x509.Certificate, anchor bool) (bool, refusal) {
		if !bytes.Equal(cand.RawSubject, at.RawIssuer) || cand.Equal(at) || *checks >= maxExplained {
			return false, refusal{}
		}
		*checks++
		err := at.CheckSignatureFrom(cand)
		var insecure x509.InsecureAlgorithmError
		var constraint x509.ConstraintViolationError
		switch {
		case err == nil && !anchor && cand.Version < 3:
			notCA = cand // version 1 intermediates cannot say that they are CAs
		case err == nil:
			return true, refusal{}
		case errors.As(err, &insecure):
			return false, refusal{c.weak, fmt.Sprintf("the signature of %q is too weak: %s", secret.Subject(at), at.SignatureAlgorithm)}
		case errors.As(err, &constraint):
			notCA = cand
		default:
			sameName, known = cand, known || anchor
		}
		return false, refusal{}
	}
	for _, anchor := range v.policy.Roots.Anchors() {
		if _, r := consider(anchor, true); r.code != 0 {
			return nil, r
		}
	}
	for _, cand := range slices.Concat(presented, v.policy.Roots.Paths()) {
		ok, r := consider(cand, false)
		if ok || r.code != 0 {
			return cand, r
		}
	}
	switch {
	case notCA != nil:
		return nil, refusal{c.unknownCA, fmt.Sprintf("%q was issued by %q, which is no CA (basic constraints or key usage)", secret.Subject(at), secret.Subject(notCA))}
	case sameName != nil && known:
		return nil, refusal{c.unknownCA, fmt.Sprintf("a CA named %q is accepted, but it has another key than the one that issued %q: the signature does not verify", secret.Subject(sameName), secret.Subject(at))}
	case sameName != nil:
		return nil, refusal{c.unknownCA, fmt.Sprintf("the %s sent a CA named %q, but it has another key than the one that issued %q", c.role, secret.Subject(sameName), secret.Subject(at))}
	}
	return nil, refusal{}
}
