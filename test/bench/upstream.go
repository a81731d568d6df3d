//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Paths that the upstream answers; every other path is answered like pathSmall.
const (
	pathSmall = "/1k"
	pathBulk  = "/10m"
	pathHead  = "/head"  // the request head as it arrived
	pathStats = "/stats" // counters, not counted themselves
)

const (
	smallBytes = 1 << 10
	bulkBytes  = 10 << 20
)

// counts is what the upstream has served since it started.
type counts struct {
	Conns    uint64 // accepted
	Requests uint64
	Bytes    uint64 // of answers, written
}

func (c counts) String() string { return fmt.Sprintf("%d %d %d", c.Conns, c.Requests, c.Bytes) }

// body returns n bytes that compress badly and tell truncation from corruption.
func body(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[x&63]
	}
	return b
}

func answer(b []byte) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(b))
	return append([]byte(head), b...)
}

// epollUpstream is an HTTP/1.1 server of one thread on raw system calls: it must never be what bounds
// a measurement. It trusts its clients.
type epollUpstream struct {
	small, bulk []byte
	conns       map[int32]*epollConn
	epoll       int
	listener    int32
	n           counts
	in          []byte
}

type epollConn struct {
	held []byte // an incomplete head
	skip int    // bytes of a request body still to come
	out  []byte // bytes of the answer still to be written
}

// runUpstream serves plain HTTP/1.1 on a port of its own, which it prints, until the process is ended.
func runUpstream() error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // it allocates per connection only
	u := &epollUpstream{small: answer(body(smallBytes)), bulk: answer(body(bulkBytes)), conns: map[int32]*epollConn{}, in: make([]byte, 64<<10)}
	port, err := u.listen()
	if err != nil {
		return fmt.Errorf("upstream listens: %w", err)
	}
	fmt.Println(port)
	events := make([]syscall.EpollEvent, 256)
	for {
		// Raw: the runtime has nothing else to do on this thread, and must not look for it.
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_WAIT, uintptr(u.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("epoll_wait: %w", errno)
		}
		for _, e := range events[:n] {
			if e.Fd == u.listener {
				u.accept()
				continue
			}
			if !u.ready(e.Fd, e.Events) {
				delete(u.conns, e.Fd)
				_ = syscall.Close(int(e.Fd))
			}
		}
	}
}

func (u *epollUpstream) listen() (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	if err := syscall.Listen(fd, 4096); err != nil {
		return 0, err
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	if u.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return 0, err
	}
	u.listener = int32(fd)
	err = syscall.EpollCtl(u.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: u.listener})
	return name.(*syscall.SockaddrInet4).Port, err
}

func (u *epollUpstream) accept() {
	for {
		fd, _, err := syscall.Accept4(int(u.listener), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		if syscall.EpollCtl(u.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}) != nil {
			_ = syscall.Close(fd)
			continue
		}
		u.conns[int32(fd)] = &epollConn{}
		u.n.Conns++
	}
}

// ready handles one event and returns false when the connection is over.
func (u *epollUpstream) ready(fd int32, events uint32) bool {
	c := u.conns[fd]
	if c == nil {
		return false
	}
	if len(c.out) > 0 {
		if events&(syscall.EPOLLERR|syscall.EPOLLHUP) != 0 || !u.write(fd, c, c.out) {
			return false
		}
		if len(c.out) > 0 {
			return true
		}
		return syscall.EpollCtl(u.epoll, syscall.EPOLL_CTL_MOD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: fd}) == nil
	}
	held := copy(u.in, c.held)
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&u.in[held])), uintptr(len(u.in)-held))
	if errno == syscall.EAGAIN || errno == syscall.EINTR {
		return true
	}
	if errno != 0 || n == 0 {
		return false
	}
	c.held = c.held[:0]
	return u.take(fd, c, u.in[:held+int(n)])
}

// take answers the requests in b, and keeps what is left.
func (u *epollUpstream) take(fd int32, c *epollConn, b []byte) bool {
	for len(b) > 0 {
		if c.skip > 0 {
			n := min(c.skip, len(b))
			c.skip -= n
			b = b[n:]
			if c.skip == 0 && !u.write(fd, c, u.small) {
				return false
			}
			continue
		}
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			c.held = append(c.held, b...)
			return len(c.held) < len(u.in)
		}
		head := b[:end+4]
		b = b[end+4:]
		if !u.request(fd, c, head) {
			return false
		}
	}
	if len(c.out) > 0 {
		return syscall.EpollCtl(u.epoll, syscall.EPOLL_CTL_MOD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLOUT, Fd: fd}) == nil
	}
	return true
}

func (u *epollUpstream) request(fd int32, c *epollConn, head []byte) bool {
	_, path, _ := bytes.Cut(head, []byte(" "))
	is := func(p string) bool { return bytes.HasPrefix(path, []byte(p+" ")) }
	if is(pathStats) {
		return u.write(fd, c, answer([]byte(u.n.String())))
	}
	u.n.Requests++
	switch {
	case is(pathBulk):
		return u.write(fd, c, u.bulk)
	case is(pathHead):
		return u.write(fd, c, answer(head))
	case head[0] == 'P': // POST and PUT are answered once their body is read
		if n := contentLength(head); n > 0 {
			c.skip = n
			return true
		}
	}
	return u.write(fd, c, u.small)
}

// write sends b and leaves in c.out what the socket does not take now.
func (u *epollUpstream) write(fd int32, c *epollConn, b []byte) bool {
	c.out = b
	for len(c.out) > 0 {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&c.out[0])), uintptr(len(c.out)))
		switch errno {
		case 0:
			u.n.Bytes += uint64(n)
			c.out = c.out[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			return false
		}
	}
	return true
}

// contentLength returns the Content-Length of a head, 0 if it has none.
func contentLength(head []byte) int {
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(name, []byte("Content-Length")) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// runTLSUpstream serves pathSmall and pathHead over mutual TLS on one port and its counters over plain
// HTTP on another; it prints both.
func runTLSUpstream(cert, key, ca string) error {
	conf, err := serverTLS(cert, key, ca)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stats, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var conns, requests, written atomic.Uint64
	go func() {
		_ = http.Serve(stats, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, counts{conns.Load(), requests.Load(), written.Load()})
		}))
	}()
	fmt.Println(ln.Addr().(*net.TCPAddr).Port, stats.Addr().(*net.TCPAddr).Port)
	small := answer(body(smallBytes))
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		conns.Add(1)
		go func() {
			c := tls.Server(nc, conf)
			defer c.Close()
			buf := make([]byte, 8<<10)
			filled := 0
			for {
				n, err := c.Read(buf[filled:])
				if err != nil || filled+n == len(buf) {
					if err != io.EOF && n > 0 {
						return
					}
					return
				}
				filled += n
				if !bytes.HasSuffix(buf[:filled], []byte("\r\n\r\n")) {
					continue
				}
				out := small
				if bytes.Contains(buf[:filled], []byte(" "+pathHead+" ")) {
					out = answer(buf[:filled])
				}
				filled = 0
				requests.Add(1)
				if n, err = c.Write(out); err != nil {
					return
				}
				written.Add(uint64(n))
			}
		}()
	}
}
