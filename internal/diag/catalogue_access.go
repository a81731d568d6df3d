package diag

// Policies on client certificates: reasons (2117 to 2139) and findings (5801 to 5819).
func accessCodes() []Entry {
	return []Entry{}
}
