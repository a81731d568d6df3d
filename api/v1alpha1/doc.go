// Package v1alpha1 holds Hakone's own configuration kinds, group hakone.dev, version v1alpha1: only
// what neither the Gateway API nor Istio can say: TLSPolicy, ClientCertificatePolicy, EdgeHost,
// OriginPool, OriginPull, UpstreamProxy, ForwardProxy and CachePolicy.
//
// The package holds types, their deep copies and the CRD schemas that go with them, and decides
// nothing: what a policy means for a listener is computed in internal/translate/native. Begin
// reading at TLSPolicy.
package v1alpha1

import (
	"embed"
	"fmt"
	"io/fs"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group, Version and the kinds of this package as they stand in apiVersion and kind.
const (
	Group                       = "hakone.dev"
	Version                     = "v1alpha1"
	KindTLSPolicy               = "TLSPolicy"
	KindClientCertificatePolicy = "ClientCertificatePolicy"
	KindEdgeHost                = "EdgeHost"
	KindOriginPool              = "OriginPool"
	KindOriginPull              = "OriginPull"
	KindUpstreamProxy           = "UpstreamProxy"
	KindForwardProxy            = "ForwardProxy"
	KindCachePolicy             = "CachePolicy"
)

// APIVersion is the apiVersion of every object of this package.
const APIVersion = Group + "/" + Version

// GroupVersion returns the group and version for clients of a Kubernetes API server.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: Version}
}

// AddToScheme makes the kinds of this package known to s. It never fails; the error is there for
// the shape that clients expect.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &TLSPolicy{}, &TLSPolicyList{}, &ClientCertificatePolicy{}, &ClientCertificatePolicyList{},
		&EdgeHost{}, &EdgeHostList{}, &OriginPool{}, &OriginPoolList{}, &OriginPull{}, &OriginPullList{},
		&UpstreamProxy{}, &UpstreamProxyList{}, &ForwardProxy{}, &ForwardProxyList{}, &CachePolicy{}, &CachePolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}

//go:embed crd/*.yaml
var crdFiles embed.FS

// CRDs returns the CustomResourceDefinitions of this package as YAML documents, in the order of
// their file names, ready for kubectl apply.
func CRDs() ([][]byte, error) {
	names, err := fs.Glob(crdFiles, "crd/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list embedded CRDs: %w", err)
	}
	var docs [][]byte
	for _, name := range names {
		b, err := crdFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read embedded CRD %q: %w", name, err)
		}
		docs = append(docs, b)
	}
	return docs, nil
}
