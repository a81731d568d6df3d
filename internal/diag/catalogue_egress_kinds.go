package diag

// egressKindCodes are findings about UpstreamProxies, ForwardProxies and CachePolicies: 5840 to 5859.
func egressKindCodes() []Entry {
	return nil
}
