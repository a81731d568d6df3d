package diag

// Findings about UpstreamProxies, ForwardProxies and CachePolicies (5840 to 5859).
const (
	UpstreamProxyInvalid     Code = 5840
	UpstreamProxyNotFound    Code = 5841
	UpstreamProxyConflict    Code = 5842
	UpstreamProxyBroken      Code = 5843
	ProxyLoginInvalid        Code = 5844
	LoginInClear             Code = 5845
	InterceptionCAUnusable   Code = 5846
	InterceptionCAUnwise     Code = 5847
	ForwardProxyOpen         Code = 5848
	ForwardProxyInvalid      Code = 5849
	ACLInvalid               Code = 5850
	ACLNotFound              Code = 5851
	ACLIneffective           Code = 5852
	PasswordEntryUnusable    Code = 5853
	SlowLeaves               Code = 5854
	ProxyFallbackDirect      Code = 5855
	UpstreamProxyUnused      Code = 5856
	UpstreamProxySplit       Code = 5857
	CachePolicyCoversNothing Code = 5858
	CachePolicyConflict      Code = 5859
)

// egressKindCodes are findings about UpstreamProxies, ForwardProxies and CachePolicies: 5840 to 5859.
func egressKindCodes() []Entry {
	return []Entry{
		{UpstreamProxyInvalid, "upstream_proxy_invalid", Error, "a setting of the upstream proxy cannot be used", "A field of the UpstreamProxy cannot be honoured; the message says what holds instead.", "Correct the field named.", 0},
		{UpstreamProxyNotFound, "upstream_proxy_not_found", Error, "upstream proxy does not exist", "A rule names an UpstreamProxy that is not in the configuration. What would go through it alone is refused, never sent directly.", "Create the UpstreamProxy, or correct the name.", 503},
		{UpstreamProxyConflict, "upstream_proxy_conflict", Warning, "two UpstreamProxies claim the same host", "The older one (by creation time, then by place and name) serves it.", "Remove the host from one of them.", 0},
		{UpstreamProxyBroken, "upstream_proxy_broken", Error, "an upstream proxy that cannot be used closes what it serves", "The UpstreamProxy was not accepted, or a CA that it names cannot be used. Destinations that it serves are refused until it is mended: sending them directly would go around it.", "Mend what is reported about the object.", 503},
		{ProxyLoginInvalid, "proxy_login_invalid", Error, "there is no user name and password for the proxy", "credentialsRef names a Secret that is missing, or has no usable entries username and password. What would go through the proxy is refused.", "Create it: kubectl create secret generic NAME --type=kubernetes.io/basic-auth --from-literal=username=U --from-literal=password=P.", 503},
		{LoginInClear, "login_in_clear", Warning, "passwords cross the network in the clear", "Basic authentication sends the password with every request or CONNECT, and this hop is not TLS: whoever watches it reads it.", "Use https on that hop, or a network that nobody else is on.", 0},
		{InterceptionCAUnusable, "interception_ca_unusable", Error, "the CA for interception cannot sign", "The certificate of the CA is no CA, has expired, or has a key that cannot sign. TLS that the rules would look into is refused; what they splice goes on.", "Make one: hakone egress ca create, or openssl req -x509 -addext basicConstraints=critical,CA:TRUE.", 503},
		{InterceptionCAUnwise, "interception_ca_unwise", Warning, "a CA for interception that may not mean what was meant", "The CA is bounded to names, ends soon, is a bundle of public CAs, or serves at two places of the chain of proxies.", "Read the message: each case has a remedy of its own.", 0},
		{ForwardProxyOpen, "forward_proxy_open", Warning, "an open proxy: everybody who reaches the port may use it", "No rule, user or client certificate is asked for, and the port is not on the loopback address.", "Add access rules, such as Allow for an ACL of type src with your networks; or bind to 127.0.0.1.", 0},
		{ForwardProxyInvalid, "forward_proxy_invalid", Error, "a setting of the forward proxy cannot be used", "A field of the ForwardProxy cannot be honoured; the message says what holds instead. What decides who may do what is closed then, not left out.", "Correct the field named.", 503},
		{ACLInvalid, "acl_invalid", Error, "an ACL cannot be used", "Its type is not known, or a value of it cannot be read. The forward proxy refuses everything until it is mended: leaving an ACL out could let somebody in.", "Correct the ACL named.", 503},
		{ACLNotFound, "acl_not_found", Error, "a rule names an ACL that is not there", "The forward proxy refuses everything until it is mended: leaving a rule out could let somebody in.", "Define it in spec.acls, or correct the name.", 503},
		{ACLIneffective, "acl_ineffective", Warning, "part of an ACL has no effect", "The ACL is used, but an option or value of it does nothing here.", "Read the message; remove what does nothing.", 0},
		{PasswordEntryUnusable, "password_entry_unusable", Warning, "a user of the password file cannot log in", "The line cannot be read, or its hash is of a scheme that is not verified here: bcrypt ($2y$), SHA-crypt ($5$, $6$), apr1 and {SHA} are.", "Set the password again: htpasswd -B FILE USER.", 0},
		{SlowLeaves, "slow_leaves", Info, "RSA leaves cost several times the time of ECDSA ones", "Every new host needs a signature with the CA's key and every handshake one with the leaf's; RSA-2048 takes about a millisecond for each, P-256 some hundredths.", "Leave keyType away (ECDSA) unless clients know no ECDSA.", 0},
		{ProxyFallbackDirect, "proxy_fallback_direct", Warning, "without the proxy, destinations are reached directly", "fallback: direct sends traffic around the proxy while no address of it is healthy, so whatever it filters or logs then does not.", "Leave fallback away to refuse instead.", 0},
		{UpstreamProxyUnused, "upstream_proxy_unused", Info, "upstream proxy is used by nothing", "It names no hosts, and no ForwardProxy or VirtualService sends anything through it.", "Give it hosts, or name it in a ForwardProxy's proxies.", 0},
		{UpstreamProxySplit, "upstream_proxy_split", Error, "a pool's servers lie on both sides of an upstream proxy", "Some servers of the pool are destinations of the UpstreamProxy and some are not, but a pool has one way out: all of them are reached through the proxy.", "Make two pools, or correct hosts and except of the UpstreamProxy.", 0},
		{CachePolicyCoversNothing, "cache_policy_covers_nothing", Error, "a cache policy covers nothing", "No route that is served is one that the policy, or this target of it, names. Nothing is kept because of it.", "Correct spec.targetRefs: hakone dump routes shows what is served.", 0},
		{CachePolicyConflict, "cache_policy_conflict", Warning, "two cache policies cover the same routes", "The narrower target wins (rule, route, listener, gateway), and of equals the older policy.", "Remove one of the two, or narrow one.", 0},
	}
}
