package telemetry

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxPeerField bounds what of one field of a peer goes into a line, in bytes.
const maxPeerField = 4096

type text interface{ ~string | ~[]byte }

// appendString appends s as a JSON string. Peers choose these bytes: control characters, also those
// that terminals obey (0x7f to 0x9f), are escaped, and what is no UTF-8 becomes U+FFFD.
func appendString[T text](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	cut := false
	if len(s) > maxPeerField {
		s, cut = s[:maxPeerField], true
	}
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		size := 1
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c <= 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			var rune4 [utf8.UTFMax]byte
			n := copy(rune4[:], s[i:])
			r, w := utf8.DecodeRune(rune4[:n])
			size = w
			switch {
			case r == utf8.RuneError && w == 1:
				b = append(b, `\ufffd`...)
			case r <= 0x9f:
				b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
			default:
				b = append(b, rune4[:w]...)
			}
		}
		i += size
		start = i
	}
	b = append(b, s[start:]...)
	if cut {
		b = append(b, "…"...)
	}
	return append(b, '"')
}

// appendField appends ,"key":"value" unless the value is empty. key needs no escaping.
func appendField[T text](b []byte, key string, value T) []byte {
	if len(value) == 0 {
		return b
	}
	return appendString(appendKey(b, key), value)
}

func appendKey(b []byte, key string) []byte {
	return append(append(append(b, `,"`...), key...), `":`...)
}

func appendInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(appendKey(b, key), v, 10)
}

// appendMillis appends a duration in milliseconds with three decimals.
func appendMillis(b []byte, key string, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(appendKey(b, key), us/1000, 10)
	us %= 1000
	return append(b, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

func appendAddress(b []byte, key string, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	b = append(appendKey(b, key), '"')
	return append(appendAddrPort(b, a), '"')
}

// appendAddrPort appends an address without the ::ffff: of IPv4 on an IPv6 socket.
func appendAddrPort(b []byte, a netip.AddrPort) []byte {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(b)
}

// stamp renders times as 2006-01-02T15:04:05.000Z. The date is rendered once per second. Not safe for
// concurrent use; the zero value is ready.
type stamp struct {
	second int64
	text   [19]byte
	valid  bool
}

func (s *stamp) append(b []byte, t time.Time) []byte {
	if sec := t.Unix(); !s.valid || sec != s.second {
		t.UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05")
		s.second, s.valid = sec, true
	}
	ms := t.Nanosecond() / int(time.Millisecond)
	b = append(b, s.text[:]...)
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// AppendJSON appends s as a JSON string as log lines have it: control characters are escaped, what is no
// UTF-8 becomes U+FFFD, and at most 4 KiB are appended.
func AppendJSON[T text](b []byte, s T) []byte { return appendString(b, s) }
