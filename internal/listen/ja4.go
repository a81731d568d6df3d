package listen

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// ja4 returns the JA4 fingerprint of the hello (FoxIO, "JA4: TLS Client Fingerprinting"): transport,
// version, SNI, counts and first ALPN, then truncated hashes of the sorted cipher suites, and of the
// sorted extensions with the signature algorithms in the client's order.
func (h *rawHello) ja4() string {
	out := make([]byte, 0, 36)
	out = append(out, 't')
	out = append(out, ja4Version(h.MaxVersion())...)
	if h.hasSNI {
		out = append(out, 'd')
	} else {
		out = append(out, 'i')
	}
	out = appendCount(out, len(h.Suites))
	out = appendCount(out, len(h.extensions))
	out = append(out, ja4ALPN(h.firstALPN)...)

	suites := slices.Clone(h.Suites)
	slices.Sort(suites)
	out = append(out, '_')
	out = appendHash(out, appendHexList(nil, suites))

	exts := slices.DeleteFunc(slices.Clone(h.extensions), func(e uint16) bool { return e == extServerName || e == extALPN })
	slices.Sort(exts)
	list := appendHexList(nil, exts)
	if len(h.SignatureSchemes) > 0 && len(list) > 0 {
		list = append(list, '_')
		list = appendHexList(list, h.SignatureSchemes)
	}
	out = append(out, '_')
	return string(appendHash(out, list))
}

// ja4Version returns the two characters of a version.
func ja4Version(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	}
	return "00"
}

// ja4ALPN returns the first and last character of the first protocol, in hex where they are not
// alphanumeric, "00" if there is none.
func ja4ALPN(proto []byte) string {
	if len(proto) == 0 {
		return "00"
	}
	first, last := proto[0], proto[len(proto)-1]
	if alnum(first) && alnum(last) {
		return string([]byte{first, last})
	}
	const digits = "0123456789abcdef"
	return string([]byte{digits[first>>4], digits[last&15]})
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// appendCount writes n in two digits, 99 for more.
func appendCount(out []byte, n int) []byte {
	n = min(n, 99)
	return append(out, byte('0'+n/10), byte('0'+n%10))
}

// appendHexList writes the values in four hex digits each, joined by commas.
func appendHexList(out []byte, values []uint16) []byte {
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = hex.AppendEncode(out, []byte{byte(v >> 8), byte(v)})
	}
	return out
}

// appendHash writes the first twelve hex digits of the SHA-256 of list, zeros for an empty one.
func appendHash(out, list []byte) []byte {
	if len(list) == 0 {
		return append(out, "000000000000"...)
	}
	sum := sha256.Sum256(list)
	return hex.AppendEncode(out, sum[:6])
}
