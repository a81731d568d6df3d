package message

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
}

// byLength lists the known names by their length, so that Identify compares few candidates.
var byLength = func() (t [32][]Name) {
	for id := Host; id < numNames; id++ {
		n := len(canonical[id])
		t[n] = append(t[n], id)
	}
	return t
}()

// Identify returns the Name of a field name (ASCII case ignored), or Other.
func Identify(name []byte) Name {
	if len(name) >= len(byLength) {
		return Other
	}
	for _, id := range byLength[len(name)] {
		if EqualFold(canonical[id], name) {
			return id
		}
	}
	return Other
}

// String returns the spelling that Hakone writes.
func (n Name) String() string { return string(canonical[n]) }
