package ca

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Error says why the authority did not do what was asked. Every error of this package that a person can
// mend is one; none holds key material.
type Error struct {
	Code     diag.Code
	Message  string // one sentence, without final full stop
	Fix      string
	Findings []Finding // for CertRefused: all of them
	Err      error     // the cause in Go's words, nil where there is none
}

// Error returns the sentence and its cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(code diag.Code, fix, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Fix: fix}
}

func failWith(err error, code diag.Code, fix, format string, args ...any) *Error {
	e := fail(code, fix, format, args...)
	e.Err = err
	return e
}
