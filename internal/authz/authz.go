// Package authz decides about requests by their clients' certificates: which of the policies
// (ClientCertificatePolicy) that hold for a host and path decides, whether it lets the client in, and what
// is answered and told to the origin then.
//
// An Index says where policies hold, and a Set holds the policies with what they trust; both belong to a
// snapshot, and a changed CA or revocation list makes a new Set alone. Set.Decide needs no connection, no
// clock and no I/O (apart from what trust.Online does), so that commands decide as the data path does.
// The package refuses to know how chains are verified (package trust) and how a request is answered
// (package proxy). Begin reading at Set.Decide, then reading.go for how paths are read; DESIGN.md holds
// what is promised.
package authz

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/trust"
)

// Settings are what a Set is made with. The zero value is fit for deciding offline.
type Settings struct {
	Online trust.Online // looks revocation up; nil: only lists of the configuration are looked at
	Cache  *trust.Cache // of verdicts, shared with others; nil: none
	Keys   *Keyring     // signing keys that outlive the Set; nil: keys of its own
}

// Set holds the policies of one snapshot. It is immutable and safe for concurrent use.
type Set struct {
	policies []*Policy // as Config.AccessPolicies
	byName   map[string]*Policy
}

// NewSet compiles policies. prev, which may be nil, is the Set before: policies whose content and trust are
// the same are taken over, with all that they remember, and if all are, prev itself is returned. What cannot
// be carried out lets nobody in; it does not stop the others.
func NewSet(policies []*ir.AccessPolicy, bundles *ir.Trust, secrets *ir.Secrets, settings Settings, prev *Set) *Set {
	if settings.Keys == nil {
		settings.Keys = NewKeyring()
	}
	s := &Set{byName: make(map[string]*Policy, len(policies))}
	same := prev != nil && len(prev.policies) == len(policies)
	for i, p := range policies {
		var bundle *ir.TrustBundle
		if bundles != nil {
			bundle = bundles.ByRef[p.Trust]
		}
		key := policyKey(p, bundle, secrets)
		compiled := prev.Policy(p.Name)
		if compiled == nil || compiled.key != key || compiled.online != settings.Online {
			compiled = newPolicy(p, bundle, secrets, settings, key)
		}
		same = same && prev.policies[i] == compiled
		s.policies = append(s.policies, compiled)
		s.byName[p.Name] = compiled
	}
	if same {
		return prev
	}
	return s
}

// Policy returns a policy by name ("namespace/name"), nil if there is none. A nil Set has none.
func (s *Set) Policy(name string) *Policy {
	if s == nil {
		return nil
	}
	return s.byName[name]
}

// at returns the policy of a rule, nil if there is none.
func (s *Set) at(slot int) *Policy {
	if s == nil || slot < 0 || slot >= len(s.policies) {
		return nil
	}
	return s.policies[slot]
}

// Policy is one compiled policy. It is safe for concurrent use.
type Policy struct {
	ir       *ir.AccessPolicy
	key      string // of its content, with what it trusts
	online   trust.Online
	bundle   *ir.TrustBundle
	verifier *trust.Verifier
	broken   *ir.Fault // lets nobody in
	allow    []matcher
	deny     []matcher
	session  *session // nil: none
	page     page
	missing  func() string // what is told of a request without certificate; made once, when there is one
}

// policyKey names the content of a policy, the CAs and lists that it trusts, and its signing key.
func policyKey(p *ir.AccessPolicy, bundle *ir.TrustBundle, secrets *ir.Secrets) string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(p) // its types cannot fail to be encoded
	h.Write([]byte(trustKey(bundle)))
	if p.Session != nil && p.Session.Key != "" {
		if c := credential(secrets, p.Session.Key); c != nil && c.Pair != nil {
			h.Write([]byte(c.Pair.Digest))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// trustKey names the content of a bundle.
func trustKey(bundle *ir.TrustBundle) string {
	if bundle == nil {
		return "none"
	}
	text := fmt.Sprintf("%d %q", bundle.Code, anchorsKey(bundle))
	for _, l := range bundle.CRLs {
		text += " " + l.Digest
	}
	return text
}

// anchorsKey names the content of a bundle without its lists.
func anchorsKey(bundle *ir.TrustBundle) string {
	if bundle == nil || bundle.Bundle == nil {
		return ""
	}
	return bundle.Bundle.Digest
}

func newPolicy(p *ir.AccessPolicy, bundle *ir.TrustBundle, secrets *ir.Secrets, settings Settings, key string) *Policy {
	out := &Policy{ir: p, key: key, online: settings.Online, bundle: bundle, broken: p.Fault, page: newPage(p)}
	out.missing = sync.OnceValue(func() string { return missing(bundle) })
	fail := func(err error) {
		if out.broken == nil {
			out.broken = &ir.Fault{Code: diag.PolicyBroken, Detail: err.Error()}
		}
	}
	var err error
	if out.allow, err = newMatchers(p.Allow, "allow"); err != nil {
		fail(err)
	}
	if out.deny, err = newMatchers(p.Deny, "deny"); err != nil {
		fail(err)
	}
	if !p.Open {
		wanted, err := trust.AccessPolicy(p, bundle, settings.Online)
		if err != nil {
			fail(err)
		}
		out.verifier = trust.New(wanted, settings.Cache)
	}
	if p.Session != nil {
		out.session = newSession(p, bundle, credential(secrets, p.Session.Key), settings.Keys, out.verifier)
	}
	return out
}

func credential(secrets *ir.Secrets, ref ir.SecretRef) *ir.Credential {
	if secrets == nil || ref == "" {
		return nil
	}
	return secrets.ByRef[ref]
}

// Name returns "namespace/name".
func (p *Policy) Name() string { return p.ir.Name }

// IR returns what the policy was made from.
func (p *Policy) IR() *ir.AccessPolicy { return p.ir }

// Broken says why the policy lets nobody in whatever it shows, nil if it is sound.
func (p *Policy) Broken() *ir.Fault { return p.broken }

// Key names the content of the policy with the CAs and lists that it trusts: equal keys decide equally at
// the same time.
func (p *Policy) Key() string { return p.key }

// Trust returns the bundle whose CAs issue what is accepted; nil if there is none.
func (p *Policy) Trust() *ir.TrustBundle { return p.bundle }

// Ongoing judges the client of a connection that began at since, as Judge does, but for what the clock
// alone has changed (trust.Verifier.VerifyOngoing). It returns 0 if the policy lets the client in.
func (p *Policy) Ongoing(presented []*x509.Certificate, since, now time.Time) (diag.Code, string) {
	switch {
	case p.ir.Open || p.ir.Audit:
		return 0, ""
	case p.broken != nil:
		return p.broken.Code, p.broken.Detail
	case len(presented) == 0:
		return diag.ClientCertMissing, "the client sent no certificate"
	}
	v := p.verifier.VerifyOngoing(presented, since, now)
	if v.Code != 0 {
		return v.Code, v.Detail
	}
	code, detail := p.authorise(&subject{cert: presented[0], facts: v.Leaf, now: since})
	return code, detail
}

// Fingerprint returns SHA-256 over a certificate in lower-case hex.
func Fingerprint(c *x509.Certificate) string { return secret.Fingerprint(c) }
