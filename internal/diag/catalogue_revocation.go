package diag

// Revocation: of clients (2140 to 2159), of upstreams (3117 to 3129), of our own credentials (2305 to 2309), findings (5520 to 5539).
func revocationCodes() []Entry {
	return []Entry{}
}
