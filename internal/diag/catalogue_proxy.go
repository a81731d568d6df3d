package diag

// Destinations behind somebody else's proxy: what the proxy answered to CONNECT (3301 to 3319), and what was
// shown inside the tunnel (3320 to 3339).
const (
	ProxyAuthRequired    Code = 3301
	ProxyDenied          Code = 3302
	ProxyCannotReach     Code = 3303
	ProxyRejectedRequest Code = 3304
	ProxyNotHTTP         Code = 3305
	ProxySpeaksPlaintext Code = 3306
	ProxySpeaksTLS       Code = 3307
	ProxyUnreachable     Code = 3308
	ProxyTimeout         Code = 3309
	ProxyClosed          Code = 3310
	ProxyUnavailable     Code = 3311
	ProxyUntrusted       Code = 3312
	ProxyOtherAnswer     Code = 3313

	UnexpectedInterception   Code = 3320
	InterceptionMissing      Code = 3321
	InterceptionUnknownCA    Code = 3322
	InterceptionExpired      Code = 3323
	InterceptionNameMismatch Code = 3324
)

func proxyCodes() []Entry {
	return []Entry{
		{ProxyAuthRequired, "proxy_auth_required", Error, "the proxy wants a user name and password",
			"The upstream proxy answered CONNECT with 407.", "Give the UpstreamProxy a credentialsRef, or correct the Secret's username and password.", 502},
		{ProxyDenied, "proxy_denied", Error, "the proxy forbids the destination",
			"The upstream proxy answered CONNECT with 403.", "Ask whoever runs the proxy to allow the destination and its port, or take it out of the UpstreamProxy's hosts.", 502},
		{ProxyCannotReach, "proxy_upstream_unreachable", Error, "the proxy cannot reach the destination",
			"The upstream proxy answered CONNECT with 502, 503 or 504.", "Look whether the name exists and the destination is up; the proxy's log names its cause.", 502},
		{ProxyRejectedRequest, "proxy_rejected_request", Error, "the proxy did not understand CONNECT",
			"The upstream proxy answered CONNECT with 400, 405 or 501.", "Point the UpstreamProxy's urls to the proxy's HTTP port.", 502},
		{ProxyNotHTTP, "proxy_not_http", Error, "what answers at the proxy's address is no HTTP proxy",
			"The first bytes of the answer to CONNECT are not HTTP.", "Correct the UpstreamProxy's urls.", 502},
		{ProxySpeaksPlaintext, "proxy_speaks_plaintext", Error, "the proxy speaks plain HTTP where TLS was expected",
			"TLS was begun with the proxy itself, and it answered in plain text: its port takes CONNECT in the clear, and TLS belongs inside the tunnel.", "Write http:// in the UpstreamProxy's urls; in Istio's API, use tunnel instead of tls on the proxy's DestinationRule.", 502},
		{ProxySpeaksTLS, "proxy_speaks_tls", Error, "the proxy speaks TLS where plain HTTP was expected",
			"The proxy answered CONNECT with a TLS record: its port wants TLS first.", "Write https:// in the UpstreamProxy's urls, with tls.caRef for its own certificate.", 502},
		{ProxyUnreachable, "proxy_unreachable", Error, "the proxy cannot be connected to",
			"No TCP connection to the proxy could be made.", "Start the proxy, or correct the UpstreamProxy's urls.", 503},
		{ProxyTimeout, "proxy_timeout", Error, "the proxy did not answer in time",
			"Connecting to the proxy, TLS with it and its answer to CONNECT took longer than connectTimeout.", "Look at the proxy's load and at its way to the destination, or raise connectTimeout.", 504},
		{ProxyClosed, "proxy_closed", Error, "the proxy closed the connection before it answered CONNECT",
			"The connection ended without a complete answer.", "Read the proxy's log.", 502},
		{ProxyUnavailable, "proxy_unavailable", Error, "no address of the proxy is healthy",
			"All addresses of the UpstreamProxy are out after failures or probes, and it has no fallback.", "Bring the proxy back; hakone egress ls tells why each address is out. fallback: direct goes without it.", 503},
		{ProxyUntrusted, "proxy_untrusted", Error, "the proxy's own certificate does not verify",
			"TLS with the proxy itself (https URL) failed: this is about the hop to the proxy, not about the destination or the interception CA.", "Correct tls.caRef or tls.serverName of the UpstreamProxy.", 502},
		{ProxyOtherAnswer, "proxy_other_answer", Error, "the proxy refused CONNECT",
			"The upstream proxy answered CONNECT with a status that has no reason of its own.", "Read the proxy's log; the detail has the status.", 502},

		{UnexpectedInterception, "unexpected_interception", Error, "the destination's certificate is that of an intercepting proxy, on a direct connection",
			"The chain was signed by the interception CA of an UpstreamProxy, but the connection did not go through that proxy. Somebody on the way intercepts, and the CA is valid through its proxy alone.", "If that is meant, send the host through the UpstreamProxy (hosts); else find out who intercepts.", 502},
		{InterceptionMissing, "interception_missing", Error, "the proxy did not intercept a destination that it is to intercept",
			"Through the proxy, the destination showed a certificate that its interception CA did not sign but that is good otherwise: the proxy splices this host.", "Set interception.expect to Sometimes if the proxy may splice, or have it intercept the host.", 502},
		{InterceptionUnknownCA, "interception_unknown_ca", Error, "the proxy intercepts with an unknown CA",
			"The certificate that the proxy shows for the destination is not signed by the CA in interception.caRef.", "Put the proxy's present CA into interception.caRef (old and new may stand side by side); if the proxy did not change it, find out who intercepts.", 502},
		{InterceptionExpired, "interception_expired", Error, "the proxy's certificate for the destination has expired or is not valid yet",
			"The leaf that the proxy made, or its CA, is outside its validity.", "Have the proxy's CA renewed or its certificate cache emptied; compare both clocks.", 502},
		{InterceptionNameMismatch, "interception_name_mismatch", Error, "the proxy's certificate is for another name",
			"The leaf that the proxy made does not carry the destination's name.", "Look at what the proxy mimics: often the destination's own certificate lacks the name, or the proxy signs its error page.", 502},
	}
}
