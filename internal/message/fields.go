package message

import "bytes"

// Name identifies a field name that Hakone itself reads or writes, so that looking one up compares
// numbers instead of bytes. Other is every other name.
type Name uint8

// Names known to Hakone. The strings are in the table in names.go.
const (
	Other Name = iota
	Host
	Connection
	ContentLength
	ContentType
	TransferEncoding
	TE
	Trailer
	Upgrade
	Expect
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	ProxyStatus
	Date
	Server
	Via
	Location
	UserAgent
	Accept
	Cookie
	SetCookie
	Origin
	Referer
	Authorization
	Forwarded
	XForwardedFor
	XForwardedProto
	XForwardedHost
	XForwardedPort
	XForwardedClientCert
	ClientCert
	ClientCertChain
	XRequestID
	XRealIP
	HTTP2Settings
	StrictTransportSecurity
	Traceparent
	numNames
)

// Field is one field line. Bytes are those received, or owned by the Fields; they are valid until
// the message is reset. Wire spelling of the name is kept; comparison ignores ASCII case.
type Field struct {
	ID    Name
	Name  []byte
	Value []byte
}

// Fields is the ordered list of a message's field lines. The zero value is empty and ready. It keeps
// its memory over Reset, so a steady stream of messages allocates nothing. Not safe for concurrent use.
type Fields struct {
	list []Field
	own  []byte // bytes of fields that Hakone wrote, appended to, never moved while list refers to them
}

// Reset empties the list and keeps its memory.
func (f *Fields) Reset() { f.list, f.own = f.list[:0], f.own[:0] }

// Len returns the number of field lines.
func (f *Fields) Len() int { return len(f.list) }

// At returns line i. The pointer is valid until the list changes.
func (f *Fields) At(i int) *Field { return &f.list[i] }

// Append adds a line whose bytes the caller keeps alive; it copies nothing.
func (f *Fields) Append(id Name, name, value []byte) {
	f.list = append(f.list, Field{id, name, value})
}

// AddID adds a line of a known name, copying value.
func (f *Fields) AddID(id Name, value []byte) { f.Append(id, canonical[id], f.keep(value)) }

// AddString adds a line, copying both strings; the name is identified if it is known.
func (f *Fields) AddString(name, value string) {
	id := Identify([]byte(name))
	n := canonical[id]
	if id == Other || string(n) != name {
		n = f.keepString(name)
	}
	f.Append(id, n, f.keepString(value))
}

// SetID replaces all lines of a known name by one, at the place of the first, copying value.
func (f *Fields) SetID(id Name, value []byte) {
	for i := range f.list {
		if f.list[i].ID == id {
			v := f.keep(value)
			f.removeAfter(id, i+1)
			f.list[i].Value = v
			return
		}
	}
	f.AddID(id, value)
}

// SetString replaces all lines of name by one, copying both.
func (f *Fields) SetString(name, value string) {
	if id := Identify([]byte(name)); id != Other {
		f.SetID(id, []byte(value))
		return
	}
	f.Del([]byte(name))
	f.AddString(name, value)
}

// Get returns the value of the first line of a known name, and whether there is one.
func (f *Fields) Get(id Name) ([]byte, bool) {
	for i := range f.list {
		if f.list[i].ID == id {
			return f.list[i].Value, true
		}
	}
	return nil, false
}

// Lookup returns the value of the first line called name (ASCII case ignored).
func (f *Fields) Lookup(name []byte) ([]byte, bool) {
	if id := Identify(name); id != Other {
		return f.Get(id)
	}
	for i := range f.list {
		if f.list[i].ID == Other && EqualFold(f.list[i].Name, name) {
			return f.list[i].Value, true
		}
	}
	return nil, false
}

// Count returns how many lines of a known name there are.
func (f *Fields) Count(id Name) int {
	n := 0
	for i := range f.list {
		if f.list[i].ID == id {
			n++
		}
	}
	return n
}

// DelID removes all lines of a known name and says whether there were any.
func (f *Fields) DelID(id Name) bool { return f.removeAfter(id, 0) }

// Del removes all lines called name (ASCII case ignored).
func (f *Fields) Del(name []byte) {
	if id := Identify(name); id != Other {
		f.DelID(id)
		return
	}
	f.DelFunc(func(l *Field) bool { return l.ID == Other && EqualFold(l.Name, name) })
}

// DelFunc removes the lines for which drop returns true.
func (f *Fields) DelFunc(drop func(*Field) bool) {
	kept := f.list[:0]
	for i := range f.list {
		if !drop(&f.list[i]) {
			kept = append(kept, f.list[i])
		}
	}
	f.list = kept
}

func (f *Fields) removeAfter(id Name, from int) bool {
	kept := f.list[:from]
	for i := from; i < len(f.list); i++ {
		if f.list[i].ID != id {
			kept = append(kept, f.list[i])
		}
	}
	removed := len(kept) != len(f.list)
	f.list = kept
	return removed
}

// keep copies b into memory owned by f. When the block is full a new one is begun; lines keep the
// old one alive.
func (f *Fields) keep(b []byte) []byte {
	f.grow(len(b))
	n := len(f.own)
	f.own = append(f.own, b...)
	return f.own[n:len(f.own):len(f.own)]
}

func (f *Fields) keepString(s string) []byte {
	f.grow(len(s))
	n := len(f.own)
	f.own = append(f.own, s...)
	return f.own[n:len(f.own):len(f.own)]
}

func (f *Fields) grow(n int) {
	if cap(f.own)-len(f.own) < n {
		f.own = make([]byte, 0, max(512, 2*cap(f.own), n))
	}
}

// EqualFold reports whether a and b are equal but for ASCII case.
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// HasToken reports whether a comma-separated list holds token (ASCII case ignored; RFC 9110 section
// 5.6.1). token is in lower case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		item := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			item, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		item = bytes.Trim(item, " \t")
		if len(item) == len(token) && EqualFold(item, []byte(token)) {
			return true
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
