package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
)

// Error is why no connection could be had. Its text is for logs only.
type Error struct {
	Code     diag.Code
	Endpoint netip.AddrPort // zero if none was chosen
	Server   string         // name of the origin, of an OriginPool
	Detail   string
	Via      *Way  // the proxy that it is about, or that stood between; nil: none
	Err      error // may be nil
}

// Error returns the sentence for the log, which has the code in a field of its own: endpoint and cause
// are named only where Detail does not tell them.
func (e *Error) Error() string {
	s := e.Detail
	if e.Endpoint.IsValid() && !strings.Contains(s, e.Endpoint.String()) {
		s += " (" + e.Endpoint.String() + ")"
	}
	if e.Err != nil && !e.told() {
		s += ": " + e.Err.Error()
	}
	return s
}

// told reports whether Detail is made from the cause and says all of it.
func (e *Error) told() bool {
	var reset *mux.ResetError
	var fault *http2.Error
	var parting *mux.GoAwayError
	return e.Err == io.EOF || errors.As(e.Err, &reset) || errors.As(e.Err, &fault) || errors.As(e.Err, &parting) || strings.Contains(e.Detail, e.Err.Error())
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// connectError classifies what a dial returned.
func connectError(addr netip.AddrPort, err error) *Error {
	e := &Error{Endpoint: addr, Err: err}
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Code, e.Detail = diag.UpstreamConnectRefused, fmt.Sprintf("nothing listens at %s", addr)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		e.Code, e.Detail = diag.UpstreamConnectTimeout, fmt.Sprintf("%s did not accept the connection in time", addr)
	default:
		e.Code, e.Detail = diag.UpstreamConnectFailed, fmt.Sprintf("the connection to %s could not be made", addr)
	}
	return e
}
