package diag

// forwardCodes are reasons of forward proxies: 4501 to 4549.
func forwardCodes() []Entry {
	return nil
}
