package v1alpha1

import (
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func full() *TLSPolicy {
	return &TLSPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: APIVersion, Kind: KindTLSPolicy},
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}},
		Spec: TLSPolicySpec{
			TargetRef: &TLSPolicyTarget{Kind: "Gateway", Name: "g"}, Hosts: []string{"h"}, MinVersion: TLS12, MaxVersion: TLS13,
			Preset: PresetModern, CipherSuites: []string{"c"}, Groups: []string{"X25519"},
		},
		Status: TLSPolicyStatus{Conditions: []metav1.Condition{{Type: "Accepted"}}},
	}
}

func TestDeepCopySharesNothing(t *testing.T) {
	// A field added without its copy shows up here: every field of the spec must be set.
	for v, i := reflect.ValueOf(full().Spec), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("the test leaves %s empty", v.Type().Field(i).Name)
		}
	}
	a := full()
	b := a.DeepCopyObject().(*TLSPolicy)
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("%+v\n%+v", a, b)
	}
	b.Labels["a"], b.Spec.TargetRef.Name, b.Spec.Hosts[0], b.Spec.CipherSuites[0], b.Spec.Groups[0] = "x", "x", "x", "x", "x"
	b.Status.Conditions[0].Type = "x"
	if !reflect.DeepEqual(a, full()) {
		t.Errorf("a change of the copy changed the original: %+v", a)
	}
	l := &TLSPolicyList{Items: []TLSPolicy{*full()}}
	m := l.DeepCopyObject().(*TLSPolicyList)
	m.Items[0].Spec.Hosts[0] = "x"
	if l.Items[0].Spec.Hosts[0] != "h" || len(m.Items) != 1 {
		t.Error("lists share items")
	}
	if (*TLSPolicy)(nil).DeepCopy() != nil || (*TLSPolicy)(nil).DeepCopyObject() != nil {
		t.Error("a copy of nothing is nothing")
	}
}

func TestScope(t *testing.T) {
	for want, spec := range map[string]TLSPolicySpec{
		"global":   {MinVersion: TLS12},
		"gateway":  {TargetRef: &TLSPolicyTarget{Name: "g"}},
		"listener": {TargetRef: &TLSPolicyTarget{Name: "g", SectionName: "s"}},
		"host":     {TargetRef: &TLSPolicyTarget{Name: "g"}, Hosts: []string{"h"}},
	} {
		if got := spec.Scope().String(); got != want {
			t.Errorf("scope %s, want %s", got, want)
		}
	}
	if !(ScopeGlobal < ScopeGateway && ScopeGateway < ScopeListener && ScopeListener < ScopeHost) {
		t.Error("scopes are out of order")
	}
}

func TestCRDsAndScheme(t *testing.T) {
	docs, err := CRDs()
	if err != nil || len(docs) != 1 {
		t.Fatal(len(docs), err)
	}
	var crd struct {
		Kind     string
		Metadata struct{ Name string }
		Spec     struct {
			Group string
			Names struct{ Kind, Plural string }
		}
	}
	if err := yaml.Unmarshal(docs[0], &crd); err != nil {
		t.Fatal(err)
	}
	if crd.Kind != "CustomResourceDefinition" || crd.Metadata.Name != crd.Spec.Names.Plural+"."+Group || crd.Spec.Group != Group || crd.Spec.Names.Kind != KindTLSPolicy {
		t.Errorf("%+v", crd)
	}
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil || !s.Recognizes(GroupVersion().WithKind(KindTLSPolicy)) {
		t.Error("the scheme does not know TLSPolicy", err)
	}
}
