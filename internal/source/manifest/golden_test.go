package manifest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden reads each testdata/*.txtar: a sentence on the rule, input files, and what comes of them
// in "diagnostics" and "objects".
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d goldens, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(strings.TrimSpace(string(archive.Comment))) == 0 {
				t.Error("the golden has no sentence on its rule")
			}
			texts := map[string]string{}
			want := map[string]string{}
			var inputs []txtar.File
			for _, f := range archive.Files {
				if f.Name == "diagnostics" || f.Name == "objects" {
					want[f.Name] = string(f.Data)
					continue
				}
				inputs = append(inputs, f)
				texts[f.Name] = string(f.Data)
			}
			set, ds := Set(texts)
			var diagnostics, objects strings.Builder
			for _, d := range ds {
				fmt.Fprintln(&diagnostics, d)
			}
			for _, r := range set.All() {
				fmt.Fprintf(&objects, "%s  %s\n", r.Info().Key, r.Info().Position())
			}
			for _, b := range set.Broken() {
				fmt.Fprintf(&objects, "broken %s  %s %s\n", b.Key, b.Position, b.Code)
			}
			if *update {
				archive.Files = append(inputs,
					txtar.File{Name: "diagnostics", Data: []byte(diagnostics.String())},
					txtar.File{Name: "objects", Data: []byte(objects.String())})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got := diagnostics.String(); got != want["diagnostics"] {
				t.Errorf("diagnostics\n%s\nwant\n%s", got, want["diagnostics"])
			}
			if got := objects.String(); got != want["objects"] {
				t.Errorf("objects\n%s\nwant\n%s", got, want["objects"])
			}
		})
	}
}
