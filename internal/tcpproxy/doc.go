// Package tcpproxy is the way of connections that are not HTTP: TLS passed through by its server name, what
// is inside terminated TLS, and plain TCP. It chooses a route, connects, and relays in both directions with
// splice(2), so that bytes do not leave the kernel.
//
// It refuses to know HTTP, certificates and the configuration's dialects. Begin reading at Proxy.Serve (a
// connection's way) and Splice (the relay), which forward proxies use for their tunnels, too; flow.go and
// direct_linux.go have the loop. DESIGN.md says why it is as it is.
package tcpproxy
