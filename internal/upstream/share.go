package upstream

import (
	"context"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// speak says which protocol a request is given: HTTP/1.1, HTTP/2, or UpstreamAuto where ALPN decides.
func (u *Upstream) speak(q *Query) ir.UpstreamProtocol {
	switch {
	case u.only1:
		return ir.UpstreamHTTP1
	case u.Settings.Protocol == ir.UpstreamHTTP2:
		return ir.UpstreamHTTP2
	case q.HTTP1:
		return ir.UpstreamHTTP1
	case u.Settings.Protocol == ir.UpstreamAuto:
		return ir.UpstreamAuto
	case q.HTTP2:
		return ir.UpstreamHTTP2
	}
	return ir.UpstreamHTTP1
}

// offered is what is spoken on connections that are made for many.
func (u *Upstream) offered() ir.UpstreamProtocol {
	if u.Settings.Protocol == ir.UpstreamAuto {
		return ir.UpstreamAuto
	}
	return ir.UpstreamHTTP2
}

// slot lends a free slot of a connection that e has, or returns nil.
func (u *Upstream) slot(e *Endpoint, t *originator, q *Query) *Conn {
	g := e.group(q.Host)
	if q.NotConn != nil {
		for _, tr := range g.all() {
			if tr.mux == q.NotConn {
				tr.refresh() // it has just refused a stream
			}
		}
	}
	tr, before := g.reserve(t.num, q, false)
	if tr == nil {
		return nil
	}
	if before&slotMask >= spreadAt && len(g.all()) < u.registry.cores && e.coolUntil.Load() == 0 && g.another(u) {
		u.dial(g, e, t, u.offered())
	}
	return tr.lease(q, before >= slotOnce)
}

// anySlot reserves a free slot of a connection to any endpoint, rather one that is fit for the request. used
// says that it has served others.
func (u *Upstream) anySlot(t *originator, q *Query) (tr *trunk, used bool) {
	for _, anyhow := range [...]bool{false, true} {
		for _, e := range u.set.Load().endpoints {
			if q.only != nil && q.only != e {
				continue
			}
			if tr, before := e.group(q.Host).reserve(t.num, q, anyhow); tr != nil {
				return tr, before >= slotOnce
			}
		}
	}
	return nil, false
}

// shared returns a lease of an HTTP/2 connection to e, or, if speak leaves the choice to the peer and it
// chose so, of one in HTTP/1.1. It joins the requests that wait for a connection that is being made,
// makes one, or waits at the pool's bound.
func (u *Upstream) shared(ctx context.Context, e *Endpoint, t *originator, q *Query, speak ir.UpstreamProtocol) (*Conn, *Error) {
	for {
		g := e.group(q.Host)
		seen := g.list.Load()
		if c := u.slot(e, t, q); c != nil {
			return c, nil
		}
		if speak == ir.UpstreamAuto && e.spoke.Load() == spokeHTTP1 {
			return u.from(ctx, e, t, q, speak)
		}
		k := &ticket{body: q.Body, out: make(chan outcome, 1)}
		how := g.join(u, k, seen, false)
		if how == mustQueue {
			c, err := u.permit(ctx, t, q, speak)
			if c != nil || err != nil {
				return c, err
			}
			if how = g.join(u, k, nil, true); how == stale {
				u.limit.release()
			}
		}
		switch how {
		case stale:
			continue
		case mustDial:
			u.dial(g, e, t, speak)
		}
		o, err := u.await(ctx, g, e, k)
		switch {
		case err != nil:
			return nil, err
		case o.trunk != nil:
			return o.trunk.lease(q, o.used), nil
		case o.conn != nil:
			return o.conn.lend(q.Shard, false), nil
		case o.err != nil:
			if tr, before := g.reserve(t.num, q, true); tr != nil { // better than none
				return tr.lease(q, before >= slotOnce), nil
			}
			return nil, o.err
		}
		t = u.tls.Load()
	}
}

// await waits for what comes of k.
func (u *Upstream) await(ctx context.Context, g *trunks, e *Endpoint, k *ticket) (outcome, *Error) {
	select {
	case o := <-k.out:
		return o, nil
	case <-ctx.Done():
	}
	if !g.leave(k) {
		switch o := <-k.out; { // already served: pass it on
		case o.trunk != nil:
			o.trunk.release()
		case o.conn != nil:
			o.conn.keep()
		}
	}
	return outcome{}, &Error{Code: diag.UpstreamConnectTimeout, Endpoint: e.Address, Err: ctx.Err(), Detail: "no connection to " + e.Text + " became ready in time"}
}

// dial makes a connection in the background, for all that wait in g. The caller has counted it and taken
// a permit.
func (u *Upstream) dial(g *trunks, e *Endpoint, t *originator, speak ir.UpstreamProtocol) {
	started := u.registry.spawn(func() {
		c, tr, err := u.open(u.registry.ctx, e, t, g.host, speak)
		u.dialled(g, e, c, tr, err)
	})
	if !started {
		u.limit.release()
		u.dialled(g, e, nil, nil, shuttingDown(e))
	}
}

// dialled hands on what came of a connection: a trunk, a connection in HTTP/1.1, or a failure.
func (u *Upstream) dialled(g *trunks, e *Endpoint, c *Conn, tr *trunk, err *Error) {
	g.mu.Lock()
	g.dialing--
	switch {
	case tr != nil:
		tr.group.Store(g)
		g.add(tr)
	case c != nil:
		if len(g.queue) > 0 {
			g.pop(0).out <- outcome{conn: c}
			c = nil
		}
		g.dismiss(outcome{}) // each needs one of its own
	case g.dialing == 0:
		g.dismiss(outcome{err: err})
	}
	g.mu.Unlock()
	switch {
	case tr != nil:
		tr.published()
		u.more(g, e)
	case c != nil:
		c.keep()
	}
}

// publish lets others share a connection that was made for one request.
func (u *Upstream) publish(e *Endpoint, tr *trunk) {
	for {
		g := e.group(tr.conn.host)
		g.mu.Lock()
		if g.gone {
			g.mu.Unlock()
			continue
		}
		tr.group.Store(g)
		g.add(tr)
		g.mu.Unlock()
		tr.published()
		return
	}
}

// more makes connections for those that still wait, as far as there are permits.
func (u *Upstream) more(g *trunks, e *Endpoint) {
	dials := 0
	g.mu.Lock()
	for len(g.queue) > 0 && !g.covered(u, 0) && u.limit.try() {
		g.dialing++
		dials++
	}
	if g.dialing == 0 {
		g.dismiss(outcome{}) // at the bound: they wait there
	}
	g.mu.Unlock()
	for range dials {
		u.dial(g, e, u.tls.Load(), u.offered())
	}
}

// open makes a connection to e within the connect timeout, and HTTP/2 on it where that is spoken. A
// permit is held by the caller; it is given back if there is an error.
func (u *Upstream) open(ctx context.Context, e *Endpoint, t *originator, host string, speak ir.UpstreamProtocol) (c *Conn, tr *trunk, err *Error) {
	defer func() {
		if fault := recover(); fault != nil {
			u.registry.fault("making an upstream connection failed", fault)
			u.limit.release()
			c, tr, err = nil, nil, &Error{Code: diag.UpstreamConnectFailed, Endpoint: e.Address, Detail: "making a connection to " + e.Text + " failed for a fault of ours; the log has it"}
		}
	}()
	bounded, cancel := context.WithTimeout(ctx, u.patience())
	defer cancel()
	if c, err = u.connectHTTP(bounded, e, t, host, speak); err == nil && c.http2 {
		tr, err = u.newTrunk(bounded, c)
		c = nil
	}
	if err != nil {
		u.limit.release()
		err.Server = e.Server()
		if ended := ctx.Err(); ended == nil || ended != context.Canceled && err.Code != diag.UpstreamConnectTimeout {
			e.failed()
			e.Failed(err)
		}
		return nil, nil, err
	}
	e.connected()
	switch {
	case tr != nil:
		e.spoke.Store(spokeHTTP2)
	case speak != ir.UpstreamHTTP1 || u.Settings.Protocol != ir.UpstreamAuto: // else it was not asked
		e.spoke.Store(spokeHTTP1)
	}
	return c, tr, nil
}

func shuttingDown(e *Endpoint) *Error {
	return &Error{Code: diag.UpstreamConnectFailed, Endpoint: e.Address, Detail: "no connection is made to " + e.Text + " while this process ends"}
}
