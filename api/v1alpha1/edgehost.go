package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EdgeHost serves hosts at the edge: certificate, listener and the pools behind it in one object, as a
// CDN's load balancer does. It holds what neither Gateway API nor Istio can: host names with
// underscores. It needs no Gateway; its listeners share ports with those of other APIs by SNI.
type EdgeHost struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is asked for.
	Spec EdgeHostSpec `json:"spec"`

	// Status says what became of it. Written by Hakone, only in Kubernetes.
	Status PolicyStatus `json:"status,omitempty"`
}

// EdgeHostList is a list of hosts.
type EdgeHostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EdgeHost `json:"items"`
}

// EdgeHostSpec is what is asked for.
type EdgeHostSpec struct {
	// DisplayName is a name for people, of any characters.
	DisplayName string `json:"displayName,omitempty"`

	// Hosts are exact names or "*." and a name. Underscores are fine.
	Hosts []string `json:"hosts"`

	// Port is where HTTPS is served. Default 443.
	Port int32 `json:"port,omitempty"`

	// CertificateRefs name the Secrets with certificate and key: one, or two of different key types.
	CertificateRefs []ObjectReference `json:"certificateRefs"`

	// HTTP says what happens on HTTPPort: redirect (the default) to HTTPS, serve, or off.
	HTTP string `json:"http,omitempty"`

	// HTTPPort is where plain HTTP is served. Default 80.
	HTTPPort int32 `json:"httpPort,omitempty"`

	// PoolRef names the OriginPool, in the same namespace, that serves what no route takes.
	PoolRef *LocalReference `json:"poolRef,omitempty"`

	// Routes send paths to other pools. The longest path wins.
	Routes []EdgeRoute `json:"routes,omitempty"`
}

// EdgeRoute sends a path, with all below it, to a pool.
type EdgeRoute struct {
	// Path is the path, by whole segments.
	Path string `json:"path"`

	// PoolRef names the OriginPool.
	PoolRef LocalReference `json:"poolRef"`
}
