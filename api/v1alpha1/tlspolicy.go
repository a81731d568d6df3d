package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TLSPolicy sets which TLS versions, cipher suites and key exchange groups clients may use.
//
// Its scope is what it names, from the widest to the narrowest:
//
//	global    neither targetRef nor hosts
//	gateway   targetRef names a Gateway
//	listener  targetRef names a Gateway and, in sectionName, one of its listeners or servers
//	host      hosts names server names (SNI), on the target, or everywhere without one
//
// Each field is decided on its own: the most specific policy that sets the field wins, so a policy
// for one host that only raises minVersion keeps the groups of the global one. A preset sets every
// field at its policy's scope, except those that the same policy also sets by hand. Of two policies
// with the same target the older (by creation time, then by place and name) wins, and the other gets
// the diagnostic HK5407.
type TLSPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec TLSPolicySpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status TLSPolicyStatus `json:"status,omitempty"`
}

// TLSPolicyList is a list of policies.
type TLSPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TLSPolicy `json:"items"`
}

// TLSPolicySpec is what a policy asks for. The zero value asks for nothing, everywhere.
type TLSPolicySpec struct {
	// TargetRef names the Gateway, or one listener of it, that the policy is about. Without it the
	// policy is about every Gateway.
	TargetRef *TLSPolicyTarget `json:"targetRef,omitempty"`

	// Hosts narrows the policy to these server names (SNI): exact names, or "*." and a name for any
	// labels in front of it. A host policy is more specific than any listener's.
	Hosts []string `json:"hosts,omitempty"`

	// MinVersion is the floor: the lowest TLS version that is negotiated. Without any policy it is
	// what TLS_MIN_VERSION says, else 1.2. A client that offers less is refused with alert 70 and
	// reason HK1001.
	MinVersion TLSVersion `json:"minVersion,omitempty"`

	// MaxVersion is the ceiling: the highest TLS version that is negotiated. Without any policy it
	// is 1.3.
	MaxVersion TLSVersion `json:"maxVersion,omitempty"`

	// Preset is a well-known set of versions, suites and groups. "custom", or nothing, sets none.
	Preset Preset `json:"preset,omitempty"`

	// CipherSuites lists the suites of TLS 1.0 to 1.2 that may be negotiated, by IANA name
	// (TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) or OpenSSL name (ECDHE-ECDSA-AES128-GCM-SHA256).
	// The suites of TLS 1.3 and the order of suites are fixed by Go's TLS library; naming them gets
	// the diagnostic HK5405.
	CipherSuites []string `json:"cipherSuites,omitempty"`

	// Groups lists the key exchange groups that may be negotiated: X25519MLKEM768, X25519, P-256,
	// P-384, P-521. Their order is fixed by Go's TLS library.
	Groups []string `json:"groups,omitempty"`
}

// TLSPolicyTarget names a Gateway of either API, or one listener of it.
type TLSPolicyTarget struct {
	// Group is networking.istio.io or gateway.networking.k8s.io. Empty means a Gateway of that name
	// in either group.
	Group string `json:"group,omitempty"`

	// Kind is Gateway.
	Kind string `json:"kind"`

	// Namespace is the Gateway's. Empty means the policy's own.
	Namespace string `json:"namespace,omitempty"`

	// Name is the Gateway's.
	Name string `json:"name"`

	// SectionName is the name of a listener (Gateway API), or the name of a server or of a server's
	// port (Istio). Empty means all of them.
	SectionName string `json:"sectionName,omitempty"`
}

// TLSVersion is a TLS version: "1.0", "1.1", "1.2" or "1.3". Empty means that nothing is asked for.
// It is a string in YAML too, so it needs quotes there.
type TLSVersion string

// TLS versions.
const (
	TLS10 TLSVersion = "1.0"
	TLS11 TLSVersion = "1.1"
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// Preset names a set of TLS settings.
type Preset string

// Presets, after the three levels that Mozilla's server-side TLS guidelines describe.
const (
	PresetModern       Preset = "modern"       // TLS 1.3 only
	PresetIntermediate Preset = "intermediate" // TLS 1.2 and 1.3, forward secrecy and AEAD only
	PresetOld          Preset = "old"          // TLS 1.0 to 1.3, every suite but RC4 (RFC 7465)
	PresetCustom       Preset = "custom"       // nothing beyond the policy's own fields
)

// TLSPolicyStatus is what became of a policy.
type TLSPolicyStatus struct {
	// Conditions holds Accepted: whether the policy is in force, and if not the HK code and why.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Scope is how specific a policy is. Higher is more specific.
type Scope uint8

// Scopes, from the widest to the narrowest.
const (
	ScopeGlobal Scope = iota
	ScopeGateway
	ScopeListener
	ScopeHost
)

// String returns "global", "gateway", "listener" or "host".
func (s Scope) String() string {
	switch s {
	case ScopeGateway:
		return "gateway"
	case ScopeListener:
		return "listener"
	case ScopeHost:
		return "host"
	}
	return "global"
}

// Scope returns how specific the policy is, from what it names.
func (s *TLSPolicySpec) Scope() Scope {
	switch {
	case len(s.Hosts) > 0:
		return ScopeHost
	case s.TargetRef == nil:
		return ScopeGlobal
	case s.TargetRef.SectionName != "":
		return ScopeListener
	}
	return ScopeGateway
}
