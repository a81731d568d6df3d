package http1

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

// isToken reports whether b is a token (RFC 9110 section 5.6.2).
func isToken(b []byte) bool { return len(b) > 0 && skip(b, 0, tokenByte) == len(b) }

// textEnd returns the index of the first byte of buf[i:] that a field value or reason phrase cannot
// hold (RFC 9110 section 5.5: a control byte other than HTAB, or DEL), or len(buf). It looks at eight
// bytes at a time; the lowest flagged byte is exact, since borrows only travel upwards.
func textEnd(buf []byte, i int) int {
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

// trimOWS removes optional white space (SP, HTAB) at both ends.
func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// nextItem cuts the first item off a comma-separated list and trims it; items may be empty.
func nextItem(list []byte) (item, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trimOWS(list[:i]), list[i+1:]
		}
	}
	return trimOWS(list), nil
}

func unhex(c byte) (byte, bool) {
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
