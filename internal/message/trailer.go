package message

// trailerNames are the known names that may stand in trailers.
const trailerNames = NameSet(1<<Other | 1<<ProxyStatus | 1<<Server | 1<<GRPCStatus | 1<<GRPCMessage)

// TrailerAllowed reports whether a field may be passed on as trailer: framing, routing, authentication,
// request modifiers, response controls and content description may not, since a receiver that merges
// trailers into the head would act on them unchecked (RFC 9110 section 6.5.1).
func TrailerAllowed(id Name, name []byte) bool {
	if id != Other {
		return trailerNames.Has(id)
	}
	switch len(name) {
	case 3:
		return !EqualFold(name, []byte("age"))
	case 4:
		return !EqualFold(name, []byte("vary"))
	case 5:
		return !EqualFold(name, []byte("range"))
	case 6:
		return !EqualFold(name, []byte("pragma"))
	case 7:
		return !EqualFold(name, []byte("expires")) && !EqualFold(name, []byte("warning"))
	}
	for _, prefix := range [...]string{"content-", "if-", "x-forwarded-", "client-cert", "accept-",
		"cache-control", "max-forwards", "set-cookie", "www-authenticate", "authentication-info", "x-envoy-",
		"access-control-", "retry-after", "sec-"} {
		if HasPrefixAlike(name, prefix) {
			return false
		}
	}
	return Alias(name) == Other
}

// HasPrefixAlike reports whether name begins with prefix (in lower case), ASCII case ignored and "_"
// taken for "-": see Alias.
func HasPrefixAlike(name []byte, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if c := lower(name[i]); c != prefix[i] && (c != '_' || prefix[i] != '-') {
			return false
		}
	}
	return true
}
