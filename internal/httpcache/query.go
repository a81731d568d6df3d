package httpcache

import (
	"bytes"
	"strings"

	"github.com/hakone-gateway/hakone/internal/message"
)

// Query is a request as the cache sees it. It is reused: Reset before each.
type Query struct {
	Key    []byte // absolute URL in normal form: AppendKey
	Route  string // answers of different routes are different answers of the same URL
	Method []byte
	Fields *message.Fields // as the origin would get them

	// Identified says that the origin may have told users apart by something other than Authorization, such
	// as a client certificate.
	Identified bool

	// Unvouched says that fields which speak of how the client asked, such as X-Forwarded-Host, are the client's
	// own word.
	Unvouched bool

	// Body says that the request has content, Alone that it waits for nobody else's answer.
	Body  bool
	Alone bool

	control                           requestControl
	noneMatch, since, ranges, ifRange []byte
	manyNoneMatch                     bool
	preconditions                     bool // If-Match or If-Unmodified-Since
	authorized                        bool
	pragma                            bool
	steers                            bool   // the origin may be talked into answering something else than the URL
	selecting                         []byte // scratch
}

// Reset prepares for a request and keeps memory.
func (q *Query) Reset() {
	*q = Query{Key: q.Key[:0], selecting: q.selecting[:0]}
}

// Scan reads what concerns caches from the fields. Call it before Lookup and again when they have changed.
func (q *Query) Scan() {
	q.control = newRequestControl()
	q.noneMatch, q.since, q.ranges, q.ifRange, q.manyNoneMatch, q.preconditions, q.pragma = nil, nil, nil, nil, false, false, false
	q.authorized = q.Fields.Has(message.Authorization)
	q.steers = q.Unvouched && q.Fields.Names()&claims != 0
	for i := range q.Fields.Len() {
		l := q.Fields.At(i)
		if l.ID != message.Other || len(l.Name) < 5 {
			continue
		}
		switch l.Name[0] | 0x20 {
		case 'c':
			if is(l.Name, "cache-control") {
				q.control.add(l.Value)
			}
		case 'r':
			if is(l.Name, "range") {
				q.ranges = l.Value
			}
		case 'i':
			q.conditional(l)
		case 'x':
			q.steers = q.steers || steering(l.Name, q.Unvouched)
		}
	}
}

// claims are the fields of a hop's by which many origins make the URLs, and the answers, that they give.
const claims = message.NameSet(1<<message.XForwardedHost | 1<<message.XForwardedProto | 1<<message.XForwardedPort | 1<<message.Forwarded)

// steering reports whether a field makes common frameworks answer for another path, host or method than the
// request's own. Caches do not know that, and would give the answer to whoever asks for the URL after that.
func steering(name []byte, unvouched bool) bool {
	if len(name) < 6 || name[1] != '-' && name[1] != '_' {
		return false
	}
	switch name[2] | 0x20 {
	case 'o':
		return alike(name, "x-original-url") || alike(name, "x-original-host") || alike(name, "x-original-uri")
	case 'r':
		return alike(name, "x-rewrite-url")
	case 'h':
		return alike(name, "x-host") || alike(name, "x-http-method") || alike(name, "x-http-method-override") || alike(name, "x-http-host-override")
	case 'm':
		return alike(name, "x-method-override")
	case 'f':
		return unvouched && message.HasPrefixAlike(name, "x-forwarded-") && !alike(name, "x-forwarded-for")
	}
	return false
}

// alike compares as programs do that take an underscore for a hyphen. lower is in lower case.
func alike(name []byte, lower string) bool {
	return len(name) == len(lower) && message.HasPrefixAlike(name, lower)
}

// conditional notes a field that begins with i.
func (q *Query) conditional(l *message.Field) {
	switch {
	case is(l.Name, "if-none-match"):
		q.manyNoneMatch = q.noneMatch != nil
		q.noneMatch = l.Value
	case is(l.Name, "if-modified-since"):
		q.since = l.Value
	case is(l.Name, "if-range"):
		q.ifRange = l.Value
	case is(l.Name, "if-match"), is(l.Name, "if-unmodified-since"):
		q.preconditions = true
	}
}

// get and head tell the methods that stored answers can serve.
func (q *Query) get() bool  { return string(q.Method) == "GET" }
func (q *Query) head() bool { return string(q.Method) == "HEAD" }

// Safe reports whether the method changes nothing (RFC 9110 section 9.2.1), as far as it is known.
func (q *Query) Safe() bool {
	switch string(q.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH":
		return true
	}
	return false
}

// AppendKey appends the normal form of a URL (RFC 9110 section 4.2.3): authority in lower case, without the
// scheme's port. path is normalised by the caller.
func AppendKey(dst []byte, scheme string, authority, path, query []byte, hasQuery bool) []byte {
	dst = append(append(dst, scheme...), "://"...)
	port := ":80"
	if scheme == "https" {
		port = ":443"
	}
	if n := len(authority) - len(port); n > 0 && string(authority[n:]) == port {
		authority = authority[:n]
	}
	for _, c := range authority {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	dst = append(dst, path...)
	if hasQuery {
		dst = append(append(dst, '?'), query...)
	}
	return dst
}

// ParseKey returns the normal form of an absolute URL as people type it; ok is false if it is none.
func ParseKey(url string, normal func(path []byte) ([]byte, bool)) (key []byte, ok bool) {
	scheme, rest, found := bytes.Cut([]byte(url), []byte("://"))
	scheme = bytes.ToLower(scheme)
	if !found || string(scheme) != "http" && string(scheme) != "https" {
		return nil, false
	}
	rest, _, _ = bytes.Cut(rest, []byte("#"))
	rest, query, hasQuery := bytes.Cut(rest, []byte("?"))
	authority, path := rest, []byte("/")
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if i := bytes.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	if len(authority) == 0 {
		return nil, false
	}
	if path, ok = normal(path); !ok {
		return nil, false
	}
	return AppendKey(nil, string(scheme), authority, path, query, hasQuery), true
}

// appendSelecting appends the values of the fields that names (lower case, separated by commas) tell, so that
// equal requests give equal bytes (RFC 9111 section 4.1).
func appendSelecting(dst []byte, names string, f *message.Fields) []byte {
	for len(names) > 0 {
		var name string
		name, names, _ = strings.Cut(names, ",")
		id := message.Identify([]byte(name))
		start, present := len(dst), false
		dst = append(dst, 0)
		for i := range f.Len() {
			if l := f.At(i); l.ID == id && (id != message.Other || is(l.Name, name)) {
				if present {
					dst = append(dst, ',')
				}
				present = true
				dst = appendNormal(dst, l.Value)
			}
		}
		if present {
			dst[start] = 1
			if name == "accept-language" || name == "accept-encoding" {
				dst = append(dst[:start+1], sortPreferences(dst[start+1:])...)
			}
		}
		dst = append(dst, '\n')
	}
	return dst
}

// appendNormal appends a value without white space around its commas, outside quotes.
func appendNormal(dst, v []byte) []byte {
	v = bytes.Trim(v, " \t")
	quoted := false
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',':
			for n := len(dst); n > 0 && (dst[n-1] == ' ' || dst[n-1] == '\t'); n = len(dst) {
				dst = dst[:n-1]
			}
			for i+1 < len(v) && (v[i+1] == ' ' || v[i+1] == '\t') {
				i++
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// sortPreferences gives a list of preferences a normal form: lower case, the most wanted first, and those that are
// wanted equally in the order of the alphabet. b is changed, and is room for no more than the result.
func sortPreferences(b []byte) []byte {
	if bytes.IndexByte(b, ',') < 0 {
		return bytes.ToLower(b)
	}
	type choice struct {
		item   []byte
		weight int
	}
	var list []choice
	for rest := bytes.ToLower(b); len(rest) > 0; {
		var item []byte
		item, rest, _ = bytes.Cut(rest, []byte(","))
		if len(item) == 0 {
			continue
		}
		value, params, _ := bytes.Cut(item, []byte(";"))
		c := choice{bytes.Trim(value, " \t"), weightOf(params)}
		at := len(list)
		for at > 0 && (list[at-1].weight < c.weight || list[at-1].weight == c.weight && bytes.Compare(list[at-1].item, c.item) > 0) {
			at--
		}
		list = append(list, choice{})
		copy(list[at+1:], list[at:])
		list[at] = c
		if len(list) > 64 { // whoever sends that gets a variant of their own
			return b
		}
	}
	out := make([]byte, 0, len(b)+8)
	for i, c := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, c.item...)
		if c.weight < 1000 {
			out = append(out, ';', byte('0'+c.weight/100), byte('0'+c.weight/10%10), byte('0'+c.weight%10))
		}
	}
	return out
}

// weightOf reads q=0.5 in thousandths; 1000 without.
func weightOf(params []byte) int {
	_, q, ok := bytes.Cut(params, []byte("q="))
	if !ok || len(q) == 0 {
		return 1000
	}
	if q[0] == '1' {
		return 1000
	}
	n, unit := 0, 100
	for i := 2; i < len(q) && unit > 0 && q[i] >= '0' && q[i] <= '9'; i++ {
		n += int(q[i]-'0') * unit
		unit /= 10
	}
	return n
}
