package authz

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// A reading is how an origin may understand a path that the front has normalised (semantics.SetPath:
// escapes of unreserved bytes decoded, "//" merged, dot segments resolved; "%2F", "%5C", "%00" and "..;"
// refused). Origins go further, each in its own way.
type reading struct {
	decode  int  // how often escapes are decoded: 0 as Express does, 1 as most, 2 those behind another proxy
	params  bool // ";" ends a segment's name, as in Tomcat and Jetty
	windows bool // a name ends before trailing dots, spaces and ":$", and a path at "?", "#" and NUL that escapes hid
}

// readings are all of them, the plain one first.
func readings() []reading {
	var out []reading
	for decode := range 3 {
		for _, params := range [...]bool{false, true} {
			for _, windows := range [...]bool{false, true} {
				out = append(out, reading{decode, params, windows})
			}
		}
	}
	return out
}

// odd reports whether a normalised path has another reading than the plain one, apart from case.
func odd(path []byte) bool {
	for i, c := range path {
		switch c {
		case '%', ';':
			return true
		case '.':
			if i+1 == len(path) || path[i+1] == '/' {
				return true
			}
		case ':':
			if bytes.HasPrefix(path[i:], []byte(":$")) {
				return true
			}
		}
	}
	return false
}

// apply reads a normalised path, in new memory. The result begins with "/" and has no empty segment, and
// ends with a slash only where it is "/". disguised reports that a dot segment or a control character came to
// light, with which the front has not dealt: where the path leads depends on the origin. "$" in a pattern of
// nginx, Python and Perl stands before a last line feed too, "^" in Ruby behind any.
func (r reading) apply(path []byte) (out []byte, disguised bool) {
	cur := append(make([]byte, 0, len(path)), path...)
	if r.params {
		cur = cutParams(cur)
	}
	for range r.decode {
		cur = unescape(cur)
		if r.windows {
			cur = cutHidden(cur)
		}
		if r.params {
			cur = cutParams(cur)
		}
	}
	disguised = bytes.ContainsFunc(cur, func(c rune) bool { return c < ' ' || c == 0x7f })
	out = make([]byte, 0, len(cur)+1)
	for segment := range bytes.SplitSeq(cur, []byte("/")) {
		if r.windows {
			segment = trimWindows(segment)
		}
		switch {
		case len(segment) == 0:
			continue
		case len(segment) == 1 && segment[0] == '.', len(segment) == 2 && segment[0] == '.' && segment[1] == '.':
			disguised = true
		}
		out = append(append(out, '/'), segment...)
	}
	if len(out) == 0 {
		out = append(out, '/')
	}
	return out, disguised
}

// cutParams removes ";" and what follows it from every segment, in place.
func cutParams(path []byte) []byte {
	if bytes.IndexByte(path, ';') < 0 {
		return path
	}
	out, skip := path[:0], false
	for _, c := range path {
		switch c {
		case '/':
			skip = false
		case ';':
			skip = true
		}
		if !skip {
			out = append(out, c)
		}
	}
	return out
}

// cutHidden ends a path where escapes hid what ends it for origins that parse it again.
func cutHidden(path []byte) []byte {
	if i := bytes.IndexAny(path, "?#\x00"); i >= 0 {
		return path[:i]
	}
	return path
}

// trimWindows returns the name that Windows opens for a segment.
func trimWindows(segment []byte) []byte {
	if i := bytes.Index(segment, []byte(":$")); i >= 0 { // "::$DATA", ":$I30:$INDEX_ALLOCATION"
		segment = bytes.TrimRight(segment[:i], ":")
	}
	cut := bytes.TrimRight(segment, ". ")
	if len(cut) == 0 && len(segment) > 0 { // "." and "..", and what becomes of them
		return bytes.TrimRight(segment, " ")
	}
	return cut
}

// unescape decodes percent escapes once, in place, and takes backslashes for slashes. Overlong UTF-8 for
// ASCII is read as what it stands for.
func unescape(path []byte) []byte {
	out := path[:0]
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			hi, ok1 := unhex(path[i+1])
			lo, ok2 := unhex(path[i+2])
			if ok1 && ok2 {
				c = hi<<4 | lo
				i += 2
			}
		}
		if c == '\\' {
			c = '/'
		}
		out = append(out, c)
	}
	return shorten(out)
}

// shorten replaces overlong UTF-8 encodings of ASCII (RFC 3629 section 3 forbids them), in place.
func shorten(b []byte) []byte {
	if bytes.IndexByte(b, 0xc0) < 0 && bytes.IndexByte(b, 0xc1) < 0 && bytes.IndexByte(b, 0xe0) < 0 {
		return b
	}
	out := b[:0]
	for i := 0; i < len(b); i++ {
		c := b[i]
		next := func(n int) byte {
			if i+n < len(b) && b[i+n]&0xc0 == 0x80 {
				return b[i+n]
			}
			return 0
		}
		switch {
		case c&0xfe == 0xc0 && next(1) != 0:
			c = c<<6 | next(1)&0x3f
			i++
		case c == 0xe0 && next(1) != 0 && next(1) < 0x82 && next(2) != 0:
			c = next(1)<<6 | next(2)&0x3f
			i += 2
		}
		if c == '\\' {
			c = '/'
		}
		out = append(out, c)
	}
	return out
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

// appendFold appends a path without regard to case: ASCII in lower case, other letters as the least of
// those that Unicode's simple folding takes for one another ("ſ" and "s", "K" and "k").
func appendFold(dst, path []byte) []byte {
	for i := 0; i < len(path); {
		c := path[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRune(path[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, c)
			i++
			continue
		}
		dst = utf8.AppendRune(dst, leastFold(r))
		i += n
	}
	return dst
}

func leastFold(r rune) rune {
	least := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		least = min(least, other)
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}
