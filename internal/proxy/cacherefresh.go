package proxy

import (
	"io"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/httpcache"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// maxRenewals bounds the refreshes in the background of a process. Beyond it a stale answer is refreshed by a later
// request.
const maxRenewals = 256

// renewal is a request without a client: it fetches anew what was served stale (RFC 5861 section 3), with the
// fields that filters left of the request that was served, over its route.
type renewal struct {
	exchange
	task task
	req  message.Request
	o    *httpcache.Object
	u    *upstream.Upstream
}

// refreshLater begins to fetch o anew.
func (x *exchange) refreshLater(u *upstream.Upstream, o *httpcache.Object) {
	p := x.client.p
	if p.renewals.Add(1) > maxRenewals || p.draining.Load() {
		p.renewals.Add(-1)
		o.Refreshed()
		return
	}
	r := &renewal{o: o, u: u}
	from := x.Request
	q := &r.req
	*q = message.Request{Proto: message.HTTP11, Method: []byte("GET"), Scheme: from.Scheme, HasQuery: from.HasQuery, KeepAlive: true}
	clone := func(b []byte) []byte { return append([]byte(nil), b...) }
	q.Target, q.Authority, q.Host, q.Path, q.Query = clone(from.Target), clone(from.Authority), clone(from.Host), clone(from.Path), clone(from.Query)
	for i := range from.Fields.Len() {
		l := from.Fields.At(i)
		q.Fields.Append(l.ID, clone(l.Name), clone(l.Value))
	}
	r.task.init(p)
	r.task.watch.init(p, &r.task)
	r.task.watch.inner = true
	r.exchange.begin(x.client, &r.task, q)
	r.down, r.route, r.Route, r.state, r.started = r, x.route, x.Route, x.state, time.Since(p.base)
	if t := x.route.IR.Timeout; t > 0 {
		r.total = int64((r.started + t) / time.Millisecond)
	}
	k := &caching{c: x.cache.c, u: u, name: x.cache.name, why: "stale"}
	k.q = httpcache.Query{Key: clone(x.cache.q.Key), Route: x.cache.q.Route, Method: q.Method, Fields: &q.Fields, Identified: x.cache.q.Identified}
	k.q.Scan()
	k.out = httpcache.Outcome{Object: o, Fill: k.c.Refetch(o, &k.q), Why: "stale"}
	r.cache = k
	go r.run()
}

func (r *renewal) run() {
	p := r.client.p
	defer p.renewals.Add(-1)
	defer r.o.Refreshed()
	p.watches.add(&r.task.watch)
	defer p.watches.remove(&r.task.watch)
	defer func() {
		if fault := recover(); fault != nil {
			r.client.fault("refreshing a stored answer failed", fault)
			r.dropUpstream()
			r.cache.fill.End(httpcache.ErrIncomplete)
		}
	}()
	r.fetch(r.u)
	if !r.task.watch.disarm() {
		r.task.watch.recover()
	}
	r.settle()
	r.dropOrigin()
}

// A renewal is the client's end of its own exchange: there is no body, and nobody takes the answer.

func (r *renewal) arrived() ([]byte, error)                  { return nil, nil }
func (r *renewal) next(*watch) ([]byte, bool, error)         { return nil, false, io.EOF }
func (r *renewal) whole() bool                               { return true }
func (r *renewal) trailers() *message.Fields                 { return &r.req.Trailers }
func (r *renewal) interim(*message.Response) error           { return nil }
func (r *renewal) head(*message.Response, message.Body)      { r.headed = true }
func (r *renewal) write([]byte, bool) error                  { return nil }
func (r *renewal) finish([]byte, *message.Fields) error      { return nil }
func (r *renewal) persists() bool                            { return false }
func (r *renewal) forsake()                                  {}
func (r *renewal) independent() bool                         { return true }
func (r *renewal) cut(diag.Code)                             {}
func (r *renewal) gone()                                     {}
func (r *renewal) tunnel(*message.Response) (*pipe, error)   { return nil, errClient }
func (r *renewal) accept(*message.Response, *Takeover) error { return errClient }
func (r *renewal) refused(bool)                              {}
func (r *renewal) last()                                     {}
func (r *renewal) giveAway(func(*Takeover), *Takeover)       {}
