package http2

import "github.com/hakone-gateway/hakone/internal/message"

// role is what a list of fields is for.
type role uint8

const (
	ofRequest role = iota
	ofResponse
	ofTrailers
)

// list collects the fields of one block. Behind the first fault nothing is kept.
type list struct {
	fields    *message.Fields
	role      role
	fault     fault
	sensitive bool // of the line at hand
	late      bool // a regular field was seen
	seen      uint16
	lines     int // that may still come
	bytes     int // that may still come, as RFC 9113 section 6.5.2 counts them
	crumbs    int // bytes of Cookie, see joinCookies
	twice     message.NameSet
	pseudo    [numPseudo][]byte
}

// defined are the pseudo-header fields that a role knows, as bits.
var defined = [...]uint16{
	ofRequest:  1<<pseudoMethod | 1<<pseudoPath | 1<<pseudoScheme | 1<<pseudoAuthority | 1<<pseudoProtocol,
	ofResponse: 1 << pseudoStatus,
	ofTrailers: 0,
}

// connectionSpecific are about one connection of HTTP/1.1 (RFC 9113 section 8.2.2).
const connectionSpecific = message.NameSet(1<<message.Connection | 1<<message.KeepAlive | 1<<message.ProxyConnection |
	1<<message.TransferEncoding | 1<<message.Upgrade | 1<<message.HTTP2Settings)

// watched are fields that line looks at before it keeps them.
const watched = connectionSpecific | 1<<message.TE | 1<<message.Cookie

// line takes one field line. shared says that name and value are never changed; otherwise they are
// copied.
func (l *list) line(j judgement, valueFault fault, name, value []byte, shared bool) {
	if l.bytes -= len(name) + len(value) + entryOverhead; l.bytes < 0 && l.fault == none {
		l.fault = listTooLarge
	}
	switch {
	case l.fault != none:
		return
	case j.fault != none:
		l.fault = j.fault
		return
	case valueFault != none:
		l.fault = valueFault
		return
	case j.pseudo != regular:
		l.pseudoLine(j.pseudo, value, shared)
		return
	}
	l.late = true
	f := l.fields
	if watched.Has(j.id) && !l.admit(j.id, value) {
		return
	}
	if l.lines--; l.lines < 0 {
		l.fault = tooManyFields
		return
	}
	switch {
	case shared:
	case j.id != message.Other:
		name, value = j.id.Lower(), append(f.Reserve(len(value)), value...)
	default:
		n := len(name)
		b := append(append(f.Reserve(n+len(value)), name...), value...)
		name, value = b[:n:n], b[n:]
	}
	l.twice |= f.Names() & (1 << j.id)
	f.Append(j.id, name, value)
	if l.sensitive {
		f.At(f.Len() - 1).Sensitive = true
	}
}

// admit judges a field of the set watched.
func (l *list) admit(id message.Name, value []byte) bool {
	switch {
	case id == message.TransferEncoding:
		l.fault = fieldTransferEncoding
	case id == message.TE && l.role == ofRequest:
		if !message.EqualFold(value, []byte("trailers")) {
			l.fault = fieldTE
		}
	case id == message.Cookie:
		if l.crumbs > 0 {
			l.lines++ // another crumb
		}
		l.crumbs += len(value) + len("; ")
	default:
		l.fault = fieldOfConnection
	}
	return l.fault == none
}

func (l *list) pseudoLine(p pseudo, value []byte, shared bool) {
	bit := uint16(1) << p
	switch {
	case l.role == ofTrailers:
		l.fault = pseudoInTrailers
	case defined[l.role]&bit == 0:
		l.fault = pseudoMisplaced
	case l.late:
		l.fault = pseudoLate
	case l.seen&bit != 0:
		l.fault = pseudoTwice
	default:
		if !shared {
			value = append(l.fields.Reserve(len(value)), value...)
		}
		l.seen |= bit
		l.pseudo[p] = value
	}
}

func (l *list) has(p pseudo) bool { return l.seen>>p&1 != 0 }

// joinCookies makes one line of the crumbs of Cookie, at the place of the first (RFC 9113 section 8.2.3).
// crumbs is the size of their values in bytes, each with 2 more.
func joinCookies(f *message.Fields, crumbs int) {
	joined, sensitive, first := f.Reserve(crumbs), false, true
	f.DelFunc(func(at *message.Field) bool {
		if at.ID != message.Cookie {
			return false
		}
		sensitive = sensitive || at.Sensitive
		if first {
			first, joined = false, append(joined, at.Value...)
			return false
		}
		joined = append(append(joined, "; "...), at.Value...)
		return true
	})
	for i := range f.Len() {
		if at := f.At(i); at.ID == message.Cookie {
			at.Value, at.Sensitive = joined, sensitive
			return
		}
	}
}
