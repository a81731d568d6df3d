// Package hostname holds host names and host patterns as value types: parsed once, at the edge, and
// compared everywhere by the same rules (Gateway API Hostname, Istio Gateway hosts, RFC 6125).
//
// A Pattern is an exact name, "*." and a suffix (matching one or more labels, as both APIs do for
// listeners and routes), or "*" which matches every name and the absence of one. The package refuses
// to know what a pattern is for. Begin reading at Pattern.
package hostname

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Pattern is a host pattern. The zero value is invalid; use Parse or Any.
type Pattern struct {
	name string // exact: the name; wildcard: the suffix with its leading dot; any: "*"
	kind kind
}

type kind uint8

const (
	invalid kind = iota
	any_
	wildcard
	exact
)

// Any returns the pattern "*".
func Any() Pattern { return Pattern{"*", any_} }

// Parse reads a pattern: a DNS name, "*." and a DNS name, "*", or an IP address (exact). Names are
// taken without regard to case and with an optional trailing dot. Underscores are permitted in labels
// because hosts of that kind exist; callers whose API forbids them check HasUnderscore. The error
// says what is wrong with the name.
func Parse(s string) (Pattern, error) {
	if s == "*" {
		return Any(), nil
	}
	name := strings.TrimSuffix(strings.ToLower(s), ".")
	k := exact
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		name, k = rest, wildcard
	}
	if err := check(name); err != nil {
		return Pattern{}, fmt.Errorf("host name %q: %w", s, err)
	}
	if k == wildcard {
		name = "." + name
	}
	return Pattern{name, k}, nil
}

// check applies RFC 1123 section 2.1 (and underscores).
func check(name string) error {
	if name == "" {
		return fmt.Errorf("is empty")
	}
	if strings.ContainsRune(name, ':') {
		return checkIPv6(name)
	}
	if len(name) > 253 {
		return fmt.Errorf("is longer than 253 bytes")
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return fmt.Errorf("has an empty label")
		case len(label) > 63:
			return fmt.Errorf("label %q is longer than 63 bytes", label)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("label %q begins or ends with a hyphen", label)
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				if c == '*' {
					return fmt.Errorf("a wildcard may only stand alone or as the first label")
				}
				return fmt.Errorf("byte %q is not allowed", c)
			}
		}
	}
	return nil
}

func checkIPv6(name string) error {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c != ':' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("has a port or a colon")
		}
	}
	if strings.Count(name, ":") < 2 {
		return fmt.Errorf("has a port; hosts are named without one")
	}
	return nil
}

// String returns the pattern as it is written in manifests, in lower case.
func (p Pattern) String() string {
	if p.kind == wildcard {
		return "*" + p.name
	}
	return p.name
}

// MarshalText writes the pattern as String does.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// IsAny reports whether the pattern is "*".
func (p Pattern) IsAny() bool { return p.kind == any_ }

// IsWildcard reports whether the pattern begins with "*.".
func (p Pattern) IsWildcard() bool { return p.kind == wildcard }

// IsExact reports whether the pattern is one name.
func (p Pattern) IsExact() bool { return p.kind == exact }

// IsValid reports whether the pattern came from Parse or Any.
func (p Pattern) IsValid() bool { return p.kind != invalid }

// Suffix returns ".example.com" for "*.example.com", else "".
func (p Pattern) Suffix() string {
	if p.kind == wildcard {
		return p.name
	}
	return ""
}

// HasUnderscore reports whether a label holds an underscore.
func (p Pattern) HasUnderscore() bool { return strings.Contains(p.name, "_") }

// Match reports whether the pattern covers host, which is in lower case and without port and
// trailing dot; "" stands for no name and is covered by "*" alone.
func (p Pattern) Match(host string) bool {
	switch p.kind {
	case any_:
		return true
	case exact:
		return host == p.name
	case wildcard:
		return len(host) > len(p.name) && strings.HasSuffix(host, p.name)
	}
	return false
}

// Covers reports whether every name that q matches is matched by p too.
func (p Pattern) Covers(q Pattern) bool {
	switch {
	case p.kind == any_:
		return q.IsValid()
	case q.kind == exact:
		return p.Match(q.name)
	case p.kind == wildcard && q.kind == wildcard:
		return strings.HasSuffix(q.name, p.name)
	}
	return false
}

// Intersect returns the narrower of two patterns if one covers the other, and false if they have no
// name in common (Gateway API, HTTPRouteSpec.hostnames).
func Intersect(p, q Pattern) (Pattern, bool) {
	switch {
	case p.Covers(q):
		return q, true
	case q.Covers(p):
		return p, true
	}
	return Pattern{}, false
}

// Compare orders patterns from most to least specific: exact names before wildcards before "*",
// longer before shorter, then by text. It is 0 only for equal patterns.
func Compare(p, q Pattern) int {
	return cmp.Or(cmp.Compare(q.kind, p.kind), cmp.Compare(len(q.name), len(p.name)), strings.Compare(p.name, q.name))
}

// WithPort returns "host:port", an IPv6 address in brackets, as authorities and CONNECT have it (RFC 3986 section 3.2).
func WithPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
