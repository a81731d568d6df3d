package http2

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// Request decodes the head of a request into req, which it resets first (RFC 9113 sections 8.1 to 8.3). All
// bytes are copied into memory of req. Scheme is the decoder's and Absolute empty, unless Decoder.Proxy is set; Authority is
// :authority, or Host where that is missing; crumbs of Cookie are one line.
//
// Body is Sized where Content-Length was sent, else NoBody with b.End, else Chunked. The caller holds the
// length of DATA against it. For CONNECT it is Chunked, for a tunnel.
//
// After an error of the stream req holds what was decoded of Method, Target and Authority, for logs.
func (d *Decoder) Request(b Block, req *message.Request, lim Limits) error {
	req.Reset()
	req.Proto, req.Scheme, req.KeepAlive = message.HTTP2, d.Scheme, true
	l := list{fields: &req.Fields, role: ofRequest, lines: lim.fields(), bytes: lim.head()}
	if err := d.walk(b.Data, &l); err != nil {
		return err
	}
	req.Method, req.Target = l.pseudo[pseudoMethod], l.pseudo[pseudoPath]
	code, detail := faults[l.fault].code, faults[l.fault].detail
	if l.fault == none {
		code, detail = d.finishRequest(req, &l, b.End, lim)
	}
	if code == 0 {
		return nil
	}
	if req.Authority == nil {
		_ = semantics.SetAuthority(req, l.pseudo[pseudoAuthority])
	}
	return d.refuse(b, code, detail)
}

// refuse makes an error of the stream from the code that fits a request.
func (d *Decoder) refuse(b Block, code diag.Code, detail string) error {
	if d.Client {
		switch code {
		case diag.RequestHeadTooLarge, diag.RequestTooManyFields:
			code = diag.UpstreamHeadTooLarge
		default:
			code = diag.UpstreamProtocolError
		}
	}
	return &Error{code, ProtocolError, b.Stream, detail}
}

// finishRequest judges the list as a whole.
func (d *Decoder) finishRequest(req *message.Request, l *list, end bool, lim Limits) (diag.Code, string) {
	if l.twice.Has(message.Cookie) {
		joinCookies(&req.Fields, l.crumbs)
	}
	switch {
	case !l.has(pseudoMethod):
		return diag.RequestMalformed, "no :method"
	case !semantics.IsToken(req.Method):
		return diag.RequestMalformed, ":method is not a token"
	}
	if code, detail := d.setTarget(req, l, lim); code != 0 {
		return code, detail
	}
	if code, detail := setHost(req, l); code != 0 {
		return code, detail
	}
	if code, detail := setBody(req, l, end); code != 0 {
		return code, detail
	}
	names := req.Fields.Names()
	if names.Has(message.Expect) && !semantics.Expect(req, l.twice.Has(message.Expect)) {
		return diag.RequestExpectation, semantics.BadExpectation
	}
	if l.twice.Has(message.TE) {
		req.Fields.SetID(message.TE, []byte("trailers"))
	}
	return 0, ""
}

// setTarget takes :scheme, :path and :protocol (RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4). :scheme
// is checked for being one we serve and then not used: a gateway in front may speak h2c to us and still
// pass its client's https on, and nothing behind us believes it.
func (d *Decoder) setTarget(req *message.Request, l *list, lim Limits) (diag.Code, string) {
	connect := string(req.Method) == "CONNECT"
	if l.has(pseudoProtocol) {
		req.Protocol = l.pseudo[pseudoProtocol]
		switch {
		case !connect:
			return diag.RequestMalformed, ":protocol without CONNECT"
		case !d.Connect:
			return diag.RequestMalformed, ":protocol without SETTINGS_ENABLE_CONNECT_PROTOCOL"
		case !semantics.IsToken(req.Protocol):
			return diag.RequestBadUpgrade, ":protocol is not a token"
		}
	} else if connect {
		if l.has(pseudoScheme) || l.has(pseudoPath) {
			return diag.RequestMalformed, "CONNECT with :scheme or :path"
		}
		req.Target = l.pseudo[pseudoAuthority]
		return 0, ""
	}
	switch scheme := string(l.pseudo[pseudoScheme]); {
	case !l.has(pseudoScheme):
		return diag.RequestMalformed, "no :scheme"
	case scheme != "http" && scheme != "https":
		return diag.RequestMalformed, ":scheme is neither http nor https"
	case d.Proxy && scheme == "http":
		req.Scheme, req.Absolute = "http", "http"
	case d.Proxy:
		req.Scheme, req.Absolute = "https", "https"
	}
	path := req.Target
	switch {
	case !l.has(pseudoPath):
		return diag.RequestMalformed, "no :path"
	case len(path) == 0:
		return diag.RequestMalformed, ":path is empty"
	case len(path) > lim.target():
		return diag.RequestURITooLong, "target longer than the limit"
	case len(path) == 1 && path[0] == '*':
		if string(req.Method) != "OPTIONS" {
			return diag.RequestMalformed, "target * without OPTIONS"
		}
		req.Path = path
		return 0, ""
	}
	end, slash, query, rewrite := semantics.ScanTarget(path, 0)
	switch {
	case end != len(path):
		return diag.RequestBadPath, semantics.BadTarget(path[end])
	case slash != 0:
		return diag.RequestMalformed, ":path does not begin with a slash"
	}
	if fault := semantics.SetPath(req, path, query, rewrite); fault != "" {
		return diag.RequestBadPath, fault
	}
	return 0, ""
}

// setHost takes :authority and Host, which have to be of one mind (RFC 9113 section 8.3.1).
func setHost(req *message.Request, l *list) (diag.Code, string) {
	authority := l.pseudo[pseudoAuthority]
	if req.Fields.Names().Has(message.Host) {
		host, _ := req.Fields.Get(message.Host)
		switch {
		case l.twice.Has(message.Host):
			return diag.RequestBadHost, "more than one Host"
		case !l.has(pseudoAuthority) && string(req.Method) != "CONNECT":
			authority = host
		case !message.EqualFold(authority, host):
			return diag.RequestBadHost, "Host differs from :authority"
		}
	}
	switch {
	case !l.has(pseudoAuthority) && authority == nil:
		return diag.RequestBadHost, "neither :authority nor Host"
	case !semantics.SetAuthority(req, authority):
		return diag.RequestBadHost, ":authority is not a name or address with an optional port"
	}
	if string(req.Method) == "CONNECT" && req.Protocol == nil {
		if _, port, _, _ := semantics.SplitAuthority(authority); port == nil {
			return diag.RequestMalformed, "target of CONNECT is not host:port"
		}
	}
	return 0, ""
}

// setBody reads Content-Length (RFC 9113 section 8.1.1).
func setBody(req *message.Request, l *list, end bool) (diag.Code, string) {
	connect := string(req.Method) == "CONNECT"
	if !end {
		req.Body.Kind = message.Chunked
	}
	if !req.Fields.Names().Has(message.ContentLength) {
		return 0, ""
	}
	n, code, detail := length(&req.Fields, l)
	switch {
	case code != 0:
		return code, detail
	case connect:
		return diag.RequestAmbiguousBody, "CONNECT with Content-Length"
	case end && n > 0:
		return diag.RequestAmbiguousBody, "Content-Length of a request without a body"
	}
	req.Body = message.Body{Kind: message.Sized, Length: n}
	return 0, ""
}

// length reads the Content-Length that is there.
func length(f *message.Fields, l *list) (int64, diag.Code, string) {
	value, _ := f.Get(message.ContentLength)
	if l.twice.Has(message.ContentLength) {
		return 0, diag.RequestAmbiguousBody, "more than one Content-Length"
	}
	n, ok := semantics.Length(value)
	if !ok {
		return 0, diag.RequestAmbiguousBody, "Content-Length is not one decimal number"
	}
	return n, 0, ""
}
