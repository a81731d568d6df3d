package proxy

import "runtime/debug"

// A fault of ours, a panic, ends a request or a connection and not the process. Every goroutine recovers at
// its top, and so does what package mux calls, since it must not be left in the middle.

// Faults returns how many faults there were.
func (p *Proxy) Faults() int64 { return p.faults.Load() }

// fault counts and logs what was recovered.
func (p *Proxy) fault(what string, fault any, args ...any) {
	p.faults.Add(1)
	p.log.Error(what, append(args, "err", fault, "stack", string(debug.Stack()))...)
}

// fault logs what was recovered while the connection was served.
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
