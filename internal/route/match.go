package route

import (
	"bytes"
	"fmt"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// match is a route's conditions, resolved as far as can be before a request comes.
type match struct {
	path    text
	pathSet bool // the path has to be compared here: the tree has not done it

	method    text
	authority text
	http      bool // the scheme condition holds for "http"
	https     bool
	headers   []fieldMatch
	query     []fieldMatch
}

// fieldMatch compares the value in a slot of the request's scratch.
type fieldMatch struct {
	slot   int
	invert bool
	text   text
}

// names numbers the header and parameter names that a host's routes ask for, so that each is looked
// up at most once per request, however many routes ask.
type names struct {
	headers []headerName
	query   [][]byte
}

type headerName struct {
	id   message.Name
	name []byte
}

func (n *names) header(name string) int {
	for i := range n.headers {
		if string(n.headers[i].name) == name {
			return i
		}
	}
	n.headers = append(n.headers, headerName{message.Identify([]byte(name)), []byte(name)})
	return len(n.headers) - 1
}

func (n *names) parameter(name string) int {
	for i := range n.query {
		if string(n.query[i]) == name {
			return i
		}
	}
	n.query = append(n.query, []byte(name))
	return len(n.query) - 1
}

// compileMatch prepares a route's conditions. A part that is not understood holds for everything and
// is reported, together with the first such part's error.
func compileMatch(m *ir.Match, n *names) (match, error) {
	var first error
	text := func(what string, kind ir.MatchKind, value string, fold bool) text {
		t, err := compileText(kind, value, fold)
		if err != nil && first == nil {
			first = fmt.Errorf("%s: %w", what, err)
		}
		return t
	}
	c := match{
		path:      text("path", m.Path.Kind, m.Path.Value, m.Path.IgnoreCase),
		pathSet:   m.Path.Kind == ir.MatchRegex,
		method:    text("method", m.Method.Kind, m.Method.Value, m.Method.IgnoreCase),
		authority: text("authority", m.Authority.Kind, m.Authority.Value, m.Authority.IgnoreCase),
	}
	scheme := text("scheme", m.Scheme.Kind, m.Scheme.Value, m.Scheme.IgnoreCase)
	c.http, c.https = scheme.matches([]byte("http")), scheme.matches([]byte("https"))
	for _, f := range m.Headers {
		t := text("header "+f.Name, f.Match.Kind, f.Match.Value, f.Match.IgnoreCase)
		c.headers = append(c.headers, fieldMatch{n.header(f.Name), f.Invert, t})
	}
	for _, f := range m.Query {
		t := text("query parameter "+f.Name, f.Match.Kind, f.Match.Value, f.Match.IgnoreCase)
		c.query = append(c.query, fieldMatch{n.parameter(f.Name), f.Invert, t})
	}
	return c, first
}

// holds reports whether all conditions but the path's literal, which the tree has compared, hold.
func (m *match) holds(in *input) bool {
	if m.pathSet && !m.path.matches(in.req.Path) {
		return false
	}
	if m.method.kind != ir.MatchAny && !m.method.matches(in.req.Method) {
		return false
	}
	if !m.scheme(in.req) {
		return false
	}
	if m.authority.kind != ir.MatchAny && !m.authority.matches(in.authority()) {
		return false
	}
	for i := range m.headers {
		if !m.headers[i].holds(in.header(m.headers[i].slot)) {
			return false
		}
	}
	for i := range m.query {
		if !m.query[i].holds(in.parameter(m.query[i].slot)) {
			return false
		}
	}
	return true
}

func (m *match) scheme(req *message.Request) bool {
	if req.Scheme == "https" {
		return m.https
	}
	return m.http
}

func (f *fieldMatch) holds(value []byte, present bool) bool {
	return (present && f.text.matches(value)) != f.invert
}

// input is a request with what has been looked up in it so far. It is taken from a pool for one
// match; nothing in it is allocated in the steady state.
type input struct {
	req   *message.Request
	names *names

	headers   []value // by slot
	query     []value // by slot; valid if queryRead
	queryRead bool
	host      []byte // authority in lower case, nil if not needed yet
	buf       []byte // bytes made here: joined lines, decoded parameters
}

type value struct {
	state state
	bytes []byte
}

type state uint8

const (
	unread state = iota
	absent
	present
)

// maxKept bounds the memory that an idle input keeps, in bytes.
const maxKept = 16 << 10

func (in *input) begin(req *message.Request, n *names) {
	in.req, in.names = req, n
	in.headers = resized(in.headers, len(n.headers))
	in.query = resized(in.query, len(n.query))
}

// end forgets the request, so that the pool does not keep its buffers alive.
func (in *input) end() {
	clear(in.headers)
	clear(in.query)
	in.req, in.names, in.host, in.queryRead = nil, nil, nil, false
	if in.buf = in.buf[:0]; cap(in.buf) > maxKept {
		in.buf = nil
	}
}

func resized(s []value, n int) []value {
	if cap(s) < n {
		return make([]value, n)
	}
	return s[:n]
}

func (in *input) authority() []byte {
	if in.host != nil {
		return in.host
	}
	in.host = in.req.Authority
	for i, c := range in.req.Authority {
		if c != lower(c) {
			from := len(in.buf)
			in.buf = append(in.buf, in.req.Authority...)
			in.host = in.buf[from:len(in.buf):len(in.buf)]
			for ; i < len(in.host); i++ {
				in.host[i] = lower(in.host[i])
			}
			break
		}
	}
	return in.host
}

// header returns the value of a header, several lines joined by "," (RFC 9110 section 5.3).
func (in *input) header(slot int) ([]byte, bool) {
	v := &in.headers[slot]
	if v.state == unread {
		v.state = absent
		in.readHeader(&in.names.headers[slot], v)
	}
	return v.bytes, v.state == present
}

func (in *input) readHeader(h *headerName, v *value) {
	if h.id == message.Host { // HTTP/2 has :authority instead
		if len(in.req.Authority) > 0 {
			*v = value{present, in.req.Authority}
		}
		return
	}
	joined := false
	fields := &in.req.Fields
	if h.id != message.Other && !fields.Names().Has(h.id) {
		return
	}
	for i := range fields.Len() {
		f := fields.At(i)
		if f.ID != h.id || h.id == message.Other && !equalLower(f.Name, h.name) {
			continue
		}
		if v.state == absent {
			*v = value{present, f.Value}
			continue
		}
		if !joined {
			joined = true
			from := len(in.buf)
			in.buf = append(in.buf, v.bytes...)
			v.bytes = in.buf[from:]
		}
		from := len(in.buf) - len(v.bytes) // they are the last in buf
		in.buf = append(append(in.buf, ','), f.Value...)
		v.bytes = in.buf[from:]
	}
	v.bytes = v.bytes[:len(v.bytes):len(v.bytes)]
}

// parameter returns the first value of a query parameter, decoded.
func (in *input) parameter(slot int) ([]byte, bool) {
	if !in.queryRead {
		in.queryRead = true
		in.readQuery()
	}
	v := &in.query[slot]
	return v.bytes, v.state == present
}

// readQuery goes over the query once and fills the slots of the names that it meets. Names and values
// are decoded as application/x-www-form-urlencoded: "+" is a space, a broken escape stands for itself.
func (in *input) readQuery() {
	for rest := in.req.Query; len(rest) > 0; {
		pair := rest
		if i := bytes.IndexByte(rest, '&'); i >= 0 {
			pair, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		if len(pair) == 0 {
			continue
		}
		name, val := pair, []byte(nil)
		if i := bytes.IndexByte(pair, '='); i >= 0 {
			name, val = pair[:i], pair[i+1:]
		}
		name = in.decoded(name)
		for i, wanted := range in.names.query {
			if v := &in.query[i]; v.state != present && bytes.Equal(name, wanted) {
				*v = value{present, in.decoded(val)}
			}
		}
	}
}

// decoded returns b itself where there is nothing to decode.
func (in *input) decoded(b []byte) []byte {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '+') < 0 {
		return b
	}
	from := len(in.buf)
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(b) && hex(b[i+1]) < 16 && hex(b[i+2]) < 16:
			c = hex(b[i+1])<<4 | hex(b[i+2])
			i += 2
		}
		in.buf = append(in.buf, c)
	}
	return in.buf[from:len(in.buf):len(in.buf)]
}

func hex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
