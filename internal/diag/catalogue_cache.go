package diag

// Caches: 5890 to 5899.
const (
	CacheOnly        Code = 5890
	CachePurgeDenied Code = 5891
)

// cacheCodes are about caches: 5890 to 5899.
func cacheCodes() []Entry {
	return []Entry{
		{CacheOnly, "cache_only", Info, "the client wants a stored answer only",
			"The request says Cache-Control: only-if-cached, and no stored answer may be used for it (RFC 9111 section 5.2.1.7).",
			"Nothing to do here; the client asked not to have the origin asked.", 504},
		{CachePurgeDenied, "cache_purge_denied", Error, "PURGE from an address that may not",
			"The cache takes the method PURGE from the networks of purgeFrom only, and the client's address is in none of them.",
			"Add the client's network to the cache's purgeFrom, or use hakone cache purge URL on the machine itself.", 403},
	}
}
