package http1

import (
	"bytes"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
)

// scanTarget finds the end of the target that begins at buf[i]: the index of its first byte that no
// target holds, or len(buf). path is the index of the "/" its path begins with (-1 if it has another
// form), query that of the first "?" (-1 if none); rewrite reports a path that is not canonical as it
// stands.
func scanTarget(buf []byte, i int) (end, path, query int, rewrite bool) {
	path, query = -1, -1
	if i < len(buf) && buf[i] != '/' {
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

// setTarget fills Target, Path, Query and, for forms that have one, Authority, Host and Absolute of
// req (RFC 9112 section 3.2).
func setTarget(req *message.Request, target []byte, path, query int, rewrite bool) error {
	req.Target = target
	connect := string(req.Method) == "CONNECT"
	switch {
	case connect:
		if _, port, _, ok := splitAuthority(target); !ok || port == nil {
			return refuse(diag.RequestMalformed, "target of CONNECT is not host:port")
		}
		setAuthority(req, target)
		return nil
	case path == 0:
	case len(target) == 1 && target[0] == '*':
		if string(req.Method) != "OPTIONS" {
			return refuse(diag.RequestMalformed, "target * without OPTIONS")
		}
		req.Path = target
		return nil
	default:
		return setAbsolute(req, target)
	}
	return setPath(req, target, query, rewrite)
}

// setPath takes a target in origin form.
func setPath(req *message.Request, target []byte, query int, rewrite bool) error {
	req.Path = target
	if query >= 0 {
		req.Path, req.Query, req.HasQuery = target[:query:query], target[query+1:], true
	}
	if !rewrite {
		return nil
	}
	path, fault := normalise(req.Fields.Reserve(len(req.Path)), req.Path)
	if fault != "" {
		return refuse(diag.RequestBadPath, fault)
	}
	req.Path = path
	return nil
}

// setAbsolute takes a target in absolute form.
func setAbsolute(req *message.Request, target []byte) error {
	sep := bytes.Index(target, []byte("://"))
	switch {
	case sep >= 0 && message.EqualFold(target[:sep], []byte("http")):
		req.Absolute = "http"
	case sep >= 0 && message.EqualFold(target[:sep], []byte("https")):
		req.Absolute = "https"
	default:
		return refuse(diag.RequestMalformed, "target is neither a path nor an absolute http URI")
	}
	rest := target[sep+3:]
	i := 0
	for i < len(rest) && rest[i] != '/' && rest[i] != '?' {
		i++
	}
	if !setAuthority(req, rest[:i:i]) {
		return refuse(diag.RequestBadHost, "authority of the absolute target is invalid")
	}
	if rest = rest[i:]; len(rest) == 0 || rest[0] == '?' {
		return setEmptyPath(req, rest)
	}
	end, _, query, rewrite := scanTarget(rest, 0)
	if end != len(rest) {
		return refuse(diag.RequestBadPath, badTarget(rest[end]))
	}
	return setPath(req, rest, query, rewrite)
}

// setEmptyPath takes an absolute target without path: "/" stands for it, and "*" with OPTIONS (RFC
// 9112 section 3.2.4).
func setEmptyPath(req *message.Request, rest []byte) error {
	empty := "/"
	if len(rest) > 0 {
		req.Query, req.HasQuery = rest[1:], true
	} else if string(req.Method) == "OPTIONS" {
		empty = "*"
	}
	req.Path = append(req.Fields.Reserve(1), empty...)
	return nil
}

func badTarget(c byte) string {
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
			hi, ok1 := unhex(raw[i+1])
			lo, ok2 := unhex(raw[i+2])
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

const hexDigits = "0123456789ABCDEF"

// refuse makes an error about a request.
func refuse(code diag.Code, detail string) error { return downstream.refuse(code, detail) }
