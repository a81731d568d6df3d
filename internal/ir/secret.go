package ir

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// SecretRef names a credential: "namespace/name" of a Secret, or "file:PATH|PATH" for certificate
// files named in a manifest. One that is missing is named by all places where it was sought, joined by
// "|".
type SecretRef string

// TrustRef names a trust bundle: "namespace/name" of the Secret or "configmap:namespace/name" of the
// ConfigMap that holds it, with "#entry" where an entry is named (or the names of several, joined by "+"), or "file:PATH" ("file:PATH|CRL"
// with a revocation list).
type TrustRef string

// Secrets holds the credentials that Config refers to. A reference without an entry, or whose entry
// has no Pair, refuses its hosts.
type Secrets struct {
	Revision Revision
	ByRef    map[SecretRef]*Credential

	Logins    map[SecretRef]*Login     // of Proxy.Login
	Passwords map[SecretRef]*Passwords // of Forward.Passwords
}

// Credential is a certificate with its key, or the reason why there is none.
type Credential struct {
	Origin Origin
	Pair   *secret.KeyPair // nil if there is none
	Code   diag.Code       // why Pair is nil: CredentialMissing or CredentialWithdrawn
	Detail string          // one sentence for the log
	Cause  diag.Code       // what is wrong with the content of a credential that is there; 0 for one that is missing

	// Sought are the references under which a missing credential would be found if its secret existed:
	// the grace after a deletion looks there.
	Sought []SecretRef

	// Withdrawn is set while Pair is served only for the grace after its secret's deletion.
	Withdrawn bool
}

// Trust holds the trust bundles that Config refers to. A reference without an entry, or whose entry
// has no Bundle, refuses every peer: there is no grace for a CA.
type Trust struct {
	Revision Revision
	ByRef    map[TrustRef]*TrustBundle
}

// TrustBundle is a set of anchors with their revocation lists.
type TrustBundle struct {
	Origin   Origin
	Revision Revision // of this bundle: anchors and CRLs
	Bundle   *secret.Bundle
	CRLs     []*secret.CRL
	Code     diag.Code // why Bundle is nil: TrustMissing
	Detail   string
}

// NotAfter returns when the credential's leaf expires, and false if there is none.
func (c *Credential) NotAfter() (time.Time, bool) {
	if c == nil || c.Pair == nil {
		return time.Time{}, false
	}
	return c.Pair.Leaf.NotAfter, true
}
