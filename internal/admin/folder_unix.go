//go:build unix

package admin

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkFolder refuses a folder in which another user could replace the socket: one that everyone may
// write to without the sticky bit, and, where nobody chose it (below the temporary folder), one that is
// not this user's. A folder that somebody names is theirs to judge.
func checkFolder(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o002 != 0 && st.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("everyone may write to folder %s", dir)
	}
	if filepath.Clean(dir) != sharedFolder() {
		return nil
	}
	link, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && (int(sys.Uid) != os.Geteuid() || !link.IsDir()) {
		return fmt.Errorf("folder %s belongs to another user (uid %d)", dir, sys.Uid)
	}
	return nil
}
