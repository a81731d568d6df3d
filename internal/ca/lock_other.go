//go:build !unix

package ca

import (
	"errors"
	"io/fs"
	"os"
)

// tryLock takes the lock or reports that it is held. Where the system has no file locks it is the
// existence of the file, which a process that is killed leaves behind.
func tryLock(path string) (release func(), held bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		return func() { _ = f.Close(); _ = os.Remove(path) }, false, nil
	case errors.Is(err, fs.ErrExist):
		return nil, true, nil
	}
	return nil, false, err
}
