package http1

import (
	"bytes"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// RequestParser parses the heads of requests. The zero value is ready; one parser serves one
// connection, one message after the other. It allocates only to refuse.
type RequestParser struct {
	Limits Limits
	// Scheme is that of the connection, "http" or "https"; it is given to every request, and an
	// absolute target of the other scheme is refused. Empty: nothing is given nor compared.
	Scheme string
	// Proxy says that the listener is a forward proxy: an absolute target may be of either scheme, and what
	// Host says beside a target that has an authority is ignored (RFC 9112 section 3.2.2). More than one Host
	// is refused all the same.
	Proxy bool

	wait headWait
}

// Reset forgets a half-received head.
func (p *RequestParser) Reset() { p.wait = headWait{} }

// Parse parses one request head (RFC 9112 sections 2 to 6) from the front of buf into req, which it
// resets first, and returns the number of bytes that the head takes, the empty line included. n == 0
// without error means that the head is not complete: call again with the same bytes and more (buf may
// have moved). The slices of req point into buf. An error is an *Error and ends the connection.
func (p *RequestParser) Parse(buf []byte, req *message.Request) (n int, err error) {
	bound := p.Limits.head()
	if !p.wait.ready(buf, bound) {
		return 0, nil
	}
	req.Reset()
	req.Scheme = p.Scheme
	n, twice, err := p.parse(buf, req)
	switch {
	case err != nil:
		return 0, err
	case n > bound || n == 0 && len(buf) >= bound:
		if req.Target == nil {
			return 0, refuse(diag.RequestURITooLong, "request line longer than the limit of a head")
		}
		return 0, refuse(diag.RequestHeadTooLarge, "head longer than the limit")
	case n == 0:
		p.wait.from = len(buf)
		return 0, nil
	}
	p.wait.from = 0
	if err := p.finish(req, twice); err != nil {
		return 0, err
	}
	return n, nil
}

// parse reads the request line and the field lines.
func (p *RequestParser) parse(buf []byte, req *message.Request) (int, repeated, error) {
	i := 0
	if len(buf) >= 2 && buf[0] == '\r' && buf[1] == '\n' {
		i = 2
	} else if len(buf) == 1 && buf[0] == '\r' {
		return 0, 0, nil
	}
	method := i
	if i = semantics.TokenEnd(buf, i); i == len(buf) {
		return 0, 0, nil
	}
	if buf[i] != ' ' || i == method {
		return 0, 0, badMethod(buf[i], i == method)
	}
	req.Method = buf[method:i:i]
	i++
	target := i
	end, path, query, rewrite := semantics.ScanTarget(buf, i)
	switch {
	case end-target > p.Limits.target():
		return 0, 0, refuse(diag.RequestURITooLong, "target longer than the limit")
	case end == len(buf):
		return 0, 0, nil
	case end == target || buf[end] == '\r' || buf[end] == '\n':
		return 0, 0, refuse(diag.RequestMalformed, "request line is not method, target and version with single spaces between")
	case buf[end] != ' ':
		return 0, 0, refuse(diag.RequestBadPath, semantics.BadTarget(buf[end]))
	}
	i, proto, err := parseVersion(buf, end+1)
	if i == 0 || err != nil {
		return 0, 0, err
	}
	req.Proto = proto
	if query >= 0 {
		query -= target
	}
	if err := setTarget(req, buf[target:end:end], path-target, query, rewrite); err != nil {
		return 0, 0, err
	}
	return parseFields(downstream, buf, i, &req.Fields, p.Limits.fields())
}

// parseVersion reads "HTTP/1.1" or "HTTP/1.0" and the end of the line; 0 means that buf ends before.
func parseVersion(buf []byte, i int) (int, message.Proto, error) {
	const version = "HTTP/1.1\r\n"
	rest := buf[i:]
	if len(rest) >= len(version) && string(rest[:7]) == version[:7] && string(rest[8:10]) == "\r\n" {
		switch rest[7] {
		case '1':
			return i + len(version), message.HTTP11, nil
		case '0':
			return i + len(version), message.HTTP10, nil
		}
	}
	if len(rest) < len(version) && bytes.IndexByte(rest, '\n') < 0 {
		return 0, 0, nil
	}
	if len(rest) >= 8 && string(rest[:5]) == version[:5] && rest[6] == '.' && semantics.IsDigit(rest[5]) && semantics.IsDigit(rest[7]) {
		if rest[5] == '1' && rest[7] <= '1' {
			return 0, 0, refuse(diag.RequestMalformed, "request line does not end with CRLF after the version")
		}
		return 0, 0, refuse(diag.RequestVersion, "version other than HTTP/1.1 and HTTP/1.0")
	}
	return 0, 0, refuse(diag.RequestMalformed, "request line without a version")
}

func badMethod(c byte, first bool) error {
	switch {
	case first && (c == '\r' || c == '\n'):
		return refuse(diag.RequestMalformed, "empty line, or a bare line end, before the request line")
	case first && c == ' ':
		return refuse(diag.RequestMalformed, "white space before the request line")
	case c == '\r' || c == '\n':
		return refuse(diag.RequestMalformed, "request line without a target")
	}
	return refuse(diag.RequestMalformed, "byte that is not allowed in a method")
}

// finish judges the fields as a whole: authority, framing, connection options, expectation, upgrade.
func (p *RequestParser) finish(req *message.Request, twice repeated) error {
	if err := p.checkHost(req, twice); err != nil {
		return err
	}
	names := req.Fields.Names()
	if names&framingNames != 0 {
		var err error
		if req.Body, err = parseFraming(downstream, &req.Fields, req.Proto, twice); err != nil {
			return err
		}
	}
	var options connectionOptions
	if names.Has(message.Connection) {
		var err error
		if options, err = parseConnection(downstream, &req.Fields); err != nil {
			return err
		}
	}
	req.KeepAlive = options.persists(req.Proto)
	if names.Has(message.Expect) {
		if !semantics.Expect(req, twice.Has(message.Expect)) {
			return refuse(diag.RequestExpectation, semantics.BadExpectation)
		}
	}
	if options&optionUpgrade != 0 && names.Has(message.Upgrade) && req.Proto == message.HTTP11 {
		return checkUpgrade(req, twice)
	}
	return nil
}

// checkHost applies RFC 9112 section 3.2: one valid Host, asked for in HTTP/1.1, and the same as the
// target's authority if that has one.
func (p *RequestParser) checkHost(req *message.Request, twice repeated) error {
	if p.Proxy && req.Authority != nil {
		return p.checkProxied(req, twice)
	}
	if req.Absolute != "" && p.Scheme != "" && req.Absolute != p.Scheme {
		return refuse(diag.RequestBadHost, "scheme of the absolute target is not the connection's")
	}
	host, ok := req.Fields.Get(message.Host)
	switch {
	case !ok && req.Proto == message.HTTP10:
		return nil
	case !ok:
		return refuse(diag.RequestBadHost, "no Host in HTTP/1.1")
	case twice.Has(message.Host):
		return refuse(diag.RequestBadHost, "more than one Host")
	}
	if target := req.Authority; target != nil {
		if message.EqualFold(target, host) {
			return nil
		}
		// Clients differ in whether Host repeats the port of CONNECT.
		if h, port, _, ok := semantics.SplitAuthority(host); ok && port == nil && req.Absolute == "" && message.EqualFold(h, req.Host) {
			return nil
		}
		return refuse(diag.RequestBadHost, "Host differs from the target's authority")
	}
	if !semantics.SetAuthority(req, host) {
		return refuse(diag.RequestBadHost, "Host is not a name or address with an optional port")
	}
	return nil
}

// checkProxied is checkHost for a forward proxy, where the target's authority is what counts.
func (p *RequestParser) checkProxied(req *message.Request, twice repeated) error {
	if twice.Has(message.Host) {
		return refuse(diag.RequestBadHost, "more than one Host")
	}
	if req.Absolute != "" {
		req.Scheme = req.Absolute
	}
	return nil
}

// checkUpgrade applies RFC 9110 section 7.8. h2c alone is ignored (RFC 9113 section 3.1 withdrew it),
// because an upstream that took it would serve requests nobody here has seen; in a list with others it
// is refused, since the upstream would choose. So are the spellings of its drafts, which old servers take.
func checkUpgrade(req *message.Request, twice repeated) error {
	value, _ := req.Fields.Get(message.Upgrade)
	if twice.Has(message.Upgrade) {
		return refuse(diag.RequestBadUpgrade, "more than one Upgrade")
	}
	items, cleartext := 0, false
	for rest := value; rest != nil; items++ {
		var item []byte
		item, rest = semantics.NextItem(rest)
		name, version, versioned := bytes.Cut(item, []byte("/"))
		if !semantics.IsToken(name) || versioned && !semantics.IsToken(version) {
			return refuse(diag.RequestBadUpgrade, "Upgrade is not a list of protocols")
		}
		cleartext = cleartext || semantics.HasPrefixFold(name, "h2c") || message.EqualFold(name, []byte("HTTP")) // drafts were "h2c-14", "HTTP/2.0"
	}
	switch {
	case cleartext && items == 1:
		return nil
	case cleartext:
		return refuse(diag.RequestBadUpgrade, "Upgrade offers h2c beside others")
	case !req.Body.IsEmpty():
		return refuse(diag.RequestBadUpgrade, "upgrade with a body")
	}
	req.Upgrade = value
	return nil
}
