//go:build !linux

package listen

import (
	"syscall"
	"time"
)

// inheritKeepAlive is for Linux alone; elsewhere each connection is set.
func inheritKeepAlive(time.Duration) func(network, address string, c syscall.RawConn) error {
	return nil
}
