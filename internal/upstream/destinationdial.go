package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Making connections as RFC 8305 says.
const (
	attemptDelay = 250 * time.Millisecond // before the next address is tried besides
	maxAttempts  = 8
	familyHolds  = 10 * time.Minute // for which a family that was too slow is tried second
)

// dialEndpoint makes a TCP connection to e.
func (u *Upstream) dialEndpoint(ctx context.Context, e *Endpoint) (*wire, *Error) {
	if u.dest == nil {
		return u.registry.dialWire(ctx, e.Address)
	}
	return u.dest.dial(ctx, e)
}

// dial connects to the destination: to e where the configuration says where it is, else to the first of its
// addresses that accepts.
func (x *destination) dial(ctx context.Context, e *Endpoint) (*wire, *Error) {
	if x.key.at != "" && e.Address.IsValid() {
		return x.of.r.dialWire(ctx, e.Address)
	}
	n := x.of.names
	found := x.seen
	if found == nil {
		var err error
		if found, err = n.find(ctx, x.key.host); err != nil {
			return nil, &Error{Code: diag.UpstreamDNS, Detail: fmt.Sprintf("the name %q does not resolve", x.key.host), Err: err}
		}
	}
	addrs := make([]netip.AddrPort, 0, len(found))
	for _, ip := range found {
		if x.local || !IsLocal(ip) {
			addrs = append(addrs, netip.AddrPortFrom(ip, x.key.port))
		}
	}
	if len(addrs) == 0 {
		return nil, &Error{Code: diag.ForwardLocal, Endpoint: netip.AddrPortFrom(found[0], x.key.port),
			Detail: fmt.Sprintf("%s is %s, which clients of a proxy do not get to", x.key.host, found[0])}
	}
	first6 := time.Now().UnixNano() >= n.slow6.Load()
	addrs = sortedFamilies(addrs, func(a netip.AddrPort) bool { return a.Addr().Is6() }, first6)
	if len(addrs) > maxAttempts {
		addrs = addrs[:maxAttempts]
	}
	if len(addrs) == 1 {
		return x.of.r.dialWire(ctx, addrs[0])
	}
	w, to, failure := x.of.r.race(ctx, addrs)
	if failure == nil && to.Is4() && addrs[0].Addr().Is6() {
		n.slow6.Store(time.Now().Add(familyHolds).UnixNano())
	}
	return w, failure
}

// IsLocal reports whether an address is this machine's own, link-local (where clouds keep their metadata) or none
// of one host. So is an IPv6 address that gateways translate to such a one of IPv4 (RFC 6052 and RFC 3056).
func IsLocal(ip netip.Addr) bool {
	if ip = ip.Unmap(); ip.Is6() {
		b := ip.As16()
		switch {
		case [12]byte(b[:12]) == [12]byte{}, [12]byte(b[:12]) == [12]byte{0x00, 0x64, 0xff, 0x9b}: // ::a.b.c.d, 64:ff9b::/96
			if ip != netip.IPv6Unspecified() && ip != netip.IPv6Loopback() {
				return IsLocal(netip.AddrFrom4([4]byte(b[12:])))
			}
		case b[0] == 0x20 && b[1] == 0x02: // 2002::/16
			return IsLocal(netip.AddrFrom4([4]byte(b[2:6])))
		}
	}
	return ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) ||
		ip == netip.AddrFrom16([16]byte{0xfd, 0, 0x0e, 0xc2, 14: 0x02, 15: 0x54}) // a cloud's metadata at fd00:ec2::254
}

// attempt is what came of trying one address.
type attempt struct {
	w   *wire
	to  netip.Addr
	err *Error
}

// race connects to addresses, one after the other where they fail, and the next one besides where one takes long.
// What comes too late is closed.
func (r *Registry) race(ctx context.Context, addrs []netip.AddrPort) (*wire, netip.Addr, *Error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(addrs))
	begun, running := 0, 0
	next := func() {
		if begun == len(addrs) {
			return
		}
		to := addrs[begun]
		begun++
		running++
		if !r.spawn(func() {
			w, err := r.dialWire(ctx, to)
			results <- attempt{w, to.Addr(), err}
		}) {
			results <- attempt{nil, to.Addr(), &Error{Code: diag.UpstreamConnectFailed, Endpoint: to, Detail: "no connection is made while this process ends"}}
		}
	}
	next()
	t := time.NewTimer(attemptDelay)
	defer t.Stop()
	var failure *Error
	for running > 0 {
		select {
		case a := <-results:
			running--
			if a.err == nil {
				r.discardLate(results, running)
				return a.w, a.to, nil
			}
			if failure == nil || errors.Is(failure.Err, syscall.ENETUNREACH) {
				failure = a.err
			}
			next()
			t.Reset(attemptDelay)
		case <-t.C:
			if next(); begun < len(addrs) {
				t.Reset(attemptDelay)
			}
		}
	}
	return nil, netip.Addr{}, failure
}

// discardLate closes connections of attempts that are not over yet. They have been cancelled.
func (r *Registry) discardLate(results <-chan attempt, running int) {
	if running == 0 {
		return
	}
	late := func() {
		for range running {
			if a := <-results; a.w != nil {
				a.w.Close()
			}
		}
	}
	if !r.spawn(late) {
		late()
	}
}

// sortedFamilies brings addresses into the order in which they are tried (RFC 8305 section 4): the families in
// turn, that of first first.
func sortedFamilies[T any](addrs []T, is6 func(T) bool, first6 bool) []T {
	if len(addrs) < 2 {
		return addrs
	}
	var six, four []T
	for _, a := range addrs {
		if is6(a) {
			six = append(six, a)
		} else {
			four = append(four, a)
		}
	}
	a, b := six, four
	if !first6 {
		a, b = four, six
	}
	out := make([]T, 0, len(addrs))
	for i := range max(len(a), len(b)) {
		if i < len(a) {
			out = append(out, a[i])
		}
		if i < len(b) {
			out = append(out, b[i])
		}
	}
	return slices.Clip(out)
}
