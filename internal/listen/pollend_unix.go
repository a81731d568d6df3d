//go:build unix && !linux

package listen

import "golang.org/x/sys/unix"

// pollEnd is the event of a connection that has ended; there is none for its one direction.
const pollEnd = unix.POLLHUP
