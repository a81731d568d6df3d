package diag

// The authority and its certificates (70xx).
func authorityCodes() []Entry {
	return []Entry{}
}
