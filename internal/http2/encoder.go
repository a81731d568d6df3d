package http2

import (
	"encoding/binary"
	"math/bits"

	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// Encoder encodes the header blocks of one connection, in the order in which they are sent (RFC 7541). It
// allocates only while its table grows. Not safe for concurrent use.
//
// A field enters the table when it is seen for the second time, so that values which never come again do
// not push out those that do. What may help to guess a secret never does and is marked so that no hop
// further on does it either: credentials, Set-Cookie, short cookies, :path, and what was received so.
// Strings that enter the table are Huffman-coded, others are not worth the time.
type Encoder struct {
	table    dynamicTable
	inserted uint32           // entries ever added
	slots    [slots]uint32    // by hash: number of the entry last added with it, from 1
	seen     [2 * slots]uint8 // by hash: another part of the hash of the field last seen with it
	lowest   uint32           // smallest size of the table since the last block
	update   bool             // the next block begins with an update of the table's size
	scratch  []byte           // a name in lower case, or a number
}

const (
	slots       = 128
	maxTable    = DefaultHeaderTable // bytes; a larger one would cost more than it saves
	maxIndexed  = 1024               // bytes of a value that may enter the table
	shortCookie = 20                 // bytes; shorter ones could be guessed
)

// NewEncoder returns an encoder with a table of the size that holds before any SETTINGS, 4,096 bytes.
func NewEncoder() *Encoder {
	e := &Encoder{}
	e.table.max = maxTable
	return e
}

// SetMaxTable bounds the table to what the peer's SETTINGS_HEADER_TABLE_SIZE allows, in bytes, and to
// 4,096. The next block tells the peer (RFC 7541 section 4.2).
func (e *Encoder) SetMaxTable(bytes uint32) {
	bytes = min(bytes, maxTable)
	if bytes == e.table.max && !e.update {
		return
	}
	if !e.update || bytes < e.lowest {
		e.lowest = bytes
	}
	e.update = true
	e.table.resize(bytes)
}

// begin appends what stands before the first field.
func (e *Encoder) begin(dst []byte) []byte {
	if !e.update {
		return dst
	}
	e.update = false
	if e.lowest < e.table.max {
		dst = appendInteger(dst, 0x20, 5, e.lowest)
	}
	return appendInteger(dst, 0x20, 5, e.table.max)
}

// AppendRequest appends the block of a request's head to dst. Pseudo-header fields are made from Method,
// Scheme ("http" if empty), Authority, Path and Query, Protocol; Content-Length from Body. Host and what is
// about one connection of HTTP/1.1 is left out, of TE all but "trailers", and any line that RFC 9113 section
// 8.2.1 forbids.
func (e *Encoder) AppendRequest(dst []byte, req *message.Request) []byte {
	dst = e.begin(dst)
	switch string(req.Method) {
	case "GET":
		dst = append(dst, 0x82)
	case "POST":
		dst = append(dst, 0x83)
	default:
		dst = e.add(dst, judgement{pseudo: pseudoMethod}, nil, req.Method, false)
	}
	connect := string(req.Method) == "CONNECT"
	if !connect || req.Protocol != nil {
		if req.Scheme == "https" {
			dst = append(dst, 0x87)
		} else {
			dst = append(dst, 0x86)
		}
		dst = appendPath(dst, req)
	}
	dst = e.add(dst, judgement{pseudo: pseudoAuthority}, nil, req.Authority, false)
	if req.Protocol != nil {
		dst = e.add(dst, judgement{pseudo: pseudoProtocol}, nil, req.Protocol, false)
	}
	dst = e.fields(dst, &req.Fields, connectionSpecific|1<<message.TE|1<<message.Host|1<<message.ContentLength)
	if req.Fields.Names().Has(message.TE) && asksForTrailers(&req.Fields) {
		dst = e.add(dst, judgement{id: message.TE}, nil, []byte("trailers"), false)
	}
	if connect {
		return dst
	}
	return e.length(dst, req.Body)
}

// appendPath appends :path, which is never indexed: it may hold secrets, and seldom comes again.
func appendPath(dst []byte, req *message.Request) []byte {
	path := req.Path
	if len(path) == 0 {
		path = static[4].value
	}
	if len(path) == 1 && path[0] == '/' && !req.HasQuery {
		return append(dst, 0x84)
	}
	size := len(path)
	if req.HasQuery {
		size += 1 + len(req.Query)
	}
	dst = append(dst, 0x14)
	dst = appendInteger(dst, 0, 7, uint32(size))
	dst = append(dst, path...)
	if req.HasQuery {
		dst = append(append(dst, '?'), req.Query...)
	}
	return dst
}

func asksForTrailers(f *message.Fields) bool {
	for i := range f.Len() {
		if l := f.At(i); l.ID == message.TE && message.HasToken(l.Value, "trailers") {
			return true
		}
	}
	return false
}

// AppendResponse appends the block of a response's head to dst. Content-Length is made from declared, as
// http1 does: for Sized, and for NoBody that is Declared. What is left out is as with AppendRequest. The
// status is 100 to 999 and not 101.
func (e *Encoder) AppendResponse(dst []byte, resp *message.Response, declared message.Body) []byte {
	dst = e.begin(dst)
	switch resp.Status {
	case 200:
		dst = append(dst, 0x88)
	case 204:
		dst = append(dst, 0x89)
	case 206:
		dst = append(dst, 0x8a)
	case 304:
		dst = append(dst, 0x8b)
	case 400:
		dst = append(dst, 0x8c)
	case 404:
		dst = append(dst, 0x8d)
	case 500:
		dst = append(dst, 0x8e)
	default:
		n := resp.Status
		status := [3]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)}
		dst = e.add(dst, judgement{pseudo: pseudoStatus}, nil, status[:], false)
	}
	dst = e.fields(dst, &resp.Fields, connectionSpecific|1<<message.TE|1<<message.ContentLength)
	if resp.Status < 200 || resp.Status == 204 {
		return dst
	}
	return e.length(dst, declared)
}

// AppendTrailers appends the block of trailers to dst; those that are not allowed (message.TrailerAllowed)
// are left out. The block may be empty.
func (e *Encoder) AppendTrailers(dst []byte, f *message.Fields) []byte {
	dst = e.begin(dst)
	for i := range f.Len() {
		if l := f.At(i); message.TrailerAllowed(l.ID, l.Name) {
			dst = e.field(dst, l)
		}
	}
	return dst
}

func (e *Encoder) length(dst []byte, body message.Body) []byte {
	if body.Kind != message.Sized && (body.Kind != message.NoBody || !body.Declared) {
		return dst
	}
	var digits [20]byte
	i := len(digits)
	for n := uint64(body.Length); ; n /= 10 {
		i--
		digits[i] = byte('0' + n%10)
		if n < 10 {
			break
		}
	}
	return e.add(dst, judgement{id: message.ContentLength}, nil, digits[i:], false)
}

func (e *Encoder) fields(dst []byte, f *message.Fields, passOver message.NameSet) []byte {
	for i := range f.Len() {
		if l := f.At(i); !passOver.Has(l.ID) {
			dst = e.field(dst, l)
		}
	}
	return dst
}

func (e *Encoder) field(dst []byte, l *message.Field) []byte {
	sensitive := l.Sensitive
	switch l.ID {
	case message.Authorization, message.ProxyAuthorization, message.SetCookie:
		sensitive = true
	case message.Cookie:
		sensitive = sensitive || len(l.Value) < shortCookie
	}
	return e.add(dst, judgement{id: l.ID}, l.Name, l.Value, sensitive)
}

// add appends one line. name counts for regular fields of unknown name only, in any case.
func (e *Encoder) add(dst []byte, j judgement, name, value []byte, sensitive bool) []byte {
	if sensitive || len(value) > maxIndexed {
		return e.literal(dst, j, name, value, sensitive, false)
	}
	h := hashField(j, name, value)
	slot := &e.slots[h%slots]
	if age := e.inserted - *slot; *slot != 0 && age < uint32(e.table.count) {
		entry := e.table.get(age)
		if n, v := e.table.text(entry); entry.judgement == j && string(v) == string(value) && (j.id != message.Other || j.pseudo != regular || string(n) == string(name) || message.EqualFold(n, name)) {
			return appendInteger(dst, 0x80, 7, numStatic+1+age)
		}
	}
	seen, tag := &e.seen[h>>8%(2*slots)], uint8(h>>56)
	again := *seen == tag
	*seen = tag
	before := e.inserted
	dst = e.literal(dst, j, name, value, false, again)
	if e.inserted != before {
		*slot = e.inserted
	}
	return dst
}

// literal appends a line with its value, and puts it into the table if index is set. Lines that are not
// allowed are left out.
func (e *Encoder) literal(dst []byte, j judgement, name, value []byte, sensitive, index bool) []byte {
	if judgeValue(value) != none {
		return dst
	}
	index = index && uint32(len(name)+len(value)+2*entryOverhead) <= e.table.max
	var at uint32
	switch {
	case j.pseudo != regular:
		at = pseudoRows[j.pseudo]
		name = pseudoNames[j.pseudo]
	case j.id != message.Other:
		name = j.id.Lower()
		at = staticName(j.id, name)
	default:
		if token, upper := semantics.FieldName(name); !token {
			return dst
		} else if upper {
			name = e.lower(name)
		}
		at = staticName(message.Other, name)
	}
	switch {
	case index:
		dst = appendInteger(dst, 0x40, 6, at)
	case sensitive:
		dst = appendInteger(dst, 0x10, 4, at)
	default:
		dst = appendInteger(dst, 0, 4, at)
	}
	if at == 0 {
		dst = appendString(dst, name, index)
	}
	if index {
		e.table.add(j, none, name, value)
		e.inserted++
	}
	return appendString(dst, value, index)
}

// lower folds a name into scratch.
func (e *Encoder) lower(name []byte) []byte {
	e.scratch = append(e.scratch[:0], name...)
	for i, c := range e.scratch {
		if 'A' <= c && c <= 'Z' {
			e.scratch[i] = c + 'a' - 'A'
		}
	}
	return e.scratch
}

func appendString(dst, s []byte, huffman bool) []byte {
	if huffman {
		if n := huffmanSize(s); n < len(s) {
			return appendHuffman(appendInteger(dst, 0x80, 7, uint32(n)), s)
		}
	}
	return append(appendInteger(dst, 0, 7, uint32(len(s))), s...)
}

// pseudoRows are the first static rows of pseudo-header fields, pseudoNames their spelling.
var (
	pseudoRows  = [numPseudo]uint32{pseudoMethod: 2, pseudoPath: 4, pseudoScheme: 6, pseudoAuthority: 1, pseudoStatus: 8}
	pseudoNames = [numPseudo][]byte{pseudoMethod: []byte(":method"), pseudoPath: []byte(":path"), pseudoScheme: []byte(":scheme"),
		pseudoAuthority: []byte(":authority"), pseudoProtocol: []byte(":protocol"), pseudoStatus: []byte(":status")}
)

// hashField mixes name, without regard to ASCII case, and value.
func hashField(j judgement, name, value []byte) uint64 {
	h := uint64(j.id)<<8 | uint64(j.pseudo) | uint64(len(value))<<16
	if j.id == message.Other && j.pseudo == regular {
		h = hashBytes(h, name, 0x2020202020202020)
	}
	return hashBytes(h, value, 0)
}

// hashBytes mixes the bits of b and those of or, eight bytes at a time; the last ones overlap.
func hashBytes(h uint64, b []byte, or uint64) uint64 {
	const k0, k1 = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	n := len(b)
	if n >= 8 {
		for i := 0; i < n-8; i += 8 {
			h = mix(h^(binary.LittleEndian.Uint64(b[i:])|or), k0)
		}
		return mix(h^(binary.LittleEndian.Uint64(b[n-8:])|or), k1)
	}
	var tail uint64
	switch {
	case n >= 4:
		tail = uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n > 0:
		tail = uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
	}
	return mix(h^(tail|or), k1+uint64(n))
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
