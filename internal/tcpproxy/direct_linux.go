package tcpproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// canSplice says that runDirect exists here.
const canSplice = true

// kernel is what a flow between sockets holds: nothing while it waits for bytes, so that idle connections
// cost neither pipes nor buffers.
type kernel struct {
	busy   bool // the last turn filled its buffer: the next one splices
	never  bool // the sockets cannot be spliced
	pipe   *pipe
	inPipe int     // bytes in pipe
	buf    *[]byte // of a turn that copies
	n, at  int     // bytes in buf, and those of them that were written

	sink   bool // take what src has into buf only: dst is no socket
	result error
}

// runDirect moves bytes out of a TCP connection.
func (f *flow) runDirect() {
	defer f.drop()
	f.sink = f.dst.tcp == nil
	fill, empty := f.fill, f.empty // bound once
	for {
		f.result = nil
		if err := f.src.raw.Read(fill); err != nil || f.result != nil {
			if err == nil {
				err = f.result
			}
			if errors.Is(err, io.EOF) {
				f.ended()
				return
			}
			f.r.failed(f.src, err)
			return
		}
		if f.sink {
			if !f.send((*f.buf)[:f.n]) {
				return
			}
			f.n, f.at = 0, 0
			continue
		}
		err := f.dst.raw.Write(empty)
		if err == nil {
			err = f.result
		}
		if f.blocked.Load() != 0 {
			f.blocked.Store(0)
		}
		if err != nil {
			f.r.broken(f.dst, err)
			return
		}
	}
}

// drop gives back what the flow holds. A pipe with bytes in it is of no use to others.
func (f *flow) drop() {
	if f.pipe != nil {
		f.r.opts.Pipes.put(f.pipe, f.inPipe == 0)
		f.pipe = nil
	}
	f.putBuf()
}

func (f *flow) putBuf() {
	if f.buf != nil {
		putBuffer(f.buf)
		f.buf = nil
	}
}

// fill takes what the source has, into the pipe while the flow is busy, else into a buffer. It returns false
// to wait for more, and holds nothing then.
func (f *flow) fill(fd uintptr) bool {
	if f.busy && !f.never && !f.sink {
		if f.pipe == nil {
			f.pipe = f.r.opts.Pipes.get()
		}
		if f.pipe != nil {
			return f.fillPipe(int(fd))
		}
	}
	if f.buf == nil {
		f.buf = getBuffer()
	}
	for {
		n, err := readNow(fd, *f.buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			f.drop()
			return false
		case err != nil:
			f.result = os.NewSyscallError("read", err)
		case n == 0:
			f.result = io.EOF
		default:
			f.n, f.at = n, 0
			f.busy = n == len(*f.buf)
		}
		return true
	}
}

func (f *flow) fillPipe(fd int) bool {
	for {
		n, err := unix.Splice(fd, nil, f.pipe.w, nil, f.pipe.size, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			f.drop()
			return false
		case err == unix.EINVAL || err == unix.ENOSYS:
			f.never = true
			f.drop()
			return f.fill(uintptr(fd))
		case err != nil:
			f.result = os.NewSyscallError("splice", err)
		case n == 0:
			f.result = io.EOF
		default:
			f.inPipe = int(n)
			f.busy = n >= busyBytes
		}
		return true
	}
}

// empty writes what fill has taken. It returns false to wait until the destination takes more.
func (f *flow) empty(fd uintptr) bool {
	for f.inPipe > 0 || f.at < f.n {
		var n int
		var err error
		if f.inPipe > 0 {
			var m int64
			m, err = unix.Splice(f.pipe.r, nil, int(fd), nil, f.inPipe, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
			n = int(m)
		} else {
			n, err = writeNow(fd, (*f.buf)[f.at:f.n])
		}
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			if f.blocked.Load() == 0 {
				f.blocked.Store(max(f.r.now(), 1))
			}
			return false
		case err != nil:
			f.result = os.NewSyscallError("write", err)
			return true
		case n <= 0:
			f.result = io.ErrShortWrite
			return true
		case f.inPipe > 0:
			f.inPipe -= n
		default:
			f.at += n
		}
		f.moved(int64(n))
	}
	return true
}

// readNow reads from a socket that does not block, without telling the scheduler: with one processor, each call
// that it is told of wakes the runtime's monitor out of its sleep, which costs more than the bytes of a handshake.
// p must not be empty.
func readNow(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// writeNow is readNow for writing.
func writeNow(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// awaitSent waits until the peer has acknowledged what was written, at most for d: closing with RST throws
// away what has not left.
func awaitSent(tcp *net.TCPConn, d time.Duration) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	for until := time.Now().Add(d); unsent(raw) && time.Now().Before(until); {
		time.Sleep(2 * time.Millisecond)
	}
}

// unsent reports whether bytes wait in the socket.
func unsent(raw syscall.RawConn) bool {
	waiting := 0
	err := raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			waiting = n
		}
	})
	return err == nil && waiting > 0
}
