//go:build !unix

package listen

import (
	"errors"
	"net"
)

// peekBytes cannot be done on this system.
func peekBytes(*net.TCPConn, []byte, int) (int, error) { return 0, errors.ErrUnsupported }
