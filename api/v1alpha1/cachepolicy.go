package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CachePolicy keeps answers of routes (RFC 9111): what a Gateway, EdgeHost, HTTPRoute or VirtualService
// that it targets serves.
type CachePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec CachePolicySpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status PolicyStatus `json:"status,omitempty"`
}

// CachePolicyList is a list of policies.
type CachePolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CachePolicy `json:"items"`
}

// CachePolicySpec is what is kept, of whom.
type CachePolicySpec struct {
	// TargetRefs are Gateways, EdgeHosts, HTTPRoutes, GRPCRoutes and VirtualServices.
	TargetRefs []PolicyTarget `json:"targetRefs"`

	Cache `json:",inline"`
}
