// Package upstream holds the connections to the groups of endpoints that routes forward to: which
// endpoints there are (given, or resolved by DNS), which one a request goes to, the kept-alive
// connections to each, and the TLS that is originated towards them.
//
// This is runtime state, not configuration: an Upstream lives in a Registry under its name and the
// fingerprint of its settings, is counted by the snapshots that use it, and outlives each of them
// (architecture, invariant 4). Endpoints and TLS material are replaced in place; the pools of
// endpoints that stay are not touched.
//
// It refuses to know requests: it hands out connections on which nothing is outstanding, or of HTTP/2
// connections, which many requests share, slots for one stream each; and takes them back when the caller
// says that the exchange ended. Begin reading at Registry, then Upstream.Get; HTTP/2 is in share.go.
package upstream
