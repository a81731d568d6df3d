package admin

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestSharedFolder puts the socket below the temporary folder, where others may be first.
func TestSharedFolder(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	own := filepath.Join(tmp, "hakone-1", "admin.sock")
	ln, err := Listen("unix:" + own)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	open := filepath.Join(tmp, "hakone-2")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.Symlink(open, filepath.Join(tmp, "hakone-3"))); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"hakone-2", "hakone-3"} {
		path := filepath.Join(tmp, dir, "admin.sock")
		if ln, err := Listen("unix:" + path); err == nil {
			ln.Close()
			t.Errorf("listens in %s, where others can write", dir)
		}
		if err := NewClient("unix:"+path, "", nil).Get(t.Context(), "/status", nil); !errors.Is(err, ErrUnreachable) {
			t.Errorf("asks in %s: %v", dir, err)
		}
	}
	if os.Geteuid() == 0 {
		foreign := filepath.Join(tmp, "hakone-0") // the name that root's own would have
		if err := errors.Join(os.Mkdir(foreign, 0o700), os.Chown(foreign, 1, 1)); err != nil {
			t.Fatal(err)
		}
		if ln, err := Listen("unix:" + filepath.Join(foreign, "admin.sock")); err == nil {
			ln.Close()
			t.Error("listens in another user's folder")
		}
	}
}
