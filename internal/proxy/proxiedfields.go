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
// have in https, and nothing pins the client to https. Where the client reaches the destination by another port than the
// destination's own, URLs get that.
func (x *exchange) rewriteAnswer() {
	c := &x.fwd.choice
	lowered := x.Request.Scheme == "http" && c.Upstream != nil && c.Upstream.Settings.TLS != nil
	if c.Upstream == nil || !lowered && string(x.fwd.asked) == string(portOf(x.Request.Authority)) {
		return
	}
	s, f := x.fwd.state.ir, &x.resp.Fields
	from := x.Request.Scheme + "://"
	if lowered {
		from = "https://"
	}
	for i := range f.Len() {
		l := f.At(i)
		switch {
		case lowered && s.RewriteCookies && l.ID == message.SetCookie:
			l.Value = plainCookie(l.Value)
		case !s.RewriteLocation:
		case l.ID == message.Location, l.ID == message.Other && message.EqualFold(l.Name, []byte("Content-Location")):
			l.Value = x.clientURL(l.Value, from)
		case l.ID == message.Other && message.EqualFold(l.Name, []byte("Refresh")):
			l.Value = x.clientRefresh(l.Value, from)
		}
	}
	if lowered && s.RewriteHSTS {
		f.DelID(message.StrictTransportSecurity)
		f.DelID(message.AltSvc)
	}
}

// clientURL returns a URL that begins with scheme as the client can follow it: what does not lead to the destination's
// own host, or another one that the Forwarder names, is returned as it is.
func (x *exchange) clientURL(url []byte, scheme string) []byte {
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
	standard, plain := "443", x.Request.Scheme == "http"
	if scheme == "http://" {
		standard = "80"
	}
	asked := x.fwd.asked
	ours := own && (string(port) == string(asked) || string(port) == string(portOf(x.Request.Authority)))
	if len(port) > 0 && string(port) != standard && !ours {
		return url
	}
	if !own || plain && (string(asked) == "443" || string(asked) == "80") || !plain && string(asked) == "443" {
		asked = nil
	}
	out := x.resp.Fields.Reserve(len(url) + 8)
	out = append(append(out, x.Request.Scheme...), "://"...)
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

// clientRefresh is clientURL for "5; url=https://…", also with quotes.
func (x *exchange) clientRefresh(value []byte, scheme string) []byte {
	at := bytes.IndexByte(value, '=')
	if at < 0 {
		return value
	}
	at++
	for at < len(value) && (value[at] == ' ' || value[at] == '\'' || value[at] == '"') {
		at++
	}
	url := x.clientURL(value[at:], scheme)
	if len(url) == len(value)-at && (len(url) == 0 || &url[0] == &value[at]) {
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
