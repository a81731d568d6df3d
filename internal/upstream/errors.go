package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Error is why no connection could be had. Its text is for logs only.
type Error struct {
	Code     diag.Code
	Endpoint netip.AddrPort // zero if none was chosen
	Detail   string
	Err      error // may be nil
}

// Error returns the sentence for the log.
func (e *Error) Error() string {
	s := e.Code.String() + " " + e.Detail
	if e.Endpoint.IsValid() {
		s += " (" + e.Endpoint.String() + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
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
