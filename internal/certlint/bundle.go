package certlint

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Bundle judges a trust bundle at the time now. An expired CA is an error if no other is left, else a
// warning: bundles carry the old beside the new while clients move.
func Bundle(b *secret.Bundle, now time.Time) []secret.Finding {
	l := &lint{}
	alive := 0
	for i := range b.Len() {
		if !now.After(b.Certificates[i].NotAfter) {
			alive++
		}
	}
	for i := range b.Len() {
		c := b.Certificates[i]
		who := fmt.Sprintf("the CA %s", secret.Subject(c))
		life, left := c.NotAfter.Sub(c.NotBefore), c.NotAfter.Sub(now)
		switch {
		case now.After(c.NotAfter):
			sev, rest := diag.Error, "everything it issued is refused"
			if alive > 0 {
				sev, rest = diag.Warning, "everything it issued is refused; others of the bundle are still valid"
			}
			l.add(diag.CAExpired, sev, fmt.Sprintf("%s expired on %s, %s ago: %s", who, day(c.NotAfter), span(-left), rest), "Put the renewed CA into the bundle, or remove this one.")
		case now.Before(c.NotBefore):
			l.add(diag.CertNotYetValid, diag.Warning, fmt.Sprintf("%s is valid from %s, %s from now", who, stamp(c.NotBefore), span(c.NotBefore.Sub(now))), "Check the clocks, or wait.")
		case left < life/10:
			l.tell(diag.CertExpiresSoon, fmt.Sprintf("%s expires on %s, in %s; from then on everything it issued is refused", who, day(c.NotAfter), span(left)), "Put the renewed CA beside it now, so that both are accepted for a while.")
		}
		if why := notCA(c); why != "" {
			l.tell(diag.CANotCA, fmt.Sprintf("%s of the bundle %s; it can only verify itself", secret.Subject(c), why), "Put the issuing CA into the bundle.")
		}
		if weakKey(c) {
			l.tell(diag.CertWeakKey, fmt.Sprintf("%s has the weak key %s; everything it issued is refused", who, secret.KeyType(c.PublicKey)), "Make a new CA with RSA 2048 or ECDSA P-256.")
		}
	}
	return l.found
}

// notCA says why a certificate cannot issue others, or "".
func notCA(c *x509.Certificate) string {
	switch {
	case c.Version < 3 && !selfIssued(c):
		return fmt.Sprintf("is an X.509 version %d certificate issued by another CA", c.Version)
	case c.Version >= 3 && !c.BasicConstraintsValid:
		return "has no basic constraints"
	case c.BasicConstraintsValid && !c.IsCA:
		return "is no CA (CA:FALSE)"
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return "may not issue certificates (its key usage lacks keyCertSign)"
	}
	return ""
}

// CRLs judges the revocation lists of a bundle at the time now: whose clients will be refused because
// revocation cannot be judged.
func CRLs(lists []*secret.CRL, b *secret.Bundle, now time.Time) []secret.Finding {
	if len(lists) == 0 {
		return nil
	}
	l := &lint{}
	for _, c := range lists {
		switch {
		case !c.NextUpdate.IsZero() && now.After(c.NextUpdate):
			l.tell(diag.CRLInvalid, fmt.Sprintf("the revocation list of %s was due for renewal on %s, %s ago: a listener's own client authentication and policies with revocation.mode: Hard refuse clients of that CA (%s); other policies let them in with a warning unless the list names them", c.Issuer, stamp(c.NextUpdate), span(now.Sub(c.NextUpdate)), diag.CRLStale),
				"Publish a fresh list.")
		case c.ThisUpdate.After(now.Add(5 * time.Minute)):
			l.tell(diag.CRLInvalid, fmt.Sprintf("the revocation list of %s is valid from %s, %s from now", c.Issuer, stamp(c.ThisUpdate), span(c.ThisUpdate.Sub(now))), "Check the clocks.")
		}
	}
	for i := range b.Len() {
		ca := b.Certificates[i]
		if notCA(ca) != "" || now.After(ca.NotAfter) || listed(lists, ca) {
			continue
		}
		l.add(diag.CRLInvalid, diag.Warning, fmt.Sprintf("there is no revocation list of the CA %s: a listener's own client authentication and policies with revocation.mode: Hard refuse its clients (%s); other policies let them in with a warning, whatever that CA revoked", secret.Subject(ca), diag.CRLMissing), "Add its list; every CA needs one as soon as any is given.")
	}
	return l.found
}

func listed(lists []*secret.CRL, ca *x509.Certificate) bool {
	for _, c := range lists {
		if c.SignedBy(ca) == nil {
			return true
		}
	}
	return false
}
