package diag

// Hello, negotiation, transport (10xx, 11xx).
const (
	TLSVersionTooLow   Code = 1001
	NoCommonCipher     Code = 1002
	NoCommonGroup      Code = 1003
	NoCommonALPN       Code = 1004
	SNIUnknown         Code = 1005
	SNIMissing         Code = 1006
	HelloMalformed     Code = 1007
	TLSVersionTooHigh  Code = 1008
	HelloTooLarge      Code = 1009
	HandshakeFailed    Code = 1010
	NoCommonSignature  Code = 1011
	PlaintextOnTLSPort Code = 1101
	NotTLS             Code = 1102
	ClosedBeforeHello  Code = 1103
	HandshakeTimeout   Code = 1104
	ClosedInHandshake  Code = 1105
	TLSOnPlaintextPort Code = 1106
	ConnectionLimit    Code = 1107
	ClosedAfterShake   Code = 1108
	Renegotiation      Code = 1109
	TLSRecordFlood     Code = 1110
)

func helloCodes() []Entry {
	return []Entry{
		{TLSVersionTooLow, "tls_version_too_low", Error, "client offers only TLS versions below the floor",
			"The highest TLS version in the ClientHello is below the minimum of this host. The client got alert 70 (protocol_version).",
			"Upgrade the client, or lower the floor for this host: hakone tls-version set 1.1 --host NAME (RFC 8996 advises against it).", 0},
		{NoCommonCipher, "no_common_cipher", Error, "no cipher suite in common",
			"Client and host share no cipher suite, often because the client accepts only RSA certificates and the host has only ECDSA, or the reverse. The client got alert 40.",
			"Give the host a second certificate of the other key type (credentialNames, or two certificateRefs), or widen cipherSuites.", 0},
		{NoCommonGroup, "no_common_group", Error, "no key exchange group in common",
			"Client and host share no elliptic curve or hybrid group. The client got alert 40.",
			"Widen the groups of the TLSPolicy, or upgrade the client.", 0},
		{NoCommonALPN, "no_common_alpn", Error, "no application protocol in common",
			"The client offered only application protocols (ALPN) that this listener does not speak. The client got alert 120.",
			"Enable the protocol on the listener, or let the client offer http/1.1.", 0},
		{SNIUnknown, "sni_unknown", Error, "no listener for the requested server name",
			"The ClientHello asks for a server name (SNI) that no host of this listener covers. The connection was closed without an alert, as Gateway API asks.",
			"Add the name to a Gateway's hosts or listener hostname, or correct the name at the client. hakone dump listeners shows what is served.", 0},
		{SNIMissing, "sni_missing", Error, "client sent no server name",
			"The ClientHello carries no server name (SNI) and no host of this listener covers any name. Clients that connect by IP address send none.",
			"Connect by name, or add a listener without hostname (Istio: hosts \"*\").", 0},
		{HelloMalformed, "hello_malformed", Error, "malformed ClientHello",
			"The first handshake message could not be parsed as a ClientHello (RFC 8446 section 4.1.2).",
			"Check what speaks to this port; a scanner or a broken middlebox is typical.", 0},
		{TLSVersionTooHigh, "tls_version_too_high", Error, "client offers only TLS versions above the ceiling",
			"The host's maximum TLS version is below everything the client offers. The client got alert 70.",
			"Raise or remove the ceiling (maxProtocolVersion, TLSPolicy spec.maxVersion).", 0},
		{HelloTooLarge, "hello_too_large", Error, "ClientHello exceeds the bound",
			"The ClientHello, over all its records, is larger than Hakone reads (64 KiB).",
			"Check the client; no known client sends so large a hello.", 0},
		{HandshakeFailed, "handshake_failed", Error, "handshake failed",
			"The handshake failed for a cause outside the other codes; the log line's err holds the TLS library's words.",
			"Read err and the recorded hello; report it if the sentence does not help.", 0},
		{NoCommonSignature, "no_common_signature_algorithm", Error, "no signature algorithm in common",
			"The client accepts no signature algorithm that the host's certificate can make, for example only SHA-1 or only RSA-PSS with a small key. The client got alert 40.",
			"Give the host a certificate with a key the client can verify, or upgrade the client.", 0},
		{PlaintextOnTLSPort, "plaintext_on_tls_port", Error, "plain HTTP on a TLS port",
			"The client spoke HTTP without TLS on a port that terminates TLS. It was answered in plain HTTP with 400.",
			"Use https:// at the client, or a listener of protocol HTTP.", 400},
		{NotTLS, "not_tls", Error, "neither TLS nor HTTP on a TLS port",
			"The first bytes are no TLS record; the log line names the protocol if it is known (SSH, PROXY protocol, SMTP …).",
			"Check which service the client meant.", 0},
		{ClosedBeforeHello, "closed_before_hello", Info, "connection closed before any byte",
			"The peer connected and closed without sending anything: a TCP health check or a port scan. Counted, not logged as an error.",
			"Nothing to do. Point health checks at /readyz of the admin address for a better answer.", 0},
		{HandshakeTimeout, "handshake_timeout", Error, "handshake not finished in time",
			"The peer did not finish the TLS handshake within the handshake timeout.",
			"Look for packet loss or a slow client; the bound is --handshake-timeout.", 0},
		{ClosedInHandshake, "closed_in_handshake", Error, "peer closed during the handshake",
			"The connection ended in the middle of the handshake without an alert.",
			"Clients that dislike a certificate often just close; compare with HK2201. Load balancers that probe with half a handshake look the same.", 0},
		{TLSOnPlaintextPort, "tls_on_plaintext_port", Error, "TLS hello on a plain HTTP port",
			"The client began a TLS handshake on a listener of protocol HTTP.",
			"Use http:// at the client, or protocol HTTPS on the listener.", 0},
		{ConnectionLimit, "connection_limit", Error, "too many connections",
			"The listener is at its bound of open connections; the new connection was closed at once.",
			"Raise --max-connections, or find who holds so many connections open.", 0},
		{ClosedAfterShake, "closed_after_handshake", Info, "peer closed right after the handshake without a request",
			"The handshake succeeded and the client closed without sending a byte. curl does so when the name or a pin does not match its wish.",
			"Compare the certificate's names with the SNI in the log line.", 0},
		{Renegotiation, "renegotiation_refused", Error, "client began a renegotiation",
			"The client began another handshake on its TLS 1.2 connection. Hakone never renegotiates (RFC 9325 section 3.5): each would cost us a signature and the client nothing. The connection was ended with alert 10.",
			"If the client is honest, configure it not to renegotiate; client certificates are asked for in the first handshake.", 0},
		{TLSRecordFlood, "tls_record_flood", Error, "client floods the connection with TLS records that carry nothing",
			"More KeyUpdates, empty records or fragments came than --tls-idle-record-burst and --tls-idle-record-rate allow; the connection was closed.",
			"If the client is honest, raise --tls-idle-record-burst.", 0},
	}
}

// Client certificates (21xx), the peer's verdict on ours (22xx), our credentials (23xx).
const (
	ClientCertMissing        Code = 2101
	ClientCertUnknownCA      Code = 2102
	ClientCertExpired        Code = 2103
	ClientCertNotYetValid    Code = 2104
	ClientCertWrongEKU       Code = 2105
	ClientCertRevoked        Code = 2106
	ClientCertSANMismatch    Code = 2107
	ClientCertPinMismatch    Code = 2108
	ClientCertMalformed      Code = 2109
	ClientCertChainTooLong   Code = 2110
	ClientCertNameConstraint Code = 2111
	ClientCertWeakKey        Code = 2112
	ClientCertNoPossession   Code = 2113
	CRLStale                 Code = 2114
	ClientCertInvalid        Code = 2115
	CRLMissing               Code = 2116

	PeerRejectedCert    Code = 2201
	PeerUnknownCA       Code = 2202
	PeerCertExpired     Code = 2203
	PeerAlert           Code = 2204
	PeerCertUnsupported Code = 2205

	CredentialWithdrawn Code = 2301
	CredentialMissing   Code = 2302
	TrustMissing        Code = 2303
	ClientCertWithdrawn Code = 2304
)

func certificateReasonCodes() []Entry {
	return []Entry{
		{ClientCertMissing, "client_cert_missing", Error, "client sent no certificate",
			"The host (MUTUAL) or a policy on the path requires a client certificate and the client sent none. Where the host does, TLS 1.3 clients see alert 116 (certificate_required) on their first read and TLS 1.2 clients alert 40; where a policy does, the answer is 403.",
			"Give the client a certificate of an accepted issuer: curl --cert client.crt --key client.key.", 403},
		{ClientCertUnknownCA, "client_cert_unknown_ca", Error, "client certificate of an unknown issuer",
			"The client's certificate does not lead to a CA in the host's trust bundle. Equal names do not help: the signature has to verify. Alert 48, or 42 where Hakone verifies by itself.",
			"Issue the certificate from an accepted CA, send the intermediates, or add the CA to ca.crt / cacert.", 403},
		{ClientCertExpired, "client_cert_expired", Error, "client certificate has expired",
			"The client's certificate, or one of its issuers, is past its notAfter.", "Renew the client's certificate.", 403},
		{ClientCertNotYetValid, "client_cert_not_yet_valid", Error, "client certificate is not valid yet",
			"The certificate's notBefore lies in the future, seen from this machine's clock.",
			"Check both clocks, or wait until the certificate is valid.", 403},
		{ClientCertWrongEKU, "client_cert_wrong_eku", Error, "client certificate is not for client authentication",
			"The certificate's extended key usage lacks clientAuth.", "Issue it with extendedKeyUsage = clientAuth.", 403},
		{ClientCertRevoked, "client_cert_revoked", Error, "client certificate is revoked",
			"A certificate revocation list of the trust bundle names this certificate. Go's TLS library can only send alert 42 (bad_certificate), not 44.",
			"Issue a new certificate to the client.", 403},
		{ClientCertSANMismatch, "client_cert_san_mismatch", Error, "client certificate has none of the wanted names",
			"The chain is good, but no subject alternative name is in the host's subjectAltNames list.",
			"Issue the certificate with a listed name, or add its name to the list.", 403},
		{ClientCertPinMismatch, "client_cert_pin_mismatch", Error, "client certificate is not pinned",
			"The chain is good, but neither the SPKI nor the certificate hash is in the host's pin list.",
			"Add the pin (hakone prints both hashes in the log line), or use the pinned certificate.", 403},
		{ClientCertMalformed, "client_cert_malformed", Error, "client certificate cannot be parsed",
			"The certificate the client sent is not valid DER, or has a critical extension nobody here understands.",
			"Re-issue the certificate with current tools.", 403},
		{ClientCertChainTooLong, "client_cert_chain_too_long", Error, "client certificate chain is too long",
			"The chain has more intermediates than a CA's path length, or than Hakone follows.", "Shorten the chain or raise the CA's pathlen.", 403},
		{ClientCertNameConstraint, "client_cert_name_constraint", Error, "client certificate violates a CA's name constraints",
			"A CA of the chain is constrained to names that do not include this certificate's.", "Issue from a CA whose constraints permit the name.", 403},
		{ClientCertWeakKey, "client_cert_weak", Error, "client certificate has a weak key or signature",
			"Keys under RSA 2048 (RSA 1024 and less are refused), and SHA-1 or MD5 signatures, are not accepted.", "Re-issue with RSA 2048 or P-256 and SHA-256.", 403},
		{ClientCertNoPossession, "client_cert_no_possession", Error, "client did not prove that it holds the certificate's key",
			"The CertificateVerify signature does not match the certificate's public key: somebody presented a certificate without its private key.",
			"Pair certificate and key at the client. If the client is not yours, somebody is trying a stranger's certificate.", 0},
		{CRLStale, "crl_stale", Error, "revocation list is past its nextUpdate",
			"The configured revocation list has not been renewed in time, so revocation cannot be judged.", "Publish a fresh CRL into the secret's ca.crl.", 403},
		{ClientCertInvalid, "client_cert_invalid", Error, "client certificate does not verify",
			"Verification failed for a cause outside the other 21xx codes; the log line's err has the words.", "Inspect the certificate: openssl x509 -text.", 403},
		{CRLMissing, "crl_missing", Error, "no revocation list for an issuer of the certificate",
			"Revocation lists are configured, but none of them was issued by the CA that issued this certificate (or one above it), so revocation cannot be judged.",
			"Add that CA's list to ca.crl / crl: every CA of the chain needs one.", 403},
		{PeerRejectedCert, "peer_rejected_certificate", Error, "client rejected our certificate",
			"The client ended the handshake with alert 42 (bad_certificate) or 46 (certificate_unknown). Go clients send 42 for any cause; the log line ranks the likely ones from what Hakone sees.",
			"Check that the client trusts the issuer, and that the certificate names the host and is not expired.", 0},
		{PeerUnknownCA, "peer_unknown_ca", Error, "client does not trust our certificate's issuer",
			"The client ended the handshake with alert 48 (unknown_ca), or with 51 (decrypt_error) because the CA it trusts has the right name and another key. OpenSSL 3 sends it unencrypted under TLS 1.3; most servers log that as a bad record MAC.",
			"Give the client the issuing CA (curl --cacert), or send the missing intermediate.", 0},
		{PeerCertExpired, "peer_certificate_expired", Error, "client finds our certificate expired",
			"The client ended the handshake with alert 45 (certificate_expired).", "Renew the host's certificate; check the client's clock.", 0},
		{PeerAlert, "peer_alert", Error, "client ended the handshake with an alert",
			"The client sent a fatal alert; its number and name are in the log line.", "Look the alert up in RFC 8446 section 6.2.", 0},
		{PeerCertUnsupported, "peer_certificate_unsupported", Error, "client cannot use our certificate's type",
			"The client sent alert 43 (unsupported_certificate) or 44 (certificate_revoked).", "Give the host a certificate the client supports.", 0},
		{CredentialWithdrawn, "credential_withdrawn", Error, "the host's secret was deleted",
			"The secret with this host's certificate was deleted and its grace (--secret-grace) is over, so new handshakes are refused; open connections live on.",
			"Create the secret again; it is picked up at once.", 0},
		{CredentialMissing, "credential_missing", Error, "the host has no usable certificate",
			"No usable secret was ever seen for this host, so nothing is served for it; Hakone has no default certificate.",
			"Create the secret; hakone check names it and what is wrong.", 0},
		{TrustMissing, "trust_missing", Error, "the host's client CA is missing",
			"The host demands client certificates, and its CA bundle is missing or empty. There is no grace for a CA: every client is refused.",
			"Put ca.crt (or cacert) back into the secret, or the <name>-cacert secret.", 0},
		{ClientCertWithdrawn, "client_cert_withdrawn", Error, "the client's certificate is not accepted any more",
			"The connection was opened with a certificate, or without one, that the host's present CAs, revocation lists or settings would refuse. Nothing new is served on it; what was in progress ends, at the latest after --withdrawn-grace. The log line's detail has the cause and its code. A certificate that merely expires during a connection does not end it.",
			"Let the client connect again with a certificate of an accepted issuer. If the change was not meant, put the CA back into the bundle: rotate by adding the new CA first and removing the old one last.", 421},
	}
}
