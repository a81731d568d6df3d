package proxy

import (
	"bytes"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/grpcweb"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// call is what an exchange knows of gRPC.
type call struct {
	answers bool   // our own answers are those of gRPC
	kind    string // content type of those: clients that asked for +json refuse another
	web     bool   // gRPC-Web, which translate makes gRPC of
	state   grpcweb.Call
	up      []byte // the translation of a piece of the request's body; owned as that is
	down    []byte // of the answer's

	deadline time.Duration // by grpc-timeout, since base; 0: none
	limit    time.Duration // grpc-timeout itself
}

// slack is by how much a client's clock may run ahead of ours: it counts from before it sends.
const slack = 50 * time.Millisecond

// grpcDeadline is DEADLINE_EXCEEDED, grpcType the content type of our answers.
const (
	grpcDeadline = 4
	grpcType     = "application/grpc"
)

// classify finds out whether a request is one of gRPC.
func (x *exchange) classify() {
	x.access.GRPCStatus = -1
	x.call.answers, x.call.web, x.call.deadline = false, false, 0
	x.lasting = x.Request.Proto == message.HTTP2 && x.Request.Body.Kind == message.Chunked
	kind, ok := x.Request.Fields.Get(message.ContentType)
	if !ok {
		return
	}
	plain := isGRPC(kind)
	x.call.answers, x.call.kind = plain && x.Request.Proto == message.HTTP2, grpcType
	if rest := kind[min(len(grpcType), len(kind)):]; x.call.answers && len(rest) > 0 && rest[0] == '+' {
		x.call.kind += grpcFormat(rest)
	}
	x.access.GRPC = plain || grpcweb.IsWeb(kind)
	x.lasting = x.lasting || x.access.GRPC && x.Request.Proto == message.HTTP2
}

// isGRPC reports whether a content type is one of gRPC, but not of gRPC-Web.
func isGRPC(kind []byte) bool {
	if len(kind) < len(grpcType) || !message.EqualFold(kind[:len(grpcType)], []byte(grpcType)) {
		return false
	}
	rest := kind[len(grpcType):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';' || rest[0] == ' '
}

// grpcFormat returns the format of a content type, with its plus sign.
func grpcFormat(rest []byte) string {
	end := bytes.IndexAny(rest, "; \t")
	if end < 0 {
		end = len(rest)
	}
	return string(rest[:end])
}

// limitCall lets grpc-timeout bound the route's time. It returns false if that is malformed, and answers.
func (x *exchange) limitCall() bool {
	value, ok := x.Request.Fields.Get(message.GRPCTimeout)
	if !ok || !x.call.answers {
		return true // a server that speaks gRPC-Web by itself keeps its own time
	}
	d, ok := parseGRPCTimeout(value)
	if !ok {
		x.refuse(diag.RequestBadField, "grpc-timeout is not at most eight digits and one of H, M, S, m, u, n")
		return false
	}
	x.call.deadline, x.call.limit = x.started+d, d
	if until := x.call.until(); x.total == 0 || until < x.total {
		x.total = until
	}
	return true
}

// until returns the deadline in milliseconds since base.
func (c *call) until() int64 { return max(int64(c.deadline/time.Millisecond), 1) }

// overdue reports whether grpc-timeout has run out, by the client's clock or ours.
func (x *exchange) overdue() bool {
	c := &x.call
	return c.deadline != 0 && time.Since(x.client.p.base)+min(slack, c.limit/2) >= c.deadline
}

// ranOut says that grpc-timeout has.
func (c *call) ranOut() string {
	return "the client's grpc-timeout of " + c.limit.String() + " ran out"
}

// timeUp says which deadline until is.
func (x *exchange) timeUp() string {
	if x.call.deadline != 0 && x.until == x.call.until() {
		return x.call.ranOut()
	}
	return "the route's timeout ran out"
}

// parseGRPCTimeout reads grpc-timeout (PROTOCOL-HTTP2 of grpc/grpc). What is beyond a century is cut.
func parseGRPCTimeout(b []byte) (time.Duration, bool) {
	const century = 100 * 365 * 24 * time.Hour
	n := len(b) - 1
	if n < 1 || n > 8 {
		return 0, false
	}
	v := int64(0)
	for _, c := range b[:n] {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	var unit time.Duration
	switch b[n] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0, false
	}
	if v > int64(century/unit) {
		return century, true
	}
	return time.Duration(v) * unit, true
}

// grpcStatus returns the status of gRPC for an answer of our own. A reset by the upstream is told as a client
// would have read it (PROTOCOL-HTTP2 of grpc/grpc, "Errors").
func (x *exchange) grpcStatus(status int, code diag.Code) int {
	switch {
	case code == diag.UpstreamTimeout:
		return grpcDeadline
	case code == diag.RequestBodyTimeout, code == diag.ClientClosed, code == diag.ClientTooSlow:
		return 1 // CANCELLED
	case status == 413, status == 431:
		return 8 // RESOURCE_EXHAUSTED
	case !x.reset || code != diag.UpstreamStreamReset:
		return grpcweb.StatusOf(status)
	}
	switch x.fate {
	case http2.Cancel:
		return 1 // CANCELLED
	case http2.EnhanceYourCalm:
		return 8 // RESOURCE_EXHAUSTED
	case http2.InadequateSecurity:
		return 7 // PERMISSION_DENIED
	}
	return 13 // INTERNAL
}

// answerCall makes an answer of our own one of gRPC: one head that holds status and message, without a body
// (Trailers-Only).
func (x *exchange) answerCall(status int, code diag.Code) {
	resp := &x.resp
	n := x.grpcStatus(status, code)
	x.access.GRPCStatus = n
	resp.Status = 200
	f := &resp.Fields
	f.AddString("Content-Type", x.call.kind)
	f.AddID(message.GRPCStatus, strconv.AppendInt(nil, int64(n), 10))
	text := message.StatusText(status)
	if e, ok := diag.Lookup(code); ok {
		text = code.String() + " " + e.Title
	}
	f.AddID(message.GRPCMessage, appendGRPCMessage(nil, text))
	if x.call.web {
		x.call.state.Head(resp)
	}
}

// appendGRPCMessage percent-encodes what grpc-message cannot hold as it is.
func appendGRPCMessage(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// noteGRPC takes the status from an answer's head or trailers.
func (x *exchange) noteGRPC(f *message.Fields) {
	if !x.access.GRPC || f == nil {
		return
	}
	if value, ok := f.Get(message.GRPCStatus); ok {
		if n, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			x.access.GRPCStatus = int(n)
		}
	}
}

// noteEnd completes the record of a call that ended without a status: it gets the one that the client makes of
// that.
func (x *exchange) noteEnd() {
	if a := &x.access; x.call.answers && a.Code != 0 && a.GRPCStatus < 0 {
		e, _ := diag.Lookup(a.Code)
		a.GRPCStatus = x.grpcStatus(e.Status, a.Code)
	}
}

// translate makes gRPC of gRPC-Web, where the upstream asks for that. It returns false if it has answered.
func (x *exchange) translate(u *upstream.Upstream) bool {
	if !u.Settings.GRPCWeb || !x.access.GRPC || x.call.answers {
		return true
	}
	state, ok := grpcweb.Begin(x.Request)
	if !ok {
		return true
	}
	x.call.state, x.call.web, x.call.answers = state, true, true
	return x.limitCall()
}

// endCall ends an answer of gRPC that is under way and cannot be completed: where another protocol could only
// be cut, the client is told. Resets of the upstream are passed on as such, and an answer of declared length
// cannot end before it.
func (x *exchange) endCall(code diag.Code) bool {
	if !x.call.answers || code == 0 || code == diag.UpstreamStreamReset || x.resp.Body.Kind == message.Sized {
		return false
	}
	var f message.Fields
	e, _ := diag.Lookup(code)
	n := x.grpcStatus(e.Status, code)
	f.AddID(message.GRPCStatus, strconv.AppendInt(nil, int64(n), 10))
	f.AddID(message.GRPCMessage, appendGRPCMessage(nil, code.String()+" "+e.Title))
	x.access.GRPCStatus = n
	piece, trailers := x.outbound(nil, &f, true)
	x.until = 0
	if err := x.down.finish(piece, trailers); err != nil {
		x.writeFailed()
	}
	return true
}

// inbound returns a piece of the request's body as it is passed on; last says that it is the last one.
func (x *exchange) inbound(piece []byte, last bool) ([]byte, error) {
	if !x.call.web {
		return piece, nil
	}
	var err error
	x.call.up, err = x.call.state.Request(x.call.up[:0], piece)
	if err == nil && last {
		err = x.call.state.EndRequest()
	}
	if err != nil {
		return nil, malformedBody(err.Error())
	}
	return x.call.up, nil
}

// outbound returns a piece of the answer's body, and with the last one the trailers, as they are passed on.
func (x *exchange) outbound(piece []byte, trailers *message.Fields, last bool) ([]byte, *message.Fields) {
	if !x.call.web {
		return piece, trailers
	}
	x.call.down = x.call.state.Body(x.call.down[:0], piece)
	if last {
		x.call.down = x.call.state.Trailers(x.call.down, trailers)
	}
	return x.call.down, nil
}
