package listen

import (
	"net"
	"net/netip"
)

// OriginalDestination returns the address that the client meant, where the kernel has brought the
// connection here instead: by nftables' or iptables' REDIRECT or DNAT (SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST),
// or by TPROXY, where it is the local address of the connection (Spec.Transparent). It returns false if the
// connection was addressed to the listener itself, or if the system cannot tell. It costs a system call;
// ask once.
func (c *Conn) OriginalDestination() (netip.AddrPort, bool) {
	if c.spec.Transparent && !c.addressedHere() {
		return c.local, c.local.IsValid()
	}
	dst, ok := originalDestination(c.tcp, c.local.Addr().Is4())
	if !ok || dst == c.local {
		return netip.AddrPort{}, false
	}
	return dst, true
}

// addressedHere reports whether the local address is that of the listening socket: its port, on an address
// of this machine. With TPROXY connections to other machines have local addresses that are not.
func (c *Conn) addressedHere() bool {
	if c.spec.bound == 0 || c.local.Port() != c.spec.bound {
		return false
	}
	if c.local.Addr().IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // rather no destination than a loop
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == c.local.Addr() {
				return true
			}
		}
	}
	return false
}
