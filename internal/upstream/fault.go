package upstream

import (
	"runtime/debug"

	"github.com/hakone-gateway/hakone/internal/http2/mux"
)

// A fault of ours, a panic, ends a connection or an attempt to make one, and not the process.

// Faults returns how many faults there were.
func (r *Registry) Faults() int64 { return r.faults.Load() }

// fault counts and logs what was recovered.
func (r *Registry) fault(what string, fault any) {
	r.faults.Add(1)
	stack := debug.Stack()
	if e, ok := fault.(*mux.PanicError); ok {
		fault, stack = e.Value, e.Stack
	}
	r.opt.Logger.Error(what, "err", fault, "stack", string(stack))
}

// rescue is deferred at the top of a goroutine.
func (r *Registry) rescue(what string) {
	if fault := recover(); fault != nil {
		r.fault(what, fault)
	}
}

// guarded calls f. After a fault the caller goes on.
func (r *Registry) guarded(f func()) {
	defer r.rescue("looking after an upstream connection failed")
	f()
}
