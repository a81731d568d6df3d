package authz

// Misleads reports whether a header field would tell an origin something else than what was decided: another
// path (X-Original-URL and X-Rewrite-URL, which IIS, Symfony and others take for the path), or that
// Cloudflare Access vouches for somebody (Cf-Access-…). Any byte that is no letter or digit counts as a
// hyphen, as servers read names that turn them into variables.
func Misleads(name []byte) bool {
	return same(name, "x-original-url") || same(name, "x-rewrite-url") || len(name) > len(access) && same(name[:len(access)], access)
}

const access = "cf-access-"

// same compares a name with one in lower case.
func same(name []byte, want string) bool {
	if len(name) != len(want) {
		return false
	}
	for i, c := range name {
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			c = '-'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}
