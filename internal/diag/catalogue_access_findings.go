package diag

// Findings about ClientCertificatePolicies (5801 to 5819).
const (
	AccessCoversNothing  Code = 5801
	AccessPathInvalid    Code = 5802
	AccessConflict       Code = 5803
	AccessBehindMutual   Code = 5804
	AccessOverPlainHTTP  Code = 5805
	AccessOpensNothing   Code = 5806
	AccessTrustUnusable  Code = 5807
	AccessRuleEmpty      Code = 5808
	AccessRuleUnreadable Code = 5809
	AccessPolicyUnread   Code = 5810
	AccessRejectMixed    Code = 5811
	SessionKeyUnusable   Code = 5812
	DenyPagePlaceholder  Code = 5813
)

func accessFindings() []Entry {
	return []Entry{
		{AccessCoversNothing, "access_covers_nothing", Error, "a policy on client certificates covers nothing",
			"No listener, host or route that is served is one that the policy, or this target of it, names. Nothing is protected by it.",
			"Correct spec.targetRefs or spec.hosts: hakone policy reach shows what each policy covers.", 0},
		{AccessPathInvalid, "access_path_invalid", Error, "no request can have this path, or it holds a star",
			"Paths are compared in the form in which the origin receives them: escapes of plain characters decoded, \"//\" merged, dot segments resolved. Requests whose path cannot be brought into that form are refused. A path covers all below it, and a star is no wildcard. The policy covers the next path above instead; an exception is left out.",
			"Write the path as the origin knows it.", 0},
		{AccessConflict, "access_conflict", Warning, "two policies on client certificates with the same target and path",
			"The older one (by creation time, then by place and name) decides.", "Remove one of the two, or narrow one by targetRefs, hosts or paths.", 0},
		{AccessBehindMutual, "access_behind_mutual", Warning, "the listener refuses clients before the policy sees them",
			"The listener demands client certificates by itself (Istio's MUTUAL or OPTIONAL_MUTUAL, Gateway API's frontend validation), so a client has to satisfy its CAs in the handshake and then the policy's. Handshakes that the listener refuses get no page.",
			"Take the listener's own client authentication away and let the policy decide, or give both the same CAs.", 0},
		{AccessOverPlainHTTP, "access_over_plain_http", Error, "a policy on client certificates covers a listener without TLS",
			"No client can show a certificate over plain HTTP, so requests to what the policy covers are denied there. Listeners that only redirect are left alone.",
			"Redirect from the plain listener to https, or narrow the policy with sectionName.", 0},
		{AccessOpensNothing, "access_opens_nothing", Warning, "an Open policy has nothing to open",
			"No broader policy that asks for certificates covers what this one lets everybody into.", "Remove it, or correct its hosts, paths or targets.", 0},
		{AccessTrustUnusable, "access_trust_unusable", Error, "a policy on client certificates lets nobody in",
			"None of its CAs can be used, a revocation list that it names cannot be, or a part of it cannot be read. A policy that cannot be carried out as written is closed, not open.",
			"Mend what is reported beside it.", 0},
		{AccessRuleEmpty, "access_rule_empty", Warning, "a rule without any condition",
			"A rule holds for every certificate if it names no condition: in spec.allow it makes the other rules pointless, in spec.deny it keeps everybody out.", "Give it a condition, or remove it.", 0},
		{AccessRuleUnreadable, "access_rule_unreadable", Error, "a rule on certificates that cannot be used",
			"The rule is left out of spec.allow, so that it lets nobody in; in spec.deny it closes the policy.", "Correct the value.", 0},
		{AccessPolicyUnread, "access_policy_unread", Error, "a policy that cannot be read closes what it covers",
			"The object was not accepted, and there is no earlier version of it that could serve. What its hosts, targets and paths name, as far as they can be read, is closed until it is mended.",
			"Mend what is reported about the object.", 0},
		{AccessRejectMixed, "access_reject_mixed", Warning, "enforcement RejectConnection is done by answers on some hosts",
			"On these hosts another policy that does not reject connections, or only watches, has a say too: a handshake cannot know which path the client will ask for. Refused clients get an answer with the reason instead.",
			"Set enforcement: RejectConnection on every policy of the host, or Deny on this one.", 0},
		{SessionKeyUnusable, "session_key_unusable", Error, "the key of an identity cookie cannot be used",
			"RS256 needs an RSA key of at least 2048 bits, ES256 an ECDSA key on P-256. No cookie is given; the certificate is asked for all the same.",
			"Name a Secret with such a key, or set spec.session.algorithm to what the key is for.", 0},
		{DenyPagePlaceholder, "deny_page_placeholder", Warning, "the deny page holds a placeholder that is not known",
			"Only ${code}, ${slug}, ${reason}, ${requestId}, ${host} and ${status} are replaced; others stay as they are.", "Correct the placeholder.", 0},
	}
}
