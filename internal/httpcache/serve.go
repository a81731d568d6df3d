package httpcache

import (
	"bytes"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/message"
)

// maxRanges bounds the parts of an answer; who asks for more gets the whole.
const maxRanges = 16

// Part is a piece of an answer: Text and then N bytes of the stored body from From on.
type Part struct {
	Text    []byte
	From, N int64
}

// Reply is how a stored answer is sent to a client. Length is of the body as it is sent, -1 where nobody knows yet.
type Reply struct {
	Status int
	Length int64
	From   int64 // of the stored body, with Length bytes; of no use with Parts
	Parts  []Part
	Tail   []byte // after the last part
}

// Reply says how a request is answered with o: whole, in part (RFC 9110 section 14.2), or with 304 (section 13.2.2
// and RFC 9111 section 4.3.2). It adds the fields that tell of that to f, which holds those of o.
func (o *Object) Reply(q *Query, f *message.Fields, now time.Time) Reply {
	r := Reply{Status: o.Status, Length: o.Size()}
	if o.Status != 200 {
		return r
	}
	if q.unmodified(o) {
		f.DelFunc(func(l *message.Field) bool {
			return l.ID == message.ContentType || l.ID == message.Other && len(l.Name) > 8 && is(l.Name[:8], "content-") && !is(l.Name, "content-location")
		})
		return Reply{Status: 304}
	}
	if q.ranges == nil || !q.get() || r.Length < 0 || q.ifRange != nil && !q.sameRepresentation(o, f) {
		return r
	}
	list, ok := parseRanges(q.ranges, r.Length)
	switch {
	case !ok:
	case len(list) == 0:
		f.DelFunc(func(l *message.Field) bool { return l.ID == message.ContentType })
		f.AddString("Content-Range", "bytes */"+strconv.FormatInt(r.Length, 10))
		return Reply{Status: 416}
	case len(list) == 1:
		f.AddString("Content-Range", string(contentRange(nil, list[0], r.Length)))
		return Reply{Status: 206, From: list[0].from, Length: list[0].n}
	case o.Complete(): // of what is on its way only what follows can be waited for
		return multipart(list, r.Length, f)
	}
	return r
}

// unmodified reports whether the client has what is stored already.
func (q *Query) unmodified(o *Object) bool {
	if q.noneMatch != nil {
		return o.etag != "" && anyTag(q.noneMatch, []byte(o.etag)) || string(q.noneMatch) == "*"
	}
	if q.since == nil {
		return false
	}
	since, ok := parseDate(q.since)
	if !ok {
		return false
	}
	if o.lastMod > 0 {
		return o.lastMod <= since
	}
	return o.date <= since
}

// Conditional reports how the client asked: "etag", "date" or "" (for result tags).
func (q *Query) Conditional() string {
	switch {
	case q.noneMatch != nil:
		return "etag"
	case q.since != nil:
		return "date"
	}
	return ""
}

// Reload reports whether the client asked for what is stored not to be used.
func (q *Query) Reload() bool { return q.control.noCache || q.control.maxAge == 0 }

// anyTag reports whether a list of entity tags holds one, compared weakly (RFC 9110 section 13.1.2).
func anyTag(list, tag []byte) bool {
	if bytes.Equal(bytes.Trim(list, " \t"), tag) {
		return true
	}
	for len(list) > 0 {
		list = bytes.TrimLeft(list, " \t,")
		end := 0
		if i := bytes.IndexByte(list, '"'); i >= 0 && i <= 2 {
			if j := bytes.IndexByte(list[i+1:], '"'); j >= 0 {
				end = i + j + 2
			}
		}
		if end == 0 {
			if end = bytes.IndexByte(list, ','); end < 0 {
				end = len(list)
			}
		}
		if end > 0 && sameTag(list[:end], tag, true) {
			return true
		}
		list = list[end:]
	}
	return false
}

// sameTag compares entity tags. Quotes that one of them lacks make no difference.
func sameTag(a, b []byte, weak bool) bool {
	wa, a := opaque(a)
	wb, b := opaque(b)
	return bytes.Equal(a, b) && (weak || !wa && !wb)
}

func opaque(tag []byte) (weak bool, text []byte) {
	tag = bytes.Trim(tag, " \t")
	if len(tag) > 1 && tag[0]|0x20 == 'w' && tag[1] == '/' {
		weak, tag = true, tag[2:]
	}
	if n := len(tag); n >= 2 && tag[0] == '"' && tag[n-1] == '"' {
		tag = tag[1 : n-1]
	}
	return weak, tag
}

// sameRepresentation evaluates If-Range (RFC 9110 section 13.1.5): strongly.
func (q *Query) sameRepresentation(o *Object, f *message.Fields) bool {
	if bytes.IndexByte(q.ifRange, '"') >= 0 {
		return o.etag != "" && sameTag(q.ifRange, []byte(o.etag), false)
	}
	v, ok := f.Lookup([]byte("Last-Modified"))
	return ok && bytes.Equal(v, q.ifRange) && o.date-o.lastMod >= 1
}

// extent is a part of a body.
type extent struct{ from, n int64 }

// parseRanges reads Range (RFC 9110 section 14.1.2) for a body of size bytes: the parts that there are, in the
// order asked for. ok is false for what is to be ignored: another unit, bad syntax, too many, or so that they
// overlap.
func parseRanges(v []byte, size int64) (list []extent, ok bool) {
	if len(v) < 6 || !is(v[:6], "bytes=") {
		return nil, false
	}
	items := 0
	for rest := v[6:]; len(rest) > 0; {
		var item []byte
		item, rest, _ = bytes.Cut(rest, []byte(","))
		if item = bytes.Trim(item, " \t"); len(item) == 0 {
			continue
		}
		if items++; items > maxRanges {
			return nil, false
		}
		a, b, found := bytes.Cut(item, []byte("-"))
		first, hasFirst, okFirst := position(a)
		last, hasLast, okLast := position(b)
		switch {
		case !found, !okFirst, !okLast, !hasFirst && !hasLast, hasFirst && hasLast && last < first:
			return nil, false
		case !hasFirst:
			first, last = max(0, size-last), size-1
			if last < first {
				continue
			}
		case !hasLast:
			last = size - 1
		}
		if first >= size || last < 0 {
			continue
		}
		list = append(list, extent{first, min(last, size-1) - first + 1})
	}
	if items == 0 {
		return nil, false
	}
	var sum int64
	for _, e := range list {
		sum += e.n
	}
	return list, len(list) < 2 || sum <= size
}

// position reads a number; what is larger than any body counts as that.
func position(b []byte) (n int64, given, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		if n < 1<<50 {
			n = n*10 + int64(c-'0')
		}
	}
	return n, len(b) > 0, true
}

func contentRange(dst []byte, e extent, size int64) []byte {
	dst = strconv.AppendInt(append(dst, "bytes "...), e.from, 10)
	dst = strconv.AppendInt(append(dst, '-'), e.from+e.n-1, 10)
	return strconv.AppendInt(append(dst, '/'), size, 10)
}

// boundary separates the parts. Whoever stores bytes that hold it confuses only those who ask for parts of them.
const boundary = "hakone_5f2c81d09b7e4a36"

// multipart makes the answer for several ranges (RFC 9110 section 14.6).
func multipart(list []extent, size int64, f *message.Fields) Reply {
	kind, _ := f.Get(message.ContentType)
	r := Reply{Status: 206}
	for i, e := range list {
		text := []byte("\r\n--" + boundary + "\r\n")
		if i == 0 {
			text = text[2:]
		}
		if len(kind) > 0 {
			text = append(append(append(text, "Content-Type: "...), kind...), "\r\n"...)
		}
		text = append(contentRange(append(text, "Content-Range: "...), e, size), "\r\n\r\n"...)
		r.Parts = append(r.Parts, Part{Text: text, From: e.from, N: e.n})
		r.Length += int64(len(text)) + e.n
	}
	r.Tail = []byte("\r\n--" + boundary + "--\r\n")
	r.Length += int64(len(r.Tail))
	f.SetString("Content-Type", "multipart/byteranges; boundary="+boundary)
	return r
}
