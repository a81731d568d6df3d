package http2

// readInteger reads an integer with a prefix of bits bits at b[i] (RFC 7541 section 5.1) and returns the
// index behind it. False: b ends before, or the integer has more than four continuation bytes, which
// nothing that fits into a block needs.
func readInteger(b []byte, i int, bits uint) (n uint32, next int, ok bool) {
	most := uint32(1)<<bits - 1
	n = uint32(b[i]) & most
	i++
	if n < most {
		return n, i, true
	}
	for shift := uint(0); shift < 28 && i < len(b); shift += 7 {
		c := b[i]
		i++
		n += uint32(c&0x7f) << shift
		if c < 0x80 {
			return n, i, true
		}
	}
	return 0, i, false
}

// appendInteger appends n with a prefix of bits bits, whose byte begins with the pattern.
func appendInteger(dst []byte, pattern byte, bits uint, n uint32) []byte {
	most := uint32(1)<<bits - 1
	if n < most {
		return append(dst, pattern|byte(n))
	}
	dst = append(dst, pattern|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(dst, byte(n))
}
