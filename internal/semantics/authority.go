package semantics

import "github.com/hakone-gateway/hakone/internal/message"

// SplitAuthority checks host [":" port] (RFC 3986 section 3.2, without user information) and cuts it.
// host comes without brackets and trailing dot. Narrower than the RFC: names are made of letters,
// digits, "-", "_" and single dots; a port is 1 to 65535 without leading zeros. upper reports a capital.
func SplitAuthority(a []byte) (host, port []byte, upper, ok bool) {
	if len(a) > 0 && a[0] == '[' {
		return splitIPLiteral(a)
	}
	i := 0
	var seen uint8
	for ; i < len(a) && classes[a[i]]&hostByte != 0; i++ {
		seen |= classes[a[i]]
		if a[i] == '.' && (i == 0 || a[i-1] == '.') {
			return nil, nil, false, false
		}
	}
	host = a[:i:i]
	if i > 1 && host[i-1] == '.' {
		host = host[:i-1]
	}
	if i < len(a) {
		if a[i] != ':' {
			return nil, nil, false, false
		}
		port = a[i+1:]
		if !validPort(port) {
			return nil, nil, false, false
		}
	}
	return host, port, seen&upperByte != 0, len(host) > 0 && len(host) <= 253
}

func validPort(p []byte) bool {
	if len(p) == 0 || len(p) > 5 || p[0] == '0' {
		return false
	}
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

func splitIPLiteral(a []byte) (host, port []byte, upper, ok bool) {
	end := 1
	for end < len(a) && a[end] != ']' {
		upper = upper || classes[a[end]]&upperByte != 0
		end++
	}
	if end == len(a) || !validIPv6(a[1:end]) {
		return nil, nil, false, false
	}
	host = a[1:end:end]
	if rest := a[end+1:]; len(rest) > 0 {
		if rest[0] != ':' || !validPort(rest[1:]) {
			return nil, nil, false, false
		}
		port = rest[1:]
	}
	return host, port, upper, true
}

// validIPv6 checks an address without zone (RFC 3986 section 3.2.2, IPv6address).
func validIPv6(b []byte) bool {
	groups, gap := 0, false
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = true, b[2:]
		if len(b) == 0 {
			return true
		}
	}
	for {
		n := 0
		for n < len(b) && n < 5 {
			if _, hex := Unhex(b[n]); !hex {
				break
			}
			n++
		}
		if n < len(b) && b[n] == '.' {
			groups += 2
			return validIPv4(b) && complete(groups, gap)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		b = b[n:]
		switch {
		case len(b) == 0:
			return complete(groups, gap)
		case b[0] != ':':
			return false
		case len(b) > 1 && b[1] == ':':
			if gap {
				return false
			}
			gap, b = true, b[2:]
			if len(b) == 0 {
				return groups < 8
			}
		default:
			b = b[1:]
		}
	}
}

// complete reports whether groups of 16 bits make an address, where a gap stands for one or more.
func complete(groups int, gap bool) bool { return groups == 8 && !gap || groups < 8 && gap }

func validIPv4(b []byte) bool {
	for part := 0; part < 4; part++ {
		n, v := 0, 0
		for n < len(b) && n < 3 && '0' <= b[n] && b[n] <= '9' {
			v = v*10 + int(b[n]-'0')
			n++
		}
		if n == 0 || v > 255 || n > 1 && b[0] == '0' {
			return false
		}
		b = b[n:]
		if part < 3 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
	}
	return len(b) == 0
}

// SetAuthority fills Authority and Host of req and reports whether a is valid.
func SetAuthority(req *message.Request, a []byte) bool {
	host, _, upper, ok := SplitAuthority(a)
	if !ok {
		return false
	}
	if upper {
		folded := req.Fields.Reserve(len(host))
		for _, c := range host {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			folded = append(folded, c)
		}
		host = folded
	}
	req.Authority, req.Host = a, host
	return true
}
