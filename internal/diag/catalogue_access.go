package diag

// Policies on client certificates: reasons (2117 to 2139). The others of 21xx say what is wrong with a
// certificate, and are the reasons of policies as well.
const (
	ClientCertNotAuthorised Code = 2117
	ClientCertDenied        Code = 2118
	IdentityInvalid         Code = 2120
	IdentityExpired         Code = 2121
	IdentityRevoked         Code = 2122
	PolicyNeedsTLS          Code = 2123
	PolicyBroken            Code = 2124
	AccessWithdrawn         Code = 2125
)

// Findings about policies (5801 to 5819).

func accessCodes() []Entry {
	return []Entry{
		{ClientCertNotAuthorised, "client_cert_not_authorised", Error, "client certificate is good, but not among those that are let in",
			"The certificate verifies, but no rule of the policy's spec.allow holds for it. The log line's detail says of each rule which part did not hold.",
			"Add a rule for the certificate's names to spec.allow, or issue a certificate that a rule names. hakone policy test shows the decision for any certificate.", 403},
		{ClientCertDenied, "client_cert_denied", Error, "client certificate is among those that are kept out",
			"The certificate verifies, but a rule of the policy's spec.deny holds for it; that outweighs spec.allow.",
			"Take the rule out of spec.deny if it was meant for others.", 403},
		{IdentityInvalid, "identity_invalid", Error, "identity cookie is not valid",
			"The policy accepts its identity cookie alone, and the request had no certificate and a cookie that this gateway did not sign, or that belongs to another host or policy. Keys that the process makes itself end with it.",
			"Come with the certificate once: the answer brings a new cookie. Give the policy a key of its own (spec.session.keyRef) where cookies should outlive a restart.", 403},
		{IdentityExpired, "identity_expired", Error, "identity cookie has expired",
			"The policy accepts its identity cookie alone, and the request had no certificate and a cookie past its time (spec.session.duration, or the end of the certificate).",
			"Come with the certificate once: the answer brings a new cookie.", 403},
		{IdentityRevoked, "identity_revoked", Error, "identity cookie is revoked",
			"The cookie is properly signed and in time, but it was issued before spec.session.notBefore, its certificate has been revoked since, or the policy's rules or CAs have changed since.",
			"Come with the certificate once: the answer brings a new cookie.", 403},
		{PolicyNeedsTLS, "policy_needs_tls", Error, "a policy on client certificates holds, and the connection is plain HTTP",
			"The listener does not terminate TLS, so no client can show a certificate, and the policy lets nobody in.",
			"Redirect from this listener to one with TLS, or take it out of the policy's targets.", 403},
		{PolicyBroken, "policy_broken", Error, "the policy on client certificates cannot be carried out",
			"What the policy says is unusable as a whole, and a policy that cannot be carried out lets nobody in.",
			"hakone check names the field; correct it.", 403},
		{AccessWithdrawn, "access_withdrawn", Error, "a changed policy ends the connection at once",
			"The policy, its CAs or its revocation lists have changed, it says onChange: Now, and it does not let this client in any more. The connection was closed with what was in progress on it.",
			"Let the client connect again with a certificate that the policy accepts.", 421},
	}
}
