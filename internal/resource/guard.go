package resource

// BackendTLSPolicy is a BackendTLSPolicy of the Gateway API, read only as far as to know what it is
// about: no version of it is enforced, so what it targets must not be sent to at all.
type BackendTLSPolicy struct {
	Meta
	// Targets are never empty. A target without kind stands for everything in the namespace: what the
	// policy is about could not be read.
	Targets []PolicyTarget
}

// PolicyTarget names an object in the policy's own namespace. Section is the name of a Service port;
// empty means all ports.
type PolicyTarget struct {
	Group, Kind, Name, Section string
}

// Copy implements Resource.
func (p *BackendTLSPolicy) Copy() Resource {
	c := *p
	return &c
}

// BackendTLSPolicies returns the BackendTLSPolicies of the Gateway API.
func (s *Set) BackendTLSPolicies() []*BackendTLSPolicy { return s.backendTLSPolicies }
