package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClientCertificatePolicy lets clients into hosts and paths by their certificates.
//
// It covers what spec.targetRefs and spec.hosts name (both: their intersection), on spec.paths. A host
// that has such a policy asks its clients for a certificate in the handshake, and no other host does.
// Of several policies that cover a request the most specific decides: the longest path, then the
// narrowest target (rule, route, host, listener, gateway), then the narrowest host, then the oldest.
// A path is compared as the origin receives it and also as lenient origins read it (case, "//", ";x",
// encoded slashes): a request has to satisfy the policy of each reading.
type ClientCertificatePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec ClientCertificatePolicySpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status PolicyStatus `json:"status,omitempty"`
}

// ClientCertificatePolicyList is a list of policies.
type ClientCertificatePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClientCertificatePolicy `json:"items"`
}

// PolicyStatus is what became of a policy.
type PolicyStatus struct {
	// Conditions holds Accepted: whether the policy is in force, and if not the HK code and why.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ClientCertificatePolicySpec is what a policy asks for.
type ClientCertificatePolicySpec struct {
	// DisplayName is a name for people, of any characters: what another product called it.
	DisplayName string `json:"displayName,omitempty"`

	// TargetRefs name Gateways, listeners, EdgeHosts, routes or rules of routes. Empty means every
	// listener that serves one of Hosts.
	TargetRefs []PolicyTarget `json:"targetRefs,omitempty"`

	// Hosts narrows the policy to these hosts: exact names (underscores are fine) or "*." and a name.
	// Empty means every host of the targets. TargetRefs and Hosts may not both be empty.
	Hosts []string `json:"hosts,omitempty"`

	// Paths narrows the policy to these paths and all below them: "/test1" covers /test1, /test1/ and
	// /test1/x but not /test10. Empty means every path.
	Paths []string `json:"paths,omitempty"`

	// Except lists paths, with all below them, that the policy leaves open, such as a health check.
	Except []string `json:"except,omitempty"`

	// CaseSensitive says that /Test1 is another path than /test1. Set it only if every origin agrees:
	// Express, IIS and others do not by default.
	CaseSensitive bool `json:"caseSensitive,omitempty"`

	// Trust says which CAs issue the certificates that are accepted. It is required, except with
	// action Open.
	Trust *ClientTrust `json:"trust,omitempty"`

	// Allow lists who may enter among the clients whose certificate verifies: one rule must hold, and
	// of a rule every part. Empty means all of them.
	Allow []CertificateRule `json:"allow,omitempty"`

	// Deny lists who may not, even if Allow names them.
	Deny []CertificateRule `json:"deny,omitempty"`

	// Revocation says how revoked certificates are recognised.
	Revocation *Revocation `json:"revocation,omitempty"`

	// Action says what the policy does: Require (the default) asks for a certificate, Open lets
	// everybody into a part of what a broader policy covers.
	Action PolicyAction `json:"action,omitempty"`

	// Enforcement says how clients are turned away: Deny (the default) answers 403 with the reason,
	// RejectConnection ends the handshake. For a policy that does not cover all of a host,
	// RejectConnection refuses bad certificates in the handshake, and answers 403 to none.
	Enforcement Enforcement `json:"enforcement,omitempty"`

	// Mode Audit lets everybody in and records who would not have been. Default Enforce.
	Mode PolicyMode `json:"mode,omitempty"`

	// OnChange says what a change of the policy, its CAs or revocation lists means for connections that
	// are open: Finish (the default) judges their next request, Now also ends those whose client would
	// not be let in any more, with what is in progress on them.
	OnChange OnChange `json:"onChange,omitempty"`

	// Forward says how the client's certificate is told to the origin. What clients send in these
	// fields themselves is always removed. Empty means RFC9440 and XFCC.
	Forward []ForwardFormat `json:"forward,omitempty"`

	// Session gives clients that were let in a signed identity cookie.
	Session *IdentitySession `json:"session,omitempty"`

	// DenyPage replaces the page that is sent with a refusal.
	DenyPage *DenyPage `json:"denyPage,omitempty"`

	// Preset CloudflareAccess names cookie and fields as Cloudflare Access and IBM CIS do:
	// CF_Authorization, Cf-Ray, Cf-Access-Aud, Cf-Access-Domain, Cf-Client-Cert-Der-Base64 and
	// Cf-Client-Cert-Sha256. What the policy sets by hand stands.
	Preset PolicyPreset `json:"preset,omitempty"`
}

// PolicyAction is what a policy does.
type PolicyAction string

// Actions.
const (
	ActionRequire PolicyAction = "Require"
	ActionOpen    PolicyAction = "Open"
)

// Enforcement is how clients are turned away.
type Enforcement string

// Ways.
const (
	EnforceDeny             Enforcement = "Deny"
	EnforceRejectConnection Enforcement = "RejectConnection"
)

// PolicyMode says whether a policy bites.
type PolicyMode string

// Modes.
const (
	ModeEnforce PolicyMode = "Enforce"
	ModeAudit   PolicyMode = "Audit"
)

// OnChange says what a change means for open connections.
type OnChange string

// Ways.
const (
	OnChangeFinish OnChange = "Finish"
	OnChangeNow    OnChange = "Now"
)

// ForwardFormat is a way to tell origins of a client's certificate.
type ForwardFormat string

// Formats.
const (
	ForwardRFC9440    ForwardFormat = "RFC9440"    // Client-Cert, Client-Cert-Chain
	ForwardXFCC       ForwardFormat = "XFCC"       // X-Forwarded-Client-Cert, as Envoy writes it
	ForwardCloudflare ForwardFormat = "Cloudflare" // Cf-Client-Cert-Der-Base64, Cf-Client-Cert-Sha256, on every request
	ForwardNone       ForwardFormat = "None"
)

// PolicyPreset names a set of names.
type PolicyPreset string

// Presets.
const (
	PresetHakone           PolicyPreset = "Hakone"
	PresetCloudflareAccess PolicyPreset = "CloudflareAccess"
)

// ClientTrust says which CAs are accepted.
type ClientTrust struct {
	// CARefs name the bundles: PEM certificates in a Secret or ConfigMap. Self-signed certificates in
	// them are anchors, others help to build paths.
	CARefs []ObjectReference `json:"caRefs"`

	// CRLRefs name revocation lists (PEM or DER) that come with the configuration. Lists in the CARefs'
	// own objects (ca.crl) count too.
	CRLRefs []ObjectReference `json:"crlRefs,omitempty"`
}

// CertificateRule is a set of conditions on a client certificate; all that are given must hold, and of
// a list one entry. Names are compared exactly, or with "*" for any run of characters; a DNS name's
// "*." stands for one label.
type CertificateRule struct {
	// CommonNames are compared with the subject's common name.
	CommonNames []string `json:"commonNames,omitempty"`

	// Subjects are whole subjects as RFC 2253 writes them ("CN=vera,O=Example"), or one part of them
	// ("O=Example").
	Subjects []string `json:"subjects,omitempty"`

	// Issuers are compared likewise with the issuer's name.
	Issuers []string `json:"issuers,omitempty"`

	// SubjectAltNames are compared with the subject alternative names.
	SubjectAltNames *SubjectAltNames `json:"subjectAltNames,omitempty"`

	// Fingerprints are SHA-256 over the certificate in hex, colons or not.
	Fingerprints []string `json:"fingerprints,omitempty"`

	// SPKI are SHA-256 over the public key (SubjectPublicKeyInfo) in base64.
	SPKI []string `json:"spki,omitempty"`

	// Serials are serial numbers in hex, colons or not.
	Serials []string `json:"serials,omitempty"`

	// ExtendedKeyUsages must all be in the certificate: clientAuth, serverAuth, emailProtection,
	// codeSigning, or an OID.
	ExtendedKeyUsages []string `json:"extendedKeyUsages,omitempty"`

	// MaxValidity bounds the certificate's whole life (notAfter minus notBefore).
	MaxValidity Duration `json:"maxValidity,omitempty"`

	// MinRemaining is how long the certificate must still be valid.
	MinRemaining Duration `json:"minRemaining,omitempty"`
}

// SubjectAltNames are conditions on subject alternative names: one entry of all the lists must hold.
type SubjectAltNames struct {
	DNS    []string `json:"dns,omitempty"`
	URIs   []string `json:"uris,omitempty"`
	Emails []string `json:"emails,omitempty"`
	IPs    []string `json:"ips,omitempty"` // addresses or CIDR ranges
}

// Revocation says how revoked certificates are recognised. Lists that come with the configuration are
// always looked at.
type Revocation struct {
	// Mode says what happens when it cannot be found out whether a certificate is revoked: Hard
	// refuses, Soft (the default) lets in and warns.
	Mode RevocationMode `json:"mode,omitempty"`

	// CRL Fetch fetches lists from the certificates' CRL distribution points, keeps them and renews
	// them before they are due. Default Configured: only lists that the configuration holds.
	CRL RevocationSource `json:"crl,omitempty"`

	// OCSP Fetch asks the responders that certificates name. Default Off.
	OCSP RevocationSource `json:"ocsp,omitempty"`

	// Serials and SPKI are revoked whatever any list says: serial numbers in hex, and SHA-256 over
	// public keys in base64.
	Serials []string `json:"serials,omitempty"`
	SPKI    []string `json:"spki,omitempty"`

	// LeafOnly looks at the client's own certificate and not at its issuers.
	LeafOnly bool `json:"leafOnly,omitempty"`
}

// RevocationMode says what an unknown state means.
type RevocationMode string

// Modes.
const (
	RevocationSoft RevocationMode = "Soft"
	RevocationHard RevocationMode = "Hard"
)

// RevocationSource says where revocation is looked up.
type RevocationSource string

// Sources.
const (
	RevocationOff        RevocationSource = "Off"
	RevocationConfigured RevocationSource = "Configured"
	RevocationFetch      RevocationSource = "Fetch"
)

// IdentitySession is a signed identity cookie (a JWT, RFC 7519) for clients that were let in. It tells
// the origin, and other tools, who came; by itself it opens nothing unless Accept says so.
type IdentitySession struct {
	// CookieName is the cookie's name. Default HK_Authorization.
	CookieName string `json:"cookieName,omitempty"`

	// Algorithm is RS256 (the default) or ES256.
	Algorithm string `json:"algorithm,omitempty"`

	// KeyRef names the Secret with the signing key (tls.key). Without it the process makes a key of
	// its own, which ends with it.
	KeyRef *ObjectReference `json:"keyRef,omitempty"`

	// Issuer is the claim iss. Default https:// and the host.
	Issuer string `json:"issuer,omitempty"`

	// Audience is the claim aud. Default: SHA-256 over namespace and name of the policy, in hex.
	Audience string `json:"audience,omitempty"`

	// Duration is the cookie's life. Default 24h; never beyond the certificate's.
	Duration Duration `json:"duration,omitempty"`

	// Accept says when the cookie is enough by itself. Never (the default): every request needs the
	// certificate. Alone: a valid cookie of this policy, for this host, opens it without one.
	Accept SessionAccept `json:"accept,omitempty"`

	// NotBefore revokes every cookie issued before that time (RFC 3339).
	NotBefore string `json:"notBefore,omitempty"`

	// SameSite is Lax, Strict or None. Default: none is sent.
	SameSite string `json:"sameSite,omitempty"`
}

// SessionAccept says when an identity cookie opens a path by itself.
type SessionAccept string

// Ways.
const (
	AcceptNever SessionAccept = "Never"
	AcceptAlone SessionAccept = "Alone"
)

// DenyPage is what is sent with a refusal, in place of Hakone's own page. In HTML and JSON ${code},
// ${slug}, ${reason}, ${requestId}, ${host} and ${status} stand for the refusal's; they are escaped.
type DenyPage struct {
	// Status is the answer's status: 401, 403 (the default), 404, 495 or 496.
	Status int32 `json:"status,omitempty"`

	// HTML and JSON are bodies, at most 64 KiB each. What is not given is Hakone's own.
	HTML string `json:"html,omitempty"`
	JSON string `json:"json,omitempty"`

	// RedirectURL answers 302 with that Location instead.
	RedirectURL string `json:"redirectURL,omitempty"`
}
