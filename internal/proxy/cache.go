package proxy

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/httpcache"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// Caches come after policies and request filters, and before response filters: what is stored is the origin's
// answer, and filters make of a hit what they would make of that. A request that no cache is configured for pays
// one comparison.

// caching is what an exchange has besides where its route has a cache.
type caching struct {
	c     *httpcache.Cache
	q     httpcache.Query
	out   httpcache.Outcome
	fill  *httpcache.Fill
	stale *httpcache.Object // what may take the place of a failure; nil: nothing

	validating bool // the request asks whether what is stored is good
	name       string
	why        string    // fwd of Cache-Status
	joined     bool      // served from somebody else's fetch
	rejoined   int       // how often the request that it waited for was gone
	now        time.Time // when out was decided
	told       string    // Cache-Status of the last hit, which often is the next one's

	u      *upstream.Upstream
	teed   *httpcache.Object // answer to a POST that is stored while it is passed on
	cursor httpcache.Cursor
	reads  *httpcache.Object // what cursor is open on; nil: it is closed
	served bool              // the answer is one that is kept, though nobody was asked
}

// beginCache notes what is asked for, before filters change it.
func (x *exchange) beginCache(settings *ir.Cache) {
	k := x.cacheSpace
	if k == nil {
		k = &caching{}
		x.cacheSpace = k
	}
	q := k.q
	q.Reset()
	*k = caching{q: q, told: k.told, c: x.client.p.caches.Open(settings), name: httpcache.Device}
	req := x.Request
	switch {
	case len(x.access.URL) > 0:
		k.q.Key = append(k.q.Key, x.access.URL...)
		if x.fwd != nil && x.fwd.state.ir.Hostname != "" {
			k.name = x.fwd.state.ir.Hostname
		}
	default:
		k.q.Key = httpcache.AppendKey(k.q.Key, x.client.scheme(), req.Authority, req.Path, req.Query, req.HasQuery)
	}
	x.cache = k
}

// cached serves a request whose route has a cache.
func (x *exchange) cached(u *upstream.Upstream) {
	k := x.cache
	k.u = u
	req := x.Request
	if len(req.Upgrade) > 0 || x.access.GRPC {
		x.cache = nil
		x.forward(u)
		return
	}
	if string(req.Method) == "PURGE" && x.purge() {
		return
	}
	k.q.Method, k.q.Fields, k.q.Body = req.Method, &req.Fields, !req.Body.IsEmpty()
	k.q.Route = x.route.IR.Name
	if x.fwd != nil {
		k.q.Route, k.q.Unvouched = u.Name, true
	} else {
		x.partition()
	}
	if k.c.Private() {
		k.q.Route += "\x00" + x.user()
	}
	k.q.Identified = x.Certified != nil || x.Peer.Identity != nil || x.ByPolicy && x.decision.Judgement != nil
	k.q.Scan()
	for {
		k.now = time.Now()
		k.out = k.c.Lookup(&k.q, k.now)
		k.why = k.out.Why
		switch k.out.Kind {
		case httpcache.Hit:
			x.hit(u)
			return
		case httpcache.Wait:
			if x.join(k.out.Fill) {
				return
			}
			continue
		case httpcache.Unsatisfied:
			x.note("TCP_MISS", "; fwd="+k.why)
			x.respond(&filter.Response{Status: 504, Code: diag.CacheOnly, Detail: "the client asked for a stored answer only, and there is none"})
			return
		case httpcache.Fetch:
			x.fetch(u)
			return
		}
		x.forward(u)
		return
	}
}

// partition keeps apart what an origin may answer differently because of what believed proxies say of how the client
// asked: its scheme above all, and its host. Of others such fields are gone by now, and say what the URL says.
func (x *exchange) partition() {
	f := &x.Request.Fields
	for i := range f.Len() {
		l := f.At(i)
		switch l.ID {
		case message.XForwardedProto:
			if string(l.Value) == x.Request.Scheme {
				continue
			}
		case message.XForwardedHost:
			if string(l.Value) == string(x.access.Authority) {
				continue
			}
		case message.Other:
			if !message.HasPrefixAlike(l.Name, "x-forwarded-") {
				continue
			}
		default:
			continue
		}
		x.cache.q.Route += "\x00" + string(l.Name) + ":" + string(l.Value)
	}
}

// user tells users of a private cache apart.
func (x *exchange) user() string {
	switch {
	case x.access.User != "":
		return "u" + x.access.User
	case x.client.offered != "":
		return "c" + x.client.offered
	case x.Client.IsValid():
		return "a" + x.Client.String()
	}
	return "a" + x.Peer.Remote.Addr().Unmap().String()
}

// purge answers the method PURGE where the cache's settings know it, and returns false where they do not.
func (x *exchange) purge() bool {
	k := x.cache
	addr := x.Client
	if !addr.IsValid() {
		addr = x.Peer.Remote.Addr()
	}
	allowed, known := k.c.MayPurge(addr)
	switch {
	case !known:
		return false
	case !allowed:
		x.respond(&filter.Response{Status: 403, Code: diag.CachePurgeDenied, Detail: "PURGE from " + addr.String() + ", which is not in purgeFrom"})
	case k.c.Purge(k.q.Key) > 0:
		x.note("NONE", "; hit; detail=purged")
		x.respond(&filter.Response{Status: 200, Body: []byte("purged\n")})
	default:
		x.note("NONE", "; fwd=uri-miss; detail=purged")
		x.respond(&filter.Response{Status: 404, Body: []byte("not stored\n")})
	}
	return true
}

// hit serves what is stored.
func (x *exchange) hit(u *upstream.Upstream) {
	k := x.cache
	o := k.out.Object
	if k.out.Refresh {
		x.refreshLater(u, o)
	}
	result := "TCP_MEM_HIT"
	if o.Status >= 400 {
		result = "TCP_NEGATIVE_HIT"
	}
	x.serve(o, result, true)
}

// join waits for the answer to another request for the same. It returns false if this one is to be looked up
// again.
func (x *exchange) join(f *httpcache.Fill) bool {
	k := x.cache
	if !x.awaitChange(f.Ready()) {
		x.interrupted()
		return true
	}
	o, retry := f.Join(&k.q, time.Now())
	if o == nil || !x.openReader(o, 0, -1) {
		if k.rejoined++; !retry || k.rejoined > 2 {
			k.q.Alone = true
		}
		return false
	}
	k.joined = true
	x.serve(o, "TCP_MISS_CF", false)
	return true
}

// awaitChange waits until a channel is closed. It returns false if the exchange was ended meanwhile.
func (x *exchange) awaitChange(done <-chan struct{}) bool {
	select {
	case <-x.task.wake: // of an earlier exchange
	default:
	}
	until := x.until
	if until == 0 {
		until = x.total
	}
	if !x.task.watch.arm(waitFilter, x.client.p.limits.UpstreamIdle, until) {
		return false
	}
	select {
	case <-done:
	case <-x.task.wake:
	}
	return x.task.watch.disarm()
}

// fetch asks the origin.
func (x *exchange) fetch(u *upstream.Upstream) {
	k := x.cache
	k.fill = k.out.Fill
	k.stale = k.out.Object
	defer x.endFill()
	k.validating = k.fill.Conditions(&x.Request.Fields)
	if k.c.Edge() {
		x.Request.Fields.AddString("Surrogate-Capability", httpcache.Device+`="Surrogate/1.0"`)
	}
	x.forward(u)
}

// endFill lets those go who wait, where the fetch came to nothing.
func (x *exchange) endFill() {
	k := x.cache
	if k == nil || k.fill == nil {
		return
	}
	if f := k.fill; x.access.Code == diag.ClientClosed {
		f.Abandon()
	} else {
		f.End(httpcache.ErrIncomplete)
	}
	k.fill = nil
}

// received takes the final head of an answer, which x.resp holds without what is hop by hop. It returns true if
// the client has been served.
func (x *exchange) received() bool {
	k := x.cache
	now := time.Now()
	asked := x.client.p.base.Add(x.asked)
	if k.fill == nil {
		x.notePassed(asked, now)
		return false
	}
	status := x.resp.Status
	answer, o := k.fill.Received(&k.q, &x.resp, asked, now, k.validating)
	switch answer {
	case httpcache.Stored:
		k.stale = nil
		x.store(o)
	case httpcache.Fresh:
		k.stale = nil
		x.discardAnswer()
		x.access.UpstreamStatus = status
		result := "TCP_REFRESH_UNMODIFIED"
		x.serve(o, result, false)
	case httpcache.UseStale:
		k.stale = nil
		x.discardAnswer()
		x.access.UpstreamStatus = status
		x.access.Detail = "the origin answered with an error; a stored answer was used, which is stale"
		x.serve(o, "TCP_REFRESH_FAIL_OLD", false)
	case httpcache.Again:
		x.discardAnswer()
		k.fill.Unconditional(&x.Request.Fields)
		k.validating, k.stale = false, nil
		x.forward(k.u)
	default:
		k.stale = nil
		x.noteFetched("")
		return false
	}
	return true
}

// discardAnswer ends the use of the upstream, whose answer is not passed on.
func (x *exchange) discardAnswer() {
	if x.up == nil {
		return
	}
	if x.up.over() {
		x.endUpstream(true)
	} else {
		x.dropUpstream()
	}
	x.muxed.close()
	if x.task.watch.why() != 0 {
		x.task.watch.recover()
	}
}

// notePassed is told of answers that were not asked for through the cache.
func (x *exchange) notePassed(asked, now time.Time) {
	k := x.cache
	result := "TCP_MISS"
	if k.q.Reload() {
		result = "TCP_CLIENT_REFRESH_MISS"
	}
	k.c.Invalidate(&k.q, &x.resp, asked, now)
	x.note(result, "; fwd="+k.why)
	x.addCacheStatus()
	if f, o := k.c.StorePost(&k.q, &x.resp, asked, now); f != nil {
		k.fill = f
		x.tee(o)
	}
}

// result returns the tag for an answer that came from the origin.
func (x *exchange) fetched() string {
	k := x.cache
	switch {
	case k.out.Forced:
		return "TCP_CLIENT_REFRESH_MISS"
	case k.validating:
		return "TCP_REFRESH_MODIFIED"
	}
	return "TCP_MISS"
}

// noteFetched records an answer that came from the origin.
func (x *exchange) noteFetched(more string) {
	x.note(x.fetched(), "; fwd="+x.cache.why+more)
	x.addCacheStatus()
}

// note sets what the record tells of the cache. params are those of Cache-Status (RFC 9211).
func (x *exchange) note(result, params string) {
	x.access.Result = result
	x.access.CacheStatus = x.cache.name + params
}

var cacheStatusName = []byte("Cache-Status") // only read

// addCacheStatus adds our member to the answer's Cache-Status, which begins with that of the cache nearest to the
// origin.
func (x *exchange) addCacheStatus() {
	f := &x.resp.Fields
	b := append(f.Reserve(len(x.access.CacheStatus)), x.access.CacheStatus...)
	f.Append(message.Other, cacheStatusName, b)
}

// failover serves what is stored in the place of a failure. It returns false if there is nothing, or it may not be
// used.
func (x *exchange) failover(code diag.Code, detail string) bool {
	k := x.cache
	o := k.stale
	k.stale = nil
	if x.headed || !failedThere(code) || !k.c.UsableOnError(o, &k.q, time.Now()) {
		if k.validating && x.access.Result == "" {
			x.note("TCP_REFRESH_FAIL_ERR", "; fwd="+k.why)
		}
		return false
	}
	x.until = 0
	x.endFill()
	x.dropUpstream()
	x.stopUpload()
	x.muxed.close()
	x.access.Detail = "a stored answer was used, which is stale: " + code.String() + " " + detail
	x.serve(o, "TCP_REFRESH_FAIL_OLD", false)
	return true
}

// failedThere reports whether a reason is the origin's, or that of the way to it.
func failedThere(code diag.Code) bool {
	e, ok := diag.Lookup(code)
	return ok && (e.Status == 500 || e.Status >= 502 && e.Status <= 504) && code != diag.OverloadMemory && code != diag.Draining
}
