package diag

// Gateways and listeners (52xx).
const (
	ListenerConflict     Code = 5201
	ProtocolConflict     Code = 5202
	ListenerUnsupported  Code = 5203
	SelectorMismatch     Code = 5204
	ForeignClass         Code = 5205
	NoUsableListener     Code = 5206
	ListenerHostInvalid  Code = 5207
	ListenerTLSInvalid   Code = 5208
	OverlappingTLS       Code = 5209
	NoRoutesAttached     Code = 5210
	PortUnavailable      Code = 5211
	GatewayWithoutServer Code = 5212
	ClassAssumed         Code = 5213
	InsecureValidation   Code = 5214
	AddressUnsupported   Code = 5215
)

func gatewayCodes() []Entry {
	return []Entry{
		{ListenerConflict, "listener_conflict", Error, "two listeners claim the same port and host", "No flow could be given to exactly one of them. Gateway API: none serves; Istio: the older one does.", "Give them different hosts or ports.", 0},
		{ProtocolConflict, "protocol_conflict", Error, "one port with two protocols", "A port can carry plain HTTP or TLS, not both.", "Move one of them to another port.", 0},
		{ListenerUnsupported, "listener_unsupported", Error, "listener protocol is not served", "This protocol is not served by this version; the listener is left out, others serve.", "Use HTTP or HTTPS.", 0},
		{SelectorMismatch, "selector_mismatch", Warning, "gateway selects another workload", "The Gateway's selector does not match the labels of this process (--labels).", "Correct the selector, or start with --labels.", 0},
		{ForeignClass, "foreign_class", Info, "gateway belongs to another controller", "The gatewayClassName names a class that is not ours.", "Use gatewayClassName hakone (or istio without a GatewayClass object), or start with --gateway-class NAME to serve that class here.", 0},
		{NoUsableListener, "no_usable_listener", Error, "no usable listener", "The configuration yields no listener that can serve.", "Mend the errors listed, or start with --wait.", 0},
		{ListenerHostInvalid, "listener_host_invalid", Error, "host name is invalid", "A host must be a DNS name, \"*.\" and a DNS name, or \"*\".", "Correct the name.", 0},
		{ListenerTLSInvalid, "listener_tls_invalid", Error, "TLS settings of the listener are invalid", "The listener cannot terminate TLS as configured, so it does not serve.", "Mend the field named.", 0},
		{OverlappingTLS, "overlapping_tls", Warning, "listeners overlap on one port", "Hosts overlap, so HTTP/2 clients may reuse one host's connection for the other; Hakone answers 421 where the policies differ.", "Nothing to do if that is meant.", 0},
		{NoRoutesAttached, "no_routes_attached", Warning, "listener has no routes", "The listener terminates TLS and answers 404 to everything.", "Bind a VirtualService or HTTPRoute to it.", 0},
		{PortUnavailable, "port_unavailable", Error, "port cannot be bound", "The operating system refused the port.", "Start with the --port-map flag that the message prints.", 0},
		{GatewayWithoutServer, "gateway_without_servers", Error, "gateway has no servers", "A Gateway without servers or listeners serves nothing.", "Add one.", 0},
		{ClassAssumed, "class_assumed", Info, "gateway class assumed", "No GatewayClass object is in the folder; istio and hakone are taken as ours.", "Nothing to do.", 0},
		{InsecureValidation, "insecure_frontend_validation", Warning, "client certificates are asked for but not enforced", "The mode lets clients without a valid certificate pass.", "Use AllowValidOnly, or MUTUAL without insecureSkipVerify.", 0},
		{AddressUnsupported, "address_unsupported", Error, "gateway asks for an address that cannot be served", "Gateway API refuses a Gateway whose spec.addresses holds a type or value that the implementation cannot serve.", "Use type IPAddress with an address of this machine, or remove spec.addresses.", 0},
	}
}

// Routes (53xx).
const (
	RouteNotAttached   Code = 5301
	RouteHostMismatch  Code = 5302
	RouteMatchInvalid  Code = 5303
	RouteShadowed      Code = 5304
	RouteActionInvalid Code = 5305
	RouteFilterInvalid Code = 5306
	RouteWeights       Code = 5307
	RouteHostInvalid   Code = 5308
	RouteNotAllowed    Code = 5309
	RouteTimeout       Code = 5310
	RouteRetryInvalid  Code = 5311
	RouteKindConflict  Code = 5312
	RouteNeverMatches  Code = 5313
)

func routeCodes() []Entry {
	return []Entry{
		{RouteNotAttached, "route_not_attached", Error, "route is bound to no listener", "None of the listeners named accepts the route, so it serves nothing.", "Correct gateways / parentRefs.", 0},
		{RouteHostMismatch, "route_host_mismatch", Error, "route's hosts are not among the listener's", "Host names of route and listener do not intersect.", "Make them overlap.", 0},
		{RouteMatchInvalid, "route_match_invalid", Error, "match cannot be used", "A match is malformed, for example a regular expression that does not compile; the rule fails closed.", "Correct the match.", 500},
		{RouteShadowed, "route_shadowed", Warning, "rule can never match", "An earlier rule matches everything that this one would.", "Put the narrower rule first.", 0},
		{RouteActionInvalid, "route_action_invalid", Error, "rule has no usable action", "The rule neither forwards nor redirects nor answers.", "Add a route, redirect or directResponse.", 500},
		{RouteFilterInvalid, "route_filter_invalid", Error, "filter cannot be used", "A filter is malformed or contradicts another; the rule fails closed.", "Correct the filter.", 500},
		{RouteWeights, "route_weights", Warning, "weights leave nothing to send to", "All weights are zero, or the sum cannot be used.", "Set the weights.", 503},
		{RouteHostInvalid, "route_host_invalid", Error, "route's host name is invalid", "A host must be a DNS name, \"*.\" and a DNS name, or \"*\".", "Correct the name.", 0},
		{RouteNotAllowed, "route_not_allowed", Error, "listener does not allow the route", "allowedRoutes (or the namespace part of a server's hosts) does not admit the route's namespace or kind.", "Widen allowedRoutes, or move the route.", 0},
		{RouteTimeout, "route_timeout_invalid", Error, "timeout cannot be used", "A timeout is malformed or contradicts another.", "Write a duration such as 10s; backendRequest must not exceed request.", 500},
		{RouteRetryInvalid, "route_retry_invalid", Warning, "retry condition cannot be used", "A part of retries is not known, contradicts another part, or can never apply; that part is left out and the rest holds.", "Use the words of Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on, or status codes.", 0},
		{RouteKindConflict, "route_kind_conflict", Error, "HTTPRoute and GRPCRoute claim one host", "Gateway API lets a listener take either HTTPRoutes or GRPCRoutes for a host; the older route has it.", "Give one of the two routes other hostnames, or write all rules in one kind.", 0},
		{RouteNeverMatches, "route_never_matches", Warning, "match admits no request", "The path that the match asks for does not begin with a slash, as every path of a request does; Istio takes such a match without a word.", "Write the path with a slash before it.", 0},
	}
}

// TLS settings (54xx).
const (
	TLSFloorInvalid       Code = 5401
	CipherUnknown         Code = 5402
	CipherNotSupported    Code = 5403
	GroupUnknown          Code = 5404
	TLSSettingIneffective Code = 5405
	TLSPolicyTarget       Code = 5406
	TLSPolicyConflict     Code = 5407
	TLSLegacy             Code = 5408
	PinInvalid            Code = 5409
	CRLInvalid            Code = 5410
	VerificationOff       Code = 5411
	FileReferenceUnread   Code = 5412
)

func tlsSettingCodes() []Entry {
	return []Entry{
		{TLSFloorInvalid, "tls_version_invalid", Error, "TLS versions contradict", "The floor is above the ceiling, or the version is not known.", "Use 1.0, 1.1, 1.2 or 1.3 with floor ≤ ceiling.", 0},
		{CipherUnknown, "cipher_unknown", Error, "cipher suite is not known", "The name is neither an OpenSSL nor an IANA name of a cipher suite.", "Correct the name.", 0},
		{CipherNotSupported, "cipher_not_supported", Warning, "cipher suite cannot be offered", "Go's TLS library has no such suite (DHE, CCM, CAMELLIA …); it is left out.", "Remove it from the list.", 0},
		{GroupUnknown, "group_unknown", Error, "group is not known", "The name is not a key exchange group that can be offered.", "Use X25519MLKEM768, X25519, P-256, P-384 or P-521.", 0},
		{TLSSettingIneffective, "tls_setting_ineffective", Warning, "TLS setting has no effect", "Go's TLS library fixes the TLS 1.3 suites and the order of suites and groups.", "Remove the setting; see the documentation of TLSPolicy.", 0},
		{TLSPolicyTarget, "tls_policy_target", Warning, "TLSPolicy targets nothing", "No gateway, listener or host matches the policy's target.", "Correct the target.", 0},
		{TLSPolicyConflict, "tls_policy_conflict", Error, "two TLSPolicies with the same target", "The older one (by creation time, then name) wins.", "Remove one of them.", 0},
		{TLSLegacy, "tls_legacy", Warning, "TLS below 1.2 is enabled", "RFC 8996 deprecates TLS 1.0 and 1.1.", "Raise the floor: hakone tls-version set 1.2.", 0},
		{PinInvalid, "pin_invalid", Error, "pin is malformed", "verifyCertificateSpki takes base64 of SHA-256, verifyCertificateHash hex of SHA-256.", "Correct the pin.", 0},
		{CRLInvalid, "crl_invalid", Error, "revocation list cannot be used", "The CRL is empty, does not parse, or is signed by none of the CAs. The trust it belongs to is unusable, so whoever is judged by it is refused.", "Put a valid PEM or DER CRL into ca.crl / crl; for our own authority hakone ca crl -o configmap --config-map NAME writes CAs and lists.", 0},
		{VerificationOff, "verification_off", Warning, "verification is switched off", "insecureSkipVerify accepts any certificate.", "Remove insecureSkipVerify and give the CA.", 0},
		{FileReferenceUnread, "file_reference_unreadable", Error, "referenced certificate file cannot be read", "serverCertificate, privateKey, caCertificates or caCrl name a file that cannot be read here.", "Correct the path, or use credentialName.", 0},
	}
}

// Certificates (55xx).
const (
	KeyMismatch      Code = 5501
	ChainIncomplete  Code = 5502
	CertExpired      Code = 5503
	CertExpiresSoon  Code = 5504
	CertNoSAN        Code = 5505
	CertVersion1     Code = 5506
	CertWeakKey      Code = 5507
	CertWeakSig      Code = 5508
	CertRSA          Code = 5509
	CertNotYetValid  Code = 5510
	CertHostMismatch Code = 5511
	CertChainOrder   Code = 5512
	CertEKU          Code = 5513
	CANotCA          Code = 5514
	CAExpired        Code = 5515
	CertIsCA         Code = 5516
	CertUnparsable   Code = 5517
	KeyUnparsable    Code = 5518
	CertLongLived    Code = 5519
)

func certificateLintCodes() []Entry {
	return []Entry{
		{KeyMismatch, "key_mismatch", Error, "key does not belong to the certificate", "The private key's public half differs from the certificate's.", "Pair the right key and certificate.", 0},
		{ChainIncomplete, "chain_incomplete", Warning, "chain is incomplete", "The leaf's issuer is not in the secret and is no known root; clients without that intermediate fail.", "Append the intermediate certificates to tls.crt.", 0},
		{CertExpired, "cert_expired", Error, "certificate has expired", "Clients refuse it; Hakone serves it all the same, because refusing would hide the cause.", "Renew it.", 0},
		{CertExpiresSoon, "cert_expires_soon", Warning, "certificate expires soon", "Less than a third of its life is left (error-like below a tenth).", "Renew it.", 0},
		{CertNoSAN, "cert_no_san", Warning, "certificate has no subject alternative name", "Browsers and Go clients refuse certificates that only have a common name.", "Re-issue with subjectAltName = DNS:host.", 0},
		{CertVersion1, "cert_version_1", Warning, "certificate is X.509 version 1", "openssl x509 -req without -extfile makes such certificates; they carry no names and no usages.", "Re-issue with extensions (-copy_extensions copy, or -extfile).", 0},
		{CertWeakKey, "cert_weak_key", Error, "certificate has a weak key", "RSA keys under 2048 bits are refused by clients.", "Re-issue with RSA 2048 or P-256.", 0},
		{CertWeakSig, "cert_weak_signature", Error, "certificate has a weak signature", "SHA-1 and MD5 signatures are refused by clients.", "Re-issue with SHA-256.", 0},
		{CertRSA, "cert_rsa", Info, "ECDSA would be faster", "An RSA-2048 signature costs Go about 1.07 ms of CPU, an ECDSA P-256 signature 0.03 ms; RSA alone bounds handshakes per second.", "Add or switch to an ECDSA P-256 certificate.", 0},
		{CertNotYetValid, "cert_not_yet_valid", Error, "certificate is not valid yet", "Its notBefore lies in the future.", "Check the clock, or wait.", 0},
		{CertHostMismatch, "cert_host_mismatch", Warning, "certificate does not name the host", "Clients that ask for this host will refuse the certificate.", "Re-issue with the host among its names.", 0},
		{CertChainOrder, "cert_chain_order", Warning, "certificates are in the wrong order", "The leaf must come first and each next one must have signed the one before; Hakone serves them in the right order.", "Reorder the PEM blocks.", 0},
		{CertEKU, "cert_eku", Warning, "certificate is not for server authentication", "Its extended key usage lacks serverAuth.", "Re-issue with extendedKeyUsage = serverAuth.", 0},
		{CANotCA, "ca_not_ca", Warning, "certificate in the CA bundle is no CA", "Basic constraints say CA:FALSE, so it can only verify itself.", "Put the issuing CA into the bundle.", 0},
		{CAExpired, "ca_expired", Error, "CA has expired", "Everything it issued is refused.", "Put the renewed CA into the bundle.", 0},
		{CertIsCA, "cert_is_ca", Warning, "a CA certificate is used as leaf", "Clients may refuse it, and its key is worth more than a leaf's.", "Issue a leaf.", 0},
		{CertUnparsable, "cert_unparsable", Error, "certificate cannot be parsed", "The PEM block is no valid certificate.", "Paste the whole PEM block again.", 0},
		{KeyUnparsable, "key_unparsable", Error, "private key cannot be parsed", "The key is no PKCS #8, PKCS #1 or SEC 1 key, or it is encrypted.", "Decrypt or convert it: openssl pkey -in KEY -out KEY.pem.", 0},
		{CertLongLived, "cert_long_lived", Info, "certificate lives very long", "Publicly trusted clients refuse leaf certificates that live longer than 398 days (825 for private roots on Apple systems).", "Issue shorter ones and rotate; rotation drops no connection here.", 0},
	}
}

// Services and upstreams (56xx).
const (
	LoopbackEndpoint    Code = 5601
	DestinationInvalid  Code = 5602
	SubsetNotFound      Code = 5603
	EndpointInvalid     Code = 5604
	UpstreamTLSInvalid  Code = 5605
	ExternalNameIP      Code = 5606
	NoEndpoints         Code = 5607
	EndpointFlagUnused  Code = 5608
	ResolvedByDNS       Code = 5609
	ProtocolIneffective Code = 5610
	DestinationHidden   Code = 5611
	PlaintextToTLSPort  Code = 5612
	GRPCBackendUnusable Code = 5613
)

func serviceCodes() []Entry {
	return []Entry{
		{LoopbackEndpoint, "loopback_endpoint", Info, "endpoint on loopback", "Works here; a Kubernetes cluster refuses loopback addresses in EndpointSlices.", "Nothing to do for a folder.", 0},
		{DestinationInvalid, "destination_invalid", Error, "destination is invalid", "The destination's host or port cannot be used.", "Correct it.", 500},
		{SubsetNotFound, "subset_not_found", Error, "subset does not exist", "No DestinationRule of the host defines this subset; the route fails closed.", "Define the subset, or remove it from the route.", 503},
		{EndpointInvalid, "endpoint_invalid", Error, "endpoint is invalid", "An endpoint's address or port cannot be used.", "Correct it.", 0},
		{UpstreamTLSInvalid, "upstream_tls_invalid", Error, "TLS settings towards the upstream are invalid", "Nothing is sent unverified instead: requests to it get 503.", "Mend the field named.", 503},
		{ExternalNameIP, "external_name_ip", Warning, "ExternalName holds an IP address", "Kubernetes treats it as a DNS name made of digits.", "Use an EndpointSlice or ServiceEntry with resolution STATIC.", 0},
		{NoEndpoints, "no_endpoints", Warning, "service has no endpoints", "Requests to it get 503 until it has some.", "Add an EndpointSlice, or --endpoint NAME.NAMESPACE:PORT=HOST:PORT.", 0},
		{EndpointFlagUnused, "endpoint_flag_unused", Warning, "--endpoint names nothing", "No route leads to the name given by --endpoint yet; the flag counts as soon as one does.", "Add the route, or correct the flag.", 0},
		{ResolvedByDNS, "resolved_by_dns", Info, "destination is resolved by DNS", "Nothing in the folder gives addresses for the name, so DNS is asked.", "Nothing to do if that is meant.", 0},
		{DestinationHidden, "destination_hidden", Warning, "rule is not exported to the gateway", "exportTo hides the object from the gateway's namespace (--namespace), so it has no effect here.", "Add the gateway's namespace, or \"*\", to exportTo.", 0},
		{PlaintextToTLSPort, "plaintext_to_tls_port", Warning, "plain HTTP is sent to a TLS port", "The port's name or protocol says TLS, but nothing tells Hakone to originate it.", "Add a DestinationRule with trafficPolicy.tls.mode SIMPLE, or correct the port.", 0},
		{ProtocolIneffective, "protocol_ineffective", Warning, "declared protocol cannot be used", "The protocol that a port declares cannot carry what is routed to it, or contradicts another setting.", "Correct the port's appProtocol or name, or route to another port.", 503},
		{GRPCBackendUnusable, "grpc_backend_unusable", Error, "backend of a GRPCRoute cannot be used", "The reference leads nowhere, so its share of requests is answered with the gRPC status UNAVAILABLE, as Gateway API asks; the detail names the cause.", "hakone check names the fault.", 503},
	}
}

// Accepted, but without effect (57xx).
const (
	FieldWithoutEffect Code = 5701
)

func noEffectCodes() []Entry {
	return []Entry{
		{FieldWithoutEffect, "field_without_effect", Warning, "field has no effect yet", "The field is valid, but this version of Hakone does nothing with it.", "Do not rely on it; remove it to silence this.", 0},
	}
}

// Process (60xx).
const (
	BindRefused      Code = 6001
	AdminUnreachable Code = 6002
	ReloadRejected   Code = 6003
	SecretDeleted    Code = 6004
	SecretRotated    Code = 6005
	ReadOnlyFolder   Code = 6006
)

func processCodes() []Entry {
	return []Entry{
		{BindRefused, "bind_refused", Error, "port cannot be bound", "The operating system refused the address: another process has it, or ports below 1024 need a privilege.", "Start with the --port-map printed, or grant CAP_NET_BIND_SERVICE.", 0},
		{AdminUnreachable, "admin_unreachable", Error, "no running Hakone answers", "The command asks a running process over its admin address, and none answered.", "Start hakone run, or give --admin.", 0},
		{ReloadRejected, "reload_rejected", Error, "reload was rejected", "The new configuration yields no usable listener, so the old one goes on serving.", "Mend the errors listed.", 0},
		{SecretDeleted, "secret_deleted", Warning, "secret was deleted", "Its certificate goes on serving new handshakes for --secret-grace, then its hosts refuse (HK2301).", "Create the secret again if that was not meant.", 0},
		{SecretRotated, "secret_rotated", Info, "secret was rotated", "New handshakes get the new certificate; open connections live on.", "Nothing to do.", 0},
		{ReadOnlyFolder, "read_only_folder", Error, "configuration folder cannot be written", "The command has to write its managed file into the folder.", "Apply the object printed by other means (kubectl, GitOps).", 0},
	}
}
