// Package proxy is the request's path for HTTP/1.1 on both sides: it reads requests from downstream
// connections, finds the route, runs its filters, sends the request to an upstream and relays the
// answer. It is the blocking driver of dataplane.md: one goroutine per downstream connection, and a
// second one only while a request body that had not yet arrived is being passed on, or a tunnel runs.
//
// How it is wired:
//
//	p := proxy.New(proxy.Options{Sink: sink, Logger: log, Limits: limits})
//	go p.Run(ctx)                                  // deadlines, dates, closing of idle connections
//	state := p.Compile(listener, proxy.Wiring{...}) // per listener and snapshot; immutable
//	current.Store(state)                           // atomic.Pointer[proxy.State], read once per request
//	p.Serve(proxy.Downstream{...}, &current)       // per connection, after its handshake; blocks
//	p.Drain(ctx)                                   // at shutdown
//
// A connection looks at the pointer before each request, so new routes are used from the next request
// on. If it then holds nil (the listener is gone) or a State without the connection's chain, the
// connection ends after the answer at hand; an idle one ends within about a second.
//
// Filters are called on the goroutine of the connection, but they are only promised the contract of
// package filter: nothing above this driver may count on a goroutine per request.
//
// Deadlines are swept, not armed: see watch.go. Begin reading at Proxy.Serve, then conn.go,
// request.go, forward.go and relay.go.
package proxy
