package listen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a PROXY header (HAProxy's proxy-protocol.txt, sections 2.1 and 2.2). maxProxyV2 is ours: what
// balancers add (names, ALPN, certificate facts, VPC numbers) takes a few hundred bytes.
const (
	maxProxyV1   = 107
	proxyV2Fixed = 16
	maxProxyV2   = proxyV2Fixed + 4<<10
	proxyV2Sign  = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Sign  = "PROXY "
)

// ProxyHeader is what a PROXY header says. Local is true where the balancer speaks for itself (LOCAL, or
// UNKNOWN in version 1): the addresses of the connection hold then, and Source and Destination are zero. The
// strings are what a sender in front has terminated TLS with or seen; they are not verified.
type ProxyHeader struct {
	Version     int // 1 or 2
	Local       bool
	Source      netip.AddrPort
	Destination netip.AddrPort

	Authority string // PP2_TYPE_AUTHORITY: SNI at the balancer
	ALPN      string // PP2_TYPE_ALPN
	UniqueID  []byte // PP2_TYPE_UNIQUE_ID, at most 128 bytes
	TLS       bool   // PP2_TYPE_SSL says that the client came over TLS
}

// Types of the extensions in version 2 (section 2.2).
const (
	tlvALPN      = 0x01
	tlvAuthority = 0x02
	tlvCRC32C    = 0x03
	tlvNoop      = 0x04
	tlvUniqueID  = 0x05
	tlvSSL       = 0x20
)

// errShort says that a header is not complete yet.
var errShort = errors.New("the PROXY header is not complete")

// ErrNoProxyHeader is what ParseProxyHeader returns for bytes that begin no PROXY header.
var ErrNoProxyHeader = errors.New("the first bytes are no PROXY header")

// ParseProxyHeader parses a PROXY header of version 1 or 2 at the beginning of b and returns its length. n is
// 0 without error while more bytes are needed. It is strict: what the specification does not allow is an
// error, ErrNoProxyHeader where b begins something else.
func ParseProxyHeader(b []byte) (h ProxyHeader, n int, err error) {
	switch {
	case begins(b, proxyV2Sign):
		h, n, err = parseProxyV2(b)
	case begins(b, proxyV1Sign):
		h, n, err = parseProxyV1(b)
	default:
		return h, 0, ErrNoProxyHeader
	}
	if errors.Is(err, errShort) {
		return ProxyHeader{}, 0, nil
	}
	if err != nil {
		return ProxyHeader{}, 0, err
	}
	return h, n, nil
}

// begins reports whether b, as far as it goes, is the beginning of sign or has it as its beginning.
func begins(b []byte, sign string) bool {
	n := min(len(b), len(sign))
	return string(b[:n]) == sign[:n]
}

// parseProxyV1 parses the line of version 1 (section 2.1).
func parseProxyV1(b []byte) (h ProxyHeader, n int, err error) {
	line := string(b[:min(len(b), maxProxyV1)])
	end := strings.IndexByte(line, '\n')
	switch {
	case end < 0 && len(b) >= maxProxyV1:
		return h, 0, fmt.Errorf("the line of version 1 is longer than %d bytes", maxProxyV1)
	case end < 0:
		return h, 0, errShort
	case line[end-1] != '\r':
		return h, 0, errors.New("the line of version 1 does not end with CR LF")
	}
	h.Version = 1
	n = end + 1
	part := strings.Split(line[:end-1], " ")
	if len(part) > 1 && part[1] == "UNKNOWN" {
		h.Local = true
		return h, n, nil
	}
	if len(part) != 6 || part[1] != "TCP4" && part[1] != "TCP6" {
		return h, 0, errors.New("the line of version 1 is not PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT")
	}
	if h.Source, err = proxyAddress(part[2], part[4], part[1] == "TCP4"); err != nil {
		return h, 0, fmt.Errorf("source: %w", err)
	}
	if h.Destination, err = proxyAddress(part[3], part[5], part[1] == "TCP4"); err != nil {
		return h, 0, fmt.Errorf("destination: %w", err)
	}
	return h, n, nil
}

// proxyAddress parses address and port of version 1.
func proxyAddress(ip, port string, is4 bool) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%.50q is no IP address", ip)
	}
	if addr.Is4() != is4 {
		return netip.AddrPort{}, fmt.Errorf("%s is of another family than the line says", addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port[0] == '+' || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, fmt.Errorf("%.10q is no port", port)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

// parseProxyV2 parses the binary header of version 2 (section 2.2).
func parseProxyV2(b []byte) (h ProxyHeader, n int, err error) {
	if len(b) > 12 && b[12]>>4 != 2 {
		return h, 0, fmt.Errorf("version %d of the binary header is unknown", b[12]>>4)
	}
	if len(b) > 12 && b[12]&0xf > 1 {
		return h, 0, fmt.Errorf("command %d is neither LOCAL nor PROXY", b[12]&0xf)
	}
	if len(b) < proxyV2Fixed {
		return h, 0, errShort
	}
	n = proxyV2Fixed + int(binary.BigEndian.Uint16(b[14:]))
	if n > maxProxyV2 {
		return h, 0, fmt.Errorf("the header has %d bytes; at most %d are taken", n, maxProxyV2)
	}
	if len(b) < n {
		return h, 0, errShort
	}
	h.Version, h.Local = 2, b[12]&0xf == 0
	body := b[proxyV2Fixed:n]
	var at int
	switch family := b[13]; family {
	case 0x11, 0x12: // TCP, UDP over IPv4
		at = 12
	case 0x21, 0x22:
		at = 36
	case 0x31, 0x32:
		at, h.Local = 216, true // Unix sockets have no address that means anything here
	case 0x00:
		h.Local = true
	default:
		return h, 0, fmt.Errorf("address family and transport %#02x are unknown", family)
	}
	if len(body) < at {
		if b[12]&0xf == 0 { // the receiver ignores what a LOCAL header carries
			return h, n, nil
		}
		return h, 0, errors.New("the header is shorter than its addresses")
	}
	if !h.Local {
		size := (at - 4) / 2
		src, _ := netip.AddrFromSlice(body[:size])
		dst, _ := netip.AddrFromSlice(body[size : 2*size])
		h.Source = netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(body[at-4:]))
		h.Destination = netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(body[at-2:]))
	}
	if b[12]&0xf == 0 {
		return h, n, nil
	}
	if err := h.extensions(body[at:], b[:n]); err != nil {
		return h, 0, err
	}
	return h, n, nil
}

// extensions reads the TLVs of version 2 (section 2.2, "type-length-value"); unknown ones are passed over.
func (h *ProxyHeader) extensions(b, whole []byte) error {
	for len(b) > 0 {
		if len(b) < 3 {
			return errors.New("an extension is cut off")
		}
		kind, size := b[0], int(binary.BigEndian.Uint16(b[1:]))
		if len(b) < 3+size {
			return fmt.Errorf("extension %#02x is longer than the header", kind)
		}
		value := b[3 : 3+size]
		switch kind {
		case tlvALPN:
			h.ALPN = printable(value)
		case tlvAuthority:
			h.Authority = printable(value)
		case tlvCRC32C:
			if size != 4 {
				return errors.New("the checksum has not four bytes")
			}
			if sum := proxyChecksum(whole, len(whole)-len(b)+3); sum != binary.BigEndian.Uint32(value) {
				return errors.New("the checksum does not fit")
			}
		case tlvUniqueID:
			if size > 128 {
				return errors.New("the unique ID has more than 128 bytes")
			}
			h.UniqueID = append([]byte(nil), value...)
		case tlvSSL:
			if size < 5 {
				return errors.New("the extension on TLS is shorter than five bytes")
			}
			h.TLS = value[0]&1 != 0
		case tlvNoop:
		}
		b = b[3+size:]
	}
	return nil
}

// printable returns a name of at most 255 bytes, or "" for what is none.
func printable(b []byte) string {
	if len(b) > 255 {
		return ""
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return string(b)
}

// proxyChecksum is the CRC-32C of a header whose checksum, at at, counts as zero.
func proxyChecksum(header []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, header[:at])
	sum = crc32.Update(sum, table, []byte{0, 0, 0, 0})
	return crc32.Update(sum, table, header[at+4:])
}
