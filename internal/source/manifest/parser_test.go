package manifest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"# only\n---\n\n--- # words\n...\n": "",
		"a: 1":                              "1:a: 1",
		"a: 1\n---\nb: 2\n":                 "1:a: 1\n|2:\nb: 2\n",
		"---\na: |\n  ---\n  x\n---\nb: 2":  "1:\na: |\n  ---\n  x\n|5:\nb: 2",
		"a: 1\r\n---\r\nb: 2\r\n":           "1:a: 1\r\n|2:\r\nb: 2\r\n",
		"\xef\xbb\xbfa: 1\n...\nb: 2":       "1:a: 1\n|3:b: 2",
		"%YAML 1.2\n---\na: 1":              "2:\na: 1",
		"--- {a: 1}\n---b: 2\n":             "1: {a: 1}\n---b: 2\n",
		"-----BEGIN X-----":                 "1:-----BEGIN X-----",
	} {
		chunks, ds := Split("x.yaml", []byte(text))
		var got []string
		for _, c := range chunks {
			got = append(got, fmt.Sprintf("%d:%s", c.Line, c.Text))
		}
		if strings.Join(got, "|") != want || len(ds) != 0 {
			t.Errorf("Split(%q) = %q %v, want %q", text, strings.Join(got, "|"), ds, want)
		}
	}
	if _, ds := Split("x.yaml", []byte("\xff\xfea\x00")); len(ds) != 1 || !strings.Contains(ds[0].Message, "UTF-16") {
		t.Errorf("UTF-16: %v", ds)
	}
	if chunks, ds := Split("x.yaml", []byte(strings.Repeat("---\na: 1\n", maxDocuments+2))); len(chunks) != maxDocuments || len(ds) != 1 {
		t.Errorf("%d documents, %v", len(chunks), ds)
	}
}

// Bombs must be refused quickly and with a diagnostic, not eat memory.
func TestBombsAreRefused(t *testing.T) {
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := range 12 {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", 'b'+i, 'b'+i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", 'a'+i), 9), ","))
	}
	merges := "m0: &m0 {k: v}\n"
	for i := range 30 {
		merges += fmt.Sprintf("m%d: &m%d {<<: [*m%d, *m%d], k%d: *m%d}\n", i+1, i+1, i, i, i, i)
	}
	for name, text := range map[string]string{
		"laughs":  laughs,
		"merges":  merges,
		"cycle":   "a: &a [*a]\n",
		"selfmap": "a: &a {b: *a, <<: *a}\n",
		"deep":    strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"deeper":  strings.Repeat("[", 2_000_000),
		"blocks":  strings.Repeat("- ", 20_000) + "x",
	} {
		start := time.Now()
		_, ds := Set(map[string]string{"x.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n" + text})
		if len(ds) != 1 || ds[0].Code != diag.YAMLSyntax || ds[0].Position.Line < 4 {
			t.Errorf("%s: %v", name, ds)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %v", name, d)
		}
	}
	_, ds := Set(map[string]string{"x.json": strings.Repeat(`{"a":`, 5000)})
	if len(ds) != 1 || ds[0].Code != diag.YAMLSyntax {
		t.Errorf("json: %v", ds)
	}
}

func TestSecretValuesAreNeverShown(t *testing.T) {
	const secret = "geheim0815"
	for _, text := range []string{
		"data: {k: %s, j: \"%s*\"}", "stringData: {k: [%s]}", "data: {k: 0815, j: {a: %s}}", "stringData:\n\tk: %s", "data: {k: %s", "data:\n  k: \"%s\n",
		"type: {a: %s}", "data: %s", "stringData: {k: &a %s, j: *b}", "stringData: {k: !x %s}",
	} {
		text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n" + strings.ReplaceAll(text, "%s", secret)
		set, ds := Set(map[string]string{"x.yaml": text})
		out := fmt.Sprintf("%v %+v", ds, set.All())
		if strings.Contains(out, secret) && !strings.Contains(text, "type:") && !strings.Contains(text, "data: "+secret) {
			t.Errorf("%s\nshows it: %v", text, ds)
		}
	}
}

func TestVersionFollowsContentOnly(t *testing.T) {
	version := func(text string) string {
		set, ds := Set(map[string]string{"x.yaml": text})
		if len(ds) != 0 || set.Len() != 1 {
			t.Fatal(ds)
		}
		return set.All()[0].Info().Version
	}
	const base = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, labels: {a: b}}\nspec: {servers: [{port: {number: 443, name: web, protocol: HTTPS}, hosts: [a], tls: {credentialName: c}}]}\n"
	same := version(base)
	for _, text := range []string{
		"# comment\n" + base,
		strings.Replace(base, "credentialName", "credential_name", 1),
		strings.Replace(base, "443", "0x1BB", 1),
		strings.Replace(base, "number: 443, name: web", "name: \"web\", number: 443", 1),
		strings.Replace(base, "/v1\n", "/v1alpha3\n", 1),
		strings.Replace(base, "name: g", "name: g, resourceVersion: \"7\", uid: x", 1),
		base + "status: {x: y}\n",
	} {
		if version(text) != same {
			t.Errorf("the version differs for\n%s", text)
		}
	}
	for _, text := range []string{
		strings.Replace(base, "443", "444", 1), strings.Replace(base, "a: b", "a: c", 1), strings.Replace(base, "hosts: [a]", "hosts: [a, b]", 1),
	} {
		if version(text) == same {
			t.Errorf("the version is the same for\n%s", text)
		}
	}
}

// What we hand to the decoders is what the Kubernetes YAML reader makes of the same text.
func TestJSONAgreesWithTheKubernetesReader(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/clean.txtar")
	if err != nil {
		t.Fatal(err)
	}
	p := NewParser()
	compared := 0
	for _, f := range archive.Files {
		if !strings.HasPrefix(f.Name, "gatewayapi") && !strings.HasPrefix(f.Name, "other") {
			continue
		}
		chunks, _ := Split(f.Name, f.Data)
		for _, c := range chunks {
			root, bad := parseYAML(c.Text)
			if bad != nil {
				t.Fatal(bad)
			}
			root, _ = normalize(root)
			group, _, slash := strings.Cut(textOf(child(root, "apiVersion")), "/")
			if !slash {
				group = ""
			}
			spec := p.kinds[groupKind{group, textOf(child(root, "kind"))}]
			theirs, err := sigsyaml.YAMLToJSONStrict(c.Text)
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if err := json.Unmarshal(appendJSON(nil, root, spec.root), &a); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(theirs, &b); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s\n%v\n%v", f.Name, a, b)
			}
			compared++
		}
	}
	if compared < 8 {
		t.Errorf("compared %d documents", compared)
	}
}

// Shapes must say what the CRDs of the Gateway API say: which fields there are, which are required,
// which values are allowed.
func TestShapesAgreeWithTheGatewayAPICRDs(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	p := NewParser()
	for kind, plural := range map[string]string{"Gateway": "gateways", "GatewayClass": "gatewayclasses", "HTTPRoute": "httproutes", "ReferenceGrant": "referencegrants"} {
		root := p.kinds[groupKind{resource.GroupGateway, kind}].root
		compareWithCRD(t, filepath.Join(strings.TrimSpace(string(out)), "config/crd/experimental", "gateway.networking.k8s.io_"+plural+".yaml"), "v1", root)
	}
	for kind, plural := range map[string]string{"TLSPolicy": "tlspolicies", "ClientCertificatePolicy": "clientcertificatepolicies", "EdgeHost": "edgehosts", "OriginPool": "originpools", "OriginPull": "originpulls",
		"UpstreamProxy": "upstreamproxies", "ForwardProxy": "forwardproxies", "CachePolicy": "cachepolicies"} {
		compareWithCRD(t, "../../../api/v1alpha1/crd/hakone.dev_"+plural+".yaml", "v1alpha1", p.kinds[groupKind{resource.GroupHakone, kind}].root)
	}
}

type schema struct {
	Properties           map[string]*schema
	Required             []string
	Enum                 []any
	Items                *schema
	AdditionalProperties any
	Minimum, Maximum     *float64
}

func compareWithCRD(t *testing.T, file, version string, root *shape) {
	t.Helper()
	set := struct {
		Spec struct {
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema *schema `yaml:"openAPIV3Schema"`
				}
			}
		}
	}{}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	for _, v := range set.Spec.Versions {
		if v.Name == version {
			compareSchema(t, filepath.Base(file)+" spec", v.Schema.OpenAPIV3Schema.Properties["spec"], root.byName["spec"].shape)
			return
		}
	}
	t.Errorf("%s has no version %s", file, version)
}

func compareSchema(t *testing.T, at string, want *schema, got *shape) {
	t.Helper()
	if want.Enum != nil {
		var enum []string
		for _, v := range want.Enum {
			enum = append(enum, fmt.Sprint(v))
		}
		slices.Sort(enum)
		if mine := slices.Sorted(slices.Values(got.enum)); !slices.Equal(mine, enum) {
			t.Errorf("%s: values %v, CRD %v", at, mine, enum)
		}
	}
	if got.form == formInt && (want.Minimum != nil && float64(got.min) != *want.Minimum || want.Maximum != nil && float64(got.max) != *want.Maximum) {
		t.Errorf("%s: bounds %d to %d differ from the CRD's", at, got.min, got.max)
	}
	if want.Items != nil {
		compareSchema(t, at+"[]", want.Items, got.elem)
	}
	if want.Properties == nil || got.form != formObject {
		return
	}
	for name, w := range want.Properties {
		f := got.byName[name]
		if f == nil {
			t.Errorf("%s: no field %s", at, name)
			continue
		}
		if f.required != slices.Contains(want.Required, name) {
			t.Errorf("%s.%s: required %v", at, name, f.required)
		}
		compareSchema(t, at+"."+name, w, f.shape)
	}
	for _, f := range got.fields {
		if want.Properties[f.name] == nil {
			t.Errorf("%s: field %s is not in the CRD", at, f.name)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"credentialNmae": "credentialName", "credential_name": "credentialName", "CREDENTIALNAME": "credentialName",
		"hots": "hosts", "host": "hosts", "xyzzy": "", "match": "matches", "": "", "1.4": "", "ab": "",
	} {
		if got := nearest(word, []string{"hosts", "credentialName", "matches", "1.3", "cd"}); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzParse checks that no text makes the parser panic, and that what passes the check against the
// shapes is always understood by the upstream decoders.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, a := range archive.Files {
			f.Add(a.Data, strings.HasSuffix(a.Name, ".json"))
		}
	}
	f.Add([]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"ports":[{"port":1,"targetPort":8.1}]}}`), true)
	p := NewParser()
	f.Fuzz(func(t *testing.T, text []byte, isJSON bool) {
		name := "x.yaml"
		if isJSON {
			name = "x.json"
		}
		chunks, _ := Split(name, text)
		b := &resource.Builder{AssumeNamespaces: true}
		for _, c := range chunks {
			parsed := p.Parse(c)
			for _, d := range parsed.AddTo(b, name, c.Line, 0) {
				if strings.Contains(d.Message, "cannot be read:") {
					t.Errorf("passed the check, but: %v", d)
				}
				if d.Position.Line < 1 || d.Message == "" {
					t.Errorf("diagnostic without place or words: %+v", d)
				}
			}
		}
		b.Build()
	})
}
