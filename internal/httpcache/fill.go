package httpcache

import (
	"errors"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/message"
)

// ErrIncomplete is why a body broke off that its origin did not finish.
var ErrIncomplete = errors.New("the origin did not finish its answer")

// Fill is an answer that is being fetched. It belongs to the request that fetches it; others Await it. One of
// Received and End must be called, and after Received with Stored or Unkept, Write and End.
type Fill struct {
	// Fixed after construction.
	c         *Cache
	key       string
	route     string
	vary      string // names and values by which it is known who waits for the same
	selecting string
	stale     *Object
	others    []*Object     // whose validators may be right too
	alone     bool          // nobody may wait
	ready     chan struct{} // closed when it is known what comes

	dropped bool // the URL was invalidated meanwhile; guarded by the shard's mu

	// Set before ready is closed.
	object *Object // to be read by all who wait; nil: they go by themselves
	retry  bool    // the request that fetched it has gone: another one shall fetch it

	omitted []byte
	charged int64 // bytes of the body that the store knows of
	unkept  bool  // more than is kept
	ended   bool
}

// Answer is what becomes of an answer's head.
type Answer uint8

// Answers.
const (
	Relay    Answer = iota + 1 // pass it on: it is not kept
	Stored                     // Fill.Object is it; its body is to be written
	Fresh                      // Fill.Object is the stored answer, which is good again
	UseStale                   // Fill.Object is the stored answer, in the place of this one
	Again                      // ask again without validators: the origin knows one that we do not
)

// Stale returns the object that is being validated, nil for none.
func (f *Fill) Stale() *Object { return f.stale }

// Omitted appends the fields of the answer being stored as o that only its first reader may have: those that
// no-cache and private name.
func (f *Fill) Omitted(o *Object, to *message.Fields) {
	if f.object == o {
		appendLines(to, f.omitted)
	}
}

// Ready is closed when it is known what comes: see Join.
func (f *Fill) Ready() <-chan struct{} { return f.ready }

// Join returns the object that a request may read that has waited for Ready; nil: it looks again, if retry, or
// goes by itself.
func (f *Fill) Join(q *Query, now time.Time) (o *Object, retry bool) {
	o = f.object
	if o == nil {
		return nil, f.retry
	}
	if o.body.done.Load() && o.body.err != nil { // broken off before this request came to read it
		return nil, true
	}
	if o.vary != "" {
		q.selecting = appendSelecting(q.selecting[:0], o.vary, q.Fields)
		if o.selecting != string(q.selecting) {
			return nil, false
		}
	}
	if o.noCache || o.left(now) <= 0 && o.staleWhile <= 0 {
		return nil, false
	}
	f.c.store.stats.collapsed.Add(1)
	return o, false
}

// Conditions makes the request one that validates what is stored, and returns whether it does (RFC 9111 section
// 4.3.1). What the client asked about is taken out: its answer comes from what is stored then.
func (f *Fill) Conditions(h *message.Fields) bool {
	o := f.stale
	if o == nil && len(f.others) == 0 {
		return false
	}
	h.DelFunc(func(l *message.Field) bool {
		return l.ID == message.Other && (is(l.Name, "if-none-match") || is(l.Name, "if-modified-since") || is(l.Name, "range") || is(l.Name, "if-range"))
	})
	if o == nil {
		list := ""
		for i, v := range f.others {
			if i > 0 {
				list += ", "
			}
			list += v.etag
		}
		h.AddString("If-None-Match", list)
		return true
	}
	if o.etag != "" {
		h.AddString("If-None-Match", o.etag)
	}
	if o.lastMod > 0 {
		var stored message.Fields
		o.Head(&stored)
		if v, ok := stored.Lookup([]byte("Last-Modified")); ok {
			h.AddString("If-Modified-Since", string(v))
		}
	}
	return o.etag != "" || o.lastMod > 0
}

// Unconditional takes the conditions back.
func (f *Fill) Unconditional(h *message.Fields) {
	h.DelFunc(func(l *message.Field) bool {
		return l.ID == message.Other && (is(l.Name, "if-none-match") || is(l.Name, "if-modified-since"))
	})
	f.stale, f.others = nil, nil
}

// Received takes the head of the final answer to a request that was sent at asked, and says what becomes of it.
// validating says that Conditions had something to ask. Hop-by-hop fields have been removed. resp is not kept.
func (f *Fill) Received(q *Query, resp *message.Response, asked, now time.Time, validating bool) (Answer, *Object) {
	c := f.c
	if resp.Status == 304 && validating {
		if o := f.validated(resp); o != nil {
			c.store.stats.validated.Add(1)
			n := c.freshen(o, q, &resp.Fields, asked, now, f.stale == nil)
			if x := c.read(&resp.Fields, now); c.personal(q, &x) {
				f.publish(nil, true) // what was said to one is not for those who wait
			}
			f.publish(n, false)
			f.End(nil)
			return Fresh, n
		}
		return Again, nil
	}
	if resp.Status >= 500 && f.stale.onError(q, now) {
		f.End(ErrIncomplete)
		return UseStale, f.stale
	}
	if f.stale != nil {
		c.store.stats.modified.Add(1)
	}
	o := c.represent(q, resp, asked, now)
	if o == nil {
		f.pass(now)
		return Relay, nil
	}
	f.omitted = omitted(&resp.Fields)
	f.publish(o, false)
	return Stored, o
}

// validated returns the stored object that a 304 speaks of (section 4.3.4), nil for none.
func (f *Fill) validated(resp *message.Response) *Object {
	tag, ok := resp.Fields.Lookup([]byte("ETag"))
	if f.stale != nil { // nothing else was asked about, whatever tag the origin gives it now
		return f.stale
	}
	for _, o := range f.others {
		if ok && sameTag([]byte(o.etag), tag, true) || len(f.others) == 1 {
			return o
		}
	}
	return nil
}

// represent makes the object for an answer that may be stored, whose body is to come; nil: it may not.
func (c *Cache) represent(q *Query, resp *message.Response, asked, now time.Time) *Object {
	x := c.read(&resp.Fields, now)
	v := c.judge(q, resp.Status, &x)
	if !v.store || resp.Body.Kind == message.Sized && resp.Body.Length > c.object {
		return nil
	}
	if q.postish() && !c.answersGET(q, resp.Status, &x) {
		return nil
	}
	o := &Object{Status: resp.Status, Length: -1, route: q.Route, key: string(q.Key), vary: string(x.vary), born: born(&x, asked, now), stored: now.UnixMilli()}
	switch {
	case resp.Body.Kind == message.Sized:
		o.Length = resp.Body.Length
	case resp.Body.Kind == message.NoBody:
		o.Length = 0
	}
	if o.vary != "" {
		o.selecting = string(appendSelecting(nil, o.vary, q.Fields))
	}
	o.head = pack(&resp.Fields, &x)
	o.body = &Body{}
	o.body.init()
	c.rate(o, &x, v)
	o.weigh()
	return o
}

// rate sets what an object's head says about its use.
func (c *Cache) rate(o *Object, x *facts, v verdict) {
	k := &x.control
	r := c.rule([]byte(o.key))
	o.lifetime, o.heuristic = v.lifetime, v.heuristic
	o.staleWhile, o.staleError, o.maxStale = max(0, k.staleWhile), k.staleIfError, -1
	o.date, o.lastMod, o.etag = x.date, x.lastMod, string(x.etag)
	o.noCache = k.noCache
	o.strict = k.mustRevalidate || !c.private && (k.proxyRevalidate || k.sMaxAge >= 0)
	if r != nil {
		o.reload, o.maxStale = r.options&(ignoreReload|refreshIMS|reloadIntoIMS), r.maxStale
	}
}

// answersGET reports whether an answer to POST is one to GET too (RFC 9110 section 9.3.3).
func (c *Cache) answersGET(q *Query, status int, x *facts) bool {
	if string(q.Method) != "POST" || status != 200 || len(x.location) == 0 {
		return false
	}
	key, ok := resolve(q.Key, x.location)
	return ok && string(key) == string(q.Key)
}

// freshen returns o with the fields of a 304, or of an answer to HEAD, in the store in its place (section 3.2).
// another says that it is for other requests than o was.
func (c *Cache) freshen(o *Object, q *Query, f *message.Fields, asked, now time.Time, another bool) *Object {
	x := c.read(f, now)
	merged := o.merge(f, &x)
	all := c.read(merged, now)
	all.age, all.badAge, all.date = x.age, x.badAge, x.date
	all.control.fields = x.control.fields
	v := c.judge(q, o.Status, &all)
	n := &Object{Status: o.Status, Length: o.Length, route: o.route, key: o.key, vary: o.vary, selecting: o.selecting, trailers: o.trailers, body: o.body,
		born: born(&x, asked, now), stored: now.UnixMilli()}
	n.head = pack(merged, &all)
	if another && n.vary != "" {
		n.selecting = string(appendSelecting(nil, n.vary, q.Fields))
	}
	c.rate(n, &all, v)
	if n.etag == "" {
		n.etag = o.etag
	}
	n.weigh()
	n.hits.Store(o.hits.Load())
	switch {
	case v.store && !all.control.noStore:
		c.commit(n, nil)
	case !c.personal(q, &all): // else it is not for others, who go on with what there is
		c.Purge([]byte(o.key))
	}
	return n
}

// publish tells who waits.
func (f *Fill) publish(o *Object, retry bool) {
	select {
	case <-f.ready:
		return
	default:
	}
	f.object, f.retry = o, retry
	close(f.ready)
}

// pass lets those go who wait, and for a while nobody will wait.
func (f *Fill) pass(now time.Time) {
	f.publish(nil, false)
	sh := f.c.store.shard([]byte(f.key))
	sh.mu.Lock()
	if e := sh.m[f.key]; e != nil {
		e.pass = now.Add(passFor).UnixMilli()
	}
	sh.mu.Unlock()
	f.End(nil)
}

// Write takes a piece of the body. It returns nil, or what is closed when the next piece may be written: the
// answer is not kept, and its readers are behind.
func (f *Fill) Write(o *Object, p []byte) <-chan struct{} {
	c, b := f.c, o.body
	if c.opt.Reserve != nil {
		c.opt.Reserve(int64(len(p)))
	}
	grown := b.append(p, o.Length)
	if f.unkept {
		return b.Room()
	}
	f.charged += grown
	c.store.total.Add(grown)
	if b.n > c.object || !c.store.trim(c.store.index([]byte(f.key))) {
		f.unkept = true
		c.store.total.Add(-f.charged)
		f.charged = 0
		b.pass()
	}
	return nil
}

// Unread reports whether nobody reads the body that is being written, and it will not be kept.
func (f *Fill) Unread(o *Object) bool { return f.unkept && o.body.watched() == 0 }

// Followed reports whether anybody reads the body that is being written.
func (f *Fill) Followed(o *Object) bool { return o.body.watched() > 0 }

// Trailers adds trailers to the object whose body is being written; call it before End.
func (f *Fill) Trailers(o *Object, t *message.Fields) {
	for i := range t.Len() {
		o.trailers = appendLine(o.trailers, t.At(i))
	}
}

// End ends the fill. err nil says that the answer was complete: then it is stored. Calling it again does nothing.
func (f *Fill) End(err error) {
	if f.ended {
		return
	}
	f.ended = true
	f.publish(nil, false)
	o := f.object
	dropped := f.leave(o == nil || o.body.done.Load())
	if o == nil || o.body.done.Load() {
		return
	}
	if err == nil && o.Length >= 0 && o.body.n != o.Length {
		err = ErrIncomplete
	}
	o.body.finish(err)
	if f.unkept {
		return
	}
	f.c.store.total.Add(-f.charged)
	if err != nil || dropped || o.body.n > f.c.object {
		return
	}
	o.weigh()
	f.c.commit(o, f)
}

// Abandon ends a fill whose request has gone: another one that waits fetches it.
func (f *Fill) Abandon() {
	f.publish(nil, true)
	f.End(ErrIncomplete)
}

// leave takes the fill out of its entry and says whether the URL was invalidated meanwhile.
func (f *Fill) leave(nothing bool) (dropped bool) {
	sh := f.c.store.shard([]byte(f.key))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.m[f.key]
	if e == nil {
		return f.dropped
	}
	if i := slices.Index(e.fills, f); i >= 0 {
		e.fills = slices.Delete(e.fills, i, i+1)
	}
	if nothing && len(e.fills) == 0 && len(e.objects) == 0 && e.pass == 0 {
		f.c.store.remove(sh, e)
	}
	return f.dropped
}

// commit puts an object into the store.
func (c *Cache) commit(o *Object, f *Fill) {
	i := c.store.index([]byte(o.key))
	sh := &c.store.shards[i]
	sh.mu.Lock()
	if f != nil && f.dropped {
		sh.mu.Unlock()
		return
	}
	e := c.store.enter(sh, o.key)
	e.pass = 0
	c.store.insert(e, o)
	sh.mu.Unlock()
	c.store.stats.stored.Add(1)
	c.store.trim(i + 1)
}
