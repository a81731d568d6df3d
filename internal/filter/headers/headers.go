// Package headers removes, sets and adds fields of requests and responses (Gateway API
// RequestHeaderModifier and ResponseHeaderModifier, Istio's headers.request and headers.response).
//
// It refuses to touch what frames or routes a message; see README.md. Begin reading at Request.
package headers

import (
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// forbidden are the names that the codec owns: a message whose framing a filter changed could be read
// in two ways. Host is changed by the rewrite filter.
const forbidden = message.NameSet(1<<message.Host | 1<<message.Connection | 1<<message.ContentLength |
	1<<message.TransferEncoding | 1<<message.TE | 1<<message.Trailer | 1<<message.Upgrade | 1<<message.Expect |
	1<<message.KeepAlive | 1<<message.ProxyConnection | 1<<message.HTTP2Settings)

// edit is a compiled ir.HeaderEdit. Its bytes live as long as it does, so messages may refer to them.
type edit struct {
	remove []name
	set    []line
	add    []line
}

type name struct {
	id    message.Name
	bytes []byte
}

type line struct {
	name
	value template
}

type requestEdit struct{ edit }

type responseEdit struct{ edit }

// Request returns the filter that edits requests. The error names the field that cannot be edited.
func Request(e *ir.HeaderEdit) (filter.Filter, error) {
	c, err := compile(e)
	return &requestEdit{c}, err
}

// Response returns the filter that edits responses.
func Response(e *ir.HeaderEdit) (filter.Filter, error) {
	c, err := compile(e)
	return &responseEdit{c}, err
}

func (e *requestEdit) Request(x *filter.Exchange) filter.Result {
	e.apply(x, &x.Request.Fields)
	return filter.Next
}

func (e *requestEdit) Response(*filter.Exchange) filter.Result { return filter.Next }

func (e *responseEdit) Request(*filter.Exchange) filter.Result { return filter.Next }

func (e *responseEdit) Response(x *filter.Exchange) filter.Result {
	e.apply(x, &x.Response.Fields)
	return filter.Next
}

func compile(e *ir.HeaderEdit) (edit, error) {
	var c edit
	for _, s := range e.Remove {
		n, err := compileName(s)
		if err != nil {
			return edit{}, err
		}
		c.remove = append(c.remove, n)
	}
	for _, part := range []struct {
		from []ir.NameValue
		to   *[]line
	}{{e.Set, &c.set}, {e.Add, &c.add}} {
		for _, nv := range part.from {
			n, err := compileName(nv.Name)
			if err != nil {
				return edit{}, err
			}
			v, err := compileValue(nv.Value, e.Format)
			if err != nil {
				return edit{}, fmt.Errorf("header %s: %w", nv.Name, err)
			}
			*part.to = append(*part.to, line{n, v})
		}
	}
	return c, nil
}

func compileName(s string) (name, error) {
	if !isToken(s) {
		return name{}, fmt.Errorf("%q is no header name", s)
	}
	id := message.Identify([]byte(s))
	if id != message.Other && forbidden.Has(id) {
		return name{}, fmt.Errorf("header %s frames or routes the message and cannot be edited", id)
	}
	return name{id, []byte(s)}, nil
}

// isToken applies RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func (e *edit) apply(x *filter.Exchange, f *message.Fields) {
	for i := range e.remove {
		e.remove[i].del(f)
	}
	for i := range e.set {
		l := &e.set[i]
		l.replace(f, l.value.render(x, f))
	}
	for i := range e.add {
		l := &e.add[i]
		f.Append(l.id, l.bytes, l.value.render(x, f))
	}
}

func (n *name) is(f *message.Field) bool {
	return f.ID == n.id && (n.id != message.Other || message.EqualFold(f.Name, n.bytes))
}

func (n *name) del(f *message.Fields) {
	if n.id != message.Other {
		f.DelID(n.id)
		return
	}
	for i := range f.Len() {
		if n.is(f.At(i)) {
			f.Del(n.bytes)
			return
		}
	}
}

// replace gives the first line called n the value and removes the others.
func (n *name) replace(f *message.Fields, value []byte) {
	first := -1
	for i := range f.Len() {
		if !n.is(f.At(i)) {
			continue
		}
		if first < 0 {
			first = i
			f.At(i).Value = value
			continue
		}
		seen := false
		f.DelFunc(func(l *message.Field) bool {
			again := n.is(l)
			again, seen = again && seen, seen || again
			return again
		})
		return
	}
	if first < 0 {
		f.Append(n.id, n.bytes, value)
	}
}
