package mux

import (
	"fmt"
	"runtime/debug"
)

// PanicError is why a connection ended in which something panicked: its reader, its writer, a function of
// Config or of Stream.OnReset, or the net.Conn.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // of the goroutine that did
}

// Error names the value; the stack is for who logs the error.
func (e *PanicError) Error() string { return fmt.Sprintf("http2: panic: %v", e.Value) }

// guard calls f and turns a panic into a *PanicError. What f locks it unlocks by defer.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
