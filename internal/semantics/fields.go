package semantics

import "github.com/hakone-gateway/hakone/internal/message"

// AliasesFraming reports whether a name is Transfer-Encoding or Content-Length with an underscore for
// the hyphen. CGI and what descends from it fold the two, so an origin may frame by what we pass over.
func AliasesFraming(name []byte) bool {
	const coding, length = "transfer-encoding", "content-length"
	switch len(name) {
	case len(coding):
		return name[8] == '_' && message.EqualFold(name[:8], []byte(coding[:8])) && message.EqualFold(name[9:], []byte(coding[9:]))
	case len(length):
		return name[7] == '_' && message.EqualFold(name[:7], []byte(length[:7])) && message.EqualFold(name[8:], []byte(length[8:]))
	}
	return false
}

// Length reads the value of Content-Length, in bytes: digits only, without leading zeros (some readers take those for octal), up to the
// largest int64.
func Length(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 19 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if !IsDigit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), n <= 1<<63-1
}

// Expect applies RFC 9110 section 10.1.1 to a request with an Expect field, whose body is known; repeated
// says that there is more than one. An expectation in HTTP/1.0 is ignored, as is one without a body to
// wait for; neither is passed on, where it might find somebody who takes it up. False: the expectation
// is not 100-continue (diag.RequestExpectation).
func Expect(req *message.Request, repeated bool) bool {
	value, _ := req.Fields.Get(message.Expect)
	if req.Proto == message.HTTP10 {
		req.Fields.DelID(message.Expect)
		return true
	}
	if repeated || !message.EqualFold(value, []byte("100-continue")) {
		return false
	}
	if req.Continue = !req.Body.IsEmpty(); !req.Continue {
		req.Fields.DelID(message.Expect)
	}
	return true
}

// BadExpectation is the detail for what Expect refuses.
const BadExpectation = "expectation other than 100-continue"

// HasPrefixFold reports whether b begins with prefix, ASCII case ignored.
func HasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && message.EqualFold(b[:len(prefix)], []byte(prefix))
}

// IsDigit reports whether c is a decimal digit.
func IsDigit(c byte) bool { return '0' <= c && c <= '9' }
