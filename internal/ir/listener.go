package ir

import (
	"crypto/tls"

	"github.com/hakone-gateway/hakone/internal/hostname"
)

// Listener is one socket: everything that any Gateway declares for one bind address and port.
type Listener struct {
	Name   string   `json:"name"`           // "*:443" or "127.0.0.2:443": bind and declared port; unique
	Bind   string   `json:"bind,omitempty"` // IP address; empty means the process's --address
	Port   uint16   `json:"port"`           // as declared; --port-map applies when it is bound
	TLS    bool     `json:"tls"`            // every chain terminates TLS; false: every chain is plain HTTP
	Chains []*Chain `json:"chains"`         // ordered by name

	Forward *ForwardListener `json:"forward,omitempty"` // nil: no port of a forward proxy
}

// Chain (filter chain) is what one Gateway listener or Istio server contributes to a socket. For TLS
// the chain is chosen by SNI, for plain HTTP by the request's authority: the most specific of Hosts
// wins. A request whose authority belongs to another chain of the same socket, or to another TLS
// policy class, is answered 421.
type Chain struct {
	Name   string             `json:"name"` // "namespace/gateway/section"; unique within the process
	Origin Origin             `json:"origin"`
	Hosts  []hostname.Pattern `json:"hosts"`
	TLS    *TLS               `json:"tls,omitempty"` // nil exactly when the listener is plain, or TCP passes TLS through

	Display string `json:"display,omitempty"` // an EdgeHost's name for people

	// HostTLS holds narrower settings for hosts named by a TLSPolicy, most specific first.
	HostTLS []HostTLS `json:"hostTLS,omitempty"`

	// Access says which AccessPolicies hold where, the most specific first. Empty: everybody is let in
	// whom TLS lets in.
	Access []AccessRule `json:"access,omitempty"`

	// TCP, if not nil, makes the chain one of connections and not of requests: passed through by SNI on a TLS
	// listener without Chain.TLS, else what is inside TLS, else all bytes. There are no VirtualHosts then.
	TCP []*TCPRoute `json:"tcp,omitempty"`

	// VirtualHosts are ordered from the most to the least specific pattern.
	VirtualHosts []*VirtualHost `json:"virtualHosts"`
}

// HostTLS is TLS for the part of a chain's hosts that Host covers.
type HostTLS struct {
	Host hostname.Pattern `json:"host"`
	TLS  *TLS             `json:"tls"`
}

// TLS is how a chain terminates TLS.
type TLS struct {
	// Class is the TLS policy class: equal for two hosts exactly when client authentication, trust,
	// floor, ceiling, suites and groups are equal. Session tickets are bound to it (architecture §5).
	// It is computed by compile.
	Class Revision `json:"class"`

	Origin       Origin        `json:"origin"`
	MinVersion   uint16        `json:"minVersion"` // as in crypto/tls, never 0 after compile
	MaxVersion   uint16        `json:"maxVersion"`
	CipherSuites []uint16      `json:"cipherSuites,omitempty"` // TLS ≤ 1.2; nil means Go's defaults
	Groups       []tls.CurveID `json:"groups,omitempty"`       // nil means Go's defaults, with X25519MLKEM768
	ALPN         []string      `json:"alpn"`
	Certificates []SecretRef   `json:"certificates"` // one, or two of different key types
	ClientAuth   ClientAuth    `json:"clientAuth"`
}

// ClientAuthMode says what is asked of a client.
type ClientAuthMode string

// Modes. Request is Gateway API's AllowInsecureFallback and Istio's insecureSkipVerify: a certificate
// is asked for and judged, and the verdict is recorded, but never enforced. Optional is Istio's
// OPTIONAL_MUTUAL: none is fine, a bad one is refused.
const (
	ClientAuthNone     ClientAuthMode = "none"
	ClientAuthRequest  ClientAuthMode = "request"
	ClientAuthOptional ClientAuthMode = "optional"
	ClientAuthRequire  ClientAuthMode = "require"
	ClientAuthPolicy   ClientAuthMode = "policy" // a certificate is asked for; Policies judge, requests are decided by Chain.Access
)

// ClientAuth is how clients are authenticated. Trust is empty for ClientAuthNone. SANs, SPKI and
// Hashes restrict the certificates that verify; SPKI and Hashes are alternatives of one list of pins
// (a match in either suffices).
type ClientAuth struct {
	Mode   ClientAuthMode `json:"mode"`
	Trust  TrustRef       `json:"trust,omitempty"`
	SANs   []string       `json:"sans,omitempty"`   // subjectAltNames: exact DNS name, URI, e-mail or IP
	SPKI   []string       `json:"spki,omitempty"`   // base64 of SHA-256 over SubjectPublicKeyInfo
	Hashes []string       `json:"hashes,omitempty"` // lower-case hex of SHA-256 over the certificate
	Origin Origin         `json:"origin"`

	// Policies are the names of the AccessPolicies that cover the host, in order, for
	// ClientAuthPolicy; Trust is empty then, and the CAs of all of them are named to clients. Reject
	// says whom the handshake refuses: RejectBad those whose certificate satisfies none of Policies that
	// reject, RejectAll also those without one.
	Policies []string   `json:"policies,omitempty"`
	Reject   RejectMode `json:"reject,omitempty"`

	// Forward is how the client's certificate is told to upstreams in X-Forwarded-Client-Cert and
	// Client-Cert; empty means ForwardSanitize without, ForwardSanitizeSet with client authentication.
	Forward ForwardMode `json:"forward,omitempty"`
}

// RejectMode says whom a handshake refuses where policies decide.
type RejectMode string

// Modes.
const (
	RejectNone RejectMode = ""
	RejectBad  RejectMode = "bad"
	RejectAll  RejectMode = "all"
)

// ForwardMode is Envoy's forward_client_cert_details.
type ForwardMode string

// Modes, as Envoy names them.
const (
	ForwardSanitize    ForwardMode = "SANITIZE"
	ForwardOnly        ForwardMode = "FORWARD_ONLY"
	ForwardAppend      ForwardMode = "APPEND_FORWARD"
	ForwardSanitizeSet ForwardMode = "SANITIZE_SET"
	ForwardAlwaysOnly  ForwardMode = "ALWAYS_FORWARD_ONLY"
)
