package diag

// The authority: 7001 to 7029 are its own, 7030 to 7059 belong to commands, enrolment and the calendar.
const (
	AuthorityNotFound      Code = 7001
	AuthorityExists        Code = 7002
	AuthorityJournalBroken Code = 7003
	AuthorityJournalTorn   Code = 7004
	AuthorityLocked        Code = 7005
	AuthorityStore         Code = 7006
	AuthorityStoreFull     Code = 7007
	AuthorityKey           Code = 7008
	AuthorityKeyExposed    Code = 7009
	AuthoritySetup         Code = 7010
	CertRefused            Code = 7011
	IssueInvalid           Code = 7012
	CSRInvalid             Code = 7013
	CSRChanged             Code = 7014
	NameInvalid            Code = 7015
	NameOutsideConstraints Code = 7016
	NameUnderscore         Code = 7017
	NameWildcard           Code = 7018
	ValidityTooLong        Code = 7019
	ValidityShortened      Code = 7020
	KeyRefused             Code = 7021
	CertNotIssuedHere      Code = 7022
	CertAlreadyRevoked     Code = 7023
	RevocationReason       Code = 7024
	RotationOrder          Code = 7025
	RotationNotOver        Code = 7026
	IssuerExpired          Code = 7027
	CrossSignImpossible    Code = 7028
	CertUnnamed            Code = 7029
)

// The authority and its certificates (70xx).
func authorityCodes() []Entry {
	return []Entry{
		{AuthorityNotFound, "authority_not_found", Error, "there is no such authority", "The directory or folder of Secrets holds no authority of that name, or its making was cut off before it was ready.", "Make one with hakone ca init, or correct --ca-dir and --name.", 0},
		{AuthorityExists, "authority_exists", Error, "the authority exists already", "Making it again would replace the key that everything issued so far depends on.", "Use another name, or rotate the root with hakone ca rotate.", 0},
		{AuthorityJournalBroken, "authority_journal_broken", Error, "the journal was changed or shortened", "Each line of the journal holds the hash of the one before, and its end is noted beside it. A line that does not fit means that the file was edited, or that its end is missing; what was issued is then not known, so nothing more is issued.", "Restore the directory from a backup; the message names the line.", 0},
		{AuthorityJournalTorn, "authority_journal_torn", Warning, "a torn last line of the journal was dropped", "The process or the machine died while it wrote; what the line was for had not been handed out.", "Nothing to do.", 0},
		{AuthorityLocked, "authority_locked", Error, "another process works on the authority", "Changes are made one after the other; the lock of the other one did not end in time.", "Try again; if no other process is there, look for one that hangs.", 0},
		{AuthorityStore, "authority_store", Error, "the authority's store cannot be used", "A file of the authority cannot be read or written.", "Correct the permissions or the disk; the message names the file.", 0},
		{AuthorityStoreFull, "authority_store_full", Error, "the Secrets of the authority are full", "A Kubernetes Secret holds at most 1 MiB, and the journal is kept in at most 64 of them.", "Keep the authority in a directory (--ca-dir); it has no such bound.", 0},
		{AuthorityKey, "authority_key", Error, "a key of the authority cannot be used", "The key file is missing, damaged, encrypted with another passphrase, or belongs to another certificate.", "Give the right passphrase file, or restore the key file.", 0},
		{AuthorityKeyExposed, "authority_key_exposed", Warning, "others can read a key of the authority", "Key files are made with mode 0600 and directories with 0700; somebody changed that.", "chmod 600 the file named, and treat the key as exposed if others use this machine.", 0},
		{AuthoritySetup, "authority_setup_invalid", Error, "the authority asked for cannot be made", "A field of the setup cannot be used.", "Correct the field named.", 0},
		{CertRefused, "certificate_refused", Error, "the authority refuses to issue", "What was asked for would be a certificate that clients refuse, or that is not this authority's to issue. Nothing was signed.", "Correct what the findings name.", 422},
		{IssueInvalid, "certificate_request_invalid", Error, "the request cannot be understood", "A field of the request is missing or cannot be used.", "Correct the field named.", 400},
		{CSRInvalid, "csr_invalid", Error, "the certificate signing request cannot be used", "It cannot be parsed, or its signature does not prove that the asker has the key.", "Make it again: openssl req -new -key KEY -subj /CN=NAME -addext subjectAltName=DNS:NAME.", 400},
		{CSRChanged, "csr_changed", Info, "not everything of the signing request was honoured", "The profile decides usages and basic constraints; names and subject given to the authority replace those of the request.", "Nothing to do if that is meant; else choose another profile.", 0},
		{NameInvalid, "certificate_name_invalid", Error, "a name cannot stand in a certificate", "It is no host name, IP address, e-mail address or URI, or there are too many.", "Correct the name.", 422},
		{NameOutsideConstraints, "certificate_name_outside_constraints", Error, "a name is outside the authority's constraints", "The authority's own certificate says for which names it may issue; clients refuse others.", "Use a name inside, or an authority with other constraints.", 422},
		{NameUnderscore, "certificate_name_underscore", Warning, "a host name holds an underscore", "DNS has such names and most clients take them, but public authorities and some clients refuse them in certificates.", "Rename the host where that is possible.", 0},
		{NameWildcard, "certificate_name_wildcard", Error, "a wildcard stands where it matches nothing", "Clients accept * only as the whole first label, and not directly above a top-level domain.", "Write *.example.com.", 422},
		{ValidityTooLong, "certificate_validity_too_long", Error, "the certificate would live too long", "It would outlive its issuer, or live longer than its profile allows.", "Ask for less, or use profile origin (up to 5475 days); rotate the root if the issuer ends too early.", 422},
		{ValidityShortened, "certificate_validity_shortened", Warning, "the certificate ends with its issuer", "The profile's usual length of life reaches beyond the issuer's end.", "Rotate the root: hakone ca rotate prepare.", 0},
		{KeyRefused, "certificate_key_refused", Error, "the key may not be certified", "It is too weak, of a kind that TLS does not know, a key of the authority itself, or one that was reported compromised.", "Make a new key: ECDSA P-256, Ed25519, or RSA of 2048 to 8192 bits.", 422},
		{CertNotIssuedHere, "certificate_not_issued_here", Error, "the authority has issued no such certificate", "Neither a serial number nor a fingerprint of the journal matches.", "List what was issued: hakone cert ls.", 404},
		{CertAlreadyRevoked, "certificate_already_revoked", Error, "the certificate is revoked already", "A revocation is final, except certificateHold, which can be released or made final.", "Nothing to do.", 409},
		{RevocationReason, "revocation_reason_unknown", Error, "the reason of a revocation is not known", "RFC 5280 has ten reasons.", "Use keyCompromise, superseded, cessationOfOperation, affiliationChanged, privilegeWithdrawn, certificateHold or unspecified.", 400},
		{RotationOrder, "rotation_order", Error, "the rotation is at another step", "The steps are prepare, switch, retire, in that order.", "Take the step that the message names.", 409},
		{RotationNotOver, "rotation_not_over", Error, "certificates of the old root are still valid", "They would be refused by everybody who takes the new trust bundle.", "Renew those that are in use, revoke those that were replaced (hakone cert revoke --reason superseded SERIAL…), wait until the others expire, or force it.", 409},
		{IssuerExpired, "authority_issuer_expired", Error, "the issuer has expired or is revoked", "Nothing that it issues would be accepted.", "Rotate the root: hakone ca rotate prepare, then switch.", 409},
		{CrossSignImpossible, "authority_cross_sign_impossible", Warning, "the old root cannot vouch for the new one", "Its path length or its end of life does not allow a certificate between it and the new issuer: clients that trust only the old root refuse what the new one issues.", "Distribute the new trust bundle everywhere before switching.", 0},
		{CertUnnamed, "certificate_unnamed", Error, "the certificate would name no host", "Clients look at the subject alternative names only; a common name is not looked at.", "Give the host names as names too.", 422},
	}
}
