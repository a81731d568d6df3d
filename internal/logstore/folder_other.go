//go:build !unix

package logstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrLocked says that another process writes to the folder.
var ErrLocked = errors.New("another process keeps its logs there")

// lockFolder has no lock that ends with the process on this system.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the log store: %w", err)
	}
	return f, nil
}

// isFull cannot tell on this system.
func isFull(error) bool { return false }
