package proxy

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/route"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// errInterrupted is returned by operations whose wait was ended from outside.
var errInterrupted = errors.New("interrupted")

// turn serves one request, of which x.filled bytes are there, and says whether the connection goes
// on. What was received beyond the request is then at the front of x.in.
func (c *conn) turn(x *exchange) bool {
	x.begin(c)
	x.started = time.Since(c.p.base)
	n, err := c.readHead(x)
	if n == 0 {
		if err != nil {
			c.refuseHead(x, err)
		}
		return false
	}
	x.used = n
	c.number.Add(1)
	x.state = c.latest()
	c.handle(x)
	if !c.watch.disarm() {
		x.keep = false
	}
	c.record(x)
	x.next()
	return x.keep
}

// latest returns the listener's present state; that of the last request, if there was one, where the
// present one does not admit the connection.
func (c *conn) latest() *State {
	if s := c.present(); s != nil {
		c.current = s
	} else if c.current == nil {
		c.current = c.state.Load()
	}
	return c.current
}

// readHead reads and parses a request head. It returns 0 without error if the client closed before
// the first byte of it, or went away in the middle.
func (c *conn) readHead(x *exchange) (int, error) {
	until := c.p.now() + c.p.limits.HeaderTimeout.Milliseconds()
	if c.p.limits.HeaderTimeout == 0 {
		until = 0
	}
	c.parser.Reset()
	parsed := !x.begun // then more is there
	x.begun = false
	for {
		if parsed {
			n, err := c.parser.Parse(x.in[:x.filled], &x.req)
			if n > 0 || err != nil {
				return n, err
			}
		}
		parsed = true
		if x.filled == len(x.in) {
			x.growIn()
		}
		if !c.watch.arm(waitClientRead, 0, until) {
			return 0, c.headEnded()
		}
		n, err := c.rw.Read(x.in[x.filled:])
		x.filled += n
		if n == 0 && err != nil {
			return 0, c.headEnded()
		}
	}
}

// headEnded returns the reason for a head that will not be completed, nil if the client just went.
func (c *conn) headEnded() error {
	if c.watch.why() != endTime {
		return nil
	}
	c.watch.recover()
	return &http1.Error{Code: diag.RequestHeadTimeout, Detail: "the head was not complete in time"}
}

// refuseHead answers what is no request.
func (c *conn) refuseHead(x *exchange, err error) {
	if c.d.TLS == nil && c.number.Load() == 0 && (listen.LooksLikeTLS(x.in[:x.filled]) || x.in[0] == 22) {
		c.tlsOnPlain()
		return
	}
	c.number.Add(1)
	var refused *http1.Error
	if !errors.As(err, &refused) {
		refused = &http1.Error{Code: diag.RequestMalformed, Detail: err.Error()}
	}
	x.used = x.filled
	x.state = c.latest()
	x.req.KeepAlive = false
	c.refuse(x, refused.Code, refused.Detail)
	c.close = closeLinger
	c.record(x)
}

// handle finds out what becomes of a request and does it.
func (c *conn) handle(x *exchange) {
	req := &x.req
	x.access.Authority, x.access.Path = req.Authority, req.Path // before filters change them
	x.body.Reset(req.Body, c.p.limits.Request)
	if m := string(req.Method); m == "CONNECT" || m == "TRACE" {
		c.refuse(x, diag.MethodNotSupported, "method "+m+" is not forwarded")
		return
	}
	if limit := c.p.limits.MaxRequestBody; limit > 0 && req.Body.Length > limit {
		c.refuse(x, diag.RequestBodyTooLarge, "the declared length of the body is over the bound")
		return
	}
	if x.state == nil {
		c.refuse(x, diag.Draining, "the listener is gone")
		return
	}
	r := c.match(x)
	if r == nil {
		return
	}
	http1.RemoveHopByHop(&req.Fields)
	if !c.runFilters(x, x.state.standard) || !c.runFilters(x, r.Filters) {
		return
	}
	b := r.Pick(rand.Uint32())
	switch {
	case b == nil:
		c.refuse(x, diag.RouteInvalid, "the route has no backend")
	case b.Fault != nil:
		c.refuse(x, b.Fault.Code, b.Fault.Detail)
	case c.runFilters(x, b.Filters):
		c.forward(x, b.Upstream.(*upstream.Upstream))
	}
}

// match finds the route, or answers.
func (c *conn) match(x *exchange) *route.Route {
	req := &x.req
	entry, code := x.state.Index.Choose(c.d.TLS != nil, c.d.Peer.SNI, req.Host)
	if entry != nil {
		x.access.Chain = entry.Chain.Name
		if code == 0 && c.d.Chain != "" && entry.Chain.Name != c.d.Chain {
			// The name has moved to another chain since the handshake, which that chain's settings, and
			// its client authentication, have not judged.
			code = diag.MisdirectedRequest
		}
	}
	if code != 0 {
		c.refuse(x, code, "host \""+string(req.Host)+"\" on a connection for \""+c.d.Peer.SNI+"\"")
		return nil
	}
	r, code := entry.Table.Match(req)
	if code != 0 {
		c.refuse(x, code, entry.Table.Nearest(req))
		return nil
	}
	x.route, x.Route = r, r.IR
	x.access.Route, x.access.Origin = r.IR.Name, r.Origin
	x.access.Metrics, _ = r.Metrics.(*telemetry.RouteMetrics)
	if r.Fault != nil {
		c.refuse(x, r.Fault.Code, r.Fault.Detail)
		return nil
	}
	if t := r.IR.Timeout; t > 0 {
		x.until = int64((x.started + t) / time.Millisecond)
	}
	return r
}

// runFilters runs the request side of list. It returns false if one has answered, and the answer is
// sent.
func (c *conn) runFilters(x *exchange, list []filter.Filter) bool {
	for _, f := range list {
		x.ran = append(x.ran, f)
		res := f.Request(&x.Exchange)
		if res.Verdict == filter.Suspend {
			var ok bool
			if res, ok = c.await(x, res.Token); !ok {
				return false
			}
		}
		switch res.Verdict {
		case filter.Continue:
		case filter.Respond:
			c.respond(x, res.Response)
			return false
		default:
			c.refuse(x, diag.RouteInvalid, "a filter did not decide")
			return false
		}
	}
	return true
}

// await waits for a suspended filter. It returns false if the request was ended meanwhile; where that
// is possible it has been answered.
func (c *conn) await(x *exchange, token filter.Token) (filter.Result, bool) {
	result := make(chan filter.Result, 1)
	select {
	case <-c.wake: // of an earlier exchange
	default:
	}
	if !c.watch.arm(waitFilter, c.p.limits.UpstreamIdle, x.until) {
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
		if c.watch.disarm() {
			if r.Verdict == filter.Suspend {
				return c.await(x, r.Token)
			}
			return r, true
		}
	case <-c.wake:
	}
	token.Cancel()
	if c.watch.why() == endTime {
		c.watch.recover()
		c.refuse(x, diag.UpstreamTimeout, "a filter did not come to a result in time")
	} else {
		c.clientGone(x)
	}
	return filter.Result{}, false
}

// clientGone notes that there is nobody to answer.
func (c *conn) clientGone(x *exchange) {
	x.fail(diag.ClientClosed, "the client closed its connection before the answer was complete")
	if !x.headed {
		x.access.Status = 499
	}
	x.keep = false
	c.close = closeAbrupt
}
