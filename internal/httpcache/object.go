package httpcache

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/message"
)

// objectCost is what an Object takes besides its bytes, and entryCost an entry, in bytes.
const (
	objectCost = 480
	entryCost  = 320
)

// Object is a stored answer. It is immutable but for its body, which may be on its way, and shared by all who
// read it.
type Object struct {
	Status int
	Length int64 // of the body as declared; -1: it was not, see Size

	route     string
	key       string // URL
	vary      string // names in lower case, separated by commas; "" for none
	selecting string // the values that the request had
	head      []byte // lines, see appendLine
	trailers  []byte
	body      *Body

	born       int64 // Unix milliseconds; age 0
	stored     int64 // Unix milliseconds
	lifetime   int64 // seconds
	staleWhile int64 // seconds; 0: none
	staleError int64 // seconds; -1: not given
	maxStale   int64 // seconds, by the rule; -1: not given
	date       int64 // Unix seconds
	lastMod    int64 // Unix seconds; 0: none
	etag       string

	noCache    bool // to be validated before every use
	strict     bool // never to be used stale
	reload     option
	heuristic  bool
	cost       int64
	refreshing atomic.Bool // somebody is at it, in the background
	hits       atomic.Int64
}

// age returns the present age in milliseconds (RFC 9111 section 4.2.3).
func (o *Object) age(now time.Time) int64 { return max(0, now.UnixMilli()-o.born) }

// left returns for how many milliseconds the object stays fresh; below 0: how long it has been stale.
func (o *Object) left(now time.Time) int64 { return o.lifetime*1000 - o.age(now) }

// Age returns the value of the field Age.
func (o *Object) Age(now time.Time) int64 { return o.age(now) / 1000 }

// TTL returns for how many seconds the object stays fresh; below 0: it is stale.
func (o *Object) TTL(now time.Time) int64 {
	if ms := o.left(now); ms < 0 {
		return -((-ms + 999) / 1000)
	} else {
		return ms / 1000
	}
}

// Complete reports whether all of the body is there.
func (o *Object) Complete() bool { return o.body.Complete() }

// Received returns how much of the body is there.
func (o *Object) Received() int64 { return o.body.Len() }

// Size returns how long the body is; -1: it is on its way, or has broken off, and nobody knows.
func (o *Object) Size() int64 {
	if o.Length < 0 && o.body.done.Load() && o.body.err == nil {
		return o.body.n
	}
	return o.Length
}

// Head appends the stored fields to f, copying nothing.
func (o *Object) Head(f *message.Fields) { appendLines(f, o.head) }

// Trailers appends the stored trailers to f and says whether there are any.
func (o *Object) Trailers(f *message.Fields) bool {
	appendLines(f, o.trailers)
	return len(o.trailers) > 0
}

// Open begins to read the body: n bytes from from on, all with -1. It returns false if the beginning of what is on
// its way is gone already, because it is not kept.
func (o *Object) Open(c *Cursor, from, n int64) bool { return o.body.Open(c, from, n) }

// appendLine packs a field line: its name's number, whether it is sensitive, two lengths, and the bytes.
func appendLine(dst []byte, l *message.Field) []byte {
	sensitive := byte(0)
	if l.Sensitive {
		sensitive = 1
	}
	dst = append(dst, byte(l.ID), sensitive)
	dst = binary.AppendUvarint(dst, uint64(len(l.Name)))
	dst = binary.AppendUvarint(dst, uint64(len(l.Value)))
	return append(append(dst, l.Name...), l.Value...)
}

// appendLines unpacks lines; it stops at what is damaged.
func appendLines(f *message.Fields, b []byte) {
	for len(b) > 2 {
		id, sensitive := message.Name(b[0]), b[1] == 1
		b = b[2:]
		n, k := binary.Uvarint(b)
		if k <= 0 {
			return
		}
		b = b[k:]
		v, k := binary.Uvarint(b)
		if k <= 0 || n+v > uint64(len(b)-k) {
			return
		}
		b = b[k:]
		f.Append(id, b[:n:n], b[n:n+v:n+v])
		if sensitive {
			f.At(f.Len() - 1).Sensitive = true
		}
		b = b[n+v:]
	}
}

// kept reports whether a field of an answer is stored (RFC 9111 section 3.1). Connection and what it names are
// gone already.
func kept(l *message.Field, x *facts) bool {
	switch l.ID {
	case message.ContentLength, message.TransferEncoding, message.Connection, message.KeepAlive, message.ProxyConnection, message.Upgrade, message.TE,
		message.ProxyAuthenticate, message.ProxyAuthorization, message.XRequestID:
		return l.ID == message.XRequestID
	case message.Other:
		if is(l.Name, "age") || is(l.Name, "proxy-authentication-info") || is(l.Name, "surrogate-control") && x.targeted {
			return false
		}
	}
	for _, name := range x.control.fields {
		if message.EqualFold(l.Name, name) {
			return false
		}
	}
	return true
}

// pack returns the stored form of an answer's fields.
func pack(f *message.Fields, x *facts) []byte {
	n := 0
	for i := range f.Len() {
		l := f.At(i)
		n += len(l.Name) + len(l.Value) + 6
	}
	b := make([]byte, 0, n)
	for i := range f.Len() {
		if l := f.At(i); kept(l, x) {
			b = appendLine(b, l)
		}
	}
	return b
}

// omitted returns the stored form of the fields that no-cache and private name.
func omitted(f *message.Fields) (b []byte) {
	k := newResponseControl()
	for i := range f.Len() {
		if l := f.At(i); l.ID == message.Other && is(l.Name, "cache-control") {
			k.add(l.Value)
		}
	}
	for i := range f.Len() {
		l := f.At(i)
		for _, name := range k.fields {
			if message.EqualFold(l.Name, name) {
				b = appendLine(b, l)
			}
		}
	}
	return b
}

// updates reports whether a field of a 304, or of an answer to HEAD, takes the place of the stored one (section
// 3.2).
func updates(l *message.Field, x *facts) bool {
	if !kept(l, x) {
		return false
	}
	if l.ID != message.Other {
		return true
	}
	return !is(l.Name, "content-encoding") && !is(l.Name, "content-range") && !is(l.Name, "content-md5") && !is(l.Name, "etag") && !is(l.Name, "content-digest")
}

// merge returns the stored fields of o with those of f in the place of old ones.
func (o *Object) merge(f *message.Fields, x *facts) *message.Fields {
	var old, out message.Fields
	o.Head(&old)
	replaced := func(l *message.Field) bool {
		for i := range f.Len() {
			if n := f.At(i); message.EqualFold(n.Name, l.Name) && updates(n, x) {
				return true
			}
		}
		return false
	}
	for i := range old.Len() {
		if l := old.At(i); !replaced(l) {
			out.Append(l.ID, l.Name, l.Value)
		}
	}
	for i := range f.Len() {
		if l := f.At(i); updates(l, x) {
			out.Append(l.ID, l.Name, l.Value)
		}
	}
	return &out
}

// weigh sets what the object costs.
func (o *Object) weigh() {
	o.cost = objectCost + rounded(int64(cap(o.head)+len(o.trailers)+len(o.selecting)+len(o.vary)+len(o.etag)))
	if o.body != nil {
		o.cost += o.body.held
	}
}
