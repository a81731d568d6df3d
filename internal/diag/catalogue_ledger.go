package diag

// ledgerCodes are alerts about destinations outside: 6030 to 6049.
func ledgerCodes() []Entry {
	return nil
}
