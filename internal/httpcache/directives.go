package httpcache

import (
	"bytes"

	"github.com/hakone-gateway/hakone/internal/message"
)

// maxSeconds is what larger numbers of seconds count as (RFC 9111 section 1.2.2).
const maxSeconds = 1 << 31

// responseControl is what an answer's Cache-Control says, or the targeted field that takes its place.
type responseControl struct {
	noStore, noCache, private, public, mustRevalidate, proxyRevalidate, mustUnderstand bool
	invalid                                                                            bool     // a directive on freshness that cannot be read: stale (section 4.2.1)
	maxAge, sMaxAge, staleWhile, staleIfError                                          int64    // seconds; -1: not given
	fields                                                                             [][]byte // named by no-cache="..." and private="..."
}

func newResponseControl() responseControl {
	return responseControl{maxAge: -1, sMaxAge: -1, staleWhile: -1, staleIfError: -1}
}

// requestControl is what a request's Cache-Control says. maxStale is maxSeconds for the directive without a
// value.
type requestControl struct {
	noStore, noCache, onlyIfCached    bool
	maxAge, maxStale, minFresh, stale int64 // seconds; -1: not given. stale: stale-if-error
}

func newRequestControl() requestControl {
	return requestControl{maxAge: -1, maxStale: -1, minFresh: -1, stale: -1}
}

// nextDirective returns the first directive of a Cache-Control value and what follows it (RFC 9111 section
// 5.2). arg is nil without "=", and without its quotes where it had some; commas in quotes do not separate.
func nextDirective(list []byte) (name, arg []byte, quoted bool, rest []byte) {
	inQuotes, end := false, len(list)
scan:
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			inQuotes = !inQuotes
		case c == '\\' && inQuotes:
			i++
		case c == ',' && !inQuotes:
			end = i
			break scan
		}
	}
	item := bytes.Trim(list[:end], " \t")
	if end < len(list) {
		rest = list[end+1:]
	}
	eq := bytes.IndexByte(item, '=')
	if eq < 0 {
		return item, nil, false, rest
	}
	name, arg = item[:eq], item[eq+1:]
	if n := len(arg); n >= 2 && arg[0] == '"' && arg[n-1] == '"' {
		arg, quoted = arg[1:n-1], true
	}
	return name, arg, quoted, rest
}

// seconds reads delta-seconds (section 1.2.2); ok is false for anything but digits.
func seconds(b []byte) (n int64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int64(c-'0'); n > maxSeconds {
			n = maxSeconds
		}
	}
	return n, true
}

// is reports whether a directive has a name, given in lower case.
func is(name []byte, lower string) bool {
	return len(name) == len(lower) && message.EqualFold(name, []byte(lower))
}

// add reads one line of Cache-Control. Of duplicates the first counts (section 4.2.1).
func (c *responseControl) add(line []byte) {
	for len(line) > 0 {
		var name, arg []byte
		name, arg, _, line = nextDirective(line)
		switch {
		case is(name, "no-store"):
			c.noStore = true
		case is(name, "no-cache"):
			c.restrict(arg, &c.noCache)
		case is(name, "private"):
			c.restrict(arg, &c.private)
		case is(name, "public"):
			c.public = true
		case is(name, "must-revalidate"):
			c.mustRevalidate = true
		case is(name, "proxy-revalidate"):
			c.proxyRevalidate = true
		case is(name, "must-understand"):
			c.mustUnderstand = true
		case is(name, "max-age"):
			c.number(arg, &c.maxAge)
		case is(name, "s-maxage"):
			c.number(arg, &c.sMaxAge)
		case is(name, "stale-while-revalidate"):
			c.extension(arg, &c.staleWhile)
		case is(name, "stale-if-error"):
			c.extension(arg, &c.staleIfError)
		}
	}
}

// restrict notes no-cache and private: without field names the whole answer, else these fields.
func (c *responseControl) restrict(arg []byte, whole *bool) {
	if arg == nil {
		*whole = true
		return
	}
	named := false
	for len(arg) > 0 {
		var name []byte
		name, arg, _ = bytes.Cut(arg, []byte(","))
		if name = bytes.Trim(name, " \t"); len(name) > 0 {
			c.fields, named = append(c.fields, name), true
		}
	}
	if !named {
		*whole = true
	}
}

func (c *responseControl) number(arg []byte, into *int64) {
	n, ok := seconds(arg)
	switch {
	case !ok:
		c.invalid = true
	case *into < 0:
		*into = n
	}
}

func (c *responseControl) extension(arg []byte, into *int64) {
	if n, ok := seconds(arg); ok && *into < 0 {
		*into = n
	}
}

// add reads one line of a request's Cache-Control.
func (c *requestControl) add(line []byte) {
	for len(line) > 0 {
		var name, arg []byte
		name, arg, _, line = nextDirective(line)
		n, ok := seconds(arg)
		switch {
		case is(name, "no-store"):
			c.noStore = true
		case is(name, "no-cache"):
			c.noCache = true
		case is(name, "only-if-cached"):
			c.onlyIfCached = true
		case is(name, "max-age"):
			if !ok {
				n = 0
			}
			c.maxAge = n
		case is(name, "max-stale"):
			if arg == nil {
				n, ok = maxSeconds, true
			}
			if ok {
				c.maxStale = n
			}
		case is(name, "min-fresh") && ok:
			c.minFresh = n
		case is(name, "stale-if-error") && ok:
			c.stale = n
		}
	}
}

// targeted reads a targeted field (RFC 9213), a Dictionary of Structured Fields (RFC 8941 section 3.2). It
// returns false if it is none, or empty: then it is ignored as a whole.
func (c *responseControl) targeted(value []byte) bool {
	found := responseControl{maxAge: -1, sMaxAge: -1, staleWhile: -1, staleIfError: -1}
	any := false
	for rest := bytes.Trim(value, " \t"); len(rest) > 0; {
		var m member
		var ok bool
		if m, rest, ok = nextMember(rest); !ok {
			return false
		}
		any = true
		n, numeric := seconds(m.value)
		number := func(into *int64) {
			if *into = n; !numeric {
				*into, found.invalid = -1, true
			}
		}
		switch string(m.key) {
		case "no-store":
			found.noStore = m.truth
		case "no-cache":
			found.noCache = m.truth
		case "private":
			found.private = m.truth
		case "public":
			found.public = m.truth
		case "must-revalidate":
			found.mustRevalidate = m.truth
		case "must-understand":
			found.mustUnderstand = m.truth
		case "max-age":
			number(&found.maxAge)
		case "s-maxage":
			number(&found.sMaxAge)
		case "stale-while-revalidate":
			number(&found.staleWhile)
		case "stale-if-error":
			number(&found.staleIfError)
		}
	}
	if any {
		*c = found
	}
	return any
}

// member is one of a Dictionary. value is nil where it is a boolean, which truth is then.
type member struct {
	key, value []byte
	truth      bool
}

// nextMember cuts the first member off; parameters are passed over. ok is false where the syntax is broken.
func nextMember(b []byte) (m member, rest []byte, ok bool) {
	n := 0
	for n < len(b) && (b[n] >= 'a' && b[n] <= 'z' || b[n] == '*' || n > 0 && (b[n] >= '0' && b[n] <= '9' || b[n] == '_' || b[n] == '-' || b[n] == '.')) {
		n++
	}
	if n == 0 {
		return m, nil, false
	}
	m.key, m.truth, b = b[:n], true, b[n:]
	if len(b) > 0 && b[0] == '=' {
		if m.value, b, ok = bareItem(b[1:]); !ok {
			return m, nil, false
		}
		switch string(m.value) {
		case "?1":
			m.value = nil
		case "?0":
			m.value, m.truth = nil, false
		}
	}
	for b = bytes.TrimLeft(b, " \t"); len(b) > 0 && b[0] == ';'; b = bytes.TrimLeft(b, " \t") {
		if _, b, ok = bareItem(bytes.TrimLeft(b[1:], " ")); !ok {
			return m, nil, false
		}
		if len(b) > 0 && b[0] == '=' {
			if _, b, ok = bareItem(b[1:]); !ok {
				return m, nil, false
			}
		}
	}
	if len(b) == 0 {
		return m, nil, true
	}
	if b[0] != ',' {
		return m, nil, false
	}
	b = bytes.TrimLeft(b[1:], " \t")
	return m, b, len(b) > 0 // no comma at the end
}

// bareItem cuts an item, or an inner list, off.
func bareItem(b []byte) (item, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	end := 0
	switch b[0] {
	case '"':
		for end = 1; end < len(b) && b[end] != '"'; end++ {
			if b[end] == '\\' {
				end++
			}
		}
		end++
	case '(':
		end = bytes.IndexByte(b, ')') + 1
	default:
		for end < len(b) && bytes.IndexByte([]byte(" \t,;="), b[end]) < 0 {
			end++
		}
	}
	if end == 0 || end > len(b) {
		return nil, nil, false
	}
	return b[:end], b[end:], true
}

// surrogate reads Surrogate-Control (W3C Edge Architecture 1.0), for us alone or for all. It returns false if
// nothing in it is meant for us, or known.
func (c *responseControl) surrogate(value []byte, device string) bool {
	found := newResponseControl()
	any := false
	for len(value) > 0 {
		var name, arg []byte
		name, arg, _, value = nextDirective(value)
		target := &arg
		if arg == nil {
			target = &name
		}
		head, whom, has := bytes.Cut(*target, []byte(";"))
		*target = head
		if has && string(bytes.Trim(whom, " \t")) != device {
			continue
		}
		switch {
		case is(name, "no-store"):
			found.noStore, any = true, true
		case is(name, "max-age"):
			fresh, extra, extended := bytes.Cut(arg, []byte("+"))
			n, ok := seconds(fresh)
			if !ok {
				continue
			}
			found.maxAge, any = n, true
			if extended {
				found.extension(extra, &found.staleWhile)
			}
		}
	}
	if any {
		*c = found
	}
	return any
}
