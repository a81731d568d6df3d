package http2

import "encoding/binary"

// huffmanBits holds the lengths in bits of the codes of RFC 7541 appendix B. The code is canonical: in
// order of length, then of symbol, codes count upwards, so that the lengths say everything.
var huffmanBits = [256]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
}

const (
	longestCode = 30 // bits
	quickBits   = 11 // what one look into huffmanQuick covers
)

// huffman is computed from huffmanBits and fixed after construction.
var huffman = func() (h huffmanTables) {
	var code uint32
	n := 0
	for bits := uint8(1); bits <= longestCode; bits++ {
		code <<= 1
		h.first[bits] = code - uint32(n)
		for c := range 256 {
			if huffmanBits[c] == bits {
				h.codes[c] = code
				h.symbols[n] = byte(c)
				code++
				n++
			}
		}
		h.limit[bits] = code << (longestCode - bits)
	}
	for i := range h.quick {
		h.quick[i] = h.look(uint32(i))
	}
	return h
}()

type huffmanTables struct {
	codes   [256]uint32             // right-aligned
	symbols [256]byte               // in the order of their codes
	first   [longestCode + 1]uint32 // the first code of a length, less its place in symbols
	limit   [longestCode + 1]uint32 // the first code behind those of a length, left-aligned in 30 bits
	quick   [1 << quickBits]quick
}

// quick says which one or two symbols a run of bits begins with: the symbols in bits 0 to 15, how many bits
// they take in 16 to 23, how many they are in 24 to 31. It is 0 where the first code is longer than the run.
type quick uint32

func (h *huffmanTables) look(run uint32) quick {
	first, bits := h.one(run<<(longestCode-quickBits), quickBits)
	if bits == 0 {
		return 0
	}
	if second, more := h.one(run<<(longestCode-quickBits+uint32(bits))&(1<<longestCode-1), quickBits-bits); more > 0 {
		return quick(first) | quick(second)<<8 | quick(bits+more)<<16 | 2<<24
	}
	return quick(first) | quick(bits)<<16 | 1<<24
}

// one decodes the code at the top of 30 bits if it is at most so long; 0 bits if it is not.
func (h *huffmanTables) one(run uint32, most uint8) (sym byte, bits uint8) {
	for bits = 5; bits <= most; bits++ {
		if run < h.limit[bits] {
			return h.symbols[run>>(longestCode-bits)-h.first[bits]], bits
		}
	}
	return 0, 0
}

// huffmanRoom is what decodeHuffman needs at most for n bytes of input: the shortest codes have five
// bits, and two symbols are written at a time.
func huffmanRoom(n int) int { return n*8/5 + 2 }

// decodeHuffman decodes src into dst, which holds at least huffmanRoom(len(src)) bytes, and returns how
// many it wrote. False: a code that does not exist (EOS among them), or padding that is longer than seven
// bits or not made of ones (RFC 7541 section 5.2).
func decodeHuffman(dst, src []byte) (n int, ok bool) {
	var acc uint64 // left-aligned
	have := 0      // valid bits of acc; below them may be more of src, or zeros
	i := 0
	for {
		if i+8 <= len(src) {
			acc |= binary.BigEndian.Uint64(src[i:]) >> have
			i += (63 - have) >> 3
			have |= 56
		} else {
			for have <= 56 && i < len(src) {
				acc |= uint64(src[i]) << (56 - have)
				i++
				have += 8
			}
			if have < longestCode {
				break
			}
		}
		for have >= longestCode {
			if q := huffman.quick[acc>>(64-quickBits)]; q != 0 {
				bits := q >> 16 & 63
				binary.LittleEndian.PutUint16(dst[n:], uint16(q))
				n += int(q >> 24)
				acc <<= bits
				have -= int(bits)
				continue
			}
			sym, bits := huffman.one(uint32(acc>>(64-longestCode)), longestCode)
			if bits == 0 {
				return 0, false
			}
			dst[n] = sym
			n++
			acc <<= bits
			have -= int(bits)
		}
	}
	return finishHuffman(dst, n, acc, have)
}

// finishHuffman decodes the last bits, fewer than the longest code has, and checks the padding.
func finishHuffman(dst []byte, n int, acc uint64, have int) (int, bool) {
	for have > 0 {
		sym, bits := huffman.one(uint32(acc>>(64-longestCode)), uint8(min(have, longestCode)))
		if bits == 0 {
			break
		}
		dst[n] = sym
		n++
		acc <<= bits
		have -= int(bits)
	}
	return n, have < 8 && acc>>(64-have) == 1<<have-1
}

// huffmanSize is the length in bytes of s when encoded.
func huffmanSize(s []byte) int {
	bits := 0
	for _, c := range s {
		bits += int(huffmanBits[c])
	}
	return (bits + 7) / 8
}

// appendHuffman appends s encoded.
func appendHuffman(dst, s []byte) []byte {
	var acc uint64
	have := uint(0)
	for _, c := range s {
		acc = acc<<huffmanBits[c] | uint64(huffman.codes[c])
		for have += uint(huffmanBits[c]); have >= 8; {
			have -= 8
			dst = append(dst, byte(acc>>have))
		}
	}
	if have > 0 {
		dst = append(dst, byte(acc<<(8-have)|(1<<(8-have)-1)))
	}
	return dst
}
