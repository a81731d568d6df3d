//go:build !linux

package upstream

import (
	"io"
	"syscall"
)

// readNow reads from a socket, which the runtime keeps in non-blocking mode, without waiting.
func readNow(fd uintptr, p []byte) (int, error) {
	n, err := syscall.Read(int(fd), p)
	switch {
	case err == syscall.EAGAIN:
		return 0, errNothing{}
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
