package acl

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// addresses are ranges of addresses, ordered and without overlap once sorted, and names.
type addresses struct {
	get    source
	dns    bool // the destination's name may be looked up
	ranges []span
	names  []string // looked up when asked, as names of hosts change
	whole  [2]span  // all there is, to compare with
}

// source says whose address is asked about.
type source uint8

const (
	fromClient source = iota
	fromLocal
	fromDest
)

// span is a range of addresses of one family, both ends included.
type span struct{ from, to netip.Addr }

func addressKind(get source) func(*builder, []string, []string) matcher {
	return func(b *builder, opts, values []string) matcher {
		a := &addresses{get: get, dns: !slices.Contains(opts, "-n"), whole: [2]span{wholeIPv4(), wholeIPv6()}}
		a.add(b, values)
		return a
	}
}

func (a *addresses) add(b *builder, values []string) {
	for _, v := range values {
		switch v {
		case "all", "0/0":
			a.ranges = append(a.ranges, wholeIPv4(), wholeIPv6())
			continue
		case "ipv4":
			a.ranges = append(a.ranges, wholeIPv4())
			continue
		case "ipv6":
			a.ranges = append(a.ranges, wholeIPv6())
			continue
		}
		if hostLike(v) {
			if a.get == fromLocal {
				b.fatal("write its address", "%q is a name; this type takes addresses only", v)
				continue
			}
			a.names = append(a.names, strings.ToLower(strings.TrimSuffix(v, ".")))
			continue
		}
		s, masked, why := parseSpan(v)
		if why != "" {
			b.fatal("write an address, a range as 10.0.0.1-10.0.0.9, or a network as 10.0.0.0/8", "%q cannot be used: %s", v, why)
			continue
		}
		if masked {
			b.warn("write the network's own address", "the mask of %s cuts off a part of the address", v)
		}
		a.ranges = append(a.ranges, s)
	}
	a.sort()
}

func wholeIPv4() span {
	return span{netip.AddrFrom4([4]byte{}), netip.AddrFrom4([4]byte{255, 255, 255, 255})}
}

func wholeIPv6() span {
	var last [16]byte
	for i := range last {
		last[i] = 255
	}
	return span{netip.IPv6Unspecified(), netip.AddrFrom16(last)}
}

// hostLike reports whether a value is a host name rather than an address.
func hostLike(v string) bool {
	if strings.ContainsAny(v, "/:") || v == "" {
		return false
	}
	first, _, _ := strings.Cut(v, "-")
	if _, err := netip.ParseAddr(first); err == nil {
		return false
	}
	for _, c := range v {
		if c == '.' || c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			continue
		}
		return false
	}
	last := v[strings.LastIndexByte(v, '.')+1:]
	_, err := strconv.Atoi(last)
	return err != nil
}

// parseSpan reads addr, addr/bits, addr/mask, addr-addr and addr-addr/mask. masked says that the mask cut
// off set bits.
func parseSpan(v string) (s span, masked bool, why string) {
	rest, mask, hasMask := strings.Cut(v, "/")
	from, to, isRange := strings.Cut(rest, "-")
	a, err := netip.ParseAddr(from)
	if err != nil {
		return s, false, "it is no address"
	}
	z := a
	if isRange {
		if z, err = netip.ParseAddr(to); err != nil {
			return s, false, "its end is no address"
		}
	}
	a, z = a.Unmap().WithZone(""), z.Unmap().WithZone("")
	if a.BitLen() != z.BitLen() {
		return s, false, "its ends are of different families"
	}
	if hasMask {
		bits, ok := maskBits(mask, a)
		if !ok {
			return s, false, "its mask is neither a length nor a netmask without gaps"
		}
		net, _ := a.Prefix(bits)
		end, _ := z.Prefix(bits)
		masked = net.Addr() != a
		a, z = net.Addr(), last(end)
	}
	if z.Less(a) {
		return s, false, "its end lies before its beginning"
	}
	return span{a, z}, masked, ""
}

// maskBits reads "24" or "255.255.255.0".
func maskBits(mask string, a netip.Addr) (int, bool) {
	if n, err := strconv.Atoi(mask); err == nil {
		return n, n >= 0 && n <= a.BitLen()
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || m.BitLen() != a.BitLen() {
		return 0, false
	}
	bits, gap := 0, false
	for _, b := range m.AsSlice() {
		for i := 7; i >= 0; i-- {
			switch set := b&(1<<i) != 0; {
			case set && gap:
				return 0, false
			case set:
				bits++
			default:
				gap = true
			}
		}
	}
	return bits, true
}

// last returns the last address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// sort orders the ranges and joins those that overlap.
func (a *addresses) sort() {
	slices.SortFunc(a.ranges, func(x, y span) int { return cmp.Or(x.from.Compare(y.from), x.to.Compare(y.to)) })
	out := a.ranges[:0]
	for _, s := range a.ranges {
		if n := len(out); n > 0 && out[n-1].from.BitLen() == s.from.BitLen() && !out[n-1].to.Less(s.from) {
			if out[n-1].to.Less(s.to) {
				out[n-1].to = s.to
			}
			continue
		}
		out = append(out, s)
	}
	a.ranges = out
}

func (a *addresses) contains(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.Zone() != "" {
		ip = ip.WithZone("")
	}
	i, found := slices.BinarySearchFunc(a.ranges, ip, func(s span, ip netip.Addr) int { return s.from.Compare(ip) })
	if found {
		return true
	}
	return i > 0 && a.ranges[i-1].from.BitLen() == ip.BitLen() && !a.ranges[i-1].to.Less(ip)
}

func (a *addresses) match(f *Facts) verdict {
	// Everything is in "all", also what no address is known of.
	if len(a.ranges) == 2 && a.ranges[0] == a.whole[0] && a.ranges[1] == a.whole[1] {
		return yes
	}
	switch a.get {
	case fromClient:
		return truth(f.Client.IsValid() && a.has(f, f.Client.Addr()))
	case fromLocal:
		return truth(f.Local.IsValid() && a.has(f, f.Local.Addr()))
	}
	for _, ip := range f.addresses(a.dns) {
		if a.has(f, ip) {
			return yes
		}
	}
	return no
}

// has looks at the ranges, then at the addresses of the names.
func (a *addresses) has(f *Facts, ip netip.Addr) bool {
	if a.contains(ip) {
		return true
	}
	if f.Lookup == nil {
		return false
	}
	for _, n := range a.names {
		if slices.Contains(f.Lookup(n), ip.Unmap()) {
			return true
		}
	}
	return false
}

// ports are ranges of port numbers.
type ports struct {
	get    func(*Facts) uint16
	ranges [][2]uint16
}

func portKind(get func(*Facts) uint16) func(*builder, []string, []string) matcher {
	return func(b *builder, _, values []string) matcher {
		p := &ports{get: get}
		p.add(b, values)
		return p
	}
}

func (p *ports) add(b *builder, values []string) {
	for _, v := range values {
		from, to, isRange := strings.Cut(v, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		z, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || z < a {
			b.fatal("write a port or a range as 1025-65535", "%q is no port", v)
			continue
		}
		p.ranges = append(p.ranges, [2]uint16{uint16(a), uint16(z)})
	}
}

func (p *ports) match(f *Facts) verdict {
	n := p.get(f)
	if n == 0 {
		return no
	}
	for _, r := range p.ranges {
		if n >= r[0] && n <= r[1] {
			return yes
		}
	}
	return no
}

// count is maxconn: more open connections than so many.
type count int

func makeMaxconn(b *builder, _, values []string) matcher {
	n, err := strconv.Atoi(values[0])
	if err != nil || n < 0 || len(values) > 1 {
		b.fatal("write one number", "%q is no number of connections", strings.Join(values, " "))
		return nil
	}
	return count(n)
}

func (c count) match(f *Facts) verdict { return truth(f.Connections > int(c)) }

// makeStatus reads statuses and ranges of them: ports have the same form.
func makeStatus(b *builder, _, values []string) matcher {
	p := &ports{get: func(f *Facts) uint16 { return uint16(f.Status) }}
	for _, v := range values {
		from, to, isRange := strings.Cut(v, "-")
		if !isRange {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		z, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || z < a || a < 100 || z > 999 {
			b.fatal("write a status or a range as 400-499", "%q is no status of HTTP", v)
			continue
		}
		p.ranges = append(p.ranges, [2]uint16{uint16(a), uint16(z)})
	}
	return p
}
