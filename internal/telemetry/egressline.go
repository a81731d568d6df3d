package telemetry

// egressJSON appends what is said of forward proxies, caches and destinations behind proxies.
func egressJSON(b []byte, a *Access) []byte {
	b = appendField(b, "result", a.Result)
	b = appendField(b, "hierarchy", a.Hierarchy)
	b = appendField(b, "user", a.User)
	b = appendField(b, "bump", a.Bump)
	b = appendField(b, "cache_status", a.CacheStatus)
	b = appendField(b, "url", a.URL)
	b = appendField(b, "proxy", a.Proxy)
	b = appendField(b, "proxy_address", a.ProxyAddress)
	if a.ConnectStatus != 0 {
		b = appendInt(b, "connect_status", int64(a.ConnectStatus))
	}
	b = appendField(b, "inner_subject", a.InnerSubject)
	b = appendField(b, "inner_issuer", a.InnerIssuer)
	if a.Intercepted {
		b = append(b, `,"intercepted":true`...)
	}
	return b
}
