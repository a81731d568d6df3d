// Package certname holds names in certificates, and patterns of them: distinguished names (RFC 2253), names
// with stars, object identifiers.
//
// Patterns are made only by parsing. The package refuses to know what matching means for whom. Begin reading
// at ParsePattern.
package certname

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CommonName is the object identifier of the common name.
const CommonName = "2.5.4.3"

// Name is a distinguished name, most specific part first, as RFC 2253 writes it. Each part (RDN) is a set of
// attributes. The zero value has no parts.
type Name [][]attribute

type attribute struct {
	kind string // object identifier, dotted
	text string // the value; of one that is no text, "#" and its DER in hex, and raw is set
	raw  bool
}

// ParseName reads a certificate's name (DER); nil if it is malformed.
func ParseName(raw []byte) Name {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &seq); err != nil || len(rest) > 0 {
		return nil
	}
	var out Name
	for i := len(seq) - 1; i >= 0; i-- {
		var part []attribute
		for _, a := range seq[i] {
			text, ok := a.Value.(string)
			if !ok {
				der, _ := asn1.Marshal(a.Value) // what cannot be written back is compared with nothing
				text = hex.EncodeToString(der)
			}
			part = append(part, attribute{a.Type.String(), text, !ok})
		}
		out = append(out, part)
	}
	return out
}

// Values returns the values of one kind of attribute, by its object identifier; those that are no text are left
// out.
func (n Name) Values(kind string) []string {
	var out []string
	for _, part := range n {
		for _, a := range part {
			if a.kind == kind && !a.raw {
				out = append(out, a.text)
			}
		}
	}
	return out
}

// Pattern is a whole name, or one part of one. Values may hold stars. The zero value covers names without
// parts only.
type Pattern [][]attributePattern

type attributePattern struct {
	kind  string
	value Glob
	raw   string // DER in hex, instead of value
}

// ParsePatterns reads several; the error quotes the one that cannot be read.
func ParsePatterns(in []string) ([]Pattern, error) {
	var out []Pattern
	for _, s := range in {
		p, err := ParsePattern(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// Match reports whether the pattern covers a name: one part any part of it, several the whole. A part of
// the name may have attributes besides, only where the pattern is one part.
func (p Pattern) Match(name Name) bool {
	if len(p) == 1 {
		return slices.ContainsFunc(name, func(part []attribute) bool { return partHas(p[0], part) })
	}
	if len(p) != len(name) {
		return false
	}
	for i := range p {
		if len(p[i]) != len(name[i]) || !partHas(p[i], name[i]) {
			return false
		}
	}
	return true
}

// partHas reports whether every attribute of the pattern is in the part.
func partHas(want []attributePattern, part []attribute) bool {
	for _, w := range want {
		if !slices.ContainsFunc(part, func(a attribute) bool {
			if a.kind != w.kind || a.raw != (w.raw != "") {
				return false
			}
			return a.raw && a.text == w.raw || !a.raw && w.value.Match(a.text)
		}) {
			return false
		}
	}
	return true
}

// ParsePattern reads RFC 2253 with stars: an escaped star ("\*") is an ordinary character. Spaces around
// separators are ignored, as RFC 2253 section 4 has it.
func ParsePattern(s string) (Pattern, error) {
	var out Pattern
	part := []attributePattern{}
	for rest := s; ; {
		a, separator, tail, err := parseAttribute(rest)
		if err != nil {
			return nil, err
		}
		part = append(part, a)
		if separator != '+' {
			out, part = append(out, part), nil
		}
		if separator == 0 {
			return out, nil
		}
		rest = tail
	}
}

// parseAttribute reads one attribute up to the separator behind it, 0 at the end.
func parseAttribute(s string) (a attributePattern, separator byte, rest string, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return a, 0, "", errors.New(`an attribute is written NAME=VALUE, as in "O=Example"`)
	}
	if a.kind = attributeKind(strings.TrimSpace(name)); a.kind == "" {
		return a, 0, "", fmt.Errorf("the attribute %q is not known; write its object identifier", strings.TrimSpace(name))
	}
	value = strings.TrimLeft(value, " ")
	if strings.HasPrefix(value, "#") {
		end := strings.IndexAny(value, ",;+")
		if end < 0 {
			end = len(value)
		} else {
			separator, rest = value[end], value[end+1:]
		}
		der, err := hex.DecodeString(strings.TrimSpace(value[1:end]))
		if err != nil || len(der) == 0 {
			return a, 0, "", fmt.Errorf("the value %q is no hexadecimal DER", value[:end])
		}
		a.raw = hex.EncodeToString(der)
		return a, separator, rest, nil
	}
	a.value, separator, rest, err = parseValue(value)
	return a, separator, rest, err
}

// parseValue reads an attribute's value.
func parseValue(s string) (value Glob, separator byte, rest string, err error) {
	var b []byte
	kept := 0 // length of b without spaces that the separator may turn out to be behind
	quoted := false
	i := 0
scan:
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' && (quoted || len(b) == 0 && value == nil):
			quoted = !quoted
			continue
		case c == '\\':
			n, lit, err := parseEscape(s[i+1:])
			if err != nil {
				return nil, 0, "", err
			}
			b = append(b, lit)
			kept = len(b)
			i += n
			continue
		case quoted:
		case c == ',' || c == ';' || c == '+':
			separator, rest = c, s[i+1:]
			break scan
		case c == '*':
			value, b, kept = append(value, string(b)), b[:0], 0
			continue
		}
		if b = append(b, c); c != ' ' || quoted {
			kept = len(b)
		}
	}
	if quoted {
		return nil, 0, "", errors.New("a quote is not closed")
	}
	value = append(value, string(b[:kept]))
	return value, separator, rest, nil
}

// parseEscape reads what follows a backslash: a character, or two hexadecimal digits.
func parseEscape(s string) (n int, lit byte, err error) {
	if len(s) >= 2 {
		if b, err := hex.DecodeString(s[:2]); err == nil {
			return 2, b[0], nil
		}
	}
	if len(s) == 0 {
		return 0, 0, errors.New("a backslash stands at the end")
	}
	return 1, s[0], nil
}

// attributeKind returns the object identifier of an attribute's name, "" for unknown ones.
func attributeKind(name string) string {
	switch strings.ToUpper(name) {
	case "CN":
		return CommonName
	case "SN", "SURNAME":
		return "2.5.4.4"
	case "SERIALNUMBER":
		return "2.5.4.5"
	case "C":
		return "2.5.4.6"
	case "L":
		return "2.5.4.7"
	case "ST", "S":
		return "2.5.4.8"
	case "STREET":
		return "2.5.4.9"
	case "O":
		return "2.5.4.10"
	case "OU":
		return "2.5.4.11"
	case "TITLE", "T":
		return "2.5.4.12"
	case "POSTALCODE":
		return "2.5.4.17"
	case "GN", "GIVENNAME":
		return "2.5.4.42"
	case "UID":
		return "0.9.2342.19200300.100.1.1"
	case "DC":
		return "0.9.2342.19200300.100.1.25"
	case "E", "EMAIL", "EMAILADDRESS":
		return "1.2.840.113549.1.9.1"
	}
	dotted := strings.TrimPrefix(strings.ToUpper(name), "OID.")
	if oid, err := ParseOID(dotted); err == nil {
		return oid.String()
	}
	return ""
}

// ParseOID reads dotted decimals, each of which fits an int.
func ParseOID(text string) (asn1.ObjectIdentifier, error) {
	oid, err := x509.ParseOID(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no object identifier", text)
	}
	var out asn1.ObjectIdentifier
	for part := range strings.SplitSeq(oid.String(), ".") {
		n := 0
		if _, err := fmt.Sscan(part, &n); err != nil {
			return nil, fmt.Errorf("%q has a number that is too large", text)
		}
		out = append(out, n)
	}
	return out, nil
}
