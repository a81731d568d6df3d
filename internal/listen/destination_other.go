//go:build !linux

package listen

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// originalDestination knows nothing on this system.
func originalDestination(*net.TCPConn, bool) (netip.AddrPort, bool) { return netip.AddrPort{}, false }

// setTransparent is for Linux alone.
func setTransparent(syscall.RawConn) error { return errors.ErrUnsupported }
