package upstream

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
)

// Explain says why reading from or writing to the connection, or a stream of it, failed. It does not know
// whether an answer was due.
func (c *Conn) Explain(err error) *Error {
	e := &Error{Endpoint: c.Endpoint.Address, Err: err}
	if c.explain != nil {
		if code, detail, ok := c.explain.ReadError(err); ok {
			e.Code, e.Detail = code, detail
			c.refusedLate(e)
			return e
		}
	}
	if c.explainHTTP2(e) {
		return e
	}
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Code, e.Detail = diag.UpstreamReset, c.Endpoint.Text+" reset the connection"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Code, e.Detail = diag.UpstreamClosedEarly, c.Endpoint.Text+" closed the connection"
	default:
		e.Code, e.Detail = diag.UpstreamReset, "the connection to "+c.Endpoint.Text+" failed"
	}
	return e
}

// refusedLate records a handshake that completed here and was refused there: a TLS 1.3 server judges
// the client's certificate only afterwards.
func (c *Conn) refusedLate(e *Error) {
	if c.shake == nil || c.up.registry.opt.Sink == nil {
		return
	}
	rec := *c.shake
	c.shake = nil
	rec.Code, rec.Detail, rec.Err, rec.Duration = e.Code, e.Detail, e.Err.Error(), time.Since(rec.Time)
	c.up.registry.opt.Sink.Handshake(&rec)
}

// explainHTTP2 fills in the reason if the error is one of HTTP/2, and says whether it is.
func (c *Conn) explainHTTP2(e *Error) bool {
	who := c.Endpoint.Text
	var reset *mux.ResetError
	var fault *http2.Error
	var parting *mux.GoAwayError
	switch {
	case errors.As(e.Err, &parting):
		e.Code, e.Detail = diag.UpstreamGoAway, who+" ended the connection: GOAWAY with "+parting.Code.String()
		if parting.Debug != "" {
			e.Detail += ", " + strconv.Quote(parting.Debug)
		}
	case errors.As(e.Err, &fault) && fault.Stream == 0 && fault.HTTP2 == http2.NoError: // no fault, but too late
		e.Code, e.Detail = diag.UpstreamReset, fmt.Sprintf("the connection to %s was ended here: %s (%s)", who, fault.Detail, fault.Code)
	case fault != nil:
		e.Code, e.Detail = diag.UpstreamGoAway, fmt.Sprintf("%s broke the rules of HTTP/2: %s (%s)", who, fault.Detail, fault.Code)
		if fault.Code >= diag.UpstreamConnectRefused && fault.Code <= diag.UpstreamRequestLimit {
			e.Code, e.Detail = fault.Code, who+" sent a malformed answer: "+fault.Detail
		}
	case errors.Is(e.Err, mux.ErrRefused):
		e.Code, e.Detail = diag.UpstreamRefusedStream, who+" did not process the request: REFUSED_STREAM, or GOAWAY before it"
	case errors.As(e.Err, &reset) && reset.Remote:
		e.Code, e.Detail = diag.UpstreamStreamReset, who+" reset the stream with "+reset.Code.String()
	case reset != nil:
		e.Code, e.Detail = diag.UpstreamStreamReset, "the stream to "+who+" was reset here with "+reset.Code.String()
	case errors.Is(e.Err, mux.ErrNoSlot), errors.Is(e.Err, mux.ErrGoingAway):
		e.Code, e.Detail = diag.UpstreamRefusedStream, "no connection to "+who+" took a new stream"
	case errors.Is(e.Err, mux.ErrAborted):
		e.Code, e.Detail = diag.UpstreamReset, "the connection to "+who+" was closed here"
	default:
		return false
	}
	return true
}
