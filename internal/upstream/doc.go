// Package upstream holds the connections to the groups of endpoints that routes forward to: which
// endpoints there are (given, or resolved by DNS), which one a request goes to, the kept-alive
// connections to each, and the TLS that is originated towards them.
//
// This is runtime state, not configuration: an Upstream lives in a Registry under its name and the
// fingerprint of its settings, is counted by the snapshots that use it, and outlives each of them
// (architecture, invariant 4). Endpoints and TLS material are replaced in place; the pools of
// endpoints that stay are not touched.
//
// It refuses to know HTTP: it hands out connections on which nothing is outstanding, and takes them
// back when the caller says that the exchange ended cleanly. Begin reading at Registry, then
// Upstream.Get.
package upstream
