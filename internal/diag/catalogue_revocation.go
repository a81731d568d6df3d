package diag

// Revocation: of clients (2140 to 2159), of upstreams (3117 to 3129), of our own credentials (2305 to 2309), findings (5520 to 5539).
const (
	ClientCertRevokedLocally Code = 2140
	ClientCertRevokedOCSP    Code = 2141
	ClientRevocationUnknown  Code = 2142
	ClientOCSPInvalid        Code = 2143
	ClientCRLInvalid         Code = 2144

	UpstreamRevokedLocally    Code = 3117
	UpstreamRevokedOCSP       Code = 3118
	UpstreamRevocationUnknown Code = 3119
	UpstreamOCSPInvalid       Code = 3120
	UpstreamCRLInvalid        Code = 3121
	UpstreamStapleMissing     Code = 3122

	OwnCertRevoked Code = 2305
	StapleMissing  Code = 2306
	StapleFailed   Code = 2307

	BundlePartial Code = 5520
	BundleOrphan  Code = 5521
)

func revocationCodes() []Entry {
	return []Entry{
		{ClientCertRevokedLocally, "client_cert_revoked_locally", Error, "client certificate is revoked by the policy itself",
			"The policy's revocation.serials names the certificate's serial number, or revocation.spki a key of its chain.",
			"Issue a new certificate with a new key to the client, or remove the entry if it was meant for another.", 403},
		{ClientCertRevokedOCSP, "client_cert_revoked_ocsp", Error, "client certificate is revoked, says its CA's responder",
			"The OCSP responder that the certificate names answered that the certificate, or one of its issuers, is revoked.",
			"Issue a new certificate to the client.", 403},
		{ClientRevocationUnknown, "client_revocation_unknown", Error, "it cannot be found out whether the client certificate is revoked",
			"Revocation is checked in mode Hard, and nothing that can be asked has answered: no responder or distribution point is named, none could be reached within --revocation-wait, or the responder does not know the certificate. The log line's detail has which.",
			"Make the responder or the list reachable from the gateway, configure the CA's list (ca.crl), or use mode Soft.", 403},
		{ClientOCSPInvalid, "client_ocsp_invalid", Error, "the OCSP answer about the client certificate proves nothing",
			"A responder answered, but the answer is past its nextUpdate, not signed by the certificate's issuer or a responder that it has authorised (RFC 6960 section 4.2.2.2), or about another certificate.",
			"Correct the responder: openssl ocsp -issuer ISSUER -cert CERT -url URL shows its answer.", 403},
		{ClientCRLInvalid, "client_crl_invalid", Error, "the fetched revocation list for the client certificate proves nothing",
			"A list was fetched from a distribution point, but it is past its nextUpdate, signed by somebody else than the certificate's issuer, or limited to other certificates.",
			"Have the CA publish a fresh list: openssl crl -inform DER -in LIST -noout -text shows it.", 403},
		{UpstreamRevokedLocally, "upstream_cert_revoked_locally", Error, "upstream certificate is revoked by the settings themselves",
			"The upstream's revocation settings name the certificate's serial number or a key of its chain.",
			"Give the upstream a new certificate with a new key, or remove the entry.", 502},
		{UpstreamRevokedOCSP, "upstream_cert_revoked_ocsp", Error, "upstream certificate is revoked, says its CA's responder",
			"The OCSP answer, stapled by the upstream or fetched from the responder, says that the certificate or one of its issuers is revoked.",
			"Renew the upstream's certificate.", 502},
		{UpstreamRevocationUnknown, "upstream_revocation_unknown", Error, "it cannot be found out whether the upstream certificate is revoked",
			"Revocation is checked hard, the upstream stapled no answer, and nothing that can be asked has answered within --revocation-wait.",
			"Let the upstream staple, make the responder or the list reachable from the gateway, or check softly.", 502},
		{UpstreamOCSPInvalid, "upstream_ocsp_invalid", Error, "the OCSP answer about the upstream certificate proves nothing",
			"The answer is past its nextUpdate, not signed by the certificate's issuer or a responder that it has authorised, or about another certificate.",
			"Correct the responder, or the upstream's stapling.", 502},
		{UpstreamCRLInvalid, "upstream_crl_invalid", Error, "the fetched revocation list for the upstream certificate proves nothing",
			"A list was fetched from a distribution point, but it is past its nextUpdate, signed by somebody else than the certificate's issuer, or limited to other certificates.",
			"Have the CA publish a fresh list.", 502},
		{UpstreamStapleMissing, "upstream_staple_missing", Error, "upstream certificate demands a stapled OCSP answer and came without",
			"The certificate has the TLS feature status_request (RFC 7633, must-staple), and the upstream stapled nothing that can be used, which is how a revoked certificate is hidden. Checked where the upstream's revocation is checked hard.",
			"Turn stapling on at the upstream (nginx: ssl_stapling on; HAProxy: ocsp-update on).", 502},
		{OwnCertRevoked, "own_cert_revoked", Error, "a certificate that listeners serve is revoked",
			"The OCSP responder of its CA says that a certificate of ours is revoked. It goes on being served, without a staple: clients that ask the CA refuse it.",
			"Renew the certificate with a new key, and put it into its secret.", 0},
		{StapleMissing, "staple_missing", Warning, "a must-staple certificate is served without a staple",
			"The certificate has the TLS feature status_request (RFC 7633), so clients refuse it without a stapled OCSP answer, and none could be had: the log line's detail says why.",
			"Make the responder reachable from the gateway, and have the issuer's certificate in the chain of the secret; or put an answer into tls.ocsp-staple.", 0},
		{StapleFailed, "staple_failed", Warning, "no OCSP answer to staple could be had",
			"The responder that a served certificate names did not give a usable answer. It is served without a staple, and tried again.",
			"Make the responder reachable from the gateway, or switch stapling off: --ocsp-stapling off.", 0},
		{BundlePartial, "bundle_partial", Warning, "trust bundle holds no root",
			"No certificate of the bundle is self-signed, so its certificates are taken as anchors themselves (partial chains). As soon as the bundle holds a root, the others only help to build paths to it.",
			"Add the root's certificate to ca.crt (cacert), or leave it if exactly these intermediates are to be trusted.", 0},
		{BundleOrphan, "bundle_orphan", Warning, "certificate of a trust bundle leads to no root in it",
			"The bundle holds roots, so that its other certificates only build paths, and no path leads from this one to any of them: it has no effect.",
			"Add the root that it leads to, or remove it. To trust an intermediate alone, put it into a bundle without roots.", 0},
	}
}
