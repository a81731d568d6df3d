package file

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// Keys are nobody's to read but the owner's and the group's, whatever mode the file has that they go into.
func TestSecretsAreNotForEverybody(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ManagedSecrets)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil { // whatever the umask says
		t.Fatal(err)
	}
	doc := Document{Key: resource.Key{Kind: resource.KindSecret, Namespace: "edge", Name: "a"},
		YAML: []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: edge}\ndata: {}\n")}
	if err := Replace(dir, []Document{doc}); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o640 {
		t.Errorf("mode %04o", st.Mode().Perm())
	}
}
