package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *TLSPolicy) DeepCopyInto(out *TLSPolicy) {
	out.TypeMeta = p.TypeMeta
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.DeepCopyInto(&out.Spec)
	p.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with p; nil for nil.
func (p *TLSPolicy) DeepCopy() *TLSPolicy {
	if p == nil {
		return nil
	}
	out := new(TLSPolicy)
	p.DeepCopyInto(out)
	return out
}

// DeepCopyObject implements runtime.Object.
func (p *TLSPolicy) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *TLSPolicyList) DeepCopyInto(out *TLSPolicyList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = nil
	if l.Items != nil {
		out.Items = make([]TLSPolicy, len(l.Items))
		for i := range l.Items {
			l.Items[i].DeepCopyInto(&out.Items[i])
		}
	}
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *TLSPolicyList) DeepCopy() *TLSPolicyList {
	if l == nil {
		return nil
	}
	out := new(TLSPolicyList)
	l.DeepCopyInto(out)
	return out
}

// DeepCopyObject implements runtime.Object.
func (l *TLSPolicyList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *TLSPolicySpec) DeepCopyInto(out *TLSPolicySpec) {
	*out = *s
	if s.TargetRef != nil {
		target := *s.TargetRef
		out.TargetRef = &target
	}
	out.Hosts = slices.Clone(s.Hosts)
	out.CipherSuites = slices.Clone(s.CipherSuites)
	out.Groups = slices.Clone(s.Groups)
}

// DeepCopy returns a copy that shares nothing with s; nil for nil.
func (s *TLSPolicySpec) DeepCopy() *TLSPolicySpec {
	if s == nil {
		return nil
	}
	out := new(TLSPolicySpec)
	s.DeepCopyInto(out)
	return out
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *TLSPolicyStatus) DeepCopyInto(out *TLSPolicyStatus) {
	out.Conditions = nil
	if s.Conditions != nil {
		out.Conditions = make([]metav1.Condition, len(s.Conditions))
		for i := range s.Conditions {
			s.Conditions[i].DeepCopyInto(&out.Conditions[i])
		}
	}
}
