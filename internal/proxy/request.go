package proxy

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// errInterrupted is returned by operations whose wait was ended from outside.
var errInterrupted = errors.New("interrupted")

// handle finds out what becomes of a request and does it.
func (x *exchange) handle() {
	req := x.Request
	x.access.Authority, x.access.Path = req.Authority, req.Path // before filters change them
	x.classify()
	if x.unadmitted() {
		return
	}
	if code, detail := x.client.barred(); code != 0 {
		x.refuse(code, detail)
		return
	}
	if x.state != nil && x.state.forward != nil {
		x.proxied(x.state.forward)
		return
	}
	if m := string(req.Method); m == "CONNECT" || m == "TRACE" { // a WebSocket's CONNECT is a GET by now
		x.refuse(diag.MethodNotSupported, "method "+m+" is not forwarded")
		return
	}
	if limit := x.client.p.limits.MaxRequestBody; limit > 0 && req.Body.Length > limit {
		x.refuse(diag.RequestBodyTooLarge, "the declared length of the body is over the bound")
		return
	}
	if x.state == nil {
		x.refuse(diag.Draining, "the listener is gone")
		return
	}
	host := req.Host // as the client asked; filters may rewrite it
	r := x.match()
	if r == nil || !x.limitCall() {
		return
	}
	if r.IR.Cache != nil {
		x.beginCache(r.IR.Cache)
	}
	http1.RemoveHopByHop(&req.Fields)
	if !x.runFilters(x.state.standard) || !x.runFilters(r.Filters) {
		return
	}
	b := r.Pick(rand.Uint32())
	if b == nil {
		x.refuse(diag.RouteInvalid, "the route has no backend")
		return
	}
	u, fault := b.For(host)
	switch {
	case fault != nil:
		x.refuse(fault.Code, fault.Detail)
	case !x.runFilters(b.Filters):
	case x.cache != nil:
		x.cached(u.(*upstream.Upstream))
	default:
		x.forward(u.(*upstream.Upstream))
	}
}

// match finds the route, or answers.
func (x *exchange) match() *route.Route {
	req := x.Request
	entry, code := x.state.Index.Choose(x.client.d.TLS != nil, x.Peer.SNI, req.Host)
	if entry != nil {
		x.access.Chain = entry.Chain.Name
		if code == 0 && x.client.d.Chain != "" && entry.Chain.Name != x.client.d.Chain {
			// The name has moved to another chain since the handshake, which that chain's settings, and
			// its client authentication, have not judged.
			code = diag.MisdirectedRequest
		}
	}
	if code != 0 {
		x.refuse(code, "host \""+string(req.Host)+"\" on a connection for \""+x.Peer.SNI+"\"")
		return nil
	}
	r, code := entry.Table.Match(req)
	if r != nil {
		x.route, x.Route = r, r.IR
		x.access.Route, x.access.Origin = r.IR.Name, r.Origin
		x.access.Metrics, _ = r.Metrics.(*telemetry.RouteMetrics)
	}
	// Before anything is told of routes: what lies below a protected path is nobody's business.
	if !x.permitted(entry) {
		return nil
	}
	if code != 0 {
		x.refuse(code, entry.Table.Nearest(req))
		return nil
	}
	if r.Fault != nil {
		x.refuse(r.Fault.Code, r.Fault.Detail)
		return nil
	}
	if t := r.IR.Timeout; t > 0 {
		x.total = int64((x.started + t) / time.Millisecond)
	}
	return r
}

// runFilters runs the request side of list. It returns false if one has answered, and the answer is
// sent.
func (x *exchange) runFilters(list []filter.Filter) bool {
	for _, f := range list {
		x.ran = append(x.ran, f)
		res := f.Request(&x.Exchange)
		if res.Verdict == filter.Suspend {
			var ok bool
			if res, ok = x.await(res.Token); !ok {
				return false
			}
		}
		switch res.Verdict {
		case filter.Continue:
		case filter.Respond:
			x.respond(res.Response)
			return false
		default:
			x.refuse(diag.RouteInvalid, "a filter did not decide")
			return false
		}
	}
	return true
}

// await waits for a suspended filter. It returns false if the request was ended meanwhile; where that
// is possible it has been answered.
func (x *exchange) await(token filter.Token) (filter.Result, bool) {
	result := make(chan filter.Result, 1)
	select {
	case <-x.task.wake: // of an earlier exchange
	default:
	}
	if !x.task.watch.arm(waitFilter, x.client.p.limits.UpstreamIdle, x.total) {
		return filter.Result{}, false
	}
	token.Done(func(r filter.Result) {
		select {
		case result <- r:
		default: // resumed before: the first result stands
		}
	})
	select {
	case r := <-result:
		if x.task.watch.disarm() {
			if r.Verdict == filter.Suspend {
				return x.await(r.Token)
			}
			return r, true
		}
	case <-x.task.wake:
	}
	token.Cancel()
	if x.task.watch.why() == endTime {
		x.task.watch.recover()
		x.refuse(diag.UpstreamTimeout, "a filter did not come to a result in time")
	} else {
		x.clientGone()
	}
	return filter.Result{}, false
}

// clientGone notes that there is nobody to answer.
func (x *exchange) clientGone() {
	x.down.gone()
	why := x.fail(diag.ClientClosed, "the client closed its connection before the answer was complete")
	if !x.headed && why != diag.Draining {
		x.access.Status = 499
	}
}
