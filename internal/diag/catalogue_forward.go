package diag

// What forward proxies decide about their clients' requests (4501 to 4519), about TLS that they look into
// (4520 to 4539), and how clients took that (4540 to 4549).
const (
	ForwardNotProxyRequest Code = 4501
	ForwardDenied          Code = 4502
	ForwardAuthRequired    Code = 4503
	ForwardAuthFailed      Code = 4504
	ForwardAuthLimited     Code = 4505
	ForwardNotRegistered   Code = 4506
	ForwardLoop            Code = 4507
	ForwardLocal           Code = 4508
	ForwardNameUnknown     Code = 4509
	ForwardNoDestination   Code = 4510
	ForwardNeverDirect     Code = 4511
	ForwardUnavailable     Code = 4512

	ForwardTerminated   Code = 4520
	ForwardUntrusted    Code = 4521
	ForwardNotTLS       Code = 4522
	ForwardCAWithdrawn  Code = 4524
	ForwardPinnedLearnt Code = 4541
)

// forwardCodes are reasons of forward proxies: 4501 to 4549.
func forwardCodes() []Entry {
	return []Entry{
		{ForwardNotProxyRequest, "not_a_proxy_request", Error, "the request is not one for a proxy",
			"The port is a forward proxy's: it takes CONNECT and absolute URLs. The client sent only a path, as to the destination itself.", "Set HTTP_PROXY and HTTPS_PROXY to this port in the client; to be taken for the destination, use a ForwardProxy listener of mode Gateway.", 400},
		{ForwardDenied, "egress_denied", Error, "an access rule forbids the request",
			"A rule of the ForwardProxy's access denied the request, or none matched and the last one allows. The detail names the rule.", "Ask whoever runs the proxy to allow the destination, or correct the rule that the detail names.", 403},
		{ForwardAuthRequired, "proxy_authentication_required", Error, "the proxy wants to know the user",
			"A rule asks for a user, and the client sent no credentials (407).", "Give the client the proxy's user name and password: http://user:password@proxy:port.", 407},
		{ForwardAuthFailed, "proxy_authentication_failed", Error, "user name or password is wrong",
			"The credentials in Proxy-Authorization do not match the htpasswd entry, or are not of the scheme Basic (407).", "Correct user name and password in the client; htpasswd -v checks them.", 407},
		{ForwardAuthLimited, "proxy_authentication_limited", Error, "too many wrong passwords",
			"The client's address has sent many wrong passwords, or too many passwords are being verified; further ones are not looked at for a while.", "Correct the password in whatever keeps sending it; wait a minute.", 429},
		{ForwardNotRegistered, "destination_not_registered", Error, "the destination is not in the registry",
			"outboundTrafficPolicy is RegistryOnly, and no ServiceEntry, Service or UpstreamProxy names the host.", "Add a ServiceEntry for the host, or set outboundTrafficPolicy to AllowAny.", 403},
		{ForwardLoop, "forwarding_loop", Error, "the request has come back",
			"The request went through this proxy before (Via or CDN-Loop), or its destination is a listener of this process.", "Correct the proxy settings between the proxies, or what redirects connections: those of the proxy itself must be left out.", 508},
		{ForwardLocal, "local_destination", Error, "the destination is this machine or a link-local address",
			"The address is loopback, unspecified, link-local (cloud metadata) or a multicast one; clients of a proxy do not get there through it.", "If that is meant, set upstream.allowLoopback of the ForwardProxy.", 403},
		{ForwardNameUnknown, "destination_unknown", Error, "the destination's name does not resolve",
			"DNS knows no address of the host, or did not answer in time.", "Correct the name, or the resolver of the machine that the proxy runs on.", 503},
		{ForwardNoDestination, "no_destination", Error, "it cannot be told where the connection is meant to go",
			"The connection was addressed to the listener itself and not brought here by the kernel (nftables redirect or tproxy), and neither SNI nor Host names a destination; or the URL has no usable host or port. Connecting to the address itself would be a loop.",
			"Send traffic to its real destination and let nftables capture it (docs/passthrough.md has the rules; they run in Hakone's network namespace, with nf_conntrack loaded), or name the destination: by SNI or Host on listeners of mode Gateway.", 400},
		{ForwardNeverDirect, "direct_forbidden", Error, "the destination may not be reached directly, and no proxy serves it",
			"A direct rule denies direct connections, and neither a proxies rule nor an UpstreamProxy's hosts names a way.", "Add the host to an UpstreamProxy's hosts or to a proxies rule.", 503},
		{ForwardUnavailable, "forward_proxy_unavailable", Error, "the forward proxy lacks what it needs",
			"Something that the ForwardProxy refers to is missing or broken: the interception CA, the htpasswd entry.", "Read the status or hakone check: the diagnostic of the object names the field.", 503},

		{ForwardTerminated, "terminated_by_rule", Error, "an interception rule ends the connection",
			"A rule with the action terminate matched. The detail names the rule and the step.", "If the destination is to be reached, correct the rule.", 403},
		{ForwardUntrusted, "destination_untrusted", Error, "the destination's certificate does not verify",
			"The proxy looks into TLS and verifies the destination for its clients; certificateErrors does not excuse what is wrong. The detail has the reason.", "Have the destination corrected; for one with a CA of its own, name it in upstream.caRef; or allow the error for that host in certificateErrors.", 503},
		{ForwardNotTLS, "tunnel_not_tls", Error, "what the client sent in the tunnel is neither TLS nor HTTP",
			"The proxy looks into TLS, and the client speaks something else after CONNECT.", "Set onUnsupportedProtocol to Tunnel, or splice the port by a rule at step 1.", 400},
		{ForwardCAWithdrawn, "interception_ca_withdrawn", Warning, "the connection was intercepted with a CA that is no longer used",
			"The ForwardProxy's interception CA changed; connections that were intercepted with the old one end after what is in progress.", "Nothing: clients connect again.", 421},
		{ForwardPinnedLearnt, "pinned_learnt", Info, "the host is spliced for a while because clients pin its certificate",
			"Two handshakes with this host were refused because of our certificate; learnPinned splices it for an hour.", "To keep it so, add a splice rule for the host.", 0},
	}
}
