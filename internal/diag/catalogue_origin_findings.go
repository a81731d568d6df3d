package diag

// Findings about origin pools, edge hosts and origin pull (5820 to 5839).
const (
	OriginPoolNotFound    Code = 5820
	OriginPoolInvalid     Code = 5821
	OriginInvalid         Code = 5822
	OriginFallbackInvalid Code = 5823
	OriginPoolEmpty       Code = 5824
	OriginSettingIdle     Code = 5825
	OriginMonitorInvalid  Code = 5826
	OriginRegionUnclear   Code = 5828
	EdgeHostInvalid       Code = 5829
	OriginPullInvalid     Code = 5830
	OriginPullConflict    Code = 5831
	OriginPullUnused      Code = 5832
	OriginPoolUnused      Code = 5833
	UnderscoreHost        Code = 5834
)

func originFindings() []Entry {
	return []Entry{
		{OriginPoolNotFound, "origin_pool_not_found", Error, "origin pool does not exist", "A route, EdgeHost or fallback names an OriginPool that is not in the configuration; what would go to it is refused.", "Create the OriginPool, or correct the name.", 500},
		{OriginPoolInvalid, "origin_pool_invalid", Error, "origin pool's setting cannot be used", "A field of the OriginPool contradicts another or cannot be honoured; the message says what holds instead.", "Correct the field named.", 503},
		{OriginInvalid, "origin_invalid", Error, "origin cannot be used", "An origin's address or names cannot be used; it is left out, the others of the pool serve.", "Correct the field named.", 0},
		{OriginFallbackInvalid, "origin_fallback_invalid", Error, "fallback pool cannot be used", "fallbackRef names a pool that is not there, or leads back to the pool itself. The pool has no fallback then.", "Name another pool, or remove fallbackRef.", 0},
		{OriginPoolEmpty, "origin_pool_empty", Warning, "origin pool has nobody to serve", "The pool is switched off, or all of its origins are, or none may take new clients; without a fallback requests to it are refused.", "Enable an origin with a weight above 0, or name a fallback pool.", 0},
		{OriginSettingIdle, "origin_setting_idle", Warning, "setting has no effect beside another one", "The field is valid, but what stands beside it (or is missing) leaves it nothing to do.", "Remove it, or change the setting named in the message.", 0},
		{OriginMonitorInvalid, "origin_monitor_invalid", Error, "monitor cannot ask so", "The health check could never succeed, or not mean what it says.", "Correct the field named.", 0},
		{OriginRegionUnclear, "origin_region_unclear", Info, "region is a country and a continent", "AF, AS, NA and SA are codes of a country and of a continent; clients of both are sent there.", "Nothing to do if that is meant; else list the countries one by one.", 0},
		{EdgeHostInvalid, "edge_host_invalid", Error, "edge host cannot be served as written", "A field of the EdgeHost is missing or contradicts another; what it is about is refused and does not fall to another host.", "Correct the field named.", 500},
		{OriginPullInvalid, "origin_pull_invalid", Error, "origin pull cannot be used as written", "The OriginPull names no usable host or no certificate. Its hosts' requests are refused rather than sent without a certificate.", "Correct the field named.", 0},
		{OriginPullConflict, "origin_pull_conflict", Error, "two OriginPulls name the same host", "The older one (by creation time, then name) wins.", "Remove the host from one of them.", 0},
		{OriginPullUnused, "origin_pull_unused", Warning, "origin pull presents its certificate to nobody", "No host that it names leads to an OriginPool with TLS; a certificate can be presented nowhere else.", "Send the host to an OriginPool that has tls, or correct the host.", 0},
		{OriginPoolUnused, "origin_pool_unused", Info, "origin pool is used by nothing", "No EdgeHost, route or fallback leads to the pool; its origins are not asked how they are.", "Name it in an EdgeHost, HTTPRoute, GRPCRoute or VirtualService.", 0},
		{UnderscoreHost, "underscore_host", Warning, "host name with an underscore", "Neither the Gateway API nor Istio can hold such a name: it works in a folder, and a cluster refuses the object.", "Serve it with an EdgeHost, and policies with spec.hosts; both take underscores.", 0},
	}
}
