package diag

// Certificates and keys that somebody inspects, issues or uploads (7050 to 7079).
const (
	InputUnrecognised   Code = 7050
	InputRepaired       Code = 7051
	PEMLabelWrong       Code = 7052
	InputTruncated      Code = 7053
	InputTooLarge       Code = 7054
	KeyEncrypted        Code = 7055
	PKCS12Password      Code = 7056
	PKCS12Unusable      Code = 7057
	OCSPResponseInvalid Code = 7058
	CertRevoked         Code = 7059
	TrailingBytes       Code = 7061
	EndpointUnreachable Code = 7062
	UntrustedHere       Code = 7063
	KeyFileExists       Code = 7064
	NewerThanServed     Code = 7065
	ExpiresWithin       Code = 7066
	PullBodyInvalid     Code = 7067
	PullNotFound        Code = 7068
	EnrolmentInvalid    Code = 7069
	ServerWantsCert     Code = 7070
	OCSPResponseStale   Code = 7071
)

func inspectCodes() []Entry {
	return []Entry{
		{InputUnrecognised, "input_unrecognised", Error, "nothing known is in the input", "The bytes are no certificate, request, key, chain, PKCS #12 container, revocation list or OCSP response, in none of the encodings that people wrap them in.", "Look at what the message says it resembles, and give the right file.", 0},
		{InputRepaired, "input_repaired", Warning, "input had to be mended to be read", "The content is there, but wrapped in a way that most programs do not read: literal \\n instead of line ends, base64 of base64, UTF-16, a byte order mark, indented PEM lines.", "Write it again as plain PEM: hakone cert inspect --repair FILE prints it.", 0},
		{PEMLabelWrong, "pem_label_wrong", Warning, "PEM label does not say what the block holds", "OpenSSL and Go go by the label between the dashes, so they pass over the block.", "Correct the label, or write it again: hakone cert inspect --repair FILE prints it.", 0},
		{InputTruncated, "input_truncated", Error, "input ends in the middle", "DER says how long it is, and the bytes end before that; or a PEM block has no END line.", "Copy the whole file again.", 0},
		{InputTooLarge, "input_too_large", Error, "input is too large", "At most 10 MiB are read.", "Give the file that holds the certificate, not the archive around it.", 0},
		{KeyEncrypted, "key_encrypted", Warning, "private key is encrypted", "Without its passphrase nothing can be said about it, and a gateway cannot use it.", "Decrypt it: openssl pkey -in KEY -out KEY.pem.", 0},
		{PKCS12Password, "pkcs12_password", Error, "PKCS #12 container needs another password", "The container's checksum does not verify under the password given (or under none).", "Give the password: --password-file FILE, or - for standard input.", 0},
		{PKCS12Unusable, "pkcs12_unusable", Error, "PKCS #12 container cannot be read", "It uses an encoding (BER) or an algorithm that is not read here.", "Write it again: openssl pkcs12 -in FILE -nodes -out FILE.pem (with -legacy for old ones).", 0},
		{OCSPResponseInvalid, "ocsp_response_invalid", Error, "OCSP response cannot be used", "It does not parse, is an error of the responder, or is not signed by the issuer of the certificate or somebody whom the issuer appointed.", "Ask the responder again; if it stays so, the responder is wrong.", 0},
		{CertRevoked, "certificate_revoked", Error, "certificate is revoked", "A revocation list or an OCSP response beside it names this certificate, or the responder does not know it.", "Issue a new certificate.", 0},
		{TrailingBytes, "trailing_bytes", Warning, "bytes follow after the end", "Something stands behind the end of the DER structure; strict readers refuse it.", "Remove what follows: hakone cert inspect --repair FILE prints what was read.", 0},
		{EndpointUnreachable, "endpoint_unreachable", Error, "server cannot be inspected", "No TLS handshake came far enough to show a certificate.", "Check host, port and that it speaks TLS from the first byte.", 0},
		{UntrustedHere, "untrusted_here", Warning, "chain does not lead to a trusted CA", "Neither the machine's CAs nor those given with --ca vouch for it; clients that know no more refuse it.", "Give the private CA with --ca FILE, or serve a chain that leads to a public one.", 0},
		{KeyFileExists, "key_file_exists", Error, "a key file is there already", "A private key is never overwritten by accident: what it belongs to would be lost.", "Write elsewhere, or say --force.", 0},
		{NewerThanServed, "newer_than_served", Warning, "another certificate stands in the source than is served", "The file or Secret as it stands now is not what the process serves: it was changed a moment ago, or it could not be used.", "Look at hakone status and hakone check DIR; hakone run reads its folders again on SIGHUP.", 0},
		{ExpiresWithin, "expires_within", Warning, "something expires soon", "It ends within the time asked about (--within), or has ended.", "Renew it; hakone cert calendar lists what is due.", 0},
		{PullBodyInvalid, "pull_body_invalid", Error, "body of the upload cannot be used", "It must be a JSON object with the strings certificate and private_key, whose line ends are \\n, as Cloudflare's and IBM CIS's API take it.", "Make it as in the example of hakone origin pull upload --help.", 0},
		{PullNotFound, "pull_not_found", Error, "no origin pull certificate of that zone or host", "Only what was uploaded or written as OriginPull can be switched.", "hakone origin pull ls lists what there is; upload one first.", 0},
		{EnrolmentInvalid, "enrolment_invalid", Error, "origin cannot be enrolled so", "A name, host or folder that was given cannot be used.", "See hakone origin enroll --help.", 0},
		{ServerWantsCert, "server_wants_certificate", Info, "server asks for a client certificate", "The handshake was finished without one, or ended by the server because there was none; its own certificate is shown all the same.", "Nothing to do.", 0},
		{OCSPResponseStale, "ocsp_response_stale", Error, "OCSP response is not current", "Its thisUpdate lies in the future or its nextUpdate in the past; clients that check it refuse.", "Fetch a fresh one; a responder should sign anew well before nextUpdate.", 0},
	}
}
