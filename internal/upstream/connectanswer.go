package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of what a proxy answers to CONNECT: bytes of the head, those of interim answers included, and of the
// body of a refusal that is looked at.
const (
	maxAnswerHead = 16 << 10
	maxInterim    = 8
	maxRefusal    = 8 << 10
	maxWords      = 160 // bytes of a proxy's words that are passed on
)

// connectAnswer is the head of a proxy's answer.
type connectAnswer struct {
	status    int
	reason    string
	length    int64    // of the body, as the head says; -1: it does not
	chunked   bool     // the body is in chunks
	schemes   []string // of Proxy-Authenticate
	proxyNote string   // X-Squid-Error or Proxy-Status: the proxy's own reason
}

// Faults of an answer.
var (
	errAnswerTLS   = errors.New("a TLS record")
	errAnswerHTTP2 = errors.New("HTTP/2 frames")
)

// malformed is an answer that is no HTTP/1, with what is wrong.
type malformed struct{ what string }

// Error returns what is wrong.
func (m *malformed) Error() string { return m.what }

// parseAnswer reads one head (RFC 9112 sections 4 and 5) from the beginning of b. It returns how many bytes it
// takes, 0 if more are needed. It is strict: lines end with CRLF, fields are not folded, and names and values hold
// no control characters. b is not kept.
func parseAnswer(b []byte) (a connectAnswer, n int, err error) {
	if err := firstBytes(b); err != nil {
		return a, 0, err
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if bytes.Contains(b, []byte("\n\n")) {
			return a, 0, &malformed{"lines of the head end with a bare LF"}
		}
		if len(b) >= maxAnswerHead {
			return a, 0, &malformed{fmt.Sprintf("the head is longer than %d bytes", maxAnswerHead)}
		}
		return a, 0, nil
	}
	if end+4 > maxAnswerHead {
		return a, 0, &malformed{fmt.Sprintf("the head is longer than %d bytes", maxAnswerHead)}
	}
	lines := bytes.Split(b[:end], []byte("\r\n"))
	if err := a.statusLine(lines[0]); err != nil {
		return a, 0, err
	}
	a.length = -1
	for _, line := range lines[1:] {
		if err := a.field(line); err != nil {
			return a, 0, err
		}
	}
	return a, end + 4, nil
}

// firstBytes judges as soon as there are some what speaks there.
func firstBytes(b []byte) error {
	const want = "HTTP/1."
	if n := min(len(b), len(want)); string(b[:n]) == want[:n] {
		return nil
	}
	switch {
	case len(b) >= 2 && (b[0] == 21 || b[0] == 22) && b[1] == 3:
		return errAnswerTLS
	case len(b) == 1 && (b[0] == 21 || b[0] == 22):
		return nil // perhaps TLS: the next byte tells
	case len(b) >= 4 && b[0] == 0 && b[3] == 4: // SETTINGS come first (RFC 9113 section 3.4)
		return errAnswerHTTP2
	case len(b) < 4 && len(b) > 0 && b[0] == 0:
		return nil
	}
	return &malformed{"it begins with " + strconv.QuoteToASCII(string(b[:min(len(b), 24)]))}
}

// statusLine reads "HTTP/1.x NNN reason".
func (a *connectAnswer) statusLine(line []byte) error {
	bad := func() error {
		return &malformed{"its status line is " + strconv.QuoteToASCII(string(line[:min(len(line), 64)]))}
	}
	if len(line) < 12 || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return bad()
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return bad()
		}
		a.status = a.status*10 + int(c-'0')
	}
	if a.status < 100 || a.status > 599 || !visible(line) {
		return bad()
	}
	if len(line) > 13 {
		a.reason = words(line[13:])
	}
	return nil
}

// field reads one field line and keeps what it says about the body and the reason.
func (a *connectAnswer) field(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !token(name) || !visible(value) {
		return &malformed{"a field line of its head is " + strconv.QuoteToASCII(string(line[:min(len(line), 64)]))}
	}
	value = bytes.Trim(value, " \t")
	switch strings.ToLower(string(name)) {
	case "content-length":
		n, err := strconv.ParseUint(string(value), 10, 63)
		if err != nil || a.length >= 0 && a.length != int64(n) {
			return &malformed{"its Content-Length is " + strconv.QuoteToASCII(string(value[:min(len(value), 32)]))}
		}
		a.length = int64(n)
	case "transfer-encoding":
		a.chunked = strings.EqualFold(string(value), "chunked")
	case "proxy-authenticate":
		scheme, _, _ := strings.Cut(string(value), " ")
		if len(a.schemes) < 4 && scheme != "" {
			a.schemes = append(a.schemes, words([]byte(scheme)))
		}
	case "x-squid-error", "proxy-status":
		if a.proxyNote == "" {
			a.proxyNote = words(value)
		}
	}
	return nil
}

// token reports whether b is one (RFC 9110 section 5.6.2).
func token(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return len(b) > 0
}

// visible reports whether b holds no control characters but tabs.
func visible(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// words makes a proxy's words fit for a log: on one line, printable and short.
func words(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xFFFD {
			return ' '
		}
		return r
	}, string(b))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}

// gist is the title of a page, or the first line of a text.
func gist(body []byte) string {
	lower := bytes.ToLower(body)
	if at := bytes.Index(lower, []byte("<title")); at >= 0 {
		if open := bytes.IndexByte(lower[at:], '>'); open >= 0 {
			rest := body[at+open+1:]
			if end := bytes.Index(bytes.ToLower(rest), []byte("</title")); end >= 0 {
				rest = rest[:end]
			}
			return words(rest)
		}
	}
	for line := range bytes.Lines(body) {
		if s := words(line); s != "" && !strings.HasPrefix(s, "<") {
			return s
		}
	}
	return ""
}
