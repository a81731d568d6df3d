package tcpproxy

import "golang.org/x/sys/unix"

// pipeSize is what a pipe should hold, in bytes; the kernel gives less to users beyond their quota.
const pipeSize = 256 << 10

// openPipe makes a pipe, nil if the system gives none.
func openPipe() *pipe {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	p := &pipe{r: fds[0], w: fds[1]}
	size, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize)
	if err != nil {
		size, err = unix.FcntlInt(uintptr(p.w), unix.F_GETPIPE_SZ, 0)
	}
	if err != nil || size <= 0 {
		size = 4 << 10
	}
	p.size = size
	return p
}

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}
