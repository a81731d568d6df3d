//go:build unix

package ca

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock or reports that it is held. The kernel releases it when the process ends.
func tryLock(path string) (release func(), held bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return func() { _ = f.Close() }, false, nil
	case errors.Is(err, syscall.EWOULDBLOCK), errors.Is(err, syscall.EINTR):
		return nil, true, f.Close()
	}
	return nil, false, errors.Join(err, f.Close())
}
