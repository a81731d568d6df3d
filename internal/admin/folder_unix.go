//go:build unix

package admin

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkFolder refuses a folder in which another user could replace the socket: one that belongs to
// neither this user nor root, or that everyone may write to without the sticky bit.
func checkFolder(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("folder %s belongs to another user (uid %d)", dir, sys.Uid)
	}
	if st.Mode().Perm()&0o002 != 0 && st.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("everyone may write to folder %s", dir)
	}
	return nil
}
