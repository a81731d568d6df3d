package http1

import (
	"bytes"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// ResponseParser parses the heads of responses. The zero value is ready; one parser serves one
// upstream connection. It allocates only to refuse. Limits.TargetBytes is not used.
type ResponseParser struct {
	Limits Limits

	wait headWait
}

// Reset forgets a half-received head.
func (p *ResponseParser) Reset() { p.wait = headWait{} }

// Parse parses one response head (RFC 9112 sections 4 to 6) from the front of buf into resp, which it
// resets first, and returns the number of bytes that the head takes. n == 0 without error means that
// the head is not complete: call again with the same bytes and more. Interim answers (1xx) are returned
// like others, with NoBody: the caller goes on parsing, after 101 it does not. requestMethod decides
// about the body of answers to HEAD and CONNECT (RFC 9112 section 6.3).
//
// KeepAlive is false also where the answer itself was sound but what follows it may not be. An error is
// an *Error with an upstream code and ends the connection.
func (p *ResponseParser) Parse(buf []byte, requestMethod []byte, resp *message.Response) (n int, err error) {
	bound := p.Limits.head()
	if !p.wait.ready(buf, bound) {
		return 0, nil
	}
	resp.Reset()
	i, err := parseStatusLine(buf, resp)
	var twice repeated
	if i > 0 && err == nil {
		n, twice, err = parseFields(upstream, buf, i, &resp.Fields, p.Limits.fields())
	}
	switch {
	case err != nil:
		return 0, err
	case n > bound || n == 0 && len(buf) >= bound:
		return 0, upstream.refuse(diag.RequestHeadTooLarge, "response head longer than the limit")
	case n == 0:
		p.wait.from = len(buf)
		return 0, nil
	}
	p.wait.from = 0
	if err := finishResponse(resp, requestMethod, twice); err != nil {
		return 0, err
	}
	return n, nil
}

// parseStatusLine reads "HTTP/1.1 200 OK" and its end; 0 means that buf ends before.
func parseStatusLine(buf []byte, resp *message.Response) (int, error) {
	const start = "HTTP/1.1 200"
	if len(buf) < len(start)+2 {
		return 0, incompleteStatus(buf)
	}
	if string(buf[:7]) != start[:7] || buf[7] != '1' && buf[7] != '0' || buf[8] != ' ' {
		return 0, badStatus(buf)
	}
	resp.Proto = message.HTTP11
	if buf[7] == '0' {
		resp.Proto = message.HTTP10
	}
	if !semantics.IsDigit(buf[9]) || buf[9] == '0' || !semantics.IsDigit(buf[10]) || !semantics.IsDigit(buf[11]) {
		return 0, badStatus(buf)
	}
	resp.Status = int(buf[9]-'0')*100 + int(buf[10]-'0')*10 + int(buf[11]-'0')
	i := len(start)
	if buf[i] == ' ' {
		i++
		end := semantics.TextEnd(buf, i)
		resp.Reason = buf[i:end:end]
		i = end
	}
	switch {
	case i == len(buf) || i+1 == len(buf) && buf[i] == '\r':
		return 0, nil
	case buf[i] != '\r' || buf[i+1] != '\n':
		return 0, upstream.refuse(diag.RequestMalformed, "status line holds a byte that is not allowed, or does not end with CRLF")
	}
	return i + 2, nil
}

// incompleteStatus refuses what can no longer become a status line.
func incompleteStatus(buf []byte) error {
	const start = "HTTP/1."
	if n := min(len(buf), len(start)); string(buf[:n]) != start[:n] || bytes.IndexByte(buf, '\n') >= 0 {
		return badStatus(buf)
	}
	return nil
}

// badStatus tells a TLS record and a frame of HTTP/2 from other bytes that are no status line. An alert (21) is what a TLS
// server sends to a plain request.
func badStatus(buf []byte) error {
	if (buf[0] == 21 || buf[0] == 22) && (len(buf) < 2 || buf[1] == 3) {
		return upstream.refuse(diag.UpstreamSpeaksTLS, "the answer is a TLS record")
	}
	if len(buf) >= 4 && buf[0] == 0 && buf[1] == 0 && buf[3] == 4 { // a SETTINGS frame (RFC 9113 section 4.1)
		return upstream.refuse(diag.RequestMalformed, "the upstream answered in HTTP/2: name the port grpc or http2")
	}
	return upstream.refuse(diag.RequestMalformed, "not a status line of HTTP/1.1 or HTTP/1.0")
}

// finishResponse judges the fields as a whole: framing, connection options, upgrade.
func finishResponse(resp *message.Response, method []byte, twice repeated) error {
	names := resp.Fields.Names()
	body, err := parseFraming(upstream, &resp.Fields, resp.Proto, twice)
	if err != nil {
		return err
	}
	var options connectionOptions
	if names.Has(message.Connection) {
		if options, err = parseConnection(upstream, &resp.Fields); err != nil {
			return err
		}
	}
	resp.KeepAlive = options.persists(resp.Proto)
	switch {
	case resp.Status < 200:
		if !body.IsEmpty() {
			return upstream.refuse(diag.RequestAmbiguousBody, "interim answer with a body")
		}
		if resp.Status == 101 {
			return finishSwitch(resp, options, twice)
		}
	case resp.Status == 204:
		// Without body by definition; if one was declared it may follow all the same.
		resp.KeepAlive = resp.KeepAlive && body.IsEmpty()
	case string(method) == "HEAD" || resp.Status == 304:
		resp.Body = message.Body{Declared: body.Kind == message.Sized, Length: body.Length}
	case string(method) == "CONNECT" && resp.Status < 300:
		if !body.IsEmpty() {
			return upstream.refuse(diag.RequestAmbiguousBody, "tunnel with a body")
		}
		resp.KeepAlive = false
	case body.Kind == message.NoBody:
		resp.Body.Kind = message.UntilClose
		resp.KeepAlive = false
	default:
		resp.Body = body
	}
	return nil
}

// finishSwitch takes 101 (RFC 9110 section 15.2.2): Connection and Upgrade have to say to what.
func finishSwitch(resp *message.Response, options connectionOptions, twice repeated) error {
	value, ok := resp.Fields.Get(message.Upgrade)
	if !ok || twice.Has(message.Upgrade) || len(value) == 0 || options&optionUpgrade == 0 {
		return upstream.refuse(diag.RequestBadUpgrade, "101 without Connection: upgrade and one Upgrade")
	}
	resp.Upgrade = value
	resp.KeepAlive = false
	return nil
}
