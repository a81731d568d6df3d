package httpcache

import (
	"bytes"
	"sort"
	"time"

	"github.com/hakone-gateway/hakone/internal/message"
)

// Purge removes a URL, whose normal form is key, with all its variants, and keeps what is on its way from being
// stored. It returns how many answers went.
func (c *Cache) Purge(key []byte) int {
	sh := c.store.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.m[string(key)]
	if e == nil {
		return 0
	}
	n := len(e.objects)
	for _, f := range e.fills {
		f.dropped = true
	}
	for len(e.objects) > 0 {
		c.store.drop(e, len(e.objects)-1)
	}
	if len(e.fills) == 0 {
		c.store.remove(sh, e)
	}
	c.store.stats.purged.Add(int64(n))
	return n
}

// Invalidate is told of the answer to a request that Lookup passed. One that may have changed something makes what
// is stored of its URL, and of those that it names on the same origin, unusable (RFC 9111 section 4.4); one to HEAD
// brings what is stored up to date (section 4.3.5).
func (c *Cache) Invalidate(q *Query, resp *message.Response, asked, now time.Time) {
	if q.head() {
		c.updateFromHead(q, resp, asked, now)
		return
	}
	if q.Safe() || resp.Status < 200 || resp.Status >= 400 {
		return
	}
	c.Purge(q.Key)
	for _, name := range []string{"Location", "Content-Location"} {
		v, ok := resp.Fields.Lookup([]byte(name))
		if !ok {
			continue
		}
		if key, ok := resolve(q.Key, v); ok && sameOrigin(key, q.Key) {
			c.Purge(key)
		}
	}
}

// StorePost returns the fill for the answer to a POST that answers GET too, nil for others. Call it after
// Invalidate.
func (c *Cache) StorePost(q *Query, resp *message.Response, asked, now time.Time) (*Fill, *Object) {
	if string(q.Method) != "POST" || q.control.noStore || q.steers {
		return nil, nil
	}
	o := c.represent(q, resp, asked, now)
	if o == nil {
		return nil, nil
	}
	f := &Fill{c: c, key: string(q.Key), route: q.Route, ready: make(chan struct{}), alone: true}
	f.publish(o, false)
	return f, o
}

// updateFromHead freshens what is stored if an answer to HEAD is about the same representation, and drops it if it
// is about another one.
func (c *Cache) updateFromHead(q *Query, resp *message.Response, asked, now time.Time) {
	if resp.Status != 200 || q.steers {
		return
	}
	sh := c.store.shard(q.Key)
	sh.mu.Lock()
	var o *Object
	if e := sh.m[string(q.Key)]; e != nil {
		o = e.find(q)
	}
	sh.mu.Unlock()
	if o == nil || o.Status != 200 {
		return
	}
	tag, hasTag := resp.Fields.Lookup([]byte("ETag"))
	x := c.read(&resp.Fields, now)
	b := resp.Body
	if hasTag && o.etag != "" && !sameTag(tag, []byte(o.etag), true) || x.lastMod > 0 && o.lastMod > 0 && x.lastMod != o.lastMod ||
		b.Declared && b.Length != o.Size() {
		c.Purge(q.Key)
		return
	}
	get := *q
	get.Method = []byte("GET")
	if c.personal(q, &x) {
		return // what it says may hold for who asked alone
	}
	c.freshen(o, &get, &resp.Fields, asked, now, false)
}

// resolve returns the normal form of a reference relative to the URL of key (RFC 3986 section 5.2).
func resolve(key, ref []byte) ([]byte, bool) {
	ref, _, _ = bytes.Cut(bytes.Trim(ref, " \t"), []byte("#"))
	scheme, rest, ok := bytes.Cut(key, []byte("://"))
	if !ok {
		return nil, false
	}
	base, baseQuery, baseHas := bytes.Cut(rest, []byte("?"))
	authority, path := base, []byte("/")
	if i := bytes.IndexByte(base, '/'); i >= 0 {
		authority, path = base[:i], base[i:]
	}
	if s, r, found := bytes.Cut(ref, []byte("://")); found && bytes.IndexByte(s, '/') < 0 {
		scheme, ref = bytes.ToLower(s), append([]byte("//"), r...)
	}
	if bytes.HasPrefix(ref, []byte("//")) {
		ref = ref[2:]
		end := bytes.IndexAny(ref, "/?")
		if end < 0 {
			end = len(ref)
		}
		authority, ref = ref[:end], ref[end:]
		if len(ref) == 0 || ref[0] != '/' {
			ref = append([]byte("/"), ref...)
		}
	}
	if len(ref) == 0 {
		return AppendKey(nil, string(scheme), authority, path, baseQuery, baseHas), true
	}
	p, query, hasQuery := bytes.Cut(ref, []byte("?"))
	switch {
	case len(p) == 0:
		p = path
	case p[0] != '/':
		p = append(append([]byte(nil), path[:bytes.LastIndexByte(path, '/')+1]...), p...)
	}
	return AppendKey(nil, string(scheme), authority, removeDots(p), query, hasQuery), true
}

// removeDots removes dot segments (RFC 3986 section 5.2.4). path begins with a slash.
func removeDots(path []byte) []byte {
	if !bytes.Contains(path, []byte("/.")) {
		return path
	}
	var out []byte
	for rest := path; len(rest) > 0; {
		rest = rest[1:]
		end := bytes.IndexByte(rest, '/')
		segment, last := rest, end < 0
		if !last {
			segment, rest = rest[:end], rest[end:]
		} else {
			rest = nil
		}
		switch string(segment) {
		case ".", "..":
			if len(segment) == 2 {
				out = out[:max(0, bytes.LastIndexByte(out, '/'))]
			}
			if last {
				out = append(out, '/')
			}
		default:
			out = append(append(out, '/'), segment...)
		}
	}
	return out
}

func sameOrigin(a, b []byte) bool { return bytes.Equal(origin(a), origin(b)) }

func origin(key []byte) []byte {
	i := bytes.Index(key, []byte("://"))
	if i < 0 {
		return key
	}
	if j := bytes.IndexAny(key[i+3:], "/?"); j >= 0 {
		return key[:i+3+j]
	}
	return key
}

// Item is a stored answer, for people.
type Item struct {
	URL    string `json:"url"`
	Status int    `json:"status"`
	Bytes  int64  `json:"bytes"` // of the body
	Age    int64  `json:"age"`   // seconds
	TTL    int64  `json:"ttl"`   // seconds; below 0: stale
	Hits   int64  `json:"hits"`
	Vary   string `json:"vary,omitempty"`
	Route  string `json:"route,omitempty"`
	Stored int64  `json:"stored"` // Unix seconds
}

// List returns up to limit stored answers whose URL holds a text, in the order of their URLs.
func (c *Cache) List(text string, limit int, now time.Time) []Item {
	var out []Item
	for i := range c.store.shards {
		sh := &c.store.shards[i]
		sh.mu.Lock()
		for _, e := range sh.m {
			if text != "" && !bytes.Contains([]byte(e.key), []byte(text)) {
				continue
			}
			for _, o := range e.objects {
				out = append(out, Item{URL: o.key, Status: o.Status, Bytes: o.Size(), Age: o.Age(now), TTL: o.TTL(now), Hits: o.hits.Load(), Vary: o.vary,
					Route: o.route, Stored: o.stored / 1000})
			}
		}
		sh.mu.Unlock()
	}
	sort.Slice(out, func(i, j int) bool { return out[i].URL < out[j].URL })
	return out[:min(len(out), limit)]
}
