package diag

// egressIstioCodes are findings about Istio's objects for egress: 5860 to 5889.
func egressIstioCodes() []Entry {
	return nil
}
