package logstore

import (
	"crypto/tls"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// Timestamps is how times are written.
type Timestamps string

// How times are written: nanoseconds or seconds of Unix time, or RFC 3339 in UTC with whole seconds.
const (
	UnixNano Timestamps = "unixnano"
	Unix     Timestamps = "unix"
	RFC3339  Timestamps = "rfc3339"
)

// renderer writes records as JSON objects. Not safe for concurrent use.
type renderer struct {
	fields []Field
	keys   []string // `{"ClientIP":`, `,"RayID":`, …
	format Timestamps
	second int64
	stamp  []byte
	names  map[nameKey]string
}

type nameKey struct {
	kind byte
	id   uint16
}

func newRenderer(fields []Field, format Timestamps) *renderer {
	e := &renderer{fields: fields, format: format, names: map[nameKey]string{}}
	for i, f := range fields {
		before := `,"`
		if i == 0 {
			before = `{"`
		}
		e.keys = append(e.keys, before+f.Name+`":`)
	}
	return e
}

// line appends a record as a line. Every field that was asked for is in it.
func (e *renderer) line(b []byte, r *Record) []byte {
	for i := range e.fields {
		b = append(b, e.keys[i]...)
		b = e.fields[i].add(e, b, r)
	}
	return append(b, "}\n"...)
}

func (e *renderer) time(b []byte, t time.Time) []byte {
	switch e.format {
	case Unix:
		return strconv.AppendInt(b, t.Unix(), 10)
	case RFC3339:
		if sec := t.Unix(); sec != e.second || e.stamp == nil {
			e.second = sec
			e.stamp = t.UTC().AppendFormat(e.stamp[:0], `"`+time.RFC3339+`"`)
		}
		return append(b, e.stamp...)
	}
	return strconv.AppendInt(b, t.UnixNano(), 10)
}

// name returns what f makes of a number other than 0, made once.
func (e *renderer) name(kind byte, id uint16, f func(uint16) string) string {
	if id == 0 {
		return ""
	}
	k := nameKey{kind, id}
	s, ok := e.names[k]
	if !ok {
		s = f(id)
		e.names[k] = s
	}
	return s
}

func (e *renderer) suite(id uint16) string { return e.name('o', id, tlsname.OpenSSL) }
func (e *renderer) iana(id uint16) string  { return e.name('i', id, tlsname.Suite) }
func (e *renderer) group(id uint16) string {
	return e.name('g', id, func(id uint16) string { return tlsname.Group(tls.CurveID(id)) })
}
