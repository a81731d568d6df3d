package v1alpha1

// ObjectReference names an object in the same namespace unless it says otherwise. For trust it is a
// ConfigMap or Secret; one of another namespace needs a ReferenceGrant there.
type ObjectReference struct {
	// Kind is ConfigMap or Secret. Empty means Secret.
	Kind string `json:"kind,omitempty"`

	// Namespace is the object's. Empty means the namespace of the object that holds the reference.
	Namespace string `json:"namespace,omitempty"`

	// Name is the object's.
	Name string `json:"name"`

	// Key is the entry that holds the PEM text. Empty means the usual ones: ca.crt or cacert for CAs,
	// ca.crl or crl.pem for revocation lists, tls.crt with tls.key (or cert with key) for credentials.
	Key string `json:"key,omitempty"`
}

// PolicyTarget names what a policy is about: a Gateway of either API (sectionName: one listener or
// server), an EdgeHost, an HTTPRoute, GRPCRoute or VirtualService (sectionName: one rule by its name).
type PolicyTarget struct {
	// Group is gateway.networking.k8s.io, networking.istio.io or hakone.dev. Empty means whichever has
	// an object of that kind and name.
	Group string `json:"group,omitempty"`

	// Kind is Gateway, HTTPRoute, GRPCRoute, VirtualService or EdgeHost.
	Kind string `json:"kind"`

	// Namespace is the target's. Empty means the policy's own.
	Namespace string `json:"namespace,omitempty"`

	// Name is the target's.
	Name string `json:"name"`

	// SectionName narrows the target to one of its listeners, servers or named rules.
	SectionName string `json:"sectionName,omitempty"`
}

// Duration is a length of time as in "90s", "24h" or "1h30m". Empty means that nothing is said.
type Duration string
