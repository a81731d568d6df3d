package proxy

import (
	"bytes"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/message"
)

// refuse answers with a code's status and the error page. detail is for the record alone.
func (x *exchange) refuse(code diag.Code, detail string) {
	if x.cache != nil && x.cache.stale != nil && x.failover(code, detail) {
		return
	}
	status := 500
	if e, ok := diag.Lookup(code); ok && e.Status != 0 {
		status = e.Status
	}
	x.respond(&filter.Response{Status: status, Code: code, Detail: detail})
}

// respond sends an answer of our own. If a head has been sent already, the answer at hand is cut instead.
func (x *exchange) respond(r *filter.Response) {
	if x.opens(r.Status) {
		r = &filter.Response{Status: 502, Code: diag.UpstreamNoWebSocket, Detail: "the route answers by itself, which would open the WebSocket"}
	}
	if r.Code != 0 {
		x.fail(r.Code, r.Detail)
	}
	if x.headed {
		if !x.endCall(r.Code) {
			x.down.cut(r.Code)
		}
		return
	}
	x.own, x.until = true, 0
	resp := &x.resp
	resp.Reset()
	resp.Proto, resp.Status = message.HTTP11, r.Status
	id := x.id()
	body := r.Body
	f := &resp.Fields
	f.AddString("Date", string(*x.client.p.date.Load()))
	if r.Location != "" {
		f.AddString("Location", r.Location)
	}
	f.AddID(message.XRequestID, id)
	for _, extra := range r.Fields {
		f.AddString(extra.Name, extra.Value)
	}
	if r.Code != 0 {
		if r.Status == 405 {
			f.AddString("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		}
		f.AddID(message.ProxyStatus, appendProxyStatus(nil, r.Code, r.Status))
		f.AddString("Cache-Control", "no-store")
		if r.Code == diag.OverloadMemory {
			f.AddString("Retry-After", "5")
		}
	}
	framing := message.Body{}
	switch {
	case x.call.answers && r.Status >= 400 && len(x.Request.Upgrade) == 0:
		x.answerCall(r.Status, r.Code)
		body = nil
	case r.Code != 0 && body == nil:
		var kind string
		if x.fwd != nil && x.fwd.chosen {
			body, kind = x.fwd.state.Explain(&x.fwd.req, r)
		} else {
			body, kind = errorPage(x.Request, r.Status, r.Code, id)
		}
		f.AddString("Content-Type", kind)
	case r.Type != "":
		f.AddString("Content-Type", r.Type)
	case len(body) > 0:
		f.AddString("Content-Type", "text/plain; charset=utf-8")
	}
	if resp.Status == r.Status || x.Request.Proto != message.HTTP2 {
		framing = message.Body{Kind: message.Sized, Length: int64(len(body))}
	}
	if string(x.Request.Method) == "HEAD" || r.Status == 304 || r.Status == 204 {
		framing = message.Body{Kind: message.NoBody, Declared: r.Status == 200 || r.Status >= 400, Length: int64(len(body))}
		body = nil
	}
	x.responseFilters()
	x.access.Status = resp.Status
	x.noteType()
	x.access.BytesSent = int64(len(body))
	x.down.head(resp, framing)
	if err := x.down.finish(body, nil); err != nil {
		x.access.BytesSent = 0
		x.writeFailed()
	}
}

// responseFilters runs the response side of the filters that have run, last first.
func (x *exchange) responseFilters() {
	x.Response = &x.resp
	for i := len(x.ran) - 1; i >= 0; i-- {
		x.ran[i].Response(&x.Exchange)
	}
	if x.decision.Policy != nil {
		x.tellPolicy()
	}
	if x.fwd != nil {
		x.answerForward()
	}
}

// writeFailed notes that the client did not take the answer.
func (x *exchange) writeFailed() {
	x.down.gone()
	if x.task.watch.why() == endTime {
		if x.until != 0 && x.client.p.now() >= x.until {
			x.fail(diag.UpstreamTimeout, x.timeUp()+" while the answer was being sent")
			return
		}
		x.fail(diag.ClientTooSlow, "the client took nothing of the answer for the write timeout")
		return
	}
	x.fail(diag.ClientClosed, "the client closed its connection before the answer was complete")
}

// errorPage renders an answer for people or, where they prefer it, programs. It says no more than the
// code's title, and for what stands in the way of a destination outside the code's slug.
func errorPage(req *message.Request, status int, code diag.Code, id []byte) (body []byte, kind string) {
	title := message.StatusText(status)
	if title == "" {
		title = "Error"
	}
	accept, _ := req.Fields.Get(message.Accept)
	e, _ := diag.Lookup(code)
	if bytes.Contains(accept, []byte("json")) && !bytes.Contains(accept, []byte("text/html")) {
		b := append([]byte(`{"status":`), strconv.Itoa(status)...)
		b = append(append(b, `,"title":`...), strconv.Quote(title)...)
		b = append(append(append(b, `,"code":"`...), code.String()...), `","reason":"`...)
		b = append(append(append(b, e.Slug...), `","requestId":`...), strconv.AppendQuote(nil, string(id))...)
		return append(b, "}\n"...), "application/json"
	}
	b := append([]byte("<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>"), strconv.Itoa(status)...)
	b = append(append(append(b, ' '), title...), "</title>\n<h1>"...)
	b = append(append(append(strconv.AppendInt(b, int64(status), 10), ' '), title...), "</h1>\n<p>"...)
	b = append(b, code.String()...)
	if code >= 3301 && code < 3400 { // what stands between is not the client's and not ours: the word helps whoever asks
		b = append(append(b, ' '), e.Slug...)
	}
	b = append(b, "<br>request "...)
	return append(appendEscaped(b, id), "</p>\n</html>\n"...), "text/html; charset=utf-8"
}

// appendEscaped escapes for HTML: the ID may be one that a believed proxy gave.
func appendEscaped(dst, text []byte) []byte {
	for _, c := range text {
		switch c {
		case '<', '>', '&', '"', '\'':
			dst = append(dst, '_')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendProxyStatus writes the Proxy-Status field (RFC 9209) of our answer.
func appendProxyStatus(dst []byte, code diag.Code, status int) []byte {
	dst = append(dst, "hakone; error="...)
	dst = append(dst, proxyError(code, status)...)
	return append(append(append(dst, `; details="`...), code.String()...), '"')
}

// proxyError maps a code to the error types of RFC 9209 section 2.3.
func proxyError(code diag.Code, status int) string {
	switch code {
	case diag.UpstreamConnectRefused:
		return "connection_refused"
	case diag.UpstreamConnectTimeout:
		return "connection_timeout"
	case diag.UpstreamConnectFailed, diag.UpstreamNoEndpoints, diag.PoolUnavailable, diag.AffinityOriginGone:
		return "destination_unavailable"
	case diag.UpstreamReset, diag.UpstreamClosedEarly, diag.UpstreamStreamReset, diag.UpstreamGoAway, diag.UpstreamRefusedStream:
		return "connection_terminated"
	case diag.UpstreamProtocolError, diag.UpstreamSpeaksTLS, diag.UpstreamNoHTTP2, diag.UpstreamNoWebSocket:
		return "http_protocol_error"
	case diag.UpstreamHeadTooLarge:
		return "http_response_header_section_size"
	case diag.UpstreamDNS:
		return "dns_error"
	case diag.UpstreamPoolOverflow, diag.UpstreamRequestLimit, diag.RequestsOverload:
		return "connection_limit_reached"
	case diag.UpstreamBodyTruncated:
		return "http_response_incomplete"
	case diag.UpstreamTimeout, diag.UpstreamSilent:
		return "http_response_timeout"
	case diag.NoRoute, diag.NoHost, diag.ForwardNotRegistered, diag.ForwardNoDestination:
		return "destination_not_found"
	case diag.ForwardNameUnknown:
		return "dns_error"
	case diag.ForwardLocal:
		return "destination_ip_prohibited"
	case diag.ForwardLoop:
		return "proxy_loop_detected"
	case diag.ProxyTimeout:
		return "connection_timeout"
	case diag.ProxyUnreachable, diag.ProxyUnavailable, diag.ProxyCannotReach, diag.ForwardNeverDirect:
		return "destination_unavailable"
	case diag.ProxyClosed:
		return "connection_terminated"
	case diag.ProxyNotHTTP, diag.ProxyRejectedRequest, diag.ProxyOtherAnswer, diag.ProxySpeaksTLS, diag.ProxySpeaksPlaintext:
		return "http_protocol_error"
	case diag.RouteInvalid, diag.UpstreamCredentialMissing:
		return "proxy_configuration_error"
	case diag.UpstreamSpeaksPlaintext, diag.UpstreamTLSVersion, diag.UpstreamTLSFailed, diag.UpstreamTLSNoCommon:
		return "tls_protocol_error"
	case diag.UpstreamRequiresCert, diag.UpstreamRejectedCert:
		return "tls_alert_received"
	}
	switch {
	case code >= 3101 && code < 3200, code >= 3312 && code < 3400 && code != diag.ProxyOtherAnswer, code == diag.ForwardUntrusted:
		return "tls_certificate_error"
	case code == diag.ProxyAuthRequired, code == diag.ProxyDenied, status == 407:
		return "http_request_denied"
	case code >= 5000 && code < 6000:
		return "proxy_configuration_error"
	case status == 403 || status == 405:
		return "http_request_denied"
	case status < 500:
		return "http_request_error"
	}
	return "proxy_internal_error"
}

// setDate makes the value of Date for answers of our own.
func (p *Proxy) setDate(t time.Time) {
	if old := p.date.Load(); old == nil || t.Unix() != p.dated {
		b := []byte(t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))
		p.date.Store(&b)
		p.dated = t.Unix()
	}
}
