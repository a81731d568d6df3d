package diag

// Logs that are kept and pulled (6010 to 6029).
func logCodes() []Entry {
	return []Entry{}
}
