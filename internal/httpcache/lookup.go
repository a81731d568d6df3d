package httpcache

import (
	"time"
)

// Kind is what is to be done about a request.
type Kind uint8

// Kinds.
const (
	Pass        Kind = iota + 1 // caches have nothing to do with it: forward it, and call Invalidate with the answer
	Hit                         // Outcome.Object is the answer
	Wait                        // Outcome.Fill is under way by another request: Await it
	Fetch                       // forward it and tell Outcome.Fill; Object, if not nil, is to be validated
	Unsatisfied                 // 504: only-if-cached
)

// Outcome is the answer of Lookup.
type Outcome struct {
	Kind   Kind
	Object *Object
	Fill   *Fill

	// Stale says that Object is used though it is not fresh; Refresh, that the caller sees to a new one in the
	// background, and calls Object.Refreshed or Fetch afterwards.
	Stale   bool
	Refresh bool

	// Forced says that the client wanted to have it validated or fetched.
	Forced bool

	// Why is the fwd parameter of Cache-Status (RFC 9211 section 2.2): why the request is forwarded.
	Why string
}

// usable says whether an object may be used for a request.
type usable uint8

const (
	useNow      usable = iota // fresh enough
	useStale                  // stale, and somebody allows it
	useRefresh                // the same, and a new one is to be fetched in the background
	useValidate               // not without asking the origin
)

// Lookup decides about a request, whose Scan has been called. now is the present time.
func (c *Cache) Lookup(q *Query, now time.Time) Outcome {
	get := q.get()
	if !get && !q.head() || q.Body {
		c.store.stats.passed.Add(1)
		return Outcome{Kind: Pass, Why: "method"}
	}
	if q.control.noStore || q.preconditions || q.manyNoneMatch || q.steers {
		c.store.stats.passed.Add(1)
		return c.bypass(q)
	}
	i := c.store.index(q.Key)
	sh := &c.store.shards[i]
	sh.mu.Lock()
	e := sh.m[string(q.Key)]
	out := c.decide(sh, e, q, now)
	sh.mu.Unlock()
	c.count(&out)
	return out
}

func (c *Cache) count(out *Outcome) {
	s := &c.store.stats
	switch out.Kind {
	case Hit:
		s.hits.Add(1)
		out.Object.hits.Add(1)
		if out.Stale {
			s.stale.Add(1)
		}
		if out.Object.Status >= 400 {
			s.negative.Add(1)
		}
	case Fetch:
		s.misses.Add(1)
	case Pass:
		s.passed.Add(1)
	}
}

func (c *Cache) bypass(q *Query) Outcome {
	if q.control.onlyIfCached {
		return Outcome{Kind: Unsatisfied, Why: "request"}
	}
	return Outcome{Kind: Pass, Why: "bypass"}
}

// decide is Lookup for an entry, which may be nil. The caller holds the shard's mu.
func (c *Cache) decide(sh *shard, e *entry, q *Query, now time.Time) Outcome {
	var o *Object
	why := "uri-miss"
	if e != nil {
		e.asked = true
		if o = e.find(q); o == nil && len(e.objects) > 0 {
			why = "vary-miss"
		}
	}
	forced := false
	if o != nil {
		var use usable
		if use, forced = c.use(o, q, now); use != useValidate {
			refresh := use == useRefresh && !o.refreshing.Swap(true)
			return Outcome{Kind: Hit, Object: o, Stale: use != useNow, Refresh: refresh}
		}
		if why = "stale"; forced {
			why = "request"
		}
	}
	switch {
	case q.control.onlyIfCached:
		return Outcome{Kind: Unsatisfied, Why: why}
	case q.head(), o == nil && q.ranges != nil:
		return Outcome{Kind: Pass, Why: why}
	}
	alone := q.Alone || forced || e != nil && e.pass > now.UnixMilli()
	if e == nil {
		e = c.store.enter(sh, string(q.Key))
	}
	selecting := ""
	if e.vary != "" {
		q.selecting = appendSelecting(q.selecting[:0], e.vary, q.Fields)
		selecting = string(q.selecting)
	}
	if !alone {
		for _, f := range e.fills {
			if f.route == q.Route && f.vary == e.vary && f.selecting == selecting && !f.dropped {
				return Outcome{Kind: Wait, Fill: f, Why: why}
			}
		}
	}
	f := &Fill{c: c, key: e.key, route: q.Route, vary: e.vary, selecting: selecting, stale: o, ready: make(chan struct{})}
	if o == nil && why == "vary-miss" {
		f.others = e.validators(q.Route)
	}
	e.fills = append(e.fills, f)
	f.alone = alone
	return Outcome{Kind: Fetch, Object: o, Fill: f, Forced: forced, Why: why}
}

// find returns the newest object for a request (RFC 9111 section 4.1).
func (e *entry) find(q *Query) *Object {
	last := ""
	for _, o := range e.objects {
		if o.route != q.Route {
			continue
		}
		if o.vary == "" {
			return o
		}
		if o.vary != last {
			last = o.vary
			q.selecting = appendSelecting(q.selecting[:0], last, q.Fields)
		}
		if o.selecting == string(q.selecting) {
			return o
		}
	}
	return nil
}

// validators returns objects for other requests whose validator may turn out to be right for this one (section
// 4.3.1).
func (e *entry) validators(route string) []*Object {
	var out []*Object
	for _, o := range e.objects {
		if o.route == route && o.etag != "" && len(out) < 4 {
			out = append(out, o)
		}
	}
	return out
}

// use judges an object (section 4). forced says that the client is the reason.
func (c *Cache) use(o *Object, q *Query, now time.Time) (u usable, forced bool) {
	k := &q.control
	age, left := o.age(now), o.left(now)
	ignore := o.reload&ignoreReload != 0
	switch {
	case k.noCache && !ignore, k.maxAge >= 0 && !ignore && (age > k.maxAge*1000 || k.maxAge == 0), k.minFresh >= 0 && left < k.minFresh*1000,
		q.since != nil && o.reload&refreshIMS != 0:
		if k.maxStale < 0 || k.noCache || left >= 0 || -left > k.maxStale*1000 || o.strict {
			return useValidate, true
		}
	case o.noCache:
		return useValidate, false
	case left > 0:
		return useNow, false
	}
	switch {
	case o.strict || o.noCache:
		return useValidate, false
	case k.maxStale >= 0 && -left <= k.maxStale*1000:
		return useStale, false
	case o.staleWhile > 0 && -left <= o.staleWhile*1000:
		return useRefresh, false
	}
	return useValidate, false
}

// onError reports whether an object may take the place of an answer that could not be had, or that is a failure of
// the server (RFC 9111 section 4.2.4, RFC 5861 section 4).
func (o *Object) onError(q *Query, now time.Time) bool {
	limit := int64(maxStale)
	switch {
	case o == nil || o.strict || o.noCache || q.control.noCache:
		return false
	case o.staleError >= 0:
		limit = o.staleError
	case q.control.stale >= 0:
		limit = q.control.stale
	case o.maxStale >= 0:
		limit = o.maxStale
	}
	return -o.left(now) <= limit*1000
}

// Refreshed says that the refresh in the background has ended, however it did.
func (o *Object) Refreshed() { o.refreshing.Store(false) }

// Refetch returns the fill for a refresh of o in the background.
func (c *Cache) Refetch(o *Object, q *Query) *Fill {
	sh := c.store.shard(q.Key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := c.store.enter(sh, o.key)
	f := &Fill{c: c, key: o.key, route: o.route, vary: o.vary, selecting: o.selecting, stale: o, ready: make(chan struct{}), alone: true}
	e.fills = append(e.fills, f)
	return f
}
