package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *ClientCertificatePolicy) DeepCopyInto(out *ClientCertificatePolicy) {
	out.TypeMeta = p.TypeMeta
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.DeepCopyInto(&out.Spec)
	p.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with p; nil for nil.
func (p *ClientCertificatePolicy) DeepCopy() *ClientCertificatePolicy {
	return copyOf(p, (*ClientCertificatePolicy).DeepCopyInto)
}

// DeepCopyObject implements runtime.Object.
func (p *ClientCertificatePolicy) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *ClientCertificatePolicyList) DeepCopyInto(out *ClientCertificatePolicyList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, (*ClientCertificatePolicy).DeepCopyInto)
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *ClientCertificatePolicyList) DeepCopy() *ClientCertificatePolicyList {
	return copyOf(l, (*ClientCertificatePolicyList).DeepCopyInto)
}

// DeepCopyObject implements runtime.Object.
func (l *ClientCertificatePolicyList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies h into out; the two share nothing afterwards.
func (h *EdgeHost) DeepCopyInto(out *EdgeHost) {
	out.TypeMeta = h.TypeMeta
	h.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	h.Spec.DeepCopyInto(&out.Spec)
	h.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with h; nil for nil.
func (h *EdgeHost) DeepCopy() *EdgeHost { return copyOf(h, (*EdgeHost).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (h *EdgeHost) DeepCopyObject() runtime.Object {
	if h == nil {
		return nil
	}
	return h.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *EdgeHostList) DeepCopyInto(out *EdgeHostList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, (*EdgeHost).DeepCopyInto)
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *EdgeHostList) DeepCopy() *EdgeHostList { return copyOf(l, (*EdgeHostList).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (l *EdgeHostList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *OriginPool) DeepCopyInto(out *OriginPool) {
	out.TypeMeta = p.TypeMeta
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.DeepCopyInto(&out.Spec)
	p.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with p; nil for nil.
func (p *OriginPool) DeepCopy() *OriginPool { return copyOf(p, (*OriginPool).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (p *OriginPool) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *OriginPoolList) DeepCopyInto(out *OriginPoolList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, (*OriginPool).DeepCopyInto)
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *OriginPoolList) DeepCopy() *OriginPoolList { return copyOf(l, (*OriginPoolList).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (l *OriginPoolList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *OriginPull) DeepCopyInto(out *OriginPull) {
	out.TypeMeta = p.TypeMeta
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.DeepCopyInto(&out.Spec)
	p.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with p; nil for nil.
func (p *OriginPull) DeepCopy() *OriginPull { return copyOf(p, (*OriginPull).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (p *OriginPull) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *OriginPullList) DeepCopyInto(out *OriginPullList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, (*OriginPull).DeepCopyInto)
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *OriginPullList) DeepCopy() *OriginPullList { return copyOf(l, (*OriginPullList).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (l *OriginPullList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *ClientCertificatePolicySpec) DeepCopyInto(out *ClientCertificatePolicySpec) {
	*out = *s
	out.TargetRefs = slices.Clone(s.TargetRefs)
	out.Hosts = slices.Clone(s.Hosts)
	out.Paths = slices.Clone(s.Paths)
	out.Except = slices.Clone(s.Except)
	out.Trust = copyOf(s.Trust, (*ClientTrust).DeepCopyInto)
	out.Allow = copyEach(s.Allow, (*CertificateRule).DeepCopyInto)
	out.Deny = copyEach(s.Deny, (*CertificateRule).DeepCopyInto)
	out.Revocation = copyOf(s.Revocation, (*Revocation).DeepCopyInto)
	out.Forward = slices.Clone(s.Forward)
	out.Session = copyOf(s.Session, (*IdentitySession).DeepCopyInto)
	out.DenyPage = clone(s.DenyPage)
}

// DeepCopyInto copies t into out; the two share nothing afterwards.
func (t *ClientTrust) DeepCopyInto(out *ClientTrust) {
	out.CARefs = slices.Clone(t.CARefs)
	out.CRLRefs = slices.Clone(t.CRLRefs)
}

// DeepCopyInto copies r into out; the two share nothing afterwards.
func (r *CertificateRule) DeepCopyInto(out *CertificateRule) {
	*out = *r
	out.CommonNames = slices.Clone(r.CommonNames)
	out.Subjects = slices.Clone(r.Subjects)
	out.Issuers = slices.Clone(r.Issuers)
	out.SubjectAltNames = copyOf(r.SubjectAltNames, (*SubjectAltNames).DeepCopyInto)
	out.Fingerprints = slices.Clone(r.Fingerprints)
	out.SPKI = slices.Clone(r.SPKI)
	out.Serials = slices.Clone(r.Serials)
	out.ExtendedKeyUsages = slices.Clone(r.ExtendedKeyUsages)
}

// DeepCopyInto copies n into out; the two share nothing afterwards.
func (n *SubjectAltNames) DeepCopyInto(out *SubjectAltNames) {
	out.DNS = slices.Clone(n.DNS)
	out.URIs = slices.Clone(n.URIs)
	out.Emails = slices.Clone(n.Emails)
	out.IPs = slices.Clone(n.IPs)
}

// DeepCopyInto copies r into out; the two share nothing afterwards.
func (r *Revocation) DeepCopyInto(out *Revocation) {
	*out = *r
	out.Serials = slices.Clone(r.Serials)
	out.SPKI = slices.Clone(r.SPKI)
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *IdentitySession) DeepCopyInto(out *IdentitySession) {
	*out = *s
	out.KeyRef = clone(s.KeyRef)
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *EdgeHostSpec) DeepCopyInto(out *EdgeHostSpec) {
	*out = *s
	out.Hosts = slices.Clone(s.Hosts)
	out.CertificateRefs = slices.Clone(s.CertificateRefs)
	out.PoolRef = clone(s.PoolRef)
	out.Routes = slices.Clone(s.Routes)
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *OriginPoolSpec) DeepCopyInto(out *OriginPoolSpec) {
	*out = *s
	out.Origins = copyEach(s.Origins, (*Origin).DeepCopyInto)
	out.Enabled = clone(s.Enabled)
	out.FallbackRef = clone(s.FallbackRef)
	out.Affinity = clone(s.Affinity)
	out.Monitor = copyOf(s.Monitor, (*Monitor).DeepCopyInto)
	out.Passive = clone(s.Passive)
	out.TLS = copyOf(s.TLS, (*OriginTLS).DeepCopyInto)
}

// DeepCopyInto copies o into out; the two share nothing afterwards.
func (o *Origin) DeepCopyInto(out *Origin) {
	*out = *o
	out.Weight = clone(o.Weight)
	out.Enabled = clone(o.Enabled)
	out.Regions = slices.Clone(o.Regions)
}

// DeepCopyInto copies m into out; the two share nothing afterwards.
func (m *Monitor) DeepCopyInto(out *Monitor) {
	*out = *m
	out.Headers = slices.Clone(m.Headers)
	out.Retries = clone(m.Retries)
}

// DeepCopyInto copies t into out; the two share nothing afterwards.
func (t *OriginTLS) DeepCopyInto(out *OriginTLS) {
	*out = *t
	out.CARef = clone(t.CARef)
	out.CertificateRef = clone(t.CertificateRef)
	out.SPKI = slices.Clone(t.SPKI)
	out.Revocation = copyOf(t.Revocation, (*Revocation).DeepCopyInto)
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *OriginPullSpec) DeepCopyInto(out *OriginPullSpec) {
	*out = *s
	out.Hosts = slices.Clone(s.Hosts)
	out.CertificateRef = clone(s.CertificateRef)
	out.Enabled = clone(s.Enabled)
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *PolicyStatus) DeepCopyInto(out *PolicyStatus) {
	out.Conditions = copyEach(s.Conditions, (*metav1.Condition).DeepCopyInto)
}

// clone copies a value that holds no references.
func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// copyOf copies what p points to; nil for nil.
func copyOf[T any](p *T, into func(*T, *T)) *T {
	if p == nil {
		return nil
	}
	out := new(T)
	into(p, out)
	return out
}

// copyEach copies a list; nil for nil.
func copyEach[T any](list []T, into func(*T, *T)) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for i := range list {
		into(&list[i], &out[i])
	}
	return out
}
