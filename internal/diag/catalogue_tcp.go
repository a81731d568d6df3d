package diag

// tcpCodes are reasons of connections that are not HTTP: 4550 to 4579.
func tcpCodes() []Entry {
	return nil
}
