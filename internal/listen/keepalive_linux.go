package listen

import (
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inheritKeepAlive sets keep-alive probes on a listening socket, from which accepted connections have them on
// Linux: four system calls less for each.
func inheritKeepAlive(idle time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var result error
		err := c.Control(func(fd uintptr) {
			set := func(level, option, value int) error { return unix.SetsockoptInt(int(fd), level, option, value) }
			result = errors.Join(set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1), set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, max(int(idle/time.Second), 1)),
				set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15), set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4))
		})
		return errors.Join(err, result)
	}
}
