// Package enroll brings certificates to where they serve: it writes them as files, PKCS #12 containers
// and Kubernetes Secrets, enrols origins (a server certificate for the origin, a client certificate
// that only this edge has, and the objects and snippets for both), and reads what is uploaded for
// authenticated origin pull.
//
// It refuses to know how certificates are made (package ca does that) and what the gateway does with
// them. It never writes over a private key unless told to. Begin reading at Origin, then Files.
package enroll

import (
	"fmt"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Error says why something was not done. Every error of this package that a person can mend is one;
// none holds key material.
type Error struct {
	Code    diag.Code
	Message string // one sentence, without final full stop
	Fix     string
	Err     error // the cause in Go's words, nil where there is none
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
