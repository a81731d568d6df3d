package proxy

import (
	"bytes"

	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// addresses is what becomes of X-Forwarded-For on its way to the internet: Squid's forwarded_for. Nothing
// else is said of the client.
type addresses uint8

const (
	addressAdded   addresses = iota // the client's is appended
	addressUnknown                  // "unknown" is
	addressAsIs
	addressDeleted
	addressAlone // the client's alone
)

func parseAddresses(mode string) addresses {
	switch mode {
	case "off":
		return addressUnknown
	case "transparent":
		return addressAsIs
	case "delete":
		return addressDeleted
	case "truncate":
		return addressAlone
	}
	return addressAdded
}

// prepareFields changes the fields of a request that a forward proxy passes on, after those of the hop were
// removed.
func (x *exchange) prepareFields() {
	s, req := x.fwd.state, x.Request
	f := &req.Fields
	if s.addresses == addressDeleted || s.addresses == addressAlone {
		f.DelID(message.XForwardedFor)
	}
	switch s.addresses {
	case addressAdded, addressAlone:
		x.addAddress(x.Peer.Remote.Addr().Unmap().AppendTo(f.Reserve(45)))
	case addressUnknown:
		x.addAddress([]byte("unknown"))
	}
	for _, name := range s.ir.Remove {
		f.Del([]byte(name))
	}
	if via := s.via[req.Proto]; via != "" {
		f.AddID(message.Via, []byte(via))
	}
}

// addAddress appends to X-Forwarded-For.
func (x *exchange) addAddress(a []byte) {
	f := &x.Request.Fields
	if old, ok := f.Get(message.XForwardedFor); ok && f.Count(message.XForwardedFor) == 1 {
		joined := f.Reserve(len(old) + 2 + len(a))
		f.SetID(message.XForwardedFor, append(append(append(joined, old...), ", "...), a...))
		return
	}
	f.AddID(message.XForwardedFor, a)
}

// rewriteAnswer changes what an answer of a destination that is spoken to in TLS says to a client that asked in
// plain HTTP, and that could not follow it: its own https URLs become http, cookies lose what they may only
// have in https, and nothing pins the client to https.
func (x *exchange) rewriteAnswer() {
	c := &x.fwd.choice
	if x.Request.Scheme != "http" || c.Upstream == nil || c.Upstream.Settings.TLS == nil {
		return
	}
	s, f := x.fwd.state.ir, &x.resp.Fields
	for i := range f.Len() {
		l := f.At(i)
		switch {
		case s.RewriteCookies && l.ID == message.SetCookie:
			l.Value = plainCookie(l.Value)
		case !s.RewriteLocation:
		case l.ID == message.Location, l.ID == message.Other && message.EqualFold(l.Name, []byte("Content-Location")):
			l.Value = x.plainURL(l.Value)
		case l.ID == message.Other && message.EqualFold(l.Name, []byte("Refresh")):
			l.Value = x.plainRefresh(l.Value)
		}
	}
	if s.RewriteHSTS {
		f.DelID(message.StrictTransportSecurity)
		f.DelID(message.AltSvc)
	}
}

// plainURL returns a URL as a client in plain HTTP can follow it: what does not lead to the destination's own
// host, or another one that the Forwarder names, is returned as it is.
func (x *exchange) plainURL(url []byte) []byte {
	const scheme = "https://"
	if !semantics.HasPrefixFold(url, scheme) {
		return url
	}
	rest := url[len(scheme):]
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, port, _, ok := semantics.SplitAuthority(rest[:end])
	if !ok {
		return url
	}
	own := message.EqualFold(host, x.Request.Host)
	if c := x.fwd.choice.Originates; !own && (c == nil || !c(string(bytes.ToLower(host)))) {
		return url
	}
	// The port that the client spoke to leads there; another one of the same host would be another server.
	asked := portOf(x.Request.Authority)
	switch {
	case len(port) > 0 && string(port) != "443" && !(own && string(port) == string(asked)):
		return url
	case len(port) == 0 || string(port) == "443":
		if !own || string(asked) == "443" || string(asked) == "80" {
			asked = nil
		}
	}
	out := x.resp.Fields.Reserve(len(url) + 6)
	out = append(out, "http://"...)
	if rest[0] == '[' {
		out = append(append(append(out, '['), host...), ']')
	} else {
		out = append(out, host...)
	}
	if len(asked) > 0 {
		out = append(append(out, ':'), asked...)
	}
	return append(out, rest[end:]...)
}

// plainRefresh is plainURL for "5; url=https://…", also with quotes.
func (x *exchange) plainRefresh(value []byte) []byte {
	at := bytes.IndexByte(value, '=')
	if at < 0 {
		return value
	}
	at++
	for at < len(value) && (value[at] == ' ' || value[at] == '\'' || value[at] == '"') {
		at++
	}
	url := x.plainURL(value[at:])
	if len(url) == len(value)-at {
		return value
	}
	return append(append(x.resp.Fields.Reserve(len(value)), value[:at]...), url...)
}

// plainCookie returns a Set-Cookie without Secure, SameSite=None and Partitioned, which belong together and to
// https. Names with the prefixes __Secure- and __Host- stay as they are: clients refuse them in plain HTTP, and
// the server would not know another name.
func plainCookie(value []byte) []byte {
	drop := func(attribute []byte) bool {
		name, v, _ := bytes.Cut(bytes.TrimSpace(attribute), []byte("="))
		name = bytes.TrimSpace(name)
		return message.EqualFold(name, []byte("Secure")) || message.EqualFold(name, []byte("Partitioned")) ||
			message.EqualFold(name, []byte("SameSite")) && message.EqualFold(bytes.TrimSpace(v), []byte("None"))
	}
	out := value
	for i, attribute := range bytes.Split(value, []byte(";")) {
		switch {
		case i == 0:
			out = append([]byte(nil), attribute...)
		case !drop(attribute):
			out = append(append(out, ';'), attribute...)
		}
	}
	return out
}
