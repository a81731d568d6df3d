package http1

import (
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// hopByHop are the fields that are about one connection (RFC 9110 section 7.6.1), with those that a
// gateway answers for itself. TE is treated apart.
const hopByHop = message.NameSet(1<<message.Connection | 1<<message.KeepAlive | 1<<message.ProxyConnection |
	1<<message.TransferEncoding | 1<<message.Upgrade | 1<<message.HTTP2Settings |
	1<<message.ProxyAuthenticate | 1<<message.ProxyAuthorization)

// mayNominate are the known names that a Connection field may name; all others are end-to-end.
const mayNominate = hopByHop | message.NameSet(1<<message.TE|1<<message.Trailer)

// endToEnd reports whether a Connection field must not nominate name: routing, framing, credentials
// and what hops say about the client. Fields nobody knows may be nominated.
func endToEnd(name []byte) bool {
	if id := message.Identify(name); id != message.Other {
		return !mayNominate.Has(id)
	}
	return semantics.HasPrefixFold(name, "x-forwarded-") || semantics.HasPrefixFold(name, "client-cert") ||
		semantics.HasPrefixFold(name, "x-envoy-") || message.EqualFold(name, []byte("cache-control"))
}

// RemoveHopByHop removes what is about one connection from a message that is passed on: Connection
// and the fields it nominates, Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade, HTTP2-Settings,
// Proxy-Authenticate and Proxy-Authorization; of TE only "trailers" stays. End-to-end fields survive a
// nomination (in requests the parser has refused it). Call it before own fields are added, so that a
// peer cannot nominate those away. Whether the peer wanted to persist or upgrade is in the message.
func RemoveHopByHop(f *message.Fields) {
	if f.Names()&(hopByHop|1<<message.TE) == 0 {
		return
	}
	for {
		options, ok := f.Pop(message.Connection)
		if !ok {
			break
		}
		for options != nil {
			var name []byte
			name, options = semantics.NextItem(options)
			if id := message.Identify(name); id == message.Other && len(name) > 0 && !isClose(name) && !endToEnd(name) {
				f.Del(name)
			} else if id == message.Trailer {
				f.DelID(id)
			}
		}
	}
	f.DelSet(hopByHop)
	keepTrailersOnly(f)
}

func isClose(name []byte) bool { return message.EqualFold(name, []byte("close")) }

// keepTrailersOnly cuts TE down to what we can relay.
func keepTrailersOnly(f *message.Fields) {
	if !f.Names().Has(message.TE) {
		return
	}
	trailers := false
	for i := 0; i < f.Len(); i++ {
		if l := f.At(i); l.ID == message.TE {
			trailers = trailers || message.HasToken(l.Value, "trailers")
		}
	}
	if !trailers {
		f.DelID(message.TE)
		return
	}
	f.SetID(message.TE, []byte("trailers"))
}
