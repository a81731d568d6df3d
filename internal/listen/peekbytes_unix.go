//go:build unix

package listen

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peekBytes waits until more than have bytes are there and copies what fits into b without reading it. At
// the end of the connection it returns io.EOF.
func peekBytes(tcp *net.TCPConn, b []byte, have int) (n int, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var result error
	err = raw.Read(func(fd uintptr) bool {
		for {
			var e error
			n, _, e = unix.Recvfrom(int(fd), b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
			switch {
			case e == unix.EINTR:
				continue
			case e == unix.EAGAIN:
				return false
			case e != nil:
				result = os.NewSyscallError("recvfrom", e)
			case n == 0:
				result = io.EOF
			case n <= have && !ended(fd):
				return false // nothing new
			case n <= have:
				result = io.EOF
			}
			return true
		}
	})
	if err != nil {
		return 0, err
	}
	return n, result
}

// ended reports whether the peer sends nothing more.
func ended(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: pollEnd}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(pollEnd|unix.POLLHUP|unix.POLLERR) != 0
}
