package telemetry

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// requestText appends a request in Envoy's default format or, with istio, in Istio's longer one,
// without line feed. Bytes that would end or forge a field are written as \xHH.
func (e *encoder) requestText(b []byte, a *Access, istio bool) []byte {
	b = append(b, '[')
	b = e.stamp.append(b, a.Start)
	b = append(b, `] "`...)
	b = appendBare(b, a.Method)
	b = append(b, ' ')
	b = appendBare(b, a.Target)
	b = append(b, ' ')
	b = appendBare(b, a.Proto)
	b = append(b, `" `...)
	b = strconv.AppendInt(b, int64(a.Status), 10)
	b = append(b, ' ')
	b = appendBare(b, flags(a))
	if istio {
		b = append(b, ' ')
		b = appendBare(b, e.details(a))
		b = append(b, ` - "`...)
		failure := ""
		if a.Code >= diag.UpstreamUnknownCA && a.Code < diag.RequestMalformed {
			failure = a.Detail
		}
		b = append(appendBare(b, failure), '"')
	}
	b = append(b, ' ')
	b = strconv.AppendInt(b, a.BytesReceived, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, a.BytesSent, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, a.Duration.Milliseconds(), 10)
	b = append(b, ' ')
	b = appendMilliseconds(b, a.UpstreamTime)
	b = appendQuoted(b, a.XFF)
	b = appendQuoted(b, a.UserAgent)
	b = appendQuoted(b, a.ID)
	b = appendQuoted(b, a.Authority)
	b = appendQuoted(b, a.Endpoint)
	if !istio {
		return appendMore(b, a)
	}
	b = append(b, ' ')
	b = appendBare(b, a.Upstream)
	b = append(b, " - "...) // the local address of the upstream connection is not recorded
	b = appendPeer(b, a.Local)
	b = append(b, ' ')
	b = appendPeer(b, a.Remote)
	b = append(b, ' ')
	b = appendBare(b, a.SNI)
	b = append(b, ' ')
	return appendMore(appendBare(b, a.Route), a)
}

// appendMore appends what these formats have no field for, as name=value, where there is something
// that an HTTP/1 request without gRPC and retries does not have: those lines stay as Envoy's are.
func appendMore(b []byte, a *Access) []byte {
	if a.GRPC {
		b = append(append(b, " grpc_status="...), grpcName(a.GRPCStatus)...)
	}
	if a.Attempts > 1 {
		b = strconv.AppendInt(append(b, " attempts="...), int64(a.Attempts), 10)
	}
	if a.Stream != 0 {
		b = strconv.AppendUint(append(b, " stream="...), uint64(a.Stream), 10)
		if a.UpstreamProto != "" {
			b = append(append(b, " upstream_protocol="...), a.UpstreamProto...)
		}
	}
	return b
}

// handshakeText appends a refused handshake as these formats show a connection without a request: the
// code stands where response flags do.
func (e *encoder) handshakeText(b []byte, h *Handshake, istio bool) []byte {
	b = append(b, '[')
	b = e.stamp.append(b, h.Time)
	b = append(b, `] "- - -" 0 `...)
	b = appendBare(b, e.codes.text[h.Code])
	if istio {
		b = append(b, ' ')
		b = appendBare(b, e.codes.slug[h.Code])
		b = append(b, ` - "`...)
		b = append(appendBare(b, h.Detail), '"')
	}
	b = append(b, " 0 0 "...)
	b = strconv.AppendInt(b, h.Duration.Milliseconds(), 10)
	b = append(b, ` - "-" "-" "-" "-" "-"`...)
	if !istio {
		return b
	}
	b = append(b, " - - "...)
	b = appendPeer(b, h.Local)
	b = append(b, ' ')
	b = appendPeer(b, h.Remote)
	b = append(b, ' ')
	b = appendBare(b, h.Hello.SNI)
	return append(b, " -"...)
}

// details is Envoy's RESPONSE_CODE_DETAILS: where the answer came from, or why there was none.
func (e *encoder) details(a *Access) string {
	switch {
	case a.Code != 0:
		return e.codes.slug[a.Code]
	case a.Endpoint != "":
		return "via_upstream"
	}
	return "direct_response"
}

// flags are Envoy's response flags; what the proxy set wins.
func flags(a *Access) string {
	if a.Flags != "" || a.Code == 0 {
		return a.Flags
	}
	switch c := a.Code; {
	case c == diag.NoRoute || c == diag.NoHost || c == diag.RouteInvalid:
		return "NR"
	case c == diag.UpstreamNoEndpoints || c == diag.UpstreamDNS:
		return "UH"
	case c == diag.UpstreamPoolOverflow:
		return "UO"
	case c == diag.UpstreamTimeout:
		return "UT"
	case c == diag.UpstreamProtocolError || c == diag.UpstreamHeadTooLarge || c == diag.UpstreamSpeaksTLS:
		return "UPE"
	case c == diag.UpstreamReset || c == diag.UpstreamClosedEarly || c == diag.UpstreamBodyTruncated:
		return "UC"
	case c >= diag.UpstreamUnknownCA && c < diag.RequestMalformed:
		return "UF"
	case c == diag.ClientClosed || c == diag.ClientTooSlow:
		return "DC"
	case c == diag.RequestsOverload || c == diag.OverloadMemory:
		return "OM"
	case c >= diag.RequestMalformed && c < diag.NoRoute || c >= diag.HTTP2ProtocolError && c < diag.OverloadMemory:
		return "DPE"
	}
	return ""
}

func appendMilliseconds(b []byte, d time.Duration) []byte {
	if d <= 0 {
		return append(b, '-')
	}
	return strconv.AppendInt(b, d.Milliseconds(), 10)
}

func appendPeer(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, '-')
	}
	return appendAddrPort(b, a)
}

func appendQuoted[T text](b []byte, s T) []byte {
	return append(appendBare(append(b, ` "`...), s), '"')
}

// appendBare appends a value without quotes; an empty one is "-".
func appendBare[T text](b []byte, s T) []byte {
	const hex = "0123456789ABCDEF"
	if len(s) == 0 {
		return append(b, '-')
	}
	for i := range min(len(s), maxPeerField) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			b = append(b, '\\', 'x', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}
