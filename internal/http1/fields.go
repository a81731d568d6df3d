package http1

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// repeated is the set of known names that stand in more than one line.
type repeated = message.NameSet

// parseFields appends the field lines of buf[i:] to f, up to the empty line, and returns the index
// behind it; 0 means that buf ends before (RFC 9112 section 5).
func parseFields(s side, buf []byte, i int, f *message.Fields, limit int) (end int, twice repeated, err error) {
	for i < len(buf) {
		start := i
		i = semantics.TokenEnd(buf, i)
		if i == len(buf) {
			return 0, 0, nil
		}
		if buf[i] != ':' || i == start {
			if buf[i] == '\r' && i == start {
				if i+1 == len(buf) {
					return 0, 0, nil
				}
				if buf[i+1] == '\n' {
					return i + 2, twice, nil
				}
			}
			return 0, 0, badName(s, buf, start, i, f.Len() == 0)
		}
		name := buf[start:i:i]
		for i++; i < len(buf) && (buf[i] == ' ' || buf[i] == '\t'); i++ {
		}
		value := i
		i = semantics.TextEnd(buf, i)
		if i+1 >= len(buf) && (i == len(buf) || buf[i] == '\r') {
			return 0, 0, nil
		}
		if buf[i] != '\r' || buf[i+1] != '\n' {
			return 0, 0, badValue(s, buf, i)
		}
		end := i
		for end > value && (buf[end-1] == ' ' || buf[end-1] == '\t') {
			end--
		}
		if f.Len() >= limit {
			return 0, 0, s.refuse(diag.RequestTooManyFields, "more field lines than the limit")
		}
		id := message.Identify(name)
		if id == message.Other && s == downstream && semantics.AliasesFraming(name) {
			return 0, 0, s.refuse(diag.RequestAmbiguousBody, "framing field spelt with an underscore")
		}
		twice |= f.Names() & (1 << id)
		f.Append(id, name, buf[value:end:end])
		i += 2
	}
	return 0, 0, nil
}

// badName tells the ways apart in which a line fails to begin with a field name and a colon.
func badName(s side, buf []byte, start, i int, first bool) error {
	switch c := buf[i]; {
	case i == start && (c == ' ' || c == '\t') && first:
		return s.refuse(diag.RequestMalformed, "white space before the first field line")
	case i == start && (c == ' ' || c == '\t'):
		return s.refuse(diag.RequestBadField, "folded field line (obs-fold)")
	case c == ' ' || c == '\t':
		return s.refuse(diag.RequestBadField, "white space in or after a field name")
	case i == start && c == ':':
		return s.refuse(diag.RequestBadField, "empty field name")
	case c == '\n':
		return s.refuse(diag.RequestMalformed, "line feed without carriage return")
	case c == '\r' && i == start:
		return s.refuse(diag.RequestMalformed, "carriage return without line feed")
	case c == '\r':
		return s.refuse(diag.RequestBadField, "field line without a colon")
	}
	return s.refuse(diag.RequestBadField, "byte that is not allowed in a field name")
}

func badValue(s side, buf []byte, i int) error {
	switch buf[i] {
	case '\n':
		return s.refuse(diag.RequestMalformed, "line feed without carriage return")
	case '\r':
		return s.refuse(diag.RequestMalformed, "carriage return without line feed")
	case 0:
		return s.refuse(diag.RequestBadField, "NUL in a field value")
	}
	return s.refuse(diag.RequestBadField, "control byte in a field value")
}

// headWait remembers, between calls for the same message, how far an incomplete head has been searched
// for its end, so that a head that comes in single bytes is parsed twice and not once per byte.
type headWait struct{ from int }

// ready reports whether buf is worth parsing: at first sight, when it holds an empty line or a line
// feed that cannot be right, or when it reached the bound.
func (w *headWait) ready(buf []byte, bound int) bool {
	if w.from == 0 || len(buf) >= bound {
		return true
	}
	for i := w.from; i < len(buf); i++ {
		if buf[i] != '\n' {
			continue
		}
		if i < 2 || buf[i-1] != '\r' || buf[i-2] == '\n' {
			return true
		}
	}
	w.from = len(buf)
	return false
}
