package diag

// Connections that are not HTTP (4550 to 4556), and what stands before or in place of what a port speaks
// (4558 to 4579; 4557 is not used: 4510 says it).
const (
	TCPNoRoute       Code = 4550
	TCPIdle          Code = 4551
	TCPClientReset   Code = 4552
	TCPUpstreamReset Code = 4553
	TCPClientSlow    Code = 4554
	TCPUpstreamSlow  Code = 4555

	ProxyHeaderMissing   Code = 4558
	ProxyHeaderMalformed Code = 4559
	ProxyHeaderUnwanted  Code = 4560
	ProxyHeaderUntrusted Code = 4561
	OtherProtocol        Code = 4562
	TLSOnProxyPort       Code = 4563
	TCPFailed            Code = 4564
)

// tcpCodes are reasons of connections that are not HTTP: 4550 to 4579.
func tcpCodes() []Entry {
	return []Entry{
		{TCPNoRoute, "tcp_no_route", Error, "no TCP route for the connection",
			"The listener took the connection, but none of its TCP or TLS routes matches its server name (SNI), destination and source. It was closed; over TLS with alert 112 (unrecognized_name).",
			"Add the name to a route's sniHosts or hostnames, or the address to its destinationSubnets. hakone dump listeners shows what is matched.", 0},
		{TCPIdle, "tcp_idle", Info, "nothing moved on the connection",
			"No byte came from either side for as long as the idle bound allows, so both sides were closed.",
			"Raise --tcp-idle-timeout, or have the application send keep-alives of its own.", 0},
		{TCPClientReset, "tcp_client_reset", Info, "client reset the connection",
			"The client ended the connection with RST. The upstream was told the same way.",
			"Nothing to do here if the client was stopped; else look at the client and at firewalls between.", 0},
		{TCPUpstreamReset, "tcp_upstream_reset", Error, "upstream reset the connection",
			"The upstream ended the connection with RST in the middle of the traffic. The client was told the same way.",
			"Read the upstream's log for the time of the record; servers reset when they crash, or close with unread bytes.", 0},
		{TCPClientSlow, "tcp_client_slow", Error, "client takes nothing",
			"Bytes for the client waited for longer than the write bound and it took none of them.",
			"Look whether the client hangs; the bound is --write-timeout.", 0},
		{TCPUpstreamSlow, "tcp_upstream_slow", Error, "upstream takes nothing",
			"Bytes for the upstream waited for longer than the write bound and it took none of them.",
			"Look whether the upstream hangs; the bound is --write-timeout.", 0},

		{ProxyHeaderMissing, "proxy_header_missing", Error, "no PROXY header where one is demanded",
			"The listener takes connections from load balancers that announce the client with the PROXY protocol, and the first bytes were no such header. Without it nobody knows whose connection it is.",
			"Switch the PROXY protocol on at the load balancer (HAProxy: send-proxy-v2; AWS: proxy_protocol_v2.enabled; nginx: proxy_protocol on), or off at the listener.", 400},
		{ProxyHeaderMalformed, "proxy_header_malformed", Error, "malformed PROXY header",
			"The connection began as the PROXY protocol does, but the header does not follow its specification (HAProxy's proxy-protocol.txt, versions 1 and 2); the log line names the fault.",
			"Look at what sends the header; a half of it, or two of them after each other, come from balancers in a row.", 0},
		{ProxyHeaderUnwanted, "proxy_header_unwanted", Error, "PROXY header where none is expected",
			"The connection began with a PROXY header, and the listener takes none: whoever connects could otherwise claim any address.",
			"Add the listener's port to --proxy-protocol (ForwardProxy: proxyProtocol: true), or switch the PROXY protocol off at the load balancer.", 400},
		{ProxyHeaderUntrusted, "proxy_header_untrusted", Error, "PROXY header from an address that is not believed",
			"The listener demands a PROXY header, and the address that the connection came from is in none of --trusted-proxies.",
			"Add the load balancer's network to --trusted-proxies; if the peer is no load balancer, it should not reach this port.", 0},
		{OtherProtocol, "other_protocol_on_http_port", Error, "another protocol on an HTTP port",
			"The first bytes are those of another protocol than HTTP; the log line names it (SSH, SMTP, PostgreSQL, SOCKS …).",
			"Correct the port at the client, or pass the protocol through with a TCP listener.", 400},
		{TLSOnProxyPort, "tls_on_proxy_port", Error, "TLS hello on a forward proxy's plain port",
			"The client began TLS with the forward proxy itself, whose port takes CONNECT and absolute URLs in the clear: its proxy setting says https://, or the destination's TLS was sent here without CONNECT.",
			"Write http:// before the proxy's address (HTTPS_PROXY=http://proxy:3128): TLS with the destination goes through the tunnel. For captured traffic use a listener of mode Transparent.", 400},
		{TCPFailed, "tcp_failed", Error, "the connection failed",
			"Reading or writing failed in a way that has no reason of its own; the detail has the words of the system.",
			"Read the detail.", 0},
	}
}
