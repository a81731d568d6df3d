package diag

// Origin pools, edge hosts and origin pull: reasons (3219 to 3239) and findings (5820 to 5839).
func originCodes() []Entry {
	return []Entry{}
}
