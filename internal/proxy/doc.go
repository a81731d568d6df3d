// Package proxy is the request's path for HTTP/1.1 and HTTP/2 on both sides: it takes requests from
// downstream connections, finds the route, runs its filters, sends the request to an upstream and relays
// the answer. It is the blocking driver of dataplane.md: one goroutine per downstream connection; in HTTP/2
// one per stream besides; and one more only while a request body that had not yet arrived is being passed
// on, or a tunnel runs.
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
// Serve chooses the version: by ALPN, on plain connections by the client's first bytes.
//
// A connection looks at the pointer before each request, so new routes are used from the next request
// on. If it then holds nil (the listener is gone), or the connection's Admission says no, the connection
// ends after the answers at hand; an idle one ends within about a second.
//
// Filters are called on the goroutine of the request, but they are only promised the contract of
// package filter: nothing above this driver may count on a goroutine per request.
//
// An exchange (exchange.go) is one request with its answer between two ends: downstream (client.go), which
// is http1Client or http2Client, and origin (origin.go), which is http1Origin or http2Origin. What is
// decided about a request is decided once, whatever is spoken. Deadlines are swept, not armed: see watch.go.
//
// On listeners that are forward proxies a Forwarder chooses in the place of routes (forwarder.go, proxied.go): an
// upstream, an answer, or to take the connection after CONNECT (takeover.go). What is inside a tunnel that it
// looks into comes back by Serve, on a nested connection with Downstream.Tunnel set. Of the client the destination is
// told what ir.Forward says and nothing else (proxiedfields.go).
//
// Begin reading at Proxy.Serve, then request.go, forward.go and relay.go; http1conn.go and http2conn.go
// hold the connections, retry.go, grpc.go and websocket.go what their names say.
package proxy
