package diag

// TLS towards an upstream (31xx), its connection and answer (32xx).
const (
	UpstreamUnknownCA         Code = 3101
	UpstreamCertExpired       Code = 3102
	UpstreamCertNotYetValid   Code = 3103
	UpstreamNameMismatch      Code = 3104
	UpstreamCertNoSAN         Code = 3105
	UpstreamRequiresCert      Code = 3106
	UpstreamRejectedCert      Code = 3107
	UpstreamSpeaksPlaintext   Code = 3108
	UpstreamTLSVersion        Code = 3109
	UpstreamTLSFailed         Code = 3110
	UpstreamCertRevoked       Code = 3111
	UpstreamCertInvalid       Code = 3112
	UpstreamTLSNoCommon       Code = 3113
	UpstreamCredentialMissing Code = 3114
	UpstreamPinMismatch       Code = 3115
	UpstreamCRLUnusable       Code = 3116

	UpstreamConnectRefused Code = 3201
	UpstreamConnectTimeout Code = 3202
	UpstreamConnectFailed  Code = 3203
	UpstreamReset          Code = 3204
	UpstreamClosedEarly    Code = 3205
	UpstreamProtocolError  Code = 3206
	UpstreamNoEndpoints    Code = 3207
	UpstreamDNS            Code = 3208
	UpstreamPoolOverflow   Code = 3209
	UpstreamHeadTooLarge   Code = 3210
	UpstreamBodyTruncated  Code = 3211
	UpstreamSpeaksTLS      Code = 3212
	UpstreamStreamReset    Code = 3213
	UpstreamGoAway         Code = 3214
	UpstreamNoHTTP2        Code = 3215
	UpstreamNoWebSocket    Code = 3216
	UpstreamRefusedStream  Code = 3217
	UpstreamRequestLimit   Code = 3218
)

func upstreamReasonCodes() []Entry {
	return []Entry{
		{UpstreamUnknownCA, "upstream_unknown_ca", Error, "upstream certificate of an unknown issuer",
			"The upstream's certificate does not lead to a CA of the trust bundle.", "Set caCertificates / credentialName of the DestinationRule to the issuing CA, or send intermediates at the upstream.", 502},
		{UpstreamCertExpired, "upstream_cert_expired", Error, "upstream certificate has expired",
			"The upstream's certificate is past its notAfter.", "Renew the upstream's certificate.", 502},
		{UpstreamCertNotYetValid, "upstream_cert_not_yet_valid", Error, "upstream certificate is not valid yet",
			"The upstream certificate's notBefore lies in the future.", "Check both clocks.", 502},
		{UpstreamNameMismatch, "upstream_name_mismatch", Error, "upstream certificate has another name",
			"None of the certificate's names is the wanted one (sni, subjectAltNames or the host).", "Set sni or subjectAltNames to a name in the certificate.", 502},
		{UpstreamCertNoSAN, "upstream_cert_no_san", Error, "upstream certificate has no subject alternative name",
			"The certificate only has a common name, which RFC 9110 section 4.3.4 and today's TLS libraries no longer accept.", "Re-issue with subjectAltName = DNS:host.", 502},
		{UpstreamRequiresCert, "upstream_requires_client_cert", Error, "upstream wants a client certificate",
			"The upstream ended the handshake with alert 116, or 40 after asking for a certificate.", "Give Hakone a client certificate that the upstream accepts: an OriginPull (hakone origin pull upload, then enable) or tls.certificateRef of the OriginPool; mode MUTUAL of the DestinationRule.", 502},
		{UpstreamRejectedCert, "upstream_rejected_client_cert", Error, "upstream rejected our client certificate",
			"The upstream answered our client certificate with an alert.", "Check that the upstream trusts its issuer and that it has not expired.", 502},
		{UpstreamSpeaksPlaintext, "upstream_speaks_plaintext", Error, "upstream speaks plain HTTP where TLS was expected",
			"The first bytes of the upstream are no TLS record.", "Remove tls from the DestinationRule, or point to the TLS port.", 502},
		{UpstreamTLSVersion, "upstream_tls_version", Error, "no TLS version in common with the upstream",
			"The upstream refused the offered TLS versions (alert 70).", "Upgrade the upstream's TLS.", 502},
		{UpstreamTLSFailed, "upstream_tls_failed", Error, "TLS handshake with the upstream failed",
			"The handshake failed for a cause outside the other 31xx codes; the log line's err has the words.", "Try it by hand: openssl s_client -connect ADDRESS -servername NAME.", 502},
		{UpstreamCertRevoked, "upstream_cert_revoked", Error, "upstream certificate is revoked",
			"A configured revocation list names the upstream's certificate.", "Renew the upstream's certificate.", 502},
		{UpstreamCertInvalid, "upstream_cert_invalid", Error, "upstream certificate does not verify",
			"Verification failed for a cause outside the other 31xx codes (usage, constraints, weak signature).", "Inspect the certificate: openssl x509 -text.", 502},
		{UpstreamTLSNoCommon, "upstream_tls_no_common_parameters", Error, "no cipher suite or group in common with the upstream",
			"The upstream answered the ClientHello with alert 40.", "Compare the cipher suites and groups of both sides.", 502},
		{UpstreamCredentialMissing, "upstream_credential_missing", Error, "our client certificate for the upstream is missing",
			"The secret that holds the client certificate or the CA for this upstream is missing or unusable; nothing is sent unverified.", "Create the secret; hakone check names it.", 503},
		{UpstreamPinMismatch, "upstream_pin_mismatch", Error, "upstream certificate is not pinned",
			"The chain is good, but neither the SPKI nor the certificate hash is among the pins.", "Add the pin, or use the pinned certificate.", 502},
		{UpstreamCRLUnusable, "upstream_crl_unusable", Error, "revocation of the upstream's certificate cannot be judged",
			"A configured revocation list is past its nextUpdate, or none is from the upstream's issuer.", "Publish a fresh list of every CA of the chain.", 502},
		{UpstreamConnectRefused, "upstream_connection_refused", Error, "upstream refused the connection",
			"Nothing listens at the endpoint's address.", "Start the workload, or correct the port.", 503},
		{UpstreamConnectTimeout, "upstream_connect_timeout", Error, "connecting to the upstream timed out",
			"The TCP or TLS connection was not ready within connectTimeout.", "Check the network path, or raise connectTimeout.", 503},
		{UpstreamConnectFailed, "upstream_connect_failed", Error, "connecting to the upstream failed",
			"The operating system refused the connection; the log line's err has the words.", "Read err.", 503},
		{UpstreamReset, "upstream_reset", Error, "upstream reset the connection",
			"The upstream reset the connection before a complete answer.", "Read the upstream's log for this request ID.", 502},
		{UpstreamClosedEarly, "upstream_closed_early", Error, "upstream closed before answering",
			"The upstream closed the connection without a response head.", "Read the upstream's log; keep-alive timeouts below Hakone's idle timeout look like this, and, before the SETTINGS of HTTP/2, ports that speak TLS (add tls.mode to the DestinationRule) or only HTTP/1.1 (name the port http).", 502},
		{UpstreamProtocolError, "upstream_protocol_error", Error, "upstream answered with malformed HTTP",
			"The response cannot be parsed without ambiguity, so it was not forwarded.", "Check the upstream's protocol (appProtocol, port name).", 502},
		{UpstreamNoEndpoints, "upstream_no_endpoints", Error, "upstream has no endpoints",
			"No address is known for the destination, or none is ready.", "Give it endpoints: an EndpointSlice, a ServiceEntry, or --endpoint NAME.NAMESPACE:PORT=HOST:PORT.", 503},
		{UpstreamDNS, "upstream_dns_failed", Error, "upstream name does not resolve",
			"DNS has no address for the destination's name.", "Correct the name, or give endpoints with --endpoint.", 503},
		{UpstreamPoolOverflow, "upstream_pool_overflow", Error, "too many connections or waiting requests to the upstream",
			"The connection pool of the DestinationRule is at its bound.", "Raise connectionPool.tcp.maxConnections or http1MaxPendingRequests.", 503},
		{UpstreamHeadTooLarge, "upstream_head_too_large", Error, "upstream's response head exceeds the bound",
			"The response head is larger than Hakone accepts (64 KiB, 128 fields by default).", "Shrink the response head, or raise --max-response-header.", 502},
		{UpstreamBodyTruncated, "upstream_body_truncated", Error, "upstream closed in the middle of the body",
			"The response body ended before it was complete; the answer to the client was broken off so that it can tell: by the end of its connection, a reset of its stream, or a status of gRPC.", "Read the upstream's log for this request ID.", 502},
		{UpstreamSpeaksTLS, "upstream_speaks_tls", Error, "upstream speaks TLS where plain HTTP was expected",
			"The upstream answered with a TLS record.", "Add tls.mode SIMPLE to the DestinationRule of this host.", 502},
		{UpstreamStreamReset, "upstream_stream_reset", Error, "upstream reset the HTTP/2 stream",
			"The upstream sent RST_STREAM before a complete answer; the detail has its error code.", "Read the upstream's log for this request ID.", 502},
		{UpstreamGoAway, "upstream_goaway", Error, "upstream ended the HTTP/2 connection with an error",
			"The upstream sent GOAWAY with an error code, or broke the rules of RFC 9113, before a complete answer.", "Read the upstream's log; the detail has the error code.", 502},
		{UpstreamNoHTTP2, "upstream_no_http2", Error, "upstream does not speak HTTP/2",
			"HTTP/2 is spoken to the port because it is declared as http2 or grpc or a GRPCRoute leads to it, but the endpoint chose another protocol or answered in HTTP/1.1.", "Correct the Service port's name or appProtocol, or enable HTTP/2 at the workload.", 502},
		{UpstreamNoWebSocket, "upstream_no_websocket", Error, "upstream does not take the WebSocket",
			"The upstream speaks HTTP/2 without SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441), or answered the upgrade of a client in HTTP/2 with 2xx and without switching protocols, which that client would take for the open WebSocket.", "Route WebSockets to a workload that serves them; declare its port as http (HTTP/1.1), or enable extended CONNECT there.", 502},
		{UpstreamRefusedStream, "upstream_refused_stream", Error, "upstream refused the stream",
			"The upstream sent REFUSED_STREAM, or GOAWAY before it looked at the request, and repeating did not help.", "The upstream is overloaded or shutting down; read its log.", 503},
		{UpstreamRequestLimit, "upstream_request_limit", Error, "too many requests in progress to the upstream",
			"The upstream has as many requests in progress as connectionPool.http.http2MaxRequests allows.", "Raise http2MaxRequests.", 503},
	}
}

// Requests: malformed (40xx), routing (41xx), deadlines and bounds (42xx).
const (
	RequestMalformed     Code = 4001
	RequestHeadTooLarge  Code = 4002
	RequestTooManyFields Code = 4003
	RequestAmbiguousBody Code = 4004
	RequestBadPath       Code = 4005
	RequestBadHost       Code = 4006
	RequestURITooLong    Code = 4007
	RequestVersion       Code = 4008
	RequestBadChunk      Code = 4009
	RequestBodyTooLarge  Code = 4010
	RequestBadField      Code = 4011
	RequestBadUpgrade    Code = 4012
	RequestExpectation   Code = 4013
	RequestTransferCode  Code = 4014

	NoRoute            Code = 4101
	NoHost             Code = 4102
	MisdirectedRequest Code = 4103
	RouteInvalid       Code = 4104
	Draining           Code = 4105
	MethodNotSupported Code = 4106
	RequestsOverload   Code = 4107

	RequestHeadTimeout Code = 4201
	RequestBodyTimeout Code = 4202
	UpstreamTimeout    Code = 4203
	ClientTooSlow      Code = 4204
	ClientClosed       Code = 4205
	IdleTimeout        Code = 4206
	UpgradeIdle        Code = 4207
	UpstreamSilent     Code = 4208
)

func requestCodes() []Entry {
	return []Entry{
		{RequestMalformed, "request_malformed", Error, "malformed request",
			"The request line or a field line breaks RFC 9112, or the pseudo-header fields RFC 9113 section 8.3; Hakone refuses instead of repairing.", "Correct the client.", 400},
		{RequestHeadTooLarge, "request_head_too_large", Error, "request head exceeds the bound",
			"Request line and fields together are larger than --max-request-header (64 KiB by default).", "Send smaller headers (often cookies), or raise the bound.", 431},
		{RequestTooManyFields, "request_too_many_fields", Error, "too many header fields",
			"The request has more field lines than --max-request-fields (128 by default).", "Send fewer fields, or raise the bound.", 431},
		{RequestAmbiguousBody, "request_ambiguous_body", Error, "request body length is ambiguous",
			"Content-Length and Transfer-Encoding together, differing lengths, an odd coding, or any Transfer-Encoding in HTTP/2: the way requests are smuggled (RFC 9112 section 6.3).", "Correct the client; an innocent one never sends this.", 400},
		{RequestBadPath, "request_bad_path", Error, "request target is ambiguous",
			"The path holds an encoded slash, backslash or NUL, a broken percent escape, a fragment, a byte outside visible ASCII, or dot segments that climb above the root or carry parameters; origins read such paths differently.", "Send a plain path.", 400},
		{RequestBadHost, "request_bad_host", Error, "Host is missing, repeated or malformed",
			"HTTP/1.1 asks for exactly one valid Host field (RFC 9112 section 3.2), and an absolute target must agree with it; in HTTP/2 the same holds for :authority and Host together.", "Send one Host field, or one :authority.", 400},
		{RequestURITooLong, "request_uri_too_long", Error, "request target exceeds the bound",
			"The request target is longer than 32 KiB, or than the whole head may be.", "Shorten the URL.", 414},
		{RequestVersion, "request_version", Error, "HTTP version is not supported here",
			"Only HTTP/1.0 and HTTP/1.1 are spoken on this connection.", "Use HTTP/1.1.", 505},
		{RequestBadChunk, "request_bad_chunk", Error, "malformed chunked body",
			"A chunk size, extension or terminator breaks RFC 9112 section 7.1.", "Correct the client.", 400},
		{RequestBodyTooLarge, "request_body_too_large", Error, "request body exceeds the bound",
			"The request body is larger than the configured bound.", "Send less, or raise --max-request-body.", 413},
		{RequestBadField, "request_bad_field", Error, "malformed header field",
			"A field name or value holds bytes that RFC 9110 section 5 forbids, or a request in HTTP/2 has a name with capitals or a field about one connection of HTTP/1.1 (RFC 9113 section 8.2).", "Correct the client.", 400},
		{RequestBadUpgrade, "request_bad_upgrade", Error, "malformed upgrade",
			"Upgrade comes with a body, twice, is no list of protocols, or offers h2c beside others.", "Correct the client.", 400},
		{RequestExpectation, "request_expectation", Error, "unknown expectation",
			"Expect holds something other than 100-continue (RFC 9110 section 10.1.1).", "Remove the field.", 417},
		{RequestTransferCode, "request_transfer_coding", Error, "transfer coding is not supported",
			"Only chunked is understood as transfer coding (RFC 9112 section 6.1).", "Send the body chunked, with Content-Encoding for compression.", 501},
		{NoRoute, "no_route", Error, "no route matches",
			"The host is known, but no rule of its routes matches this request; the log line names the nearest route and what failed to match.", "Compare with hakone dump routes.", 404},
		{NoHost, "no_host", Error, "no route for this host",
			"The listener has no routes for the request's authority.", "Add the host to a VirtualService, HTTPRoute or GRPCRoute bound to this Gateway.", 404},
		{MisdirectedRequest, "misdirected_request", Error, "request for a host of another listener or TLS policy",
			"The connection's server name (SNI) and the request's authority belong to different listeners or TLS policy classes (RFC 9110 section 15.5.20).", "Open a new connection for that host; clients do so by themselves on 421.", 421},
		{RouteInvalid, "route_invalid", Error, "the matching route is invalid",
			"The route that matches has a fault in its configuration (a missing backend, a refused reference) and fails closed.", "hakone check names the fault.", 500},
		{Draining, "draining", Info, "shutting down",
			"This process is draining.", "Retry; another instance answers.", 503},
		{MethodNotSupported, "method_not_supported", Error, "method is not supported here",
			"CONNECT and TRACE are not forwarded by a gateway listener.", "Use an egress listener for CONNECT.", 405},
		{RequestsOverload, "overload", Error, "overloaded",
			"A global bound is reached and the request was shed.", "Retry later; see the hakone_overload metrics.", 503},
		{RequestHeadTimeout, "request_head_timeout", Error, "request head not received in time",
			"The client began a request and did not finish its head within --header-timeout.", "Look for a slow or hostile client.", 408},
		{RequestBodyTimeout, "request_body_timeout", Error, "request body stalled",
			"No byte of the request body came for --body-idle-timeout. Requests of gRPC, and others in HTTP/2 without content-length, may be silent for as long as they like.", "Look for a slow or hostile client.", 408},
		{UpstreamTimeout, "upstream_timeout", Error, "upstream did not answer in time",
			"The route's timeout, that of a try, or the client's grpc-timeout ran out before the response was complete; the detail says which.", "Raise that timeout, or make the upstream faster.", 504},
		{ClientTooSlow, "client_too_slow", Error, "client did not take the response in time",
			"The client accepted no byte for --write-timeout; the connection was closed.", "Look for a slow or hostile client.", 0},
		{ClientClosed, "client_closed", Info, "client closed before the answer",
			"The client went away before the response was complete.", "Nothing to do; the access log shows how long it waited.", 499},
		{IdleTimeout, "idle_timeout", Info, "idle connection closed",
			"A kept-alive connection was idle for --idle-timeout.", "Nothing to do.", 0},
		{UpgradeIdle, "upgrade_idle_timeout", Info, "upgraded connection was idle too long",
			"No byte went either way on a WebSocket or other upgraded connection for --upgrade-idle-timeout.", "Send pings, or raise the bound.", 0},
		{UpstreamSilent, "upstream_silent", Error, "upstream was silent for too long",
			"Nothing came from the upstream for --upstream-idle-timeout, before or within its answer.", "Raise --upstream-idle-timeout (0 is none), or have the upstream send something meanwhile.", 504},
	}
}
