package proxy

import (
	"runtime/debug"

	"github.com/hakone-gateway/hakone/internal/http2/mux"
)

// A fault of ours, a panic, ends a request or a connection and not the process. Every goroutine recovers at
// its top; package mux does so by itself and says what it was (mux.PanicError).

// Faults returns how many faults there were.
func (p *Proxy) Faults() int64 { return p.faults.Load() }

// fault counts and logs what was recovered.
func (p *Proxy) fault(what string, fault any, args ...any) {
	p.faults.Add(1)
	stack := debug.Stack()
	if e, ok := fault.(*mux.PanicError); ok {
		fault, stack = e.Value, e.Stack
	}
	p.log.Error(what, append(args, "err", fault, "stack", string(stack))...)
}

// fault counts and logs what was recovered while the connection was served.
func (c *client) fault(what string, fault any) {
	c.p.fault(what, fault, "listener", c.d.Raw.Spec().Name, "peer", c.d.Peer.Remote)
}

// guarded calls f. After a fault the caller goes on.
func (p *Proxy) guarded(f func()) {
	defer func() {
		if fault := recover(); fault != nil {
			p.fault("looking after connections failed", fault)
		}
	}()
	f()
}
