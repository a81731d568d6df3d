package http2

import (
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// Response decodes the head of a response, interim or final, into resp, which it resets first (RFC 9113
// sections 8.1 to 8.3). All bytes are copied into memory of resp. requestMethod decides about the body of
// answers to HEAD and CONNECT.
//
// Body says what DATA may follow: with NoBody none, with Sized exactly Length bytes, with Chunked any.
// An answer that ends with its head is NoBody and, without Content-Length, not Declared: to a client of
// HTTP/1.1, which needs to be told, it is Sized with Length 0 (but for HEAD, 204 and 304).
func (d *Decoder) Response(b Block, resp *message.Response, requestMethod []byte, lim Limits) error {
	resp.Reset()
	resp.Proto, resp.KeepAlive = message.HTTP2, true
	l := list{fields: &resp.Fields, role: ofResponse, lines: lim.fields(), bytes: lim.head()}
	if err := d.walk(b.Data, &l); err != nil {
		return err
	}
	code, detail := faults[l.fault].code, faults[l.fault].detail
	if l.fault == none {
		code, detail = finishResponse(resp, &l, requestMethod, b.End)
	}
	if code != 0 {
		return d.refuse(b, code, detail)
	}
	return nil
}

// finishResponse judges the list as a whole.
func finishResponse(resp *message.Response, l *list, method []byte, end bool) (diag.Code, string) {
	status := l.pseudo[pseudoStatus]
	if len(status) != 3 || !semantics.IsDigit(status[0]) || status[0] == '0' || !semantics.IsDigit(status[1]) || !semantics.IsDigit(status[2]) {
		return diag.RequestMalformed, "no :status of three digits"
	}
	resp.Status = int(status[0]-'0')*100 + int(status[1]-'0')*10 + int(status[2]-'0')
	n, sized := int64(0), resp.Fields.Names().Has(message.ContentLength)
	if sized {
		var code diag.Code
		var detail string
		if n, code, detail = length(&resp.Fields, l); code != 0 {
			return code, detail
		}
	}
	switch {
	case resp.Status == 101:
		return diag.RequestBadUpgrade, "status 101 in HTTP/2"
	case resp.Status < 200 && end:
		return diag.RequestMalformed, "interim answer that ends the stream"
	case resp.Status < 200:
		if n > 0 {
			return diag.RequestAmbiguousBody, "interim answer with a body"
		}
	case resp.Status == 204:
	case string(method) == "HEAD" || resp.Status == 304:
		resp.Body = message.Body{Declared: sized, Length: n}
	case string(method) == "CONNECT" && resp.Status < 300:
		if n > 0 {
			return diag.RequestAmbiguousBody, "tunnel with a body"
		}
		if !end {
			resp.Body.Kind = message.Chunked
		}
	case sized:
		if end && n > 0 {
			return diag.RequestAmbiguousBody, "Content-Length of an answer without a body"
		}
		resp.Body = message.Body{Kind: message.Sized, Length: n}
	case !end:
		resp.Body.Kind = message.Chunked
	}
	return 0, ""
}

// framingTrailers have no business in trailers at all, as in http1.
const framingTrailers = message.NameSet(1<<message.ContentLength | 1<<message.Host | 1<<message.Trailer)

// Trailers decodes trailers into f, which it resets first (RFC 9113 section 8.1). Those that may not be
// passed on (message.TrailerAllowed) are left out. b.End has to be true; the caller refuses others.
func (d *Decoder) Trailers(b Block, f *message.Fields, lim Limits) error {
	f.Reset()
	l := list{fields: f, role: ofTrailers, lines: lim.fields(), bytes: lim.head()}
	if err := d.walk(b.Data, &l); err != nil {
		return err
	}
	if l.fault == none && f.Names()&framingTrailers != 0 {
		l.fault = fieldInTrailers
	}
	if l.fault != none {
		return d.refuse(b, faults[l.fault].code, faults[l.fault].detail)
	}
	f.DelFunc(func(l *message.Field) bool { return !message.TrailerAllowed(l.ID, l.Name) })
	return nil
}
