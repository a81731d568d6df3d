package headers

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/message"
)

// template is a value: plain bytes, or parts of which some are taken from the exchange.
type template struct {
	plain []byte
	parts []part // nil for a plain value
}

// part is literal text, or a command that appends to dst.
type part struct {
	literal []byte
	command func(dst []byte, x *filter.Exchange) []byte
}

// compileValue reads a value; with format the commands of README.md are understood, an unknown one
// stays as it is written.
func compileValue(s string, format bool) (template, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return template{}, fmt.Errorf("value holds the control byte %q", c)
		}
	}
	s = strings.Trim(s, " \t")
	if !format || !strings.Contains(s, "%") {
		return template{plain: []byte(s)}, nil
	}
	var parts []part
	var literal []byte
	for len(s) > 0 {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			literal = append(literal, s...)
			break
		}
		literal = append(literal, s[:i]...)
		s = s[i+1:]
		end := strings.IndexByte(s, '%')
		if end < 0 {
			literal = append(append(literal, '%'), s...)
			break
		}
		switch c := command(s[:end]); {
		case end == 0:
			literal = append(literal, '%')
		case c == nil:
			literal = append(literal, '%')
			continue // the second "%" may begin a command
		default:
			if len(literal) > 0 {
				parts, literal = append(parts, part{literal: literal}), nil
			}
			parts = append(parts, part{command: c})
		}
		s = s[end+1:]
	}
	if parts == nil {
		return template{plain: literal}, nil
	}
	if len(literal) > 0 {
		parts = append(parts, part{literal: literal})
	}
	return template{parts: parts}, nil
}

// render returns the value, whose bytes live as long as f.
func (t *template) render(x *filter.Exchange, f *message.Fields) []byte {
	if t.parts == nil {
		return t.plain
	}
	b := f.Reserve(maxUsual)
	for i := range t.parts {
		if p := &t.parts[i]; p.command != nil {
			b = p.command(b, x)
		} else {
			b = append(b, p.literal...)
		}
	}
	return b
}

// maxUsual is how long a rendered value may be without allocating, in bytes.
const maxUsual = 128

// command returns what a command of Envoy's format strings appends, or nil if it is not known here.
// An absent value is "-", as in Envoy.
func command(name string) func([]byte, *filter.Exchange) []byte {
	if arg, ok := strings.CutPrefix(name, "REQ("); ok {
		arg, ok = strings.CutSuffix(arg, ")")
		if !ok || strings.HasPrefix(arg, ":") && arg != ":METHOD" && arg != ":AUTHORITY" && arg != ":PATH" && arg != ":SCHEME" || strings.Contains(arg, "?") {
			return nil
		}
		return fromRequest(arg)
	}
	switch name {
	case "PROTOCOL":
		return func(b []byte, x *filter.Exchange) []byte { return append(b, x.Request.Proto.String()...) }
	case "DOWNSTREAM_REMOTE_ADDRESS":
		return func(b []byte, x *filter.Exchange) []byte { return unmapped(x.Peer.Remote).AppendTo(b) }
	case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT":
		return func(b []byte, x *filter.Exchange) []byte { return x.Peer.Remote.Addr().Unmap().AppendTo(b) }
	case "DOWNSTREAM_LOCAL_ADDRESS":
		return func(b []byte, x *filter.Exchange) []byte { return unmapped(x.Peer.Local).AppendTo(b) }
	case "REQUESTED_SERVER_NAME":
		return func(b []byte, x *filter.Exchange) []byte { return orDash(b, x.Peer.SNI) }
	case "DOWNSTREAM_PEER_SUBJECT":
		return ofCertificate(func(c *filter.ClientCert) string { return c.Subject })
	case "DOWNSTREAM_PEER_ISSUER":
		return ofCertificate(func(c *filter.ClientCert) string { return c.Issuer })
	case "DOWNSTREAM_PEER_SERIAL":
		return ofCertificate(func(c *filter.ClientCert) string { return c.Serial })
	case "DOWNSTREAM_PEER_FINGERPRINT_256":
		return ofCertificate(func(c *filter.ClientCert) string { return c.Hash })
	case "DOWNSTREAM_PEER_URI_SAN":
		return ofCertificate(func(c *filter.ClientCert) string { return strings.Join(c.URI, ",") })
	case "DOWNSTREAM_PEER_DNS_SAN":
		return ofCertificate(func(c *filter.ClientCert) string { return strings.Join(c.DNS, ",") })
	}
	return nil
}

func fromRequest(name string) func([]byte, *filter.Exchange) []byte {
	key := []byte(name)
	return func(b []byte, x *filter.Exchange) []byte {
		switch name {
		case ":METHOD":
			return append(b, x.Request.Method...)
		case ":AUTHORITY":
			return append(b, x.Request.Authority...)
		case ":SCHEME":
			return append(b, x.Request.Scheme...)
		case ":PATH":
			b = append(b, x.Request.Path...)
			if x.Request.HasQuery {
				b = append(append(b, '?'), x.Request.Query...)
			}
			return b
		}
		if v, ok := x.Request.Fields.Lookup(key); ok {
			return append(b, v...)
		}
		return append(b, '-')
	}
}

// ofCertificate takes a value from the client's certificate if it verified; nobody is told a name
// that was not proved.
func ofCertificate(get func(*filter.ClientCert) string) func([]byte, *filter.Exchange) []byte {
	return func(b []byte, x *filter.Exchange) []byte {
		if c := x.Peer.ClientCert; c != nil && c.Verified {
			return orDash(b, get(c))
		}
		return append(b, '-')
	}
}

// orDash appends text that may come from a peer, without bytes that no field value may hold.
func orDash(b []byte, s string) []byte {
	if s == "" {
		return append(b, '-')
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f {
			b = append(b, '?')
		} else {
			b = append(b, c)
		}
	}
	return b
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
