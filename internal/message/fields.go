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
	GRPCTimeout
	GRPCStatus
	GRPCMessage
	SecWebSocketKey
	SecWebSocketAccept
	SecWebSocketVersion
	AltSvc
	CfClientCertDER
	CfClientCertHash
	numNames
)

// Field is one field line. Bytes are those received, or owned by the Fields; they are valid until
// the message is reset. Wire spelling of the name is kept; comparison ignores ASCII case.
type Field struct {
	ID        Name
	Sensitive bool // its sender wants it in no compression table, here or further on (RFC 7541 section 6.2.3)
	Name      []byte
	Value     []byte
}

// Fields is the ordered list of a message's field lines. The zero value is empty and ready. It keeps
// its memory over Reset, so a steady stream of messages allocates nothing. Not safe for concurrent use.
type Fields struct {
	list  []Field
	names NameSet // every known name in list, perhaps more
	own   []byte  // bytes of fields that Hakone wrote, appended to, never moved while list refers to them
}

// Memory kept over Reset; what grew beyond is given back, so that one large message does not burden
// its connection for good.
const (
	keptLines = 256
	keptBytes = 16 << 10
)

// Reset empties the list and keeps its memory, up to a bound.
func (f *Fields) Reset() {
	f.list, f.own, f.names = f.list[:0], f.own[:0], 0
	if cap(f.list) > keptLines {
		f.list = nil
	}
	if cap(f.own) > keptBytes {
		f.own = nil
	}
}

// Len returns the number of field lines.
func (f *Fields) Len() int { return len(f.list) }

// At returns line i. The pointer is valid until the list changes. Its value may be changed, its name
// may not.
func (f *Fields) At(i int) *Field { return &f.list[i] }

// Names returns a set that holds every known name in the list, and perhaps more: a name that is not
// in it has no line.
func (f *Fields) Names() NameSet { return f.names }

// Has reports whether there is a line of a known name.
func (f *Fields) Has(id Name) bool {
	_, ok := f.Get(id)
	return ok
}

// Append adds a line whose bytes the caller keeps alive; it copies nothing.
func (f *Fields) Append(id Name, name, value []byte) {
	f.names |= 1 << id
	f.list = append(f.list, Field{ID: id, Name: name, Value: value})
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

// Reserve returns an empty slice with capacity n for bytes that shall live as long as the fields, such
// as a rewritten path. Appending more than n moves the slice elsewhere.
func (f *Fields) Reserve(n int) []byte {
	f.grow(n)
	at := len(f.own)
	f.own = f.own[:at+n]
	return f.own[at : at : at+n]
}

// SetID replaces all lines of a known name by one, at the place of the first, copying value.
func (f *Fields) SetID(id Name, value []byte) { f.set(id, f.keep(value)) }

func (f *Fields) set(id Name, kept []byte) {
	if f.names.Has(id) {
		for i := range f.list {
			if f.list[i].ID == id {
				f.removeAfter(id, i+1)
				f.list[i].Value = kept
				return
			}
		}
	}
	f.Append(id, canonical[id], kept)
}

// SetString replaces all lines of name by one, copying both.
func (f *Fields) SetString(name, value string) {
	if id := Identify([]byte(name)); id != Other {
		f.set(id, f.keepString(value))
		return
	}
	f.Del([]byte(name))
	f.AddString(name, value)
}

// Get returns the value of the first line of a known name, and whether there is one.
func (f *Fields) Get(id Name) ([]byte, bool) {
	if !f.names.Has(id) {
		return nil, false
	}
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
	if !f.names.Has(id) {
		return n
	}
	for i := range f.list {
		if f.list[i].ID == id {
			n++
		}
	}
	return n
}

// DelID removes all lines of a known name and says whether there were any.
func (f *Fields) DelID(id Name) bool {
	if !f.names.Has(id) {
		return false
	}
	f.names &^= 1 << id
	return f.removeAfter(id, 0)
}

// DelSet removes all lines of the known names in set.
func (f *Fields) DelSet(set NameSet) {
	if f.names&set != 0 {
		f.names &^= set
		f.DelFunc(func(l *Field) bool { return set.Has(l.ID) })
	}
}

// Pop removes the first line of a known name and returns its value, and whether there was one.
func (f *Fields) Pop(id Name) ([]byte, bool) {
	if !f.names.Has(id) {
		return nil, false
	}
	for i := range f.list {
		if f.list[i].ID == id {
			v := f.list[i].Value
			f.list = append(f.list[:i], f.list[i+1:]...)
			return v, true
		}
	}
	return nil, false
}

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
	kept := 0
	for i := range f.list {
		if drop(&f.list[i]) {
			continue
		}
		if kept < i {
			f.list[kept] = f.list[i]
		}
		kept++
	}
	f.list = f.list[:kept]
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
