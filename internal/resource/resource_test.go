package resource

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	istio "istio.io/api/networking/v1alpha3"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
)

func linesOf(t *testing.T, text string) *Lines {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return NewLines(doc.Content[0])
}

const gatewayText = `kind: Gateway
metadata:
  name: g
  labels:
    app.kubernetes.io/name: x
spec:
  servers:
  - port:
      number: 443
    tls:
      credential_name: c
  - port: {number: 80}
`

func TestLinesFindFieldsAndTheirNearestParents(t *testing.T) {
	l := linesOf(t, gatewayText)
	for path, want := range map[string]int{
		"":                1,
		"kind":            1,
		"metadata.labels": 4,
		"metadata.labels[app.kubernetes.io/name]":   5,
		`metadata.labels["app.kubernetes.io/name"]`: 5,
		"spec.servers":                       7,
		"spec.servers[0]":                    8,
		"spec.servers[0].port.number":        9,
		"spec.servers[0].tls.credentialName": 11,
		"spec.servers[0].tls.mode":           10,
		"spec.servers[1].port.number":        12,
		"spec.servers[2].port":               7,
		"spec.selector":                      6,
		"nothing.at.all":                     1,
	} {
		if got := l.Line(path); got != want {
			t.Errorf("Line(%q) = %d, want %d", path, got, want)
		}
	}
	if got := (*Lines)(nil).Line("spec"); got != 1 {
		t.Errorf("nil Lines: %d", got)
	}
}

func object(kind, ns, name string, created int, file string, doc int) *Secret {
	s := &Secret{Meta: Meta{Key: Key{Kind: kind, Namespace: ns, Name: name}, Version: name + file,
		Place: Place{File: file, Document: doc, Line: 1}}}
	if created > 0 {
		s.Created = time.Unix(int64(created), 0)
	}
	return s
}

func TestOrderDoesNotDependOnTheHome(t *testing.T) {
	in := []*Secret{
		object(KindSecret, "b", "older", 1, "z.yaml", 9),
		object(KindSecret, "a", "same-age", 2, "y.yaml", 1),
		object(KindSecret, "b", "same-age", 2, "a.yaml", 0),
		object(KindSecret, "z", "ageless-first", 0, "a.yaml", 0),
		object(KindSecret, "a", "ageless-second", 0, "a.yaml", 1),
		object(KindSecret, "a", "ageless-third", 0, "b.yaml", 0),
	}
	var digest string
	for range 20 {
		rand.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		var b Builder
		for _, s := range in {
			b.Add(s.Copy())
		}
		set, ds := b.Build()
		var got []string
		for i, s := range set.Secrets() {
			got = append(got, s.Name)
			if s.Rank != i {
				t.Fatalf("%s has rank %d, want %d", s.Name, s.Rank, i)
			}
		}
		want := []string{"older", "same-age", "same-age", "ageless-first", "ageless-second", "ageless-third"}
		if !slices.Equal(got, want) || set.Secrets()[1].Namespace != "a" {
			t.Fatalf("order %v, want %v", got, want)
		}
		if len(ds) != 0 {
			t.Fatal(ds)
		}
		if digest != "" && digest != set.Digest() {
			t.Fatal("the digest depends on the order of adding")
		}
		digest = set.Digest()
	}
}

func TestFirstOfTwoDefinitionsWins(t *testing.T) {
	var b Builder
	b.Add(object(KindSecret, "n", "s", 0, "b.yaml", 0))
	b.Add(object(KindSecret, "n", "s", 0, "a.yaml", 3))
	b.Break(Broken{Key: Key{Kind: KindSecret, Namespace: "n", Name: "s"}})
	b.Break(Broken{Key: Key{Kind: KindSecret, Namespace: "n", Name: "gone"}})
	set, ds := b.Build()
	if got := set.Secret("n", "s").Place.File; got != "a.yaml" {
		t.Errorf("kept the one of %s", got)
	}
	if len(ds) != 1 || ds[0].Code != diag.DuplicateObject || ds[0].Position.File != "b.yaml" || !strings.Contains(ds[0].Message, "a.yaml:1") {
		t.Errorf("diagnostics %v", ds)
	}
	if len(set.Broken()) != 1 || set.Broken()[0].Name != "gone" {
		t.Errorf("broken %v: an object that is in the set is not broken", set.Broken())
	}
}

func TestNamespaces(t *testing.T) {
	var b Builder
	b.AssumeNamespaces = true
	b.Add(object(KindSecret, "shop", "s", 0, "a.yaml", 0))
	b.Add(&Namespace{Meta: Meta{Key: Key{Kind: KindNamespace, Name: "team"}, Labels: map[string]string{"a": "b"}}})
	set, _ := b.Build()
	var names []string
	for _, n := range set.Namespaces() {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "default shop team" {
		t.Errorf("namespaces %q", got)
	}
	labels, ok := set.NamespaceLabels("team")
	if !ok || labels["a"] != "b" || labels["kubernetes.io/metadata.name"] != "team" {
		t.Errorf("labels of team: %v", labels)
	}
	if labels, ok := set.NamespaceLabels("istio-system"); !ok || labels["kubernetes.io/metadata.name"] != "istio-system" {
		t.Errorf("a mentioned namespace exists: %v", labels)
	}
	var empty Builder
	strict, _ := empty.Build()
	if _, ok := strict.NamespaceLabels("istio-system"); ok {
		t.Error("without AssumeNamespaces no namespace is invented")
	}
}

func TestLocateTellsTheGatewaysApart(t *testing.T) {
	istioLines := linesOf(t, "kind: Gateway\nspec:\n  servers:\n  - port: {}\n")
	apiLines := linesOf(t, "kind: Gateway\nspec:\n  listeners:\n  - port: 1\n")
	var b Builder
	b.Add(&IstioGateway{Meta: Meta{Key: Key{GroupIstio, KindGateway, "n", "g"}, Place: Place{File: "i.yaml", Line: 1, Lines: istioLines}}, Spec: &istio.Gateway{}})
	b.Add(&Gateway{Meta: Meta{Key: Key{GroupGateway, KindGateway, "n", "g"}, Place: Place{File: "k.yaml", Line: 11, Lines: apiLines}}, Spec: &gatewayv1.GatewaySpec{}})
	set, ds := b.Build()
	if len(ds) != 0 || set.IstioGateway("n", "g") == nil || set.Gateway("n", "g") == nil {
		t.Fatal("two kinds named Gateway must not collide", ds)
	}
	obj := diag.Object{Kind: "Gateway", Namespace: "n", Name: "g"}
	for field, want := range map[string]string{"spec.listeners[0].port": "k.yaml:14", "spec.servers[0].port": "i.yaml:4"} {
		if got := set.Locate(obj, field).String(); got != want {
			t.Errorf("Locate(%s) = %s, want %s", field, got, want)
		}
	}
	placed := set.Place([]diag.Diagnostic{diag.New(diag.BadValue, obj, "spec.listeners[0]", "m", "f")})
	if placed[0].Position.String() != "k.yaml:14" {
		t.Errorf("Place: %v", placed[0].Position)
	}
	if got := set.Locate(diag.Object{Kind: "Gateway", Name: "other"}, "spec"); got != (diag.Position{}) {
		t.Errorf("unknown object at %v", got)
	}
	if len(set.ObjectVersions()) != 2 {
		t.Errorf("versions %v", set.ObjectVersions())
	}
}

func TestSecretFieldsAreFoundInStringData(t *testing.T) {
	s := &Secret{Meta: Meta{Key: Key{Kind: KindSecret}, Place: Place{File: "f", Line: 1,
		Lines: linesOf(t, "kind: Secret\ndata:\n  a: eA==\nstringData:\n  tls.crt: x\n")}}}
	if got := s.At("data[tls.crt]").Line; got != 5 {
		t.Errorf("line %d", got)
	}
	if got := s.At("data[a]").Line; got != 3 {
		t.Errorf("line %d", got)
	}
}

func TestSensitiveIsNeverPrinted(t *testing.T) {
	secret := Secret{Data: map[string]Sensitive{"k": Sensitive("geheim")}}
	var outs []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		outs = append(outs, fmt.Sprintf(verb, secret.Data), fmt.Sprintf(verb, secret.Data["k"]), fmt.Sprintf(verb, secret))
	}
	j, err := json.Marshal(secret.Data)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.Marshal(secret.Data)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", secret.Data["k"], "m", secret.Data)
	outs = append(outs, string(j), string(y), log.String())
	for _, o := range outs {
		if strings.Contains(o, "geheim") || strings.Contains(o, "67656865696d") || strings.Contains(o, "103 101") || strings.Contains(o, "0x67") || strings.Contains(o, "Z2VoZWlt") {
			t.Errorf("leak: %s", o)
		}
	}
}
