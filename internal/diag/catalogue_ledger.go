package diag

// Alerts about destinations outside: 6030 to 6049.
const (
	EgressIssuerChanged  Code = 6030
	EgressNotIntercepted Code = 6031
	EgressIntercepted    Code = 6032
)

func ledgerCodes() []Entry {
	return []Entry{
		{EgressIssuerChanged, "egress_issuer_changed", Warning, "the certificate of a destination comes from another issuer than until now",
			"By the same way (through the same proxy, or directly), a host shows a certificate whose issuer has not been seen for it before. Public CAs change their issuing certificates now and then; a company's proxy does when its CA is renewed; somebody who intercepts does too.",
			"Compare the issuers with hakone egress explain HOST. If the change is meant, hakone egress ack HOST; else find out who is on the way.", 0},
		{EgressNotIntercepted, "egress_not_intercepted", Warning, "a proxy does not intercept a destination that it is expected to intercept",
			"Through an UpstreamProxy with an interception CA a host showed its own certificate, or began to.",
			"Ask whoever runs the proxy whether the host is exempt; if it may be, set interception.expect to Sometimes. hakone egress ack HOST ends the alert.", 0},
		{EgressIntercepted, "egress_intercepted", Warning, "a destination is intercepted that was not, or where nobody should",
			"A direct connection showed a certificate that the interception CA of an UpstreamProxy signed, or a proxy began to intercept a host that it had passed through.",
			"If that is meant, send the host through the UpstreamProxy (hosts); else find out who intercepts. hakone egress ack HOST ends the alert.", 0},
	}
}
