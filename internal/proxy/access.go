package proxy

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter/requestid"
	"github.com/hakone-gateway/hakone/internal/message"
)

// record completes the access record of an exchange and hands it over.
func (x *exchange) record() {
	a := &x.access
	a.ID = x.id(requestid.Append)
	a.Start = x.client.p.base.Add(x.started)
	a.Duration = time.Since(x.client.p.base) - x.started
	a.Conn = x.client.d.Raw.ID()
	a.Listener = x.client.d.Raw.Spec().Name
	if a.Chain == "" {
		a.Chain = x.client.d.Chain
	}
	a.Remote, a.Local = x.Peer.Remote, x.Peer.Local
	a.Proto = "-"
	if x.Request.Proto != 0 {
		a.Proto = x.Request.Proto.String()
	}
	a.Scheme = x.client.scheme()
	a.Method, a.Target = x.Request.Method, x.Request.Target
	f := x.Request.Fields
	a.UserAgent, _ = f.Get(message.UserAgent)
	a.Referer, _ = f.Get(message.Referer)
	a.XFF, _ = f.Get(message.XForwardedFor)
	a.Flags = flags(a.Code)
	a.SNI = x.Peer.SNI
	if h := x.client.d.Handshake; h != nil {
		a.TLSVersion, a.TLSSuite, a.TLSGroup, a.Resumed = h.Version, h.Suite, h.Group, h.Resumed
		a.PeerHash, a.PeerSubject = h.PeerHash, h.PeerSubject
	}
	x.client.p.sink.Access(a)
}

// flags returns Envoy's response flags for a reason.
func flags(code diag.Code) string {
	switch code {
	case 0:
		return ""
	case diag.UpstreamConnectRefused, diag.UpstreamConnectTimeout, diag.UpstreamConnectFailed:
		return "UF"
	case diag.UpstreamNoEndpoints:
		return "UH"
	case diag.UpstreamDNS:
		return "DF"
	case diag.UpstreamPoolOverflow:
		return "UO"
	case diag.UpstreamReset, diag.UpstreamClosedEarly, diag.UpstreamBodyTruncated:
		return "UC"
	case diag.UpstreamProtocolError, diag.UpstreamHeadTooLarge, diag.UpstreamSpeaksTLS:
		return "UPE"
	case diag.UpstreamTimeout:
		return "UT"
	case diag.NoRoute, diag.NoHost, diag.RouteInvalid:
		return "NR"
	case diag.ClientClosed:
		return "DC"
	case diag.ClientTooSlow, diag.RequestBodyTimeout, diag.RequestHeadTimeout, diag.UpgradeIdle:
		return "SI"
	case diag.RequestsOverload:
		return "OM"
	}
	switch {
	case code >= 3101 && code < 3200:
		return "UF"
	case code >= 4001 && code < 4100:
		return "DPE"
	}
	return ""
}
