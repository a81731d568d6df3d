// Package semantics holds what RFC 9110 asks of messages whatever the version: which bytes stand where,
// when two readers agree about a path, an authority, a field or a length. Every engine judges by this
// code, so that a request is read alike however it came.
//
// It knows no wire format and keeps no state. Begin reading at SetPath and SetAuthority.
package semantics

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes, as bits of the entries of classes.
const (
	tokenByte  uint8 = 1 << iota // tchar, RFC 9110 section 5.6.2
	pathByte                     // stands for itself in a path: visible ASCII but / % \ ? #
	queryByte                    // visible ASCII but #
	hostByte                     // letters, digits, "-", "_" and "."
	upperByte                    // A to Z
	unreserved                   // RFC 3986 section 2.3
)

var classes = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		b := byte(c)
		lower, upper, digit := 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9'
		alnum := lower || upper || digit
		if alnum || in(b, "!#$%&'*+-.^_`|~") {
			t[c] |= tokenByte
		}
		if !in(b, `/%\?#`) {
			t[c] |= pathByte
		}
		if b != '#' {
			t[c] |= queryByte
		}
		if alnum || in(b, "-_.") {
			t[c] |= hostByte
		}
		if upper {
			t[c] |= upperByte
		}
		if alnum || in(b, "-._~") {
			t[c] |= unreserved
		}
	}
	return t
}()

func in(c byte, set string) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == c {
			return true
		}
	}
	return false
}

// skip returns the index of the first byte of buf[i:] that is not of the class, or len(buf).
func skip(buf []byte, i int, class uint8) int {
	for i < len(buf) && classes[buf[i]]&class != 0 {
		i++
	}
	return i
}

// TokenEnd returns the index of the first byte of buf[i:] that a token cannot hold, or len(buf).
func TokenEnd(buf []byte, i int) int { return skip(buf, i, tokenByte) }

// IsToken reports whether b is a token (RFC 9110 section 5.6.2).
func IsToken(b []byte) bool { return len(b) > 0 && skip(b, 0, tokenByte) == len(b) }

// FieldName reports whether b is a token, as a field name has to be, and whether it holds a capital,
// which HTTP/2 forbids (RFC 9113 section 8.2.1).
func FieldName(b []byte) (token, upper bool) {
	all, any := tokenByte, uint8(0)
	for _, c := range b {
		all &= classes[c]
		any |= classes[c]
	}
	return all != 0 && len(b) > 0, any&upperByte != 0
}

// TextEnd returns the index of the first byte of buf[i:] that a field value or reason phrase cannot
// hold (RFC 9110 section 5.5: a control byte other than HTAB, or DEL), or len(buf). It looks at eight
// bytes at a time; the lowest flagged byte is exact, since borrows only travel upwards.
func TextEnd(buf []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(buf) {
		x := binary.LittleEndian.Uint64(buf[i:])
		del := x ^ 0x7f*ones
		m := ((x-0x20*ones)&^x | (del-ones)&^del) & highs
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if buf[i] != '\t' {
			return i
		}
		i++
	}
	for ; i < len(buf); i++ {
		if c := buf[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return i
		}
	}
	return i
}

// TrimOWS removes optional white space (SP, HTAB) at both ends.
func TrimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// NextItem cuts the first item off a comma-separated list and trims it; items may be empty.
func NextItem(list []byte) (item, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return TrimOWS(list[:i]), list[i+1:]
		}
	}
	return TrimOWS(list), nil
}

// Unhex returns the value of a hexadecimal digit, and whether c is one.
func Unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
