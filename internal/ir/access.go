package ir

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
)

// AccessRule says where an AccessPolicy holds. Of the rules that cover a request the first in the
// order of Chain.Access decides: the longest path, then the narrowest target, then the narrowest host,
// then the older policy.
type AccessRule struct {
	Policy string           `json:"policy"`           // name of one of Config.AccessPolicies
	Host   hostname.Pattern `json:"host"`             // which of the chain's hosts
	Path   string           `json:"path,omitempty"`   // it and all below it; "": every path. Normalised, no slash at the end.
	Except []string         `json:"except,omitempty"` // paths that are left out, with all below them
	Route  *RouteTarget     `json:"route,omitempty"`  // which routes; nil: all, and requests without one
}

// RouteTarget is a route object, or one named rule of it (Route.Section). Paths are those that its
// routes match: a request that other routes took, though an origin may read its path as one of these,
// is covered too.
type RouteTarget struct {
	Object  diag.Object `json:"object"`
	Section string      `json:"section,omitempty"`
	Paths   []RoutePath `json:"paths,omitempty"`
}

// RoutePath is a path that routes match: alone, or with what lies below it.
type RoutePath struct {
	Path  string `json:"path"`
	Exact bool   `json:"exact,omitempty"`
}

// AccessPolicy decides about clients by their certificates: a ClientCertificatePolicy.
type AccessPolicy struct {
	Name     string   `json:"name"` // "namespace/name"
	Display  string   `json:"display,omitempty"`
	Origin   Origin   `json:"origin"`
	Revision Revision `json:"revision"` // of all of this, trust's content apart; computed by compile

	Open          bool `json:"open,omitempty"`   // lets everybody in
	Audit         bool `json:"audit,omitempty"`  // records what it would decide
	Reject        bool `json:"reject,omitempty"` // see ClientAuth.Reject; in HTTP it denies all the same
	CloseNow      bool `json:"closeNow,omitempty"`
	CaseSensitive bool `json:"caseSensitive,omitempty"`

	Trust      TrustRef          `json:"trust,omitempty"` // with the revocation lists; "" for Open
	Allow      []CertificateRule `json:"allow,omitempty"`
	Deny       []CertificateRule `json:"deny,omitempty"`
	Revocation Revocation        `json:"revocation,omitzero"`

	Forward []string  `json:"forward"` // of ForwardRFC9440, ForwardXFCC, ForwardCloudflare; empty: nothing
	Session *Session  `json:"session,omitempty"`
	Page    *DenyPage `json:"page,omitempty"`
	Preset  string    `json:"preset,omitempty"` // "cloudflare": also Cf-Ray, Cf-Access-Aud, Cf-Access-Domain in answers
	Fault   *Fault    `json:"fault,omitempty"`  // the policy is broken: it lets nobody in
}

// Formats of AccessPolicy.Forward.
const (
	ForwardRFC9440    = "rfc9440"
	ForwardXFCC       = "xfcc"
	ForwardCloudflare = "cloudflare"
)

// PresetCloudflare is AccessPolicy.Preset for Cloudflare's names.
const PresetCloudflare = "cloudflare"

// CertificateRule is a set of conditions; all that are given must hold, of each list one entry. Names
// may hold "*" for any run of characters; a DNS name's "*." is one label.
type CertificateRule struct {
	CommonNames  []string      `json:"commonNames,omitempty"`
	Subjects     []string      `json:"subjects,omitempty"` // RFC 2253, whole or one part
	Issuers      []string      `json:"issuers,omitempty"`
	DNS          []string      `json:"dns,omitempty"` // DNS, URIs, Emails and IPs are one list
	URIs         []string      `json:"uris,omitempty"`
	Emails       []string      `json:"emails,omitempty"`
	IPs          []string      `json:"ips,omitempty"`          // addresses or prefixes
	Fingerprints []string      `json:"fingerprints,omitempty"` // lower-case hex of SHA-256
	SPKI         []string      `json:"spki,omitempty"`         // base64 of SHA-256
	Serials      []string      `json:"serials,omitempty"`      // lower-case hex without leading zeros
	Usages       []string      `json:"usages,omitempty"`       // OIDs, all of which must be there
	MaxValidity  time.Duration `json:"maxValidity,omitempty"`
	MinRemaining time.Duration `json:"minRemaining,omitempty"`
}

// Revocation says how revoked certificates of peers are recognised, beside the lists of the trust
// bundle. The zero value looks at those lists alone, softly.
type Revocation struct {
	Hard     bool     `json:"hard,omitempty"`     // refuse whom nothing is known about
	FetchCRL bool     `json:"fetchCRL,omitempty"` // from distribution points
	OCSP     bool     `json:"ocsp,omitempty"`     // ask responders
	NoCRL    bool     `json:"noCRL,omitempty"`    // do not even look at configured lists
	LeafOnly bool     `json:"leafOnly,omitempty"`
	Serials  []string `json:"serials,omitempty"` // lower-case hex
	SPKI     []string `json:"spki,omitempty"`    // base64 of SHA-256
}

// Session is the identity cookie of an AccessPolicy.
type Session struct {
	Cookie    string        `json:"cookie"`
	Algorithm string        `json:"algorithm"`        // RS256 or ES256
	Key       SecretRef     `json:"key,omitempty"`    // "": a key that the process makes
	Issuer    string        `json:"issuer,omitempty"` // "": https:// and the host
	Audience  string        `json:"audience"`
	Duration  time.Duration `json:"duration"`
	Alone     bool          `json:"alone,omitempty"`    // the cookie opens a path without a certificate
	NotBefore time.Time     `json:"notBefore,omitzero"` // cookies issued before are void
	SameSite  string        `json:"sameSite,omitempty"`
}

// DenyPage is what is sent with a refusal. ${code}, ${slug}, ${reason}, ${requestId}, ${host}, ${status} in HTML
// and JSON are the refusal's.
type DenyPage struct {
	Status   int    `json:"status,omitempty"` // 0: 403
	HTML     string `json:"html,omitempty"`
	JSON     string `json:"json,omitempty"`
	Redirect string `json:"redirect,omitempty"`
}
