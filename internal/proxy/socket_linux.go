package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp reports whether the peer has shut down its sending side or reset the connection, without
// reading: bytes of the next request may be waiting.
func hungUp(tcp *net.TCPConn) bool {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil
}

// readPlain waits until the client of a plain connection has sent something, and only then takes
// buffers and reads into it: as frugal as the one-byte read, and one system call less. It returns nil
// at the end of the connection. ok is false if the connection cannot be read in this way.
func (c *conn) readPlain() (h *http1Client, ok bool) {
	if c.d.TLS != nil || c.d.Stream != nil || c.d.Raw.Pending() > 0 || c.d.Raw.Parent() != nil {
		return nil, false
	}
	if c.plain == nil {
		raw, err := c.d.Raw.TCP().SyscallConn()
		if err != nil {
			return nil, false
		}
		c.plain = &plainReader{raw: raw}
		c.plain.try = func(fd uintptr) bool { return c.plain.read(c.client.p, int(fd)) }
	}
	c.plain.h = nil
	if err := c.plain.raw.Read(c.plain.try); err != nil {
		return nil, true
	}
	return c.plain.h, true
}

// plainReader reads from a socket without waiting. It belongs to the connection's goroutine.
type plainReader struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	h   *http1Client
}

// read returns false if there is nothing to read yet.
func (r *plainReader) read(p *Proxy, fd int) bool {
	h := p.spare.client()
	for {
		n, err := unix.Read(fd, h.in)
		switch {
		case err == unix.EINTR:
			continue
		case n > 0:
			r.h, h.filled = h, n
			return true
		}
		p.spare.putClient(h)
		return err != unix.EAGAIN
	}
}
