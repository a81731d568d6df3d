package diag

// Istio's objects for egress: mistakes that people make with proxies (5860 to 5866), and what differs
// without sidecars (5867 to 5889).
const (
	EgressHopUnreachable   Code = 5860
	TLSToPlaintextProxy    Code = 5861
	VerificationNotReached Code = 5862
	ProxyOnlyPassed        Code = 5863
	SidecarAnnotation      Code = 5864

	EgressLoop             Code = 5867
	MeshRuleUncaptured     Code = 5868
	MeshRuleReduced        Code = 5869
	TunnelOnHTTP           Code = 5870
	TunnelInvalid          Code = 5871
	TLSInsideTLS           Code = 5872
	MeshHopPlain           Code = 5873
	ServiceEntryInvalid    Code = 5874
	ServiceEntryUncaptured Code = 5875
	OutboundPolicyRead     Code = 5876
	TCPMatchInvalid        Code = 5877
	AccessOverTCP          Code = 5878
)

// egressIstioCodes are findings about Istio's objects for egress: 5860 to 5889.
func egressIstioCodes() []Entry {
	return []Entry{
		{EgressHopUnreachable, "egress_hop_unreachable", Warning, "no workload would reach the egress gateway on this port",
			"A rule for the mesh sends traffic to a port of the egress gateway that its Service does not have: sidecars then have no cluster for it (flag NC), no byte is sent, and the gateway logs nothing. A ServiceEntry with that port does not add it to the gateway.",
			"Add the port to the egress gateway's Service; if an intercepting proxy is to be verified, use an UpstreamProxy instead, which needs no such hop.", 0},
		{TLSToPlaintextProxy, "tls_to_plaintext_proxy", Error, "TLS is originated to the plain port of a proxy",
			"The DestinationRule begins TLS with the proxy itself, whose port takes CONNECT in plain text: the proxy reads the ClientHello as a request and answers 400. That is the wrong hop (the CA of an intercepting proxy signs the destination's certificate, inside the tunnel) and the wrong order (TLS begins after the proxy's answer to CONNECT).",
			"Remove tls from the DestinationRule, and declare the proxy as an UpstreamProxy with interception.caRef.", 0},
		{VerificationNotReached, "verification_not_reached", Warning, "insecureSkipVerify changes nothing: verification is never reached",
			"The handshake fails before any certificate is shown, because the other end does not speak TLS on that port. Not verifying cannot mend that.",
			"Remove insecureSkipVerify together with the rest of tls; declare the proxy as an UpstreamProxy.", 0},
		{ProxyOnlyPassed, "proxy_only_passed", Info, "a proxy is reached as bytes: certificates are verified by the client alone",
			"A ServiceEntry names a proxy as a TCP service. That works, and CONNECT goes through it unseen: TLS inside the tunnel is between the client and whoever answers there, so nothing but the client can verify the certificate that an intercepting proxy shows.",
			"Nothing to do if clients carry the proxy's CA. To have it verified here, declare the proxy as an UpstreamProxy with interception.caRef.", 0},
		{SidecarAnnotation, "sidecar_annotation", Info, "an annotation for sidecars is not needed",
			"There is no sidecar, so nothing is to be mounted into one: CA certificates are read from Secrets and ConfigMaps by reference.",
			"Remove the annotation; refer to the Secret with credentialName or caRef.", 0},
		{EgressLoop, "egress_loop", Error, "routes of the egress gateway lead back to it",
			"Following the destinations from rule to rule comes back to the egress gateway's own port.",
			"Let the rule for the egress gateway lead to the external host.", 503},
		{MeshRuleUncaptured, "mesh_rule_uncaptured", Info, "nothing captures the traffic that a rule for the mesh is about",
			"Rules for the gateway named mesh are carried out by sidecars in Istio. Here they apply to traffic that a ForwardProxy takes (by REDIRECT, TPROXY, DNS or as a proxy), and there is none.",
			"Add a ForwardProxy, or send clients to the egress Gateway's own port (docs/istio-egress.md).", 0},
		{MeshRuleReduced, "mesh_rule_reduced", Warning, "part of a rule for the mesh does nothing",
			"Of rules for the mesh, a ForwardProxy takes where a host and port lead to: the first rule without further conditions, and one destination of it.",
			"Bind the rule to an egress Gateway, where all of it holds.", 0},
		{TunnelOnHTTP, "tunnel_on_http", Error, "tunnel does nothing for HTTP routes",
			"As in Istio, trafficPolicy.tunnel applies to tcp and tls routes only.",
			"Declare the proxy as an UpstreamProxy whose hosts name the destination: it tunnels HTTP routes too.", 0},
		{TunnelInvalid, "tunnel_invalid", Error, "tunnel settings cannot be used",
			"tunnel needs a target host and port, and CONNECT or POST as its protocol.",
			"Correct the field named.", 503},
		{TLSInsideTLS, "tls_inside_tls", Warning, "TLS is originated around TLS",
			"The route passes the client's TLS through, and the DestinationRule of its destination begins TLS once more around it; hardly a server expects that.",
			"Set tls.mode to DISABLE for that port, or terminate TLS at the Gateway.", 0},
		{MeshHopPlain, "mesh_hop_plain", Warning, "ISTIO_MUTUAL between sidecars and the egress gateway is left out",
			"There is no sidecar that would begin mutual TLS with a mesh identity, so the hop to the egress gateway collapses and its port takes what workloads speak: plain text.",
			"Protect the way to the port (the same host, or a network policy), or write mode MUTUAL with a credentialName of your own.", 0},
		{ServiceEntryInvalid, "service_entry_invalid", Error, "a ServiceEntry contradicts itself",
			"Its resolution does not fit its hosts or endpoints.", "Correct the field named.", 0},
		{ServiceEntryUncaptured, "service_entry_uncaptured", Info, "a ServiceEntry alone takes no traffic",
			"No Gateway's route and no ForwardProxy leads to the host, so nothing here serves it. In a mesh the sidecars would take the traffic.",
			"Add a ForwardProxy, which takes what clients send to the host.", 0},
		{OutboundPolicyRead, "outbound_policy_read", Info, "outboundTrafficPolicy is read from Istio's configuration",
			"It holds for ForwardProxies that say nothing themselves.", "Nothing to do if that is meant; a ForwardProxy's own outboundTrafficPolicy overrules it.", 0},
		{TCPMatchInvalid, "tcp_match_invalid", Error, "match of a tcp or tls route is invalid",
			"The match cannot be understood, so what it would have matched is refused.", "Mend the field named.", 0},
		{AccessOverTCP, "access_over_tcp", Error, "a policy on client certificates covers a host whose connections are not looked into",
			"The host is passed through by SNI, or its bytes go to a TCP destination, so no request can be decided about. Its connections are refused instead of being let in.",
			"Narrow the policy to listeners of HTTP (targetRefs with sectionName), or terminate TLS and route HTTP there.", 503},
	}
}
