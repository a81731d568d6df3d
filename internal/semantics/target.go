package semantics

import (
	"bytes"

	"github.com/hakone-gateway/hakone/internal/message"
)

// ScanTarget finds the end of the target that begins at buf[i]: the index of its first byte that no
// target holds, or len(buf). path is the index of the "/" its path begins with (-1 if it has another
// form), query that of the first "?" (-1 if none); rewrite reports a path that is not canonical as it
// stands.
func ScanTarget(buf []byte, i int) (end, path, query int, rewrite bool) {
	path, query = -1, -1
	if i == len(buf) || buf[i] != '/' {
		return skip(buf, i, queryByte), path, query, false
	}
	path = i
	for i < len(buf) {
		c := buf[i]
		if classes[c]&pathByte != 0 {
			i++
			continue
		}
		switch c {
		case '/':
			if i+1 < len(buf) && (buf[i+1] == '/' || buf[i+1] == '.') {
				rewrite = true
			}
			i++
		case '%':
			rewrite = true
			i++
		case '?':
			return skip(buf, i+1, queryByte), path, i, rewrite
		default:
			return i, path, query, rewrite
		}
	}
	return i, path, query, rewrite
}

// SetPath fills Path, Query and HasQuery of req from a target in origin form, as ScanTarget described it
// (query counted from the target's begin). The path is normalised if rewrite says so, in memory of
// req.Fields. fault is not empty where origins would disagree about the path: diag.RequestBadPath.
func SetPath(req *message.Request, target []byte, query int, rewrite bool) (fault string) {
	req.Path = target
	if query >= 0 {
		req.Path, req.Query, req.HasQuery = target[:query:query], target[query+1:], true
	}
	if !rewrite {
		return ""
	}
	path, fault := normalise(req.Fields.Reserve(len(req.Path)), req.Path)
	if fault == "" {
		req.Path = path
	}
	return fault
}

// BadTarget says what is wrong with a byte that no target holds.
func BadTarget(c byte) string {
	switch {
	case c == '\\':
		return "backslash in the path"
	case c == '#':
		return "fragment in the target"
	case c == 0:
		return "NUL in the target"
	case c >= 0x80:
		return "byte outside ASCII in the target"
	}
	return "control byte in the target"
}

// normalise appends the canonical form of a path that begins with "/" to dst: escapes of unreserved
// bytes decoded, others in upper case, "//" merged, dot segments resolved (RFC 3986 section 6.2.2). The
// result is never longer than raw. fault is not empty where origins would disagree about the path.
func normalise(dst, raw []byte) (path []byte, fault string) {
	for i := 0; i < len(raw); {
		for i < len(raw) && raw[i] == '/' {
			i++
		}
		start := len(dst)
		dst = append(dst, '/')
		for i < len(raw) && raw[i] != '/' {
			c := raw[i]
			if c != '%' {
				dst = append(dst, c)
				i++
				continue
			}
			if i+2 >= len(raw) {
				return nil, "broken percent escape in the path"
			}
			hi, ok1 := Unhex(raw[i+1])
			lo, ok2 := Unhex(raw[i+2])
			c = hi<<4 | lo
			switch {
			case !ok1 || !ok2:
				return nil, "broken percent escape in the path"
			case c == '/':
				return nil, "encoded slash in the path"
			case c == '\\':
				return nil, "encoded backslash in the path"
			case c == 0:
				return nil, "encoded NUL in the path"
			case classes[c]&unreserved != 0:
				dst = append(dst, c)
			default:
				dst = append(dst, '%', hexDigits[hi], hexDigits[lo])
			}
			i += 3
		}
		switch segment := dst[start+1:]; {
		case len(segment) == 0 || segment[0] != '.':
			continue
		case len(segment) == 1:
			dst = dst[:start]
		case string(segment) == "..":
			if start == 0 {
				return nil, "path climbs above the root"
			}
			dst = dst[:bytes.LastIndexByte(dst[:start], '/')]
		case segment[1] == ';' || segment[1] == '.' && len(segment) > 2 && segment[2] == ';':
			return nil, "dot segment with parameters in the path"
		default:
			continue
		}
		if i == len(raw) {
			return append(dst, '/'), ""
		}
	}
	return dst, ""
}

// CanonicalPath returns the form in which a request's path is compared with paths of the configuration.
// Bytes that no request may hold unescaped are escaped first. path is empty and fault is not where no
// request can have the path: origins would disagree about it.
func CanonicalPath(p string) (path, fault string) {
	if p == "" || p[0] != '/' {
		return "", "path without a slash at the beginning"
	}
	raw := make([]byte, 0, len(p))
	for i := range len(p) {
		switch c := p[i]; {
		case c == '\\':
			return "", "backslash in the path"
		case c == 0:
			return "", "NUL in the path"
		case c == '?' || c == '#':
			return "", "query or fragment in the path"
		case c == '/' || c == '%' || classes[c]&pathByte != 0:
			raw = append(raw, c)
		default:
			raw = append(raw, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	canonical, fault := normalise(make([]byte, 0, len(raw)), raw)
	return string(canonical), fault
}

const hexDigits = "0123456789ABCDEF"
