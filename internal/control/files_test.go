package control

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFilesOfManifests reads what manifests name: they may name anything.
func TestFilesOfManifests(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, size := range map[string]int{"good": 3, "large": maxFile + 1} {
		if err := os.WriteFile(path(name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", path("endless")); err != nil {
		t.Fatal(err)
	}
	f := new(files)
	got := f.read([]string{path("good"), path("large"), path("pipe"), path("endless"), path("none"), dir})
	if len(got) != 1 || len(got[path("good")]) != 3 {
		t.Errorf("%d files were read", len(got))
	}
	if f.gone(path("pipe")) || f.gone(path("large")) || !f.gone(path("none")) {
		t.Error("what is there counts as gone, or the reverse")
	}
}
