package diag

// cacheCodes are about caches: 5890 to 5899.
func cacheCodes() []Entry {
	return nil
}
