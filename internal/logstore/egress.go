package logstore

import "github.com/hakone-gateway/hakone/internal/telemetry"

// What is said of forward proxies, caches and destinations outside follows a number of flags; without
// hasEgress nothing follows.
const (
	hasEgress     = 1
	isIntercepted = 2
)

func putEgress(b []byte, a *telemetry.Access) []byte {
	if a.Proxy == "" && a.Result == "" && a.Bump == "" && a.CacheStatus == "" {
		return putNumber(b, 0)
	}
	flags := uint64(hasEgress)
	if a.Intercepted {
		flags |= isIntercepted
	}
	b = putNumber(b, flags)
	for _, s := range [...]string{a.Result, a.Hierarchy, a.User, a.Bump, a.CacheStatus, a.Proxy, a.ProxyAddress, a.InnerSubject, a.InnerIssuer} {
		b = putText(b, s)
	}
	b = putNumber(b, uint64(a.ConnectStatus))
	return putText(b, a.URL)
}

func readEgress(d *decoder, a *telemetry.Access) {
	flags := d.number()
	if flags&hasEgress == 0 {
		return
	}
	a.Intercepted = flags&isIntercepted != 0
	a.Result, a.Hierarchy, a.User, a.Bump, a.CacheStatus = d.word(), d.word(), d.word(), d.word(), d.word()
	a.Proxy, a.ProxyAddress, a.InnerSubject, a.InnerIssuer = d.word(), d.word(), d.word(), d.word()
	a.ConnectStatus = int(d.number())
	a.URL = d.bytes()
}

func putEgressHandshake(b []byte, h *telemetry.Handshake) []byte {
	if h.Proxy == "" && h.Issuer == "" && h.Bump == "" {
		return putNumber(b, 0)
	}
	flags := uint64(hasEgress)
	if h.Intercepted {
		flags |= isIntercepted
	}
	b = putNumber(b, flags)
	for _, s := range [...]string{h.Proxy, h.Issuer, h.IssuerKey, h.Bump} {
		b = putText(b, s)
	}
	return b
}

func readEgressHandshake(d *decoder, h *telemetry.Handshake) {
	flags := d.number()
	if flags&hasEgress == 0 {
		return
	}
	h.Intercepted = flags&isIntercepted != 0
	h.Proxy, h.Issuer, h.IssuerKey, h.Bump = d.word(), d.word(), d.word(), d.word()
}
