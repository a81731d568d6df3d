// Package golden runs tests whose cases are txtar files: a sentence on the rule, the input, and what
// must come of it. It also makes certificates that are the same in every run, so that goldens can hold
// their fingerprints.
//
// It is for tests only. Begin reading at Run and Fill.
package golden

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// Case is one golden file: its comment, and its input sections by name with placeholders filled in.
type Case struct {
	Comment string
	Inputs  map[string]string
}

// Run calls f for each testdata/*.txtar and compares what it returns with the sections named. With
// update it rewrites them. Any other file in testdata, a file without a comment and a section that is
// returned under no name of sections are errors; so are fewer than least cases.
func Run(t *testing.T, update bool, least int, sections []string, f func(t *testing.T, c Case) map[string]string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*")
	if err != nil || len(files) < least {
		t.Fatalf("%d goldens, want at least %d: %v", len(files), least, err)
	}
	for _, file := range files {
		name, isGolden := strings.CutSuffix(filepath.Base(file), ".txtar")
		if !isGolden {
			t.Errorf("%s belongs to no test", file)
			continue
		}
		t.Run(name, func(t *testing.T) { run(t, update, file, sections, f) })
	}
}

func run(t *testing.T, update bool, file string, sections []string, f func(t *testing.T, c Case) map[string]string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := Case{Comment: string(archive.Comment), Inputs: map[string]string{}}
	if strings.TrimSpace(c.Comment) == "" {
		t.Error("the golden has no sentence on its rule")
	}
	want := map[string]string{}
	var inputs []txtar.File
	for _, part := range archive.Files {
		if slices.Contains(sections, part.Name) {
			want[part.Name] = string(part.Data)
			continue
		}
		if _, twice := c.Inputs[part.Name]; twice {
			t.Errorf("section %q is there twice", part.Name)
		}
		c.Inputs[part.Name] = Fill(string(part.Data))
		inputs = append(inputs, part)
	}
	got := f(t, c)
	for name, text := range got {
		if !slices.Contains(sections, name) {
			t.Errorf("section %q is not known", name)
		}
		if strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("section %q shows a key", name)
		}
	}
	if update {
		for _, s := range sections {
			inputs = append(inputs, txtar.File{Name: s, Data: []byte(got[s])})
		}
		archive.Files = inputs
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, s := range sections {
		if got[s] != want[s] {
			t.Errorf("%s\n%s\nwant\n%s", s, got[s], want[s])
		}
	}
}
