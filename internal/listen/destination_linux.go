package listen

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// originalDestination asks connection tracking for the destination before translation.
func originalDestination(tcp *net.TCPConn, is4 bool) (netip.AddrPort, bool) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, false
	}
	var dst netip.AddrPort
	found := false
	err = raw.Control(func(fd uintptr) {
		if is4 {
			var sa unix.RawSockaddrInet4
			if found = sockopt(fd, unix.SOL_IP, unsafe.Pointer(&sa), unsafe.Sizeof(sa)) && sa.Family == unix.AF_INET; found {
				dst = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), hostOrder(sa.Port))
			}
			return
		}
		var sa unix.RawSockaddrInet6
		if found = sockopt(fd, unix.SOL_IPV6, unsafe.Pointer(&sa), unsafe.Sizeof(sa)) && sa.Family == unix.AF_INET6; found {
			dst = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), hostOrder(sa.Port))
		}
	})
	return dst, err == nil && found
}

// sockopt reads SO_ORIGINAL_DST or IP6T_SO_ORIGINAL_DST, which have the same number, into p.
func sockopt(fd uintptr, level int, p unsafe.Pointer, size uintptr) bool {
	n := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), unix.SO_ORIGINAL_DST, uintptr(p), uintptr(unsafe.Pointer(&n)), 0)
	return errno == 0 && uintptr(n) == size
}

// hostOrder turns the port of a socket address, which is in network order in memory, into a number.
func hostOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// setTransparent lets a listening socket take connections to addresses of others (TPROXY). Both families are
// tried: a dual-stack socket needs both.
func setTransparent(c syscall.RawConn) error {
	var result error
	err := c.Control(func(fd uintptr) {
		family, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			result = err
			return
		}
		if result = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1); result != nil || family == unix.AF_INET {
			return
		}
		result = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
	})
	if err != nil {
		return err
	}
	return result
}
