package listen

import "golang.org/x/sys/unix"

// pollEnd is the event of a peer that has ended its sending direction.
const pollEnd = unix.POLLRDHUP
