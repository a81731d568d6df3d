package http2

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// fault is what is wrong with a list of fields; none for nothing.
type fault uint8

const (
	none fault = iota
	listTooLarge
	tooManyFields
	nameEmpty
	nameUpper
	nameByte
	nameAliases
	valueLine
	valueNUL
	valueControl
	valueSpace
	pseudoNotDefined
	pseudoTwice
	pseudoLate
	pseudoMisplaced
	pseudoInTrailers
	fieldOfConnection
	fieldTransferEncoding
	fieldTE
	fieldInTrailers
	numFaults
)

// faults says what a fault means for a request, fixed after construction.
var faults = [numFaults]struct {
	code   diag.Code
	detail string
}{
	listTooLarge:          {diag.RequestHeadTooLarge, "list of fields longer than the limit"},
	tooManyFields:         {diag.RequestTooManyFields, "more field lines than the limit"},
	nameEmpty:             {diag.RequestBadField, "empty field name"},
	nameUpper:             {diag.RequestBadField, "capital in a field name"},
	nameByte:              {diag.RequestBadField, "byte that is not allowed in a field name"},
	nameAliases:           {diag.RequestAmbiguousBody, "framing field spelt with an underscore"},
	valueLine:             {diag.RequestBadField, "carriage return or line feed in a field value"},
	valueNUL:              {diag.RequestBadField, "NUL in a field value"},
	valueControl:          {diag.RequestBadField, "control byte in a field value"},
	valueSpace:            {diag.RequestBadField, "white space around a field value"},
	pseudoNotDefined:      {diag.RequestMalformed, "pseudo-header field that is not defined"},
	pseudoTwice:           {diag.RequestMalformed, "pseudo-header field twice"},
	pseudoLate:            {diag.RequestMalformed, "pseudo-header field after a regular one"},
	pseudoMisplaced:       {diag.RequestMalformed, "pseudo-header field of the other kind of message"},
	pseudoInTrailers:      {diag.RequestMalformed, "pseudo-header field among the trailers"},
	fieldOfConnection:     {diag.RequestBadField, "field about one connection of HTTP/1.1"},
	fieldTransferEncoding: {diag.RequestAmbiguousBody, "Transfer-Encoding in HTTP/2"},
	fieldTE:               {diag.RequestBadField, "TE other than trailers"},
	fieldInTrailers:       {diag.RequestBadField, "framing or routing field among the trailers"},
}

// judgement is what is known about a field name without its message. It is kept with the entries of
// tables, so that a name is judged once and not with every reference.
type judgement struct {
	id     message.Name
	pseudo pseudo
	fault  fault // of the name
}

// judgeName applies RFC 9113 section 8.2.1. Names are lower-case tokens.
func judgeName(name []byte) judgement {
	if len(name) == 0 {
		return judgement{fault: nameEmpty}
	}
	if name[0] == ':' {
		p := pseudoOf(name)
		if p == pseudoUnknown {
			return judgement{pseudo: p, fault: pseudoNotDefined}
		}
		return judgement{pseudo: p}
	}
	token, upper := semantics.FieldName(name)
	switch {
	case !token:
		return judgement{fault: nameByte}
	case upper:
		return judgement{fault: nameUpper}
	}
	id := message.Identify(name)
	if id == message.Other && semantics.AliasesFraming(name) {
		return judgement{fault: nameAliases}
	}
	return judgement{id: id}
}

// judgeValue applies RFC 9113 section 8.2.1, and RFC 9110 section 5.5 for other control bytes.
func judgeValue(v []byte) fault {
	if len(v) == 0 {
		return none
	}
	if end := semantics.TextEnd(v, 0); end < len(v) {
		switch v[end] {
		case '\r', '\n':
			return valueLine
		case 0:
			return valueNUL
		}
		return valueControl
	}
	if first, last := v[0], v[len(v)-1]; first == ' ' || first == '\t' || last == ' ' || last == '\t' {
		return valueSpace
	}
	return none
}
