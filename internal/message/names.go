package message

import (
	"encoding/binary"
)

// canonical holds the spelling that Hakone writes for the names it knows.
var canonical = [numNames][]byte{
	Host:                    []byte("Host"),
	Connection:              []byte("Connection"),
	ContentLength:           []byte("Content-Length"),
	ContentType:             []byte("Content-Type"),
	TransferEncoding:        []byte("Transfer-Encoding"),
	TE:                      []byte("TE"),
	Trailer:                 []byte("Trailer"),
	Upgrade:                 []byte("Upgrade"),
	Expect:                  []byte("Expect"),
	KeepAlive:               []byte("Keep-Alive"),
	ProxyConnection:         []byte("Proxy-Connection"),
	ProxyAuthenticate:       []byte("Proxy-Authenticate"),
	ProxyAuthorization:      []byte("Proxy-Authorization"),
	ProxyStatus:             []byte("Proxy-Status"),
	Date:                    []byte("Date"),
	Server:                  []byte("Server"),
	Via:                     []byte("Via"),
	Location:                []byte("Location"),
	UserAgent:               []byte("User-Agent"),
	Accept:                  []byte("Accept"),
	Cookie:                  []byte("Cookie"),
	SetCookie:               []byte("Set-Cookie"),
	Origin:                  []byte("Origin"),
	Referer:                 []byte("Referer"),
	Authorization:           []byte("Authorization"),
	Forwarded:               []byte("Forwarded"),
	XForwardedFor:           []byte("X-Forwarded-For"),
	XForwardedProto:         []byte("X-Forwarded-Proto"),
	XForwardedHost:          []byte("X-Forwarded-Host"),
	XForwardedPort:          []byte("X-Forwarded-Port"),
	XForwardedClientCert:    []byte("X-Forwarded-Client-Cert"),
	ClientCert:              []byte("Client-Cert"),
	ClientCertChain:         []byte("Client-Cert-Chain"),
	XRequestID:              []byte("X-Request-Id"),
	XRealIP:                 []byte("X-Real-Ip"),
	HTTP2Settings:           []byte("HTTP2-Settings"),
	StrictTransportSecurity: []byte("Strict-Transport-Security"),
	Traceparent:             []byte("Traceparent"),
	GRPCTimeout:             []byte("Grpc-Timeout"),
	GRPCStatus:              []byte("Grpc-Status"),
	GRPCMessage:             []byte("Grpc-Message"),
	SecWebSocketKey:         []byte("Sec-WebSocket-Key"),
	SecWebSocketAccept:      []byte("Sec-WebSocket-Accept"),
	SecWebSocketVersion:     []byte("Sec-WebSocket-Version"),
	AltSvc:                  []byte("Alt-Svc"),
	CfClientCertDER:         []byte("Cf-Client-Cert-Der-Base64"),
	CfClientCertHash:        []byte("Cf-Client-Cert-Sha256"),
}

// maxName is the room for a known name in folded, and so the longest that Identify looks at.
const maxName = 32

// A set of names is one word.
const _ = uint(64 - numNames)

// folded holds the known names in lower case, padded with zeros.
var folded = func() (t [numNames][maxName]byte) {
	for id, name := range canonical {
		for i, c := range name {
			t[id][i] = lower(c)
		}
	}
	return t
}()

// known is an open-addressed table of the known names.
var known = func() (t [256]Name) {
	for id := Host; id < numNames; id++ {
		h := hash(canonical[id])
		for t[h] != Other {
			h++
		}
		t[h] = id
	}
	return t
}()

// hash mixes length and three bytes of a name of at least two bytes, without regard to ASCII case.
func hash(name []byte) uint8 {
	n := len(name)
	x := uint32(name[0]|0x20) | uint32(name[n*3/4]|0x20)<<8 | uint32(name[n-1]|0x20)<<16 | uint32(n)<<24
	return uint8(x * 0x9e3779b1 >> 24)
}

// Alias returns the known name that a name stands for to readers who take "_" for "-", as CGI and
// what came of it do (RFC 3875 section 4.1.18), some of them every other byte that is no letter and no
// digit too ("Client.Cert"). It is Other for names without such bytes.
func Alias(name []byte) Name {
	if len(name) > maxName {
		return Other
	}
	var dashed [maxName]byte
	odd := false
	for i, c := range name {
		if l := c | 0x20; c != '-' && (l < 'a' || l > 'z') && (c < '0' || c > '9') {
			c, odd = '-', true
		}
		dashed[i] = c
	}
	if !odd {
		return Other
	}
	return Identify(dashed[:len(name)])
}

// Identify returns the Name of a field name (ASCII case ignored), or Other.
func Identify(name []byte) Name {
	if len(name) < 2 || len(name) > maxName {
		return Other
	}
	for h := hash(name); ; h++ {
		id := known[h]
		if id == Other || len(canonical[id]) == len(name) && foldedEqual(&folded[id], name) {
			return id
		}
	}
}

// foldedEqual compares name with a known name of the same length, eight bytes at a time. Setting bit
// 0x20 folds letters and would also take control bytes for digits and hyphens, so those are excluded.
func foldedEqual(want *[maxName]byte, name []byte) bool {
	const caseBits, bit6 = 0x2020202020202020, 0x4040404040404040
	i := 0
	for ; i+8 <= len(name); i += 8 {
		x := binary.LittleEndian.Uint64(name[i:])
		if x|caseBits != binary.LittleEndian.Uint64(want[i:]) || (x|x<<1)&bit6 != bit6 {
			return false
		}
	}
	for ; i < len(name); i++ {
		if lower(name[i]) != want[i] {
			return false
		}
	}
	return true
}

// String returns the spelling that Hakone writes; "" for Other.
func (n Name) String() string { return string(canonical[n]) }

// Lower returns the name in lower case, as HTTP/2 spells it; empty for Other. The slice is shared: do not
// change it.
func (n Name) Lower() []byte { return folded[n][:len(canonical[n]):len(canonical[n])] }

// NameSet is a set of known names.
type NameSet uint64

// Names returns the set of ids.
func Names(ids ...Name) NameSet {
	var s NameSet
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// Has reports whether id is in the set. Other is in no set made of known names.
func (s NameSet) Has(id Name) bool { return s>>id&1 != 0 }
