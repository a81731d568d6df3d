package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/proxy"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// connect decides about CONNECT: what is spliced without a look is connected to before the client is told.
func (t *Port) connect(q *asked) proxy.ForwardChoice {
	w, no := t.way(&q.Facts, q.Host, q.Port, netip.Addr{})
	if no != nil {
		return t.turnAway(q, no)
	}
	n := t.tunnel(q)
	n.way = w
	if t.intercepts() {
		q.Step = 1
		d := t.bump.Decide(&q.Facts)
		n.rule = d.Text
		switch d.Action {
		case "terminate":
			q.r.Access.Bump = "terminate"
			t.tell(n, "terminate", "")
			return t.deny(q, refuse(diag.ForwardTerminated, d.Text+" at step 1"))
		case "peek", "stare", "bump":
			facts := q.Facts
			facts.Header = keptFields(&q.r.Request.Fields)
			return proxy.ForwardChoice{Route: t.route, Take: func(tk *proxy.Takeover) { n.take(tk, &facts, d.Action) }}
		}
	}
	return t.connectNow(q, n)
}

// tunnel is what CONNECT begins.
func (t *Port) tunnel(q *asked) *Tunnel {
	return &Tunnel{at: t, explicit: true, host: q.Host, port: q.Port, user: q.User, authenticated: q.Authenticated, peer: q.r.Peer}
}

// turnAway refuses a request. Browsers show nothing of an answer to CONNECT but their own error: where TLS is looked
// into, CONNECT is answered 200 and the page is shown inside, as Squid does. Credentials are asked for by CONNECT's own
// answer: inside, no client would send them. Names that the CA may not sign have no inside.
func (t *Port) turnAway(q *asked, no *refusal) proxy.ForwardChoice {
	if q.Method != "CONNECT" || no.status == 407 || !t.intercepts() || t.authority == nil || t.authority.Fault() != nil || !t.authority.Permits(q.Host) {
		return t.deny(q, no)
	}
	n := t.tunnel(q)
	n.fault = no
	q.r.Access.Result = "NONE_NONE"
	if no.code == diag.ForwardDenied {
		q.r.Access.Result = "TCP_DENIED"
	}
	facts := q.Facts
	facts.Header = keptFields(&q.r.Request.Fields)
	return proxy.ForwardChoice{Route: t.route, Take: func(tk *proxy.Takeover) { n.take(tk, &facts, "bump") }}
}

// neverTaken is how long a connection waits for a client that may be gone.
const neverTaken = time.Minute

// connectNow connects, so that the client is told by a status if that fails, and splices.
func (t *Port) connectNow(q *asked, n *Tunnel) proxy.ForwardChoice {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	u, release := t.raw(&n.way)
	stream, err := u.Connect(ctx, upstream.Query{Host: n.host})
	if err != nil {
		done(release)
		noteTried(q.r.Access, err)
		return t.deny(q, upstreamRefusal(err))
	}
	q.r.Access.Result, q.r.Access.Bump = "TCP_TUNNEL", spliceWord(t)
	noteStream(q.r.Access, stream)
	var once atomic.Bool
	end := func() {
		if once.CompareAndSwap(false, true) {
			_ = stream.Close()
			done(release)
		}
	}
	stale := time.AfterFunc(neverTaken, end)
	return proxy.ForwardChoice{Route: t.route, Take: func(tk *proxy.Takeover) {
		if !stale.Stop() {
			_ = tk.Stream.Close()
			return
		}
		defer end()
		n.begin(tk)
		t.tell(n, "splice", "")
		n.relay(stream, tk.Stream, tk.Pending, nil)
	}}
}

// spliceWord is Access.Bump of what was not looked into.
func spliceWord(t *Port) string {
	if t.intercepts() {
		return "splice"
	}
	return ""
}

func done(release func()) {
	if release != nil {
		release()
	}
}

// upstreamRefusal is why a destination cannot be reached.
func upstreamRefusal(err error) *refusal {
	var failure *upstream.Error
	if errors.As(err, &failure) {
		return refuse(failure.Code, failure.Error())
	}
	return refuse(diag.UpstreamConnectTimeout, "connecting took longer than "+connectTimeout.String())
}

// noteTried records where a connection that could not be had was to go.
func noteTried(a *telemetry.Access, err error) {
	var failure *upstream.Error
	if !errors.As(err, &failure) {
		return
	}
	switch {
	case failure.Via != nil:
		a.Proxy, a.ProxyAddress, a.ConnectStatus, a.Hierarchy = failure.Via.Proxy, failure.Via.Address, failure.Via.Status, "FIRSTUP_PARENT"
	case failure.Endpoint.IsValid():
		a.Endpoint, a.Hierarchy = failure.Endpoint.String(), "HIER_DIRECT"
	}
}

// noteStream records which way a connection went.
func noteStream(a *telemetry.Access, s *upstream.Stream) {
	a.Hierarchy = "HIER_DIRECT"
	if a.Proxy, a.ProxyAddress, a.ConnectStatus = s.Proxy, s.ProxyAddress, s.ConnectStatus; a.Proxy != "" {
		a.Hierarchy = "FIRSTUP_PARENT"
	}
	if to, ok := s.RemoteAddr().(*net.TCPAddr); ok && a.Proxy == "" {
		ap := to.AddrPort()
		a.Endpoint = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
	} else if s.Endpoint != nil {
		a.Endpoint = s.Endpoint.Text
	}
}
