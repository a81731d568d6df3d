package diag

// Reasons around the origins of pools.
const (
	PoolUnavailable       Code = 3219
	AffinityOriginGone    Code = 3220
	CheckUnexpectedStatus Code = 3221
	CheckUnexpectedBody   Code = 3222
	CheckRedirect         Code = 3223
	OriginGatewayError    Code = 3224
	PoolBelowMinimum      Code = 3225
	GeoWithoutDatabase    Code = 3226
)

// Origin pools, edge hosts and origin pull: reasons (3219 to 3239) and findings (5820 to 5839).
func originCodes() []Entry {
	return append(originFindings(), []Entry{
		{PoolUnavailable, "pool_unavailable", Error, "no origin of the pool can be used",
			"The pool and its fallbacks are disabled, or every origin is disabled, has weight 0 or has no address. Unhealthy origins alone are no reason: the last pool of a chain serves with what it has.", "Enable an origin, or name a fallback pool: hakone origin ls shows why each is out.", 503},
		{AffinityOriginGone, "affinity_origin_gone", Error, "the origin of the client's session is not healthy",
			"The affinity cookie names an origin that is unhealthy, and the pool's affinity has failover none.", "Bring the origin back, or set affinity.failover to temporary or sticky.", 503},
		{CheckUnexpectedStatus, "check_unexpected_status", Warning, "health check answered with an unexpected status",
			"The origin answered the monitor's request with a status that is not among expectedCodes.", "Correct the monitor's path, Host header or expectedCodes, or look at the origin's log.", 0},
		{CheckUnexpectedBody, "check_unexpected_body", Warning, "health check answered without the expected text",
			"The first 16 KiB of the origin's answer do not hold expectedBody.", "Correct expectedBody or the monitor's path.", 0},
		{CheckRedirect, "check_redirect", Warning, "health check was redirected elsewhere",
			"The origin redirected the monitor's request to another scheme or host, or more than three times. Checks stay with the origin that they judge.", "Point the monitor's path at the final place, or set its Host header to the name that the origin redirects to.", 0},
		{OriginGatewayError, "origin_gateway_error", Warning, "origin answered requests with 502, 503 or 504",
			"Answers with these statuses, as many in a row as passive.consecutiveFailures says, take an origin out for a while.", "Look at the origin's log.", 0},
		{PoolBelowMinimum, "pool_below_minimum", Warning, "pool has fewer healthy origins than its minimum",
			"What would go to the pool goes to its fallback, or without one to the origins that are left.", "hakone origin ls shows why each origin is out.", 0},
		{GeoWithoutDatabase, "geo_without_database", Warning, "geo steering without a database",
			"The pool steers by the client's country, and no database was given or it cannot be read: nobody's country is known, so everyone goes to the origins without regions, or to all.", "Start with --geoip-db FILE.mmdb.", 0},
	}...)
}
