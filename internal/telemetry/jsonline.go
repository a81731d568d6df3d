package telemetry

import (
	"bytes"
	"strconv"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// encoder renders records as lines. Each shard has its own; not safe for concurrent use.
type encoder struct {
	stamp stamp
	names *names
	codes *codes
}

// codes are the catalogue's codes as text, made once.
type codes struct{ text, slug map[diag.Code]string }

func newCodes() *codes {
	c := &codes{map[diag.Code]string{}, map[diag.Code]string{}}
	for _, e := range diag.Catalogue() {
		c.text[e.Code], c.slug[e.Code] = e.Code.String(), e.Slug
	}
	return c
}

// requestJSON appends a request as one JSON object, without line feed. Keys are stable; empty values
// are left out. See README.md.
func (e *encoder) requestJSON(b []byte, a *Access) []byte {
	b = append(b, `{"ts":"`...)
	b = e.stamp.append(b, a.Start)
	b = append(b, `","kind":"request"`...)
	b = appendField(b, "id", a.ID)
	b = appendInt(b, "conn", int64(a.Conn))
	b = appendField(b, "listener", a.Listener)
	b = appendField(b, "chain", a.Chain)
	b = appendAddress(b, "client", a.Remote)
	if a.Client.IsValid() && a.Client != a.Remote.Addr().Unmap() {
		b = append(a.Client.AppendTo(append(appendKey(b, "client_ip"), '"')), '"')
	}
	b = appendField(b, "proto", a.Proto)
	if a.Stream != 0 {
		b = appendInt(b, "stream", int64(a.Stream))
	}
	b = appendField(b, "scheme", a.Scheme)
	b = appendField(b, "method", a.Method)
	b = appendField(b, "protocol", a.Protocol)
	b = appendField(b, "host", a.Authority)
	b = appendField(b, "target", a.Target)
	if len(a.Path) > 0 && !isPathOf(a.Path, a.Target) {
		b = appendField(b, "path", a.Path)
	}
	b = appendInt(b, "status", int64(a.Status))
	b = e.reason(b, a.Code, a.Detail)
	if a.GRPC && a.GRPCStatus >= 0 {
		b = appendInt(b, "grpc_status", int64(a.GRPCStatus))
	}
	b = appendField(b, "flags", a.Flags)
	b = appendInt(b, "bytes_in", a.BytesReceived)
	b = appendInt(b, "bytes_out", a.BytesSent)
	if a.HeadSent > 0 {
		b = appendInt(b, "head_bytes", a.HeadSent)
	}
	b = appendMillis(b, "dur_ms", a.Duration)
	b = appendField(b, "route", a.Route)
	b = appendField(b, "origin", a.Origin)
	b = appendField(b, "upstream", a.Upstream)
	b = appendField(b, "endpoint", a.Endpoint)
	b = appendField(b, "pool", a.Pool)
	b = appendField(b, "server", a.Server)
	b = appendField(b, "upstream_proto", a.UpstreamProto)
	if a.UpstreamTLSVersion != 0 {
		b = appendField(b, "upstream_tls", e.names.version(a.UpstreamTLSVersion))
		b = appendField(b, "upstream_cipher", e.names.suite(a.UpstreamTLSSuite))
	}
	if a.UpstreamStatus != 0 && a.UpstreamStatus != a.Status {
		b = appendInt(b, "upstream_status", int64(a.UpstreamStatus))
	}
	if a.Attempts > 1 {
		b = appendInt(b, "attempts", int64(a.Attempts))
	}
	if a.UpstreamTime > 0 {
		b = appendMillis(b, "upstream_ms", a.UpstreamTime)
	}
	b = appendField(b, "user_agent", a.UserAgent)
	b = appendField(b, "referer", a.Referer)
	b = appendField(b, "xff", a.XFF)
	if a.Proto == ProtoTCP { // TLS that was passed through has no version that we know
		b = appendField(b, "ja4", a.JA4)
		if a.TLSVersion == 0 {
			b = appendField(b, "sni", a.SNI)
		}
	}
	if a.TLSVersion != 0 {
		b = appendField(b, "sni", a.SNI)
		b = appendField(b, "tls", e.names.version(a.TLSVersion))
		b = appendField(b, "cipher", e.names.suite(a.TLSSuite))
		b = appendField(b, "group", e.names.group(a.TLSGroup))
		if a.Resumed {
			b = append(b, `,"resumed":true`...)
		}
		b = appendField(b, "client_cert", a.PeerHash)
		b = appendField(b, "client_subject", a.PeerSubject)
		if a.PeerHash == "" {
			b = appendField(b, "offered_cert", a.PeerOffered)
		}
	}
	if a.Policy != "" {
		b = e.policy(b, a)
	}
	if a.Proxy != "" || a.Result != "" || a.Bump != "" || a.CacheStatus != "" {
		b = egressJSON(b, a)
	}
	return append(b, '}')
}

// policy appends what the policies on client certificates decided.
func (e *encoder) policy(b []byte, a *Access) []byte {
	b = appendField(b, "policy", a.Policy)
	b = appendField(b, "policy_verdict", a.PolicyVerdict)
	if a.PolicyCode != 0 {
		b = appendField(b, "policy_code", e.codes.text[a.PolicyCode])
	}
	return b
}

// isPathOf reports whether the normalised path is that of the target as it came.
func isPathOf(path, target []byte) bool {
	return bytes.HasPrefix(target, path) && (len(target) == len(path) || target[len(path)] == '?')
}

// reason appends code, slug and the sentence for people.
func (e *encoder) reason(b []byte, code diag.Code, detail string) []byte {
	if code != 0 {
		b = appendField(b, "code", e.codes.text[code])
		b = appendField(b, "reason", e.codes.slug[code])
	}
	return appendField(b, "detail", detail)
}

// handshakeJSON appends a handshake as one JSON object, without line feed.
func (e *encoder) handshakeJSON(b []byte, h *Handshake) []byte {
	b = append(b, `{"ts":"`...)
	b = e.stamp.append(b, h.Time)
	b = append(b, `","kind":"handshake"`...)
	b = appendInt(b, "conn", int64(h.Conn))
	b = appendField(b, "side", h.Side)
	b = appendField(b, "listener", h.Listener)
	b = appendField(b, "chain", h.Chain)
	b = appendAddress(b, "client", h.Remote)
	b = e.reason(b, h.Code, h.Detail)
	b = appendField(b, "err", h.Err)
	b = appendMillis(b, "dur_ms", h.Duration)
	b = appendField(b, "origin", h.Origin)
	b = appendField(b, "class", h.Class)
	b = appendField(b, "sni", h.Hello.SNI)
	b = appendField(b, "tls", e.names.version(h.Version))
	b = appendField(b, "cipher", e.names.suite(h.Suite))
	b = appendField(b, "group", e.names.group(h.Group))
	b = appendField(b, "alpn", h.ALPN)
	if h.Resumed {
		b = append(b, `,"resumed":true`...)
	}
	b = appendField(b, "cert", h.Cert)
	b = appendField(b, "client_cert", h.PeerHash)
	b = appendField(b, "client_subject", h.PeerSubject)
	b = appendField(b, "offered_cert", h.PeerOffered)
	b = appendField(b, "proxy", h.Proxy)
	b = appendField(b, "issuer", h.Issuer)
	b = appendField(b, "bump", h.Bump)
	if h.Intercepted {
		b = append(b, `,"intercepted":true`...)
	}
	b = appendList(b, "offered_versions", h.Hello.Versions, e.names.version)
	b = appendList(b, "offered_alpn", h.Hello.ALPN, func(s string) string { return s })
	if h.Code != 0 { // long lists help only where something was refused
		b = appendList(b, "offered_ciphers", h.Hello.Suites, e.names.suite)
		b = appendList(b, "offered_groups", h.Hello.Groups, e.names.group)
	}
	b = appendField(b, "ja4", h.Hello.JA4)
	if h.Hello.Ticket {
		b = append(b, `,"ticket":true`...)
	}
	if h.Hello.Records > 1 {
		b = strconv.AppendInt(appendKey(b, "hello_records"), int64(h.Hello.Records), 10)
	}
	return append(b, '}')
}

// maxListed bounds the items of a list that a peer sends.
const maxListed = 64

func appendList[T any](b []byte, key string, list []T, name func(T) string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(appendKey(b, key), '[')
	for i, v := range list[:min(len(list), maxListed)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name(v))
	}
	return append(b, ']')
}
