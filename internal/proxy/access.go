package proxy

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// record completes the access record of an exchange and hands it over.
func (x *exchange) record() {
	a := &x.access
	x.noteEnd()
	a.ID = x.id()
	switch {
	case x.fwd != nil:
		if x.noteForward() {
			return
		}
	case x.state != nil && x.state.forward != nil: // refused before anybody was asked
		a.Result, a.Hierarchy = "NONE_NONE", "HIER_NONE"
	}
	x.client.describe(a, x.Request, x.started)
	if j := x.decision.Judgement; j != nil && j.Code == 0 {
		a.PeerHash, a.PeerSubject = j.Facts.Hash, j.Facts.Subject
	}
	if x.Client.IsValid() {
		a.Client = x.Client
	}
	x.client.p.sink.Access(a)
}

// noteHead notes when the head of the final answer came.
func (x *exchange) noteHead() {
	now := time.Since(x.client.p.base)
	x.access.UpstreamTime, x.access.HeadTime = now-x.asked, now-x.started
}

// noteType notes the media type of the answer, whose head may be gone when the record is made.
func (x *exchange) noteType() {
	x.access.ContentType = nil
	if t, ok := x.resp.Fields.Get(message.ContentType); ok {
		x.access.ContentType = append(x.typeSpace[:0], t[:min(len(t), len(x.typeSpace))]...)
	}
}

// describe fills in what connection and head of a request tell; it began at started, since base.
func (c *client) describe(a *telemetry.Access, req *message.Request, started time.Duration) {
	a.Start = c.p.base.Add(started)
	a.Duration = time.Since(c.p.base) - started
	a.Conn = c.d.Raw.ID()
	a.Listener = c.d.Raw.Spec().Name
	if a.Chain == "" {
		a.Chain = c.d.Chain
	}
	a.Remote, a.Local = c.d.Peer.Remote, c.d.Peer.Local
	a.Client = a.Remote.Addr().Unmap()
	a.Proto = "-"
	if req.Proto != 0 {
		a.Proto = req.Proto.String()
	}
	if a.Scheme = c.scheme(); req.Absolute != "" {
		a.Scheme = req.Absolute
	}
	a.Method, a.Target = req.Method, req.Target
	if a.Protocol = req.Protocol; a.Protocol != nil { // what the client sent: see unfold
		a.Method = []byte("CONNECT")
	}
	f := &req.Fields
	a.UserAgent, _ = f.Get(message.UserAgent)
	a.Referer, _ = f.Get(message.Referer)
	a.XFF, _ = f.Get(message.XForwardedFor)
	a.Flags = flags(a.Code)
	a.SNI = c.d.Peer.SNI
	a.PeerOffered = c.offered
	if h := c.d.Handshake; h != nil {
		a.TLSVersion, a.TLSSuite, a.TLSGroup, a.Resumed = h.Version, h.Suite, h.Group, h.Resumed
		a.PeerHash, a.PeerSubject, a.JA4 = h.PeerHash, h.PeerSubject, h.Hello.JA4
		if a.PeerOffered == "" {
			a.PeerOffered = h.PeerOffered
		}
	}
}

// flags returns Envoy's response flags for a reason.
func flags(code diag.Code) string {
	switch code {
	case 0:
		return ""
	case diag.UpstreamConnectRefused, diag.UpstreamConnectTimeout, diag.UpstreamConnectFailed, diag.ForwardLocal:
		return "UF"
	case diag.UpstreamNoEndpoints, diag.PoolUnavailable, diag.AffinityOriginGone:
		return "UH"
	case diag.UpstreamDNS:
		return "DF"
	case diag.UpstreamPoolOverflow, diag.UpstreamRequestLimit:
		return "UO"
	case diag.UpstreamReset, diag.UpstreamClosedEarly, diag.UpstreamBodyTruncated, diag.UpstreamGoAway:
		return "UC"
	case diag.UpstreamStreamReset, diag.UpstreamRefusedStream:
		return "UR"
	case diag.UpstreamProtocolError, diag.UpstreamHeadTooLarge, diag.UpstreamSpeaksTLS, diag.UpstreamNoHTTP2, diag.UpstreamNoWebSocket:
		return "UPE"
	case diag.UpstreamTimeout:
		return "UT"
	case diag.NoRoute, diag.NoHost, diag.RouteInvalid:
		return "NR"
	case diag.ClientClosed:
		return "DC"
	case diag.ClientTooSlow, diag.RequestBodyTimeout, diag.RequestHeadTimeout, diag.UpstreamSilent, diag.UpgradeIdle:
		return "SI"
	case diag.RequestsOverload, diag.OverloadMemory:
		return "OM"
	}
	switch {
	case code >= 3101 && code < 3200, code >= 3301 && code < 3400:
		return "UF"
	case code >= 4001 && code < 4100, code >= 4301 && code < 4400:
		return "DPE"
	}
	return ""
}
