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
	kinds := []string{KindCachePolicy, KindClientCertificatePolicy, KindEdgeHost, KindForwardProxy, KindOriginPool, KindOriginPull, KindTLSPolicy, KindUpstreamProxy}
	if err != nil || len(docs) != len(kinds) {
		t.Fatal(len(docs), err)
	}
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	for i, kind := range kinds {
		var crd struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct {
				Group string
				Names struct{ Kind, ListKind, Plural string }
			}
		}
		if err := yaml.Unmarshal(docs[i], &crd); err != nil {
			t.Fatal(err)
		}
		if crd.Kind != "CustomResourceDefinition" || crd.Metadata.Name != crd.Spec.Names.Plural+"."+Group || crd.Spec.Group != Group || crd.Spec.Names.Kind != kind {
			t.Errorf("%+v", crd)
		}
		if !s.Recognizes(GroupVersion().WithKind(kind)) || !s.Recognizes(GroupVersion().WithKind(crd.Spec.Names.ListKind)) {
			t.Error("the scheme does not know", kind)
		}
	}
}

// fill sets every field that v holds, so that a field added without its copy shows up.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[metav1.Time]() || v.Type() == reflect.TypeFor[metav1.ObjectMeta]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// shared names what two values of one type both point to.
func shared(at string, a, b reflect.Value) string {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() {
			return ""
		}
		if a.Pointer() == b.Pointer() {
			return at
		}
		return shared(at, a.Elem(), b.Elem())
	case reflect.Slice:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			return at
		}
		for i := range a.Len() {
			if s := shared(at+"[]", a.Index(i), b.Index(i)); s != "" {
				return s
			}
		}
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[metav1.Time]() || a.Type() == reflect.TypeFor[metav1.ObjectMeta]() {
			return ""
		}
		for i := range a.NumField() {
			if s := shared(at+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i)); s != "" {
				return s
			}
		}
	}
	return ""
}

func TestDeepCopiesOfTheEdgeShareNothing(t *testing.T) {
	for _, l := range []runtime.Object{&ClientCertificatePolicyList{}, &EdgeHostList{}, &OriginPoolList{}, &OriginPullList{},
		&UpstreamProxyList{}, &ForwardProxyList{}, &CachePolicyList{}} {
		v := reflect.ValueOf(l)
		fill(v.Elem())
		c := l.DeepCopyObject()
		if !reflect.DeepEqual(l, c) {
			t.Errorf("%T: a copy differs: %+v", l, c)
		}
		if at := shared("", v, reflect.ValueOf(c)); at != "" {
			t.Errorf("%T: the copy shares %s", l, at)
		}
		item := v.Elem().FieldByName("Items").Index(0).Addr().Interface().(runtime.Object)
		if c := item.DeepCopyObject(); !reflect.DeepEqual(item, c) || shared("", reflect.ValueOf(item), reflect.ValueOf(c)) != "" {
			t.Errorf("%T: a copy differs or shares", item)
		}
		if none := reflect.Zero(v.Type()).Interface().(runtime.Object).DeepCopyObject(); none != nil {
			t.Errorf("%T: a copy of nothing is %v", l, none)
		}
	}
}
