package logstore

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// Field is one value of a record.
type Field struct {
	Name string
	Doc  string
	add  func(e *renderer, b []byte, r *Record) []byte
}

// DefaultFields are the nine that Logpull gives when none are asked for.
func DefaultFields() []string {
	return []string{"ClientIP", "ClientRequestHost", "ClientRequestMethod", "ClientRequestURI", "EdgeEndTimestamp", "EdgeResponseBytes",
		"EdgeResponseStatus", "EdgeStartTimestamp", "RayID"}
}

// ofRequest is a text of a request; a handshake has none.
func ofRequest[T text](f func(a *telemetry.Access) T) func(*renderer, []byte, *Record) []byte {
	return func(_ *renderer, b []byte, r *Record) []byte {
		if r.Access == nil {
			return append(b, `""`...)
		}
		return telemetry.AppendJSON(b, f(r.Access))
	}
}

// either is a text of a request or of a handshake.
func either(f func(a *telemetry.Access) string, g func(h *telemetry.Handshake) string) func(*renderer, []byte, *Record) []byte {
	return func(_ *renderer, b []byte, r *Record) []byte {
		if r.Access == nil {
			return telemetry.AppendJSON(b, g(r.Handshake))
		}
		return telemetry.AppendJSON(b, f(r.Access))
	}
}

func number(f func(a *telemetry.Access) int64) func(*renderer, []byte, *Record) []byte {
	return func(_ *renderer, b []byte, r *Record) []byte {
		if r.Access == nil {
			return append(b, '0')
		}
		return strconv.AppendInt(b, f(r.Access), 10)
	}
}

func boolean(f func(a *telemetry.Access) bool, g func(h *telemetry.Handshake) bool) func(*renderer, []byte, *Record) []byte {
	return func(_ *renderer, b []byte, r *Record) []byte {
		if r.Access == nil {
			return strconv.AppendBool(b, g(r.Handshake))
		}
		return strconv.AppendBool(b, f(r.Access))
	}
}

func addr(f func(a *telemetry.Access) netip.Addr, g func(h *telemetry.Handshake) netip.Addr) func(*renderer, []byte, *Record) []byte {
	return func(_ *renderer, b []byte, r *Record) []byte {
		var a netip.Addr
		if r.Access == nil {
			a = g(r.Handshake)
		} else {
			a = f(r.Access)
		}
		if !a.IsValid() {
			return append(b, `""`...)
		}
		b = append(b, '"')
		return append(a.Unmap().AppendTo(b), '"')
	}
}

func millis(d time.Duration) int64 { return int64(d / time.Millisecond) }

type (
	access    = telemetry.Access
	handshake = telemetry.Handshake
)

// Fields returns every field that can be asked for. Names are those of Cloudflare's data set
// http_requests; behind them come Hakone's own.
func Fields() []Field { return append(requestFields(), ownFields()...) }

func requestFields() []Field {
	return []Field{
		{"ClientIP", "address of the client, as trusted proxies name it", addr(func(a *access) netip.Addr {
			if a.Client.IsValid() {
				return a.Client
			}
			return a.Remote.Addr()
		}, func(h *handshake) netip.Addr { return h.Remote.Addr() })},
		{"ClientMTLSAuthCertFingerprint", "SHA-256 of the client certificate that was presented", either(fingerprint, func(h *handshake) string { return cmp.Or(h.PeerHash, h.PeerOffered) })},
		{"ClientMTLSAuthStatus", "ok, absent, untrusted, expired, notyetvalid, revoked, or unknown", either(mtlsStatus, mtlsStatusOfHandshake)},
		{"ClientRequestBytes", "bytes of the request, head and body", number(func(a *access) int64 { return a.HeadReceived + a.BytesReceived })},
		{"ClientRequestHost", "host that was asked for; of a refused handshake the server name", func(_ *renderer, b []byte, r *Record) []byte {
			if r.Access == nil {
				return telemetry.AppendJSON(b, r.Handshake.Hello.SNI)
			}
			return telemetry.AppendJSON(b, r.Access.Authority)
		}},
		{"ClientRequestMethod", "method", ofRequest(func(a *access) []byte { return a.Method })},
		{"ClientRequestPath", "path as received, without the query", ofRequest(func(a *access) []byte { p, _ := pathOf(a); return p })},
		{"ClientRequestProtocol", "HTTP/1.0, HTTP/1.1 or HTTP/2", ofRequest(func(a *access) string { return a.Proto })},
		{"ClientRequestReferer", "Referer", ofRequest(func(a *access) []byte { return a.Referer })},
		{"ClientRequestScheme", "http or https", ofRequest(func(a *access) string { return a.Scheme })},
		{"ClientRequestURI", "path and query as received", ofRequest(func(a *access) []byte { _, u := pathOf(a); return u })},
		{"ClientRequestUserAgent", "User-Agent", ofRequest(func(a *access) []byte { return a.UserAgent })},
		{"ClientSSLCipher", "cipher suite as OpenSSL names it, NONE without TLS", func(e *renderer, b []byte, r *Record) []byte {
			_, suite, _ := tlsOf(r)
			return telemetry.AppendJSON(b, cmp.Or(e.suite(suite), "NONE"))
		}},
		{"ClientSSLProtocol", "TLSv1.3, TLSv1.2, TLSv1.1, TLSv1 or none", func(_ *renderer, b []byte, r *Record) []byte {
			version, _, _ := tlsOf(r)
			return telemetry.AppendJSON(b, cmp.Or(protocol(version), "none"))
		}},
		{"ClientSrcPort", "port of the client, or of the proxy before us", func(_ *renderer, b []byte, r *Record) []byte {
			if r.Access == nil {
				return strconv.AppendUint(b, uint64(r.Handshake.Remote.Port()), 10)
			}
			return strconv.AppendUint(b, uint64(r.Access.Remote.Port()), 10)
		}},
		{"EdgeEndTimestamp", "when the answer was complete", func(e *renderer, b []byte, r *Record) []byte { return e.time(b, r.End) }},
		{"EdgeResponseBodyBytes", "bytes of the answer's body", number(func(a *access) int64 { return a.BytesSent })},
		{"EdgeResponseBytes", "bytes of the answer, heads included", number(func(a *access) int64 { return a.HeadSent + a.BytesSent })},
		{"EdgeResponseContentType", "media type of the answer", ofRequest(func(a *access) []byte { return a.ContentType })},
		{"EdgeResponseStatus", "status of the answer; 0 for a refused handshake", number(func(a *access) int64 { return int64(a.Status) })},
		{"EdgeServerIP", "address at which the client reached us", addr(func(a *access) netip.Addr { return a.Local.Addr() }, func(h *handshake) netip.Addr { return h.Local.Addr() })},
		{"EdgeStartTimestamp", "when the request's first byte came", func(e *renderer, b []byte, r *Record) []byte {
			if r.Access == nil {
				return e.time(b, r.Handshake.Time)
			}
			return e.time(b, r.Access.Start)
		}},
		{"EdgeTimeToFirstByteMs", "milliseconds from the request's first byte to the answer's", number(func(a *access) int64 {
			if a.HeadTime > 0 {
				return millis(a.HeadTime)
			}
			return millis(a.Duration)
		})},
		{"OriginIP", "address of the origin", ofRequest(func(a *access) string { return originIP(a) })},
		{"OriginResponseDurationMs", "milliseconds from the request sent to the origin's answer", number(func(a *access) int64 { return millis(a.UpstreamTime) })},
		{"OriginResponseStatus", "status of the origin's answer; 0: there was none", number(func(a *access) int64 { return int64(a.UpstreamStatus) })},
		{"OriginResponseTime", "the same in nanoseconds", number(func(a *access) int64 { return int64(a.UpstreamTime) })},
		{"OriginSSLProtocol", "TLSv1.3, TLSv1.2, …, none, or unknown where no origin was reached", ofRequest(func(a *access) string {
			switch {
			case a.UpstreamTLSVersion != 0:
				return protocol(a.UpstreamTLSVersion)
			case a.UpstreamTime > 0:
				return "none"
			}
			return "unknown"
		})},
		{"RayID", "the request's ID, X-Request-Id", ofRequest(func(a *access) []byte { return a.ID })},
	}
}

func ownFields() []Field {
	return []Field{
		{"ClientCertFingerprint", "SHA-256 of the client certificate that was presented", either(fingerprint, func(h *handshake) string { return cmp.Or(h.PeerHash, h.PeerOffered) })},
		{"ClientCertSubject", "subject of a verified client certificate", either(func(a *access) string { return a.PeerSubject }, func(h *handshake) string { return h.PeerSubject })},
		{"ClientJA4", "JA4 fingerprint of the ClientHello", either(func(a *access) string { return a.JA4 }, func(h *handshake) string { return h.Hello.JA4 })},
		{"ClientRequestPathNormalized", "path as policies and routes saw it", ofRequest(func(a *access) []byte { return a.Path })},
		{"ClientSNI", "server name that the client sent", either(func(a *access) string { return a.SNI }, func(h *handshake) string { return h.Hello.SNI })},
		{"ClientTLSCipher", "cipher suite as IANA names it", func(e *renderer, b []byte, r *Record) []byte {
			_, suite, _ := tlsOf(r)
			return telemetry.AppendJSON(b, e.iana(suite))
		}},
		{"ClientTLSGroup", "group of the key exchange", func(e *renderer, b []byte, r *Record) []byte {
			_, _, group := tlsOf(r)
			return telemetry.AppendJSON(b, e.group(group))
		}},
		{"ClientTLSResumed", "whether the TLS session was resumed", boolean(func(a *access) bool { return a.Resumed }, func(h *handshake) bool { return h.Resumed })},
		{"ClientTLSVersion", "1.3, 1.2, 1.1, 1.0, or nothing", func(_ *renderer, b []byte, r *Record) []byte {
			version, _, _ := tlsOf(r)
			if version == 0 {
				return append(b, `""`...)
			}
			return telemetry.AppendJSON(b, tlsname.Version(version))
		}},
		{"ClientXForwardedFor", "X-Forwarded-For as it went to the upstream", ofRequest(func(a *access) []byte { return a.XFF })},
		{"Conn", "number of the connection, unique within a run of the process", func(_ *renderer, b []byte, r *Record) []byte {
			if r.Access == nil {
				return strconv.AppendUint(b, r.Handshake.Conn, 10)
			}
			return strconv.AppendUint(b, r.Access.Conn, 10)
		}},
		{"EdgeResponseHeaderBytes", "bytes of the answer's heads and trailers as they were sent", number(func(a *access) int64 { return a.HeadSent })},
		{"GRPCStatus", "status of a gRPC call, -1 for others", number(func(a *access) int64 {
			if !a.GRPC {
				return -1
			}
			return int64(a.GRPCStatus)
		})},
		{"Kind", "request or handshake", func(_ *renderer, b []byte, r *Record) []byte {
			if r.Access == nil {
				return append(b, `"handshake"`...)
			}
			return append(b, `"request"`...)
		}},
		{"Listener", "listener, as *:443", either(func(a *access) string { return a.Listener }, func(h *handshake) string { return h.Listener })},
		{"MTLSCode", "code of the reason why a policy on client certificates refused, or would have", either(
			func(a *access) string { return a.PolicyCode.String() }, func(h *handshake) string { return certificateCode(h).String() })},
		{"MTLSPolicy", "policy on client certificates that decided, as namespace/name", either(func(a *access) string { return a.Policy }, func(*handshake) string { return "" })},
		{"MTLSReason", "the reason as a word, such as client_cert_missing", either(
			func(a *access) string { return a.PolicyCode.Slug() }, func(h *handshake) string { return certificateCode(h).Slug() })},
		{"MTLSVerdict", "allow, deny, audit, or nothing where no policy holds", either(func(a *access) string { return a.PolicyVerdict }, func(h *handshake) string {
			if certificateCode(h) != 0 {
				return "deny"
			}
			return ""
		})},
		{"OriginEndpoint", "address and port of the origin", ofRequest(func(a *access) string { return a.Endpoint })},
		{"OriginName", "name of the origin in its pool", ofRequest(func(a *access) string { return a.Server })},
		{"OriginPool", "pool of origins, as namespace/name", ofRequest(func(a *access) string { return a.Pool })},
		{"OriginProtocol", "HTTP version spoken to the origin", ofRequest(func(a *access) string { return a.UpstreamProto })},
		{"OriginRequests", "requests sent to origins, repeated ones included", number(func(a *access) int64 { return int64(a.Attempts) })},
		{"OriginTLSCipher", "cipher suite to the origin as IANA names it", func(e *renderer, b []byte, r *Record) []byte {
			if r.Access == nil {
				return append(b, `""`...)
			}
			return telemetry.AppendJSON(b, e.iana(r.Access.UpstreamTLSSuite))
		}},
		{"OriginTLSVersion", "TLS version to the origin: 1.3, 1.2, or nothing", ofRequest(func(a *access) string {
			if a.UpstreamTLSVersion == 0 {
				return ""
			}
			return tlsname.Version(a.UpstreamTLSVersion)
		})},
		{"Reason", "reason of a refusal or failure as a word", either(func(a *access) string { return a.Code.Slug() }, func(h *handshake) string { return h.Code.Slug() })},
		{"ReasonCode", "the same as a code: hakone explain CODE", either(func(a *access) string { return a.Code.String() }, func(h *handshake) string { return h.Code.String() })},
		{"ReasonDetail", "the same as a sentence", either(func(a *access) string { return a.Detail }, func(h *handshake) string { return h.Detail })},
		{"Route", "route that matched", ofRequest(func(a *access) string { return a.Route })},
		{"Side", "of a handshake: downstream or upstream", either(func(*access) string { return "downstream" }, func(h *handshake) string { return string(h.Side) })},
		{"Upstream", "service that the route leads to", ofRequest(func(a *access) string { return a.Upstream })},
	}
}

func fingerprint(a *access) string { return cmp.Or(a.PeerHash, a.PeerOffered) }

func tlsOf(r *Record) (version, suite, group uint16) {
	if h := r.Handshake; h != nil {
		return h.Version, h.Suite, h.Group
	}
	return r.Access.TLSVersion, r.Access.TLSSuite, r.Access.TLSGroup
}

// protocol writes a TLS version as OpenSSL and Cloudflare do.
func protocol(version uint16) string {
	switch v := tlsname.Version(version); {
	case version == 0:
		return ""
	case v == "1.0":
		return "TLSv1"
	default:
		return "TLSv" + v
	}
}

// pathOf returns path and URI of a target, also of one in absolute form (RFC 9112 section 3.2.2).
func pathOf(a *access) (path, uri []byte) {
	uri = a.Target
	if i := strings.Index(string(uri[:min(len(uri), 16)]), "://"); i > 0 && uri[0] != '/' {
		rest := uri[i+3:]
		uri = []byte("/")
		for k, c := range rest {
			if c == '/' || c == '?' {
				uri = rest[k:]
				break
			}
		}
	}
	path = uri
	for k, c := range uri {
		if c == '?' {
			path = uri[:k]
			break
		}
	}
	return path, uri
}

func originIP(a *access) string {
	if p, err := netip.ParseAddrPort(a.Endpoint); err == nil {
		return p.Addr().String()
	}
	return ""
}

// certificateCode returns the code of a handshake that was refused for the client's certificate.
func certificateCode(h *handshake) diag.Code {
	if h.Side == telemetry.Downstream && h.Code >= diag.ClientCertMissing && h.Code < diag.ClientCertMissing+60 {
		return h.Code
	}
	return 0
}

func mtlsStatus(a *access) string {
	switch {
	case a.TLSVersion == 0:
		return "unknown"
	case a.PolicyCode != 0:
		return statusOfCode(a.PolicyCode)
	case a.PeerHash != "" || a.PolicyVerdict == "allow" && a.PeerOffered != "":
		return "ok"
	case a.PeerOffered != "":
		return "unknown"
	}
	return "absent"
}

func mtlsStatusOfHandshake(h *handshake) string {
	switch c := certificateCode(h); {
	case c != 0:
		return statusOfCode(c)
	case h.PeerHash != "":
		return "ok"
	}
	return "unknown"
}

func statusOfCode(c diag.Code) string {
	switch c {
	case diag.ClientCertMissing:
		return "absent"
	case diag.ClientCertExpired:
		return "expired"
	case diag.ClientCertNotYetValid:
		return "notyetvalid"
	}
	if strings.Contains(c.Slug(), "revoked") {
		return "revoked"
	}
	return "untrusted"
}
