package proxy

import (
	"fmt"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// otherProtocol answers what is no HTTP at the beginning of a plain connection, in its own words where it has
// some, and records it as what it is: a connection, not a request. It returns false for what looks like HTTP
// or like nothing that is known. first are the first bytes, of which there is at least one.
func (c *conn) otherProtocol(first []byte) bool {
	if c.d.TLS != nil || c.d.Tunnel != nil || c.number.Load() > 0 {
		return false
	}
	state := c.latest()
	isProxy := state != nil && state.forward != nil
	name := c.d.Raw.Spec().Name
	if listen.LooksLikeTLS(first) || first[0] == 22 {
		if isProxy {
			c.refuseProtocol(diag.TLSOnProxyPort, "the client began a TLS handshake with forward proxy "+name+", whose port speaks plain HTTP", listen.TLSOnProxyAnswer())
		} else {
			c.refuseProtocol(diag.TLSOnPlaintextPort, "the client began a TLS handshake on listener "+name+", which speaks plain HTTP", listen.TLSOnPlaintextAnswer())
		}
		return true
	}
	speaks := "HTTP"
	if isProxy {
		speaks = "HTTP proxy requests"
	}
	switch proto, answer := listen.OtherProtocolAnswer(first, speaks); proto {
	case listen.ProtocolHTTP, listen.ProtocolHTTP2, listen.ProtocolTLS, listen.ProtocolUnknown, listen.ProtocolNone:
		return false
	case listen.ProtocolPROXY:
		c.refuseProtocol(diag.ProxyHeaderUnwanted, "the connection began with a PROXY header, which listener "+name+" does not take", answer)
	default:
		c.refuseProtocol(diag.OtherProtocol, fmt.Sprintf("the client spoke %s on listener %s, which speaks %s", proto, name, speaks), answer)
	}
	return true
}

// refuseProtocol records and answers a connection that is not HTTP.
func (c *conn) refuseProtocol(code diag.Code, detail string, answer []byte) {
	raw := c.d.Raw
	c.client.p.sink.Handshake(&telemetry.Handshake{
		Time: raw.Accepted(), Duration: time.Since(raw.Accepted()), Conn: raw.ID(), Side: telemetry.Downstream,
		Listener: raw.Spec().Name, Remote: raw.Remote(), Local: raw.Local(), Code: code, Detail: detail,
	})
	if len(answer) > 0 {
		_ = c.write(answer, 0) // who does not take it is gone
	}
	c.close = closeLinger
}
