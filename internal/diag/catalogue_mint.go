package diag

// Certificates made while clients wait: 2320 to 2339.
const (
	InterceptionDistrusted Code = 2320
	MintNameNotPermitted   Code = 2321
	MintCAUnusable         Code = 2322
	MintCAExpired          Code = 2323
	MintFailed             Code = 2324
	MintDiskUnusable       Code = 2325
	MintDiskEntryBroken    Code = 2326
	MintCAExpiring         Code = 2327
)

func mintCodes() []Entry {
	return []Entry{
		{InterceptionDistrusted, "interception_ca_distrusted", Error, "client does not trust the interception CA",
			"TLS was looked into with a certificate that Hakone made for the destination, and the client refused it: alert 48 (unknown_ca), 42 (bad_certificate) or 46 (certificate_unknown). Either the client was never given the interception CA, or the application brings its own list of CAs, or it pins the destination's key, in which case no CA helps.",
			"Install the interception CA at the client: the proxy's trust page (trustHost) has the file and the commands for each system, and hakone egress ca configmap makes a ConfigMap for workloads. Splice the hosts of applications that pin (ssl_bump splice), or let Hakone learn them (learnPinned).", 0},
		{MintNameNotPermitted, "mint_name_not_permitted", Error, "the interception CA may not sign for the name",
			"The CA, or one above it, has name constraints that leave the destination's name out. A certificate for it would be refused by every client that trusts the CA, so none is made.",
			"Splice the host, or make a CA whose constraints include it: hakone egress ca create --permit NAME.", 0},
		{MintCAUnusable, "mint_ca_unusable", Error, "the interception CA cannot sign certificates of servers",
			"The certificate in interception.caRef is no CA, lacks the key usage keyCertSign, or is limited to other purposes than server authentication.",
			"Put a CA with its key into the Secret: hakone egress ca create makes one.", 0},
		{MintCAExpired, "mint_ca_expired", Error, "the interception CA has expired or is not valid yet",
			"The CA is outside its validity, so no client would accept what it signs. Connections that would have been looked into are refused; spliced ones go on.",
			"Put a new CA into the Secret; hand it to the clients first.", 0},
		{MintFailed, "mint_failed", Error, "no certificate could be made for the destination",
			"Signing failed; the detail has the cause.", "Read the detail; most likely the destination's names cannot be written into a certificate.", 0},
		{MintDiskUnusable, "mint_disk_unusable", Warning, "made certificates cannot be kept on disk",
			"Writing to the certificate cache's folder failed: it is full, read-only or not Hakone's. Serving goes on from memory; after a restart certificates are made again.",
			"Make room in the folder, or correct its owner; it is tried again every half minute.", 0},
		{MintDiskEntryBroken, "mint_disk_entry_broken", Warning, "a kept certificate is damaged",
			"A file of the certificate cache does not have its checksum, or its key is gone. It was removed, and the certificate is made again.",
			"Nothing to do, unless it happens often: then look after the disk.", 0},
		{MintCAExpiring, "mint_ca_expiring", Warning, "the interception CA expires soon",
			"What is signed can be valid no longer than the CA is; when it has expired, nothing is signed any more.",
			"Make the next CA, hand it to the clients beside this one, then put it into the Secret.", 0},
	}
}
