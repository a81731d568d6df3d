package istio

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
	"github.com/hakone-gateway/hakone/internal/translate/credential"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata/*.txtar")

// TestGolden reads each testdata/*.txtar: a sentence on the rule, then
//
//	input.yaml    manifests
//	secrets       lines "namespace/name entry=file…": Secrets made of testdata/certs
//	context       lines "namespace NAME", "labels K=V", "endpoint NAME=ADDRESS", "file PATH=file", "complete"
//	fragment      golden: what the translator yields
//	diagnostics   golden
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d goldens, %v", len(files), err)
	}
	for _, file := range files {
		if filepath.Base(file) == "certs" {
			continue
		}
		name, ok := strings.CutSuffix(filepath.Base(file), ".txtar")
		if !ok {
			t.Errorf("%s belongs to no test", file)
			continue
		}
		t.Run(name, func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(archive.Comment)) == "" {
		t.Error("the golden has no sentence on its rule")
	}
	parts := map[string]string{}
	for _, f := range archive.Files {
		if !slices.Contains([]string{"input.yaml", "secrets", "context", "fragment", "diagnostics"}, f.Name) || parts[f.Name] != "" {
			t.Fatalf("part %q is not known, or there twice", f.Name)
		}
		parts[f.Name] = string(f.Data)
	}
	fragment, diagnostics := translateCase(t, parts)
	if again, _ := translateCase(t, parts); again != fragment {
		t.Error("a second translation differs")
	}
	if *update {
		archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "fragment" || f.Name == "diagnostics" })
		archive.Files = append(archive.Files, txtar.File{Name: "diagnostics", Data: []byte(diagnostics)}, txtar.File{Name: "fragment", Data: []byte(fragment)})
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diagnostics != parts["diagnostics"] {
		t.Errorf("diagnostics\n%s\nwant\n%s", diagnostics, parts["diagnostics"])
	}
	if fragment != parts["fragment"] {
		t.Errorf("fragment\n%s\nwant\n%s", fragment, parts["fragment"])
	}
}

// translateCase returns the dump of the fragment and its diagnostics.
func translateCase(t *testing.T, parts map[string]string) (string, string) {
	t.Helper()
	set, bad := manifest.Set(map[string]string{"input.yaml": parts["input.yaml"], "secrets.yaml": secrets(t, parts["secrets"])})
	f := Translate(set, readContext(t, parts["context"]), credential.NewCache())
	var diagnostics strings.Builder
	for _, d := range append(bad, set.Place(f.Diagnostics)...) {
		fmt.Fprintln(&diagnostics, d)
	}
	return dump(t, f), diagnostics.String()
}

// dump writes the fragment as YAML: references and fingerprints, never keys.
func dump(t *testing.T, f *translate.Fragment) string {
	t.Helper()
	s := ir.Snapshot{Config: &ir.Config{}, Endpoints: &ir.Endpoints{}, Secrets: &ir.Secrets{ByRef: f.Secrets}, Trust: &ir.Trust{ByRef: f.Trust}}
	d := s.Dump()
	parts := map[string]any{"listeners": f.Listeners, "upstreams": f.Upstreams, "endpoints": f.Endpoints,
		"secrets": d.Secrets.Credentials, "trust": d.Trust.Bundles}
	if len(f.Proxies) > 0 {
		parts["proxies"] = f.Proxies
	}
	if len(f.Known) > 0 {
		parts["known"] = f.Known
	}
	if len(f.Outbound) > 0 {
		parts["outbound"] = f.Outbound
	}
	text, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	out, err := yaml.JSONToYAML(text)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "PRIVATE") {
		t.Error("the dump holds a key")
	}
	return string(out)
}

func cert(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "certs", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// secrets makes Secret manifests. An entry without "=" is empty; "a+b" concatenates files; "@text" is
// the text itself.
func secrets(t *testing.T, lines string) string {
	t.Helper()
	var docs []string
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		kind, name := "Secret", fields[0]
		if rest, ok := strings.CutPrefix(name, "configmap:"); ok {
			kind, name = "ConfigMap", rest
		}
		ns, name, _ := strings.Cut(name, "/")
		data := map[string]string{}
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(f, "=")
			for part := range strings.SplitSeq(v, "+") {
				if text, ok := strings.CutPrefix(part, "@"); ok {
					data[k] += text
				} else if part != "" {
					data[k] += string(cert(t, part))
				}
			}
		}
		field := map[string]string{"Secret": "stringData", "ConfigMap": "data"}[kind]
		doc, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]string{"name": name, "namespace": ns}, field: data})
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, string(doc))
	}
	return strings.Join(docs, "---\n")
}

func readContext(t *testing.T, lines string) translate.Context {
	t.Helper()
	ctx := translate.Context{Namespace: "istio-system", Labels: map[string]string{"istio": "ingressgateway"}, EndpointFlags: map[string][]string{}, Files: map[string][]byte{}}
	for line := range strings.Lines(lines) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		k, v, _ := strings.Cut(rest, "=")
		switch word {
		case "namespace":
			ctx.Namespace = rest
		case "labels":
			ctx.Labels = map[string]string{k: v}
		case "endpoint":
			ctx.EndpointFlags[k] = append(ctx.EndpointFlags[k], v)
		case "file":
			ctx.Files[k] = cert(t, v)
		case "complete":
			ctx.Complete = true
		default:
			t.Fatalf("context line %q", line)
		}
	}
	return ctx
}
