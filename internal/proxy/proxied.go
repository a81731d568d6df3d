package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// forwardState is what a listener that is a forward proxy has besides State.
type forwardState struct {
	Forwarder
	ir  *ir.Forward
	via []string // by message.Proto: what is added to Via; "" for nothing
	addresses
}

// forwarding is what an exchange on such a listener has besides.
type forwarding struct {
	req    ForwardRequest
	state  *forwardState
	choice ForwardChoice
	chosen bool // Choose has been asked
	given  bool // the connection was given away: its record is the receiver's
	url    []byte
	asked  []byte // the port that the client named; nil for none. Choose may have made another of it
}

// newForwardState returns nil for listeners that are no forward proxies.
func newForwardState(l *ir.Listener, w Wiring) *forwardState {
	if l.Forward == nil || w.Forwarder == nil {
		return nil
	}
	s := &forwardState{Forwarder: w.Forwarder, ir: w.Forward}
	if s.ir == nil {
		s.ir = &ir.Forward{}
	}
	s.addresses = parseAddresses(s.ir.ForwardedFor)
	s.via = make([]string, message.HTTP3+1)
	if s.ir.Via && s.ir.Hostname != "" {
		for proto, version := range map[message.Proto]string{message.HTTP10: "1.0", message.HTTP11: "1.1", message.HTTP2: "2.0", message.HTTP3: "3.0"} {
			s.via[proto] = version + " " + s.ir.Hostname + " (hakone)"
		}
	}
	return s
}

// proxied finds out what becomes of a request on a listener that is a forward proxy, and does it.
func (x *exchange) proxied(s *forwardState) {
	req := x.Request
	x.beginForward(s)
	if !x.proper() {
		return
	}
	f := x.fwd
	f.chosen = true
	x.id() // pages have it
	f.choice = s.Choose(&f.req)
	c := &f.choice
	switch {
	case c.Respond != nil:
		if string(req.Method) == "CONNECT" {
			x.down.refused(c.Respond.Status == 407)
		} else if x.client.orphaned() { // everything is refused on it
			x.down.last()
		}
		x.respond(c.Respond)
		return
	case c.Take != nil && string(req.Method) == "CONNECT":
		x.takeAway(c.Take)
		return
	case c.Upstream == nil || c.Route == nil || string(req.Method) == "CONNECT":
		x.refuse(diag.RouteInvalid, "the forward proxy did not decide")
		return
	}
	if limit := x.client.p.limits.MaxRequestBody; limit > 0 && req.Body.Length > limit {
		x.refuse(diag.RequestBodyTooLarge, "the declared length of the body is over the bound")
		return
	}
	if x.endsHere() {
		return
	}
	r := c.Route
	x.route, x.Route = r, r.IR
	x.access.Route, x.access.Origin = r.IR.Name, r.Origin
	x.access.Metrics, _ = r.Metrics.(*telemetry.RouteMetrics)
	if t := r.IR.Timeout; t > 0 {
		x.total = int64((x.started + t) / time.Millisecond)
	}
	if !x.limitCall() {
		return
	}
	http1.RemoveHopByHop(&req.Fields)
	x.prepareFields()
	if c.Cache != nil {
		x.beginCache(c.Cache)
	}
	switch {
	case !x.runFilters(r.Filters):
	case x.cache != nil:
		x.cached(c.Upstream)
	default:
		x.forward(c.Upstream)
	}
}

// beginForward prepares what Choose is asked.
func (x *exchange) beginForward(s *forwardState) {
	if x.fwdSpace == nil {
		x.fwdSpace = &forwarding{}
	}
	f := x.fwdSpace
	*f = forwarding{url: f.url[:0], state: s, req: ForwardRequest{Exchange: &x.Exchange, Tunnel: x.client.d.Tunnel, Access: &x.access, Data: f.req.Data}}
	x.fwd = f
	f.asked = portOf(x.Request.Authority)
	f.url = appendURL(f.url, x.Request)
	x.access.URL = f.url
}

// appendURL appends what a request is for: an absolute URL with the host in lower case and without the
// scheme's own port, for CONNECT host and port.
func appendURL(dst []byte, req *message.Request) []byte {
	if string(req.Method) == "CONNECT" {
		return append(dst, req.Authority...)
	}
	scheme := req.Scheme
	dst = append(append(dst, scheme...), "://"...)
	a := req.Authority
	switch {
	case len(a) > 0 && a[0] == '[':
		dst = append(append(append(dst, '['), req.Host...), ']')
	default:
		dst = append(dst, req.Host...)
	}
	if port := portOf(a); len(port) > 0 && !(scheme == "http" && string(port) == "80") && !(scheme == "https" && string(port) == "443") {
		dst = append(append(dst, ':'), port...)
	}
	if string(req.Path) != "*" {
		dst = append(dst, req.Path...)
	}
	if req.HasQuery {
		dst = append(append(dst, '?'), req.Query...)
	}
	return dst
}

// portOf returns the port of a valid authority, nil for none.
func portOf(a []byte) []byte {
	for i := len(a) - 1; i >= 0 && a[i] != ']'; i-- {
		if a[i] == ':' {
			return a[i+1:]
		}
	}
	return nil
}

// Covering is what Downstream.Tunnel may be: then requests for other hosts than it covers are refused (421)
// before Choose is asked. Without it, those on a connection whose TLS was for one name and that are for another
// one are refused.
type Covering interface {
	// Covers reports whether requests for host, in lower case and without port, may come by the connection.
	Covers(host []byte) bool
}

// proper refuses requests that no forward proxy passes on.
func (x *exchange) proper() bool {
	req, d := x.Request, &x.client.d
	switch m := string(req.Method); {
	case m == "CONNECT" && req.Protocol != nil:
		x.refuse(diag.MethodNotSupported, "extended CONNECT for a protocol other than WebSocket is not passed on")
		return false
	case m == "CONNECT" && d.Tunnel != nil:
		x.refuse(diag.MethodNotSupported, "CONNECT within a tunnel is not passed on")
		return false
	case m == "CONNECT" && !req.Body.IsEmpty() && req.Proto != message.HTTP2:
		req.KeepAlive = false
		x.refuse(diag.RequestAmbiguousBody, "CONNECT with a body")
		return false
	case m == "TRACE" && !req.Body.IsEmpty():
		x.refuse(diag.RequestMalformed, "TRACE with a body")
		return false
	}
	if d.Tunnel == nil {
		return true
	}
	covered := true
	if c, ok := d.Tunnel.(Covering); ok {
		covered = c.Covers(req.Host)
	} else if d.TLS != nil && x.Peer.SNI != "" {
		covered = strings.EqualFold(string(req.Host), x.Peer.SNI)
	}
	if !covered {
		x.refuse(diag.MisdirectedRequest, "host \""+string(req.Host)+"\" on a connection that was made for another one")
	}
	return covered
}

// maxForwards is the field that bounds how far TRACE and OPTIONS go (RFC 9110 section 7.6.2).
var maxForwards = []byte("Max-Forwards")

// endsHere answers TRACE and OPTIONS that may go no further, and counts the others.
func (x *exchange) endsHere() bool {
	req := x.Request
	m := string(req.Method)
	if m != "TRACE" && m != "OPTIONS" {
		return false
	}
	value, ok := req.Fields.Lookup(maxForwards)
	if !ok {
		return false
	}
	n, err := strconv.ParseUint(string(value), 10, 31)
	switch {
	case err != nil:
		x.refuse(diag.RequestBadField, "Max-Forwards is not a number")
	case n > 0:
		req.Fields.SetString("Max-Forwards", strconv.FormatUint(n-1, 10))
		return false
	case m == "OPTIONS":
		x.respond(&filter.Response{Status: 200, Fields: []ir.NameValue{{Name: "Allow", Value: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT"}}})
	default:
		x.respond(&filter.Response{Status: 200, Type: "message/http", Body: appendTrace(nil, req)})
	}
	return true
}

// appendTrace appends a request's head as an answer to TRACE shows it (RFC 9110 section 9.3.8): without what
// is a secret of the client's.
func appendTrace(dst []byte, req *message.Request) []byte {
	dst = append(append(append(dst, "TRACE "...), req.Target...), ' ')
	dst = append(append(dst, req.Proto.String()...), "\r\n"...)
	for i := range req.Fields.Len() {
		switch l := req.Fields.At(i); l.ID {
		case message.Cookie, message.Authorization, message.ProxyAuthorization:
		default:
			dst = append(append(append(append(dst, l.Name...), ": "...), l.Value...), "\r\n"...)
		}
	}
	return append(dst, "\r\n"...)
}

// answerForward changes the head of an answer that is about to be sent.
func (x *exchange) answerForward() {
	f := x.fwd
	if !x.own || x.cache != nil && x.cache.served {
		x.rewriteAnswer()
		if via := f.state.via[x.resp.Proto]; via != "" {
			x.resp.Fields.AddID(message.Via, []byte(via))
		}
	}
	if f.chosen {
		f.state.Answered(&f.req)
	}
}

// endForward lets go of what was chosen.
func (x *exchange) endForward() {
	f := x.fwd
	if f == nil {
		return
	}
	x.fwd = nil
	release := f.choice.Release
	*f = forwarding{url: f.url[:0], req: ForwardRequest{Data: f.req.Data}}
	if release != nil {
		release()
	}
}

// noteForward completes the record; it reports whether that is not to be handed over.
func (x *exchange) noteForward() bool {
	a := &x.access
	if x.fwd.given {
		return true
	}
	denied := a.Code != 0 && (a.Status == 403 || a.Status == 407)
	if a.Hierarchy == "" {
		switch {
		case a.Attempts == 0 && a.Endpoint == "" && a.Proxy == "": // else it was tried, and the log says where
			a.Hierarchy = "HIER_NONE"
		case a.Proxy != "":
			a.Hierarchy = "FIRSTUP_PARENT"
		default:
			a.Hierarchy = "HIER_DIRECT"
		}
	}
	if a.Result != "" {
		return false
	}
	switch {
	case denied && x.own && a.Attempts == 0:
		a.Result = "TCP_DENIED"
	case x.route != nil:
		a.Result = "TCP_MISS"
	default:
		a.Result = "NONE_NONE"
	}
	switch a.Code {
	case diag.ClientClosed:
		a.Result += "_ABORTED"
	case diag.UpstreamTimeout, diag.UpstreamSilent, diag.RequestBodyTimeout:
		a.Result += "_TIMEDOUT"
	}
	return false
}
