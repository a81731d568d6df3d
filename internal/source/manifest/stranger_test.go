package manifest

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// TestPoliciesThatAreNotEnforcedAreErrors holds that nothing which would deny or verify is passed over
// with less than an error.
func TestPoliciesThatAreNotEnforcedAreErrors(t *testing.T) {
	for kind, version := range map[string]string{
		"AuthorizationPolicy": "security.istio.io/v1", "RequestAuthentication": "security.istio.io/v1", "PeerAuthentication": "security.istio.io/v1beta1",
		"EnvoyFilter": "networking.istio.io/v1alpha3", "WasmPlugin": "extensions.istio.io/v1alpha1",
		"SecurityPolicy": "gateway.envoyproxy.io/v1alpha1", "ClientTrafficPolicy": "gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy": "gateway.envoyproxy.io/v1alpha1",
		"BackendTLSPolicy": "gateway.networking.k8s.io/v1alpha3",
	} {
		_, ds := Set(map[string]string{"a.yaml": "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: p}\nspec: {}\n"})
		if len(ds) != 1 || ds[0].Code != diag.PolicyNotEnforced || ds[0].Severity != diag.Error || ds[0].Position.Line != 2 {
			t.Errorf("%s: %v", kind, ds)
		}
	}
}

func TestMisspeltKindsAreErrors(t *testing.T) {
	for _, c := range []struct {
		version, kind string
		want          diag.Code
		broken        string
	}{
		{"networking.istio.io/v1", "VirtualSerivce", diag.KindMisspelt, "VirtualService"},
		{"v1", "ConfigMpa", diag.KindMisspelt, "ConfigMap"},
		{"gateway.networking.k8s.io/v1", "HttpRoute", diag.KindMisspelt, "HTTPRoute"},
		{"gateway.networking.k8s.io/v1", "BackendTLSPolcy", diag.KindMisspelt, "BackendTLSPolicy"},
		{"networking.istio.io/v1", "AuthorizationPolicy", diag.KindMisspelt, ""},
		{"v1", "Gateway", diag.KindMisspelt, ""},
		{"networking.istoi.io/v1", "VirtualService", diag.KindMisspelt, ""},
		{"serving.knative.dev/v1", "Service", diag.UnknownKind, ""},
		{"v1", "Pods", diag.UnknownKind, ""},
		{"example.com/v1", "VirtualSerivce", diag.UnknownKind, ""},
		{"networking.istio.io/v1", "Thing", diag.UnknownKind, ""},
	} {
		set, ds := Set(map[string]string{"a.yaml": "apiVersion: " + c.version + "\nkind: " + c.kind + "\nmetadata: {name: p}\n"})
		if len(ds) != 1 || ds[0].Code != c.want || ds[0].Severity == diag.Error != (c.want == diag.KindMisspelt) {
			t.Errorf("%s: %v", c.kind, ds)
		}
		broken := ""
		for _, b := range set.Broken() {
			broken = b.Kind
		}
		if broken != c.broken {
			t.Errorf("%s: broken %q, want %q", c.kind, broken, c.broken)
		}
	}
}

// TestUnknownKindsOfOursCloseWhatPoliciesCover holds that whatever may be a ClientCertificatePolicy is an
// error and closes what it names, however far its kind is from the right one.
func TestUnknownKindsOfOursCloseWhatPoliciesCover(t *testing.T) {
	const policy = "spec: {hosts: [a.test], paths: [/test1], trust: {caRefs: [{name: ca}]}}\n"
	for _, c := range []struct {
		head, spec string
		want       diag.Code
		kind       string
		closes     bool
	}{
		{"apiVersion: hakone.dev/v1alpha1\nkind: ClientCertPolicy", policy, diag.KindMisspelt, "ClientCertificatePolicy", true},
		{"apiVersion: hakone.dev/v1alpha1\nkind: Access", policy, diag.KindMisspelt, "ClientCertificatePolicy", true},
		{"apiVersion: hakone.dev/v1alpha1\nkind: Access", "spec: {hosts: [a.test]}\n", diag.KindMisspelt, "ClientCertificatePolicy", true},
		{"apiVersion: hakone.dev/v1alpha1\nkind: TLSPolcy", policy, diag.KindMisspelt, "ClientCertificatePolicy", true},
		{"apiVersion: hakone.dev/v2\nkind: MTLS", policy, diag.KindMisspelt, "ClientCertificatePolicy", true},
		{"apiVersion: hakone.io/v1alpha1\nkind: ClientCertificatePolicy", policy, diag.KindMisspelt, "ClientCertificatePolicy", true},
		{"apiVersion: v1alpha1\nkind: ClientCertificatePolicy", policy, diag.KindMisspelt, "ClientCertificatePolicy", true},
		{"apiVersion: hakone.dev/v1alpha1", policy, diag.MissingField, "ClientCertificatePolicy", true},
		{"kind: ClientCertificatePolicy", policy, diag.MissingField, "ClientCertificatePolicy", true},
		{"apiVersion: hakone.dev/v1alpha1\nkind: TLSPolcy", "spec: {hosts: [a.test], minVersion: TLSv1.2}\n", diag.KindMisspelt, "TLSPolicy", false},
		{"apiVersion: hakone.dev/v1alpha1\nkind: Host", "spec: {hosts: [a.test], tls: {certificateRefs: [{name: c}]}}\n", diag.KindMisspelt, "EdgeHost", false},
		{"apiVersion: hakone.dev/v1alpha1\nkind: Foo", "spec: {}\n", diag.KindMisspelt, "EdgeHost", false},
	} {
		set, ds := Set(map[string]string{"a.yaml": c.head + "\nmetadata: {name: p}\n" + c.spec})
		if len(ds) != 1 || ds[0].Code != c.want || ds[0].Severity != diag.Error || c.want == diag.KindMisspelt && !strings.Contains(ds[0].Fix, c.kind) {
			t.Errorf("%s: %v", c.head, ds)
		}
		b := set.Broken()
		if len(b) != 1 || b[0].Key != (resource.Key{Group: "hakone.dev", Kind: c.kind, Namespace: "default", Name: "p"}) || (b[0].Reach != nil) != c.closes {
			t.Errorf("%s: broken %+v", c.head, b)
		}
	}
}
