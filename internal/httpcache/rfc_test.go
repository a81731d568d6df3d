package httpcache

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func fields(lines ...string) *message.Fields {
	f := &message.Fields{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		f.AddString(name, value)
	}
	return f
}

func query(method, url string, lines ...string) *Query {
	q := &Query{Key: []byte(url), Method: []byte(method), Fields: fields(lines...)}
	q.Scan()
	return q
}

func response(status int, body string, lines ...string) *message.Response {
	r := &message.Response{Status: status, Body: message.Body{Kind: message.Sized, Length: int64(len(body))}}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		r.Fields.AddString(name, value)
	}
	return r
}

// put fetches a URL with an answer and returns whether it was stored.
func put(c *Cache, q *Query, at time.Time, status int, body string, lines ...string) bool {
	out := c.Lookup(q, at)
	if out.Kind != Fetch {
		return false
	}
	validating := out.Fill.Conditions(q.Fields)
	a, o := out.Fill.Received(q, response(status, body, lines...), at, at, validating)
	if a == Stored {
		out.Fill.Write(o, []byte(body))
	}
	out.Fill.End(nil)
	return a == Stored
}

// kind looks a URL up and fetches nothing.
func kind(c *Cache, url string) Kind {
	out := c.Lookup(query("GET", url), t0)
	if out.Fill != nil {
		out.Fill.End(ErrIncomplete)
	}
	return out.Kind
}

func open(settings ir.Cache) *Cache {
	if settings.Name == "" {
		settings.Name = "CachePolicy a/b"
	}
	return NewSet(Options{}).Open(&settings)
}

// TestReuse says of answers whether they are used again a while later (RFC 9111 sections 3, 4.2 and 5.2).
func TestReuse(t *testing.T) {
	date := "Date: Fri, 02 Jan 2026 03:04:05 GMT"
	for _, k := range []struct {
		name    string
		request string
		status  int
		answer  []string
		after   time.Duration
		ask     string
		want    Kind
		private bool
	}{
		{"3 max-age", "", 200, []string{"Cache-Control: max-age=10"}, 9 * time.Second, "", Hit, false},
		{"4.2 over", "", 200, []string{"Cache-Control: max-age=10"}, 10 * time.Second, "", Fetch, false},
		{"3 nothing said", "", 200, nil, 0, "", Fetch, false},
		{"5.2.2.5 no-store", "", 200, []string{"Cache-Control: max-age=10, No-Store"}, 0, "", Fetch, false},
		{"5.2.2.7 private", "", 200, []string{"Cache-Control: private, max-age=10"}, 0, "", Fetch, false},
		{"5.2.2.7 private cache", "", 200, []string{"Cache-Control: private, max-age=10"}, 0, "", Hit, true},
		{"5.2.2.10 s-maxage", "", 200, []string{"Cache-Control: max-age=1, s-maxage=10"}, 5 * time.Second, "", Hit, false},
		{"5.2.2.10 private cache", "", 200, []string{"Cache-Control: max-age=1, s-maxage=10"}, 5 * time.Second, "", Fetch, true},
		{"5.2.2.4 no-cache", "", 200, []string{"Cache-Control: no-cache, max-age=9", `ETag: "a"`}, 0, "", Fetch, false},
		{"5.2.2.4 no-cache of a field", "", 200, []string{`Cache-Control: no-cache="a", max-age=9`}, 0, "", Hit, false},
		{"5.2.2.3 must-understand known", "", 200, []string{"Cache-Control: must-understand, no-store, max-age=9"}, 0, "", Hit, false},
		{"5.2.2.3 must-understand unknown", "", 599, []string{"Cache-Control: must-understand, max-age=9"}, 0, "", Fetch, false},
		{"3.5 authorization", "Authorization: x", 200, []string{"Cache-Control: max-age=9"}, 0, "", Fetch, false},
		{"3.5 authorization public", "Authorization: x", 200, []string{"Cache-Control: max-age=9, public"}, 0, "", Hit, false},
		{"3.5 authorization private cache", "Authorization: x", 200, []string{"Cache-Control: max-age=9"}, 0, "", Hit, true},
		{"4.1 vary *", "", 200, []string{"Cache-Control: max-age=9", "Vary: a, *"}, 0, "", Fetch, false},
		{"4.1 vary same", "A: 1,  2", 200, []string{"Cache-Control: max-age=9", "Vary: a"}, 0, "A: 1, 2", Hit, false},
		{"4.1 vary other", "A: 1", 200, []string{"Cache-Control: max-age=9", "Vary: a"}, 0, "A: 2", Fetch, false},
		{"4.1 vary absent", "A: 1", 200, []string{"Cache-Control: max-age=9", "Vary: a"}, 0, "", Fetch, false},
		{"4.1 vary order", "Accept-Language: en, de;q=0.5", 200, []string{"Cache-Control: max-age=9", "Vary: accept-language"}, 0, "Accept-Language: DE;q=0.5,en", Hit, false},
		{"4.2.1 invalid", "", 200, []string{"Cache-Control: max-age=1a", "Last-Modified: Thu, 01 Jan 2026 03:04:05 GMT"}, 0, "", Fetch, false},
		{"4.2.1 first of two", "", 200, []string{"Cache-Control: max-age=1, max-age=99"}, 5 * time.Second, "", Fetch, false},
		{"4.2.2 heuristic", "", 200, []string{date, "Last-Modified: Thu, 01 Jan 2026 03:04:05 GMT"}, time.Hour, "", Hit, false},
		{"4.2.2 heuristic over", "", 200, []string{date, "Last-Modified: Thu, 01 Jan 2026 03:04:05 GMT"}, 3 * time.Hour, "", Fetch, false},
		{"4.2.2 not of 403", "", 403, []string{date, "Last-Modified: Thu, 01 Jan 2026 03:04:05 GMT"}, 0, "", Fetch, false},
		{"4.2.2 cookie", "", 200, []string{date, "Set-Cookie: a=b", "Last-Modified: Thu, 01 Jan 2026 03:04:05 GMT"}, 0, "", Fetch, false},
		{"7.3 cookie with lifetime", "", 200, []string{"Set-Cookie: a=b", "Cache-Control: max-age=9"}, 0, "", Hit, false},
		{"4.2.3 age", "", 200, []string{"Cache-Control: max-age=10", "Age: 8"}, 3 * time.Second, "", Fetch, false},
		{"4.2.3 apparent age", "", 200, []string{"Cache-Control: max-age=10", "Date: Fri, 02 Jan 2026 03:03:00 GMT"}, 0, "", Fetch, false},
		{"5.1 age unreadable", "", 200, []string{"Cache-Control: max-age=10", "Age: x"}, 0, "", Fetch, false},
		{"5.3 expires", "", 200, []string{date, "Expires: Fri, 02 Jan 2026 03:05:05 GMT"}, 30 * time.Second, "", Hit, false},
		{"5.3 expires 0", "", 200, []string{date, "Expires: 0", "Last-Modified: Thu, 01 Jan 2026 03:04:05 GMT"}, 0, "", Fetch, false},
		{"5.2.1.1 max-age", "", 200, []string{"Cache-Control: max-age=100"}, 9 * time.Second, "Cache-Control: max-age=8", Fetch, false},
		{"5.2.1.2 max-stale", "", 200, []string{"Cache-Control: max-age=1"}, 9 * time.Second, "Cache-Control: max-stale", Hit, false},
		{"5.2.1.2 max-stale too little", "", 200, []string{"Cache-Control: max-age=1"}, 9 * time.Second, "Cache-Control: max-stale=5", Fetch, false},
		{"5.2.1.2 max-stale must-revalidate", "", 200, []string{"Cache-Control: max-age=1, must-revalidate"}, 9 * time.Second, "Cache-Control: max-stale", Fetch, false},
		{"5.2.1.3 min-fresh", "", 200, []string{"Cache-Control: max-age=10"}, 0, "Cache-Control: min-fresh=11", Fetch, false},
		{"5.2.1.4 no-cache", "", 200, []string{"Cache-Control: max-age=10"}, 0, "Cache-Control: no-cache", Fetch, false},
		{"5.2.1.5 no-store", "", 200, []string{"Cache-Control: max-age=10"}, 0, "Cache-Control: no-store", Pass, false},
		{"5.2.1.7 only-if-cached", "", 200, []string{"Cache-Control: max-age=1"}, 5 * time.Second, "Cache-Control: only-if-cached", Unsatisfied, false},
		{"5.4 pragma", "", 200, []string{"Cache-Control: max-age=10"}, 0, "Pragma: no-cache", Hit, false},
		{"9213 targeted", "", 200, []string{"Cache-Control: no-store", "CDN-Cache-Control: max-age=10"}, 0, "", Hit, false},
		{"9213 targeted no-store", "", 200, []string{"Cache-Control: max-age=9", "CDN-Cache-Control: no-store"}, 0, "", Fetch, false},
		{"9213 broken", "", 200, []string{"Cache-Control: max-age=9", "CDN-Cache-Control: Max-Age=1;;"}, 5 * time.Second, "", Hit, false},
		{"5861 stale-while-revalidate", "", 200, []string{"Cache-Control: max-age=1, stale-while-revalidate=9"}, 5 * time.Second, "", Hit, false},
		{"206", "", 206, []string{"Cache-Control: max-age=9", "Content-Range: bytes 0-1/2"}, 0, "", Fetch, false},
		{"301", "", 301, []string{"Cache-Control: max-age=9", "Location: /b"}, 0, "", Hit, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := open(ir.Cache{Private: k.private})
			var lines []string
			if k.request != "" {
				lines = []string{k.request}
			}
			put(c, query("GET", "http://a/x", lines...), t0, k.status, "body", k.answer...)
			lines = nil
			if k.ask != "" {
				lines = []string{k.ask}
			}
			if got := c.Lookup(query("GET", "http://a/x", lines...), t0.Add(k.after)); got.Kind != k.want {
				t.Errorf("got %d (%s), want %d", got.Kind, got.Why, k.want)
			}
		})
	}
}

func TestRefreshRules(t *testing.T) {
	lm := "Last-Modified: Fri, 02 Jan 2026 02:04:05 GMT" // an hour before
	date := "Date: Fri, 02 Jan 2026 03:04:05 GMT"
	for _, k := range []struct {
		name   string
		rule   ir.RefreshRule
		answer []string
		after  time.Duration
		want   Kind
	}{
		{"percent", ir.RefreshRule{Pattern: ".", Percent: 50, Max: time.Hour}, []string{date, lm}, 29 * time.Minute, Hit},
		{"percent over", ir.RefreshRule{Pattern: ".", Percent: 50, Max: time.Hour}, []string{date, lm}, 31 * time.Minute, Fetch},
		{"max", ir.RefreshRule{Pattern: ".", Percent: 50, Max: time.Minute}, []string{date, lm}, 2 * time.Minute, Fetch},
		{"min", ir.RefreshRule{Pattern: ".", Min: time.Minute, Max: time.Hour}, []string{date}, 30 * time.Second, Hit},
		{"other URL", ir.RefreshRule{Pattern: "^ftp", Min: time.Minute, Max: time.Hour}, []string{date}, 0, Fetch},
		{"override-expire", ir.RefreshRule{Pattern: ".", Min: time.Minute, Max: time.Hour, Options: []string{"override-expire"}}, []string{"Cache-Control: max-age=1"}, 30 * time.Second, Hit},
		{"ignore-no-store", ir.RefreshRule{Pattern: ".", Options: []string{"ignore-no-store"}}, []string{"Cache-Control: no-store, max-age=9"}, 0, Hit},
		{"ignore-private", ir.RefreshRule{Pattern: ".", Options: []string{"ignore-private"}}, []string{"Cache-Control: private, max-age=9"}, 0, Hit},
		{"explicit wins", ir.RefreshRule{Pattern: ".", Min: time.Hour, Max: time.Hour}, []string{"Cache-Control: max-age=1"}, 2 * time.Second, Fetch},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := open(ir.Cache{Refresh: []ir.RefreshRule{k.rule}})
			put(c, query("GET", "http://a/x"), t0, 200, "b", k.answer...)
			if got := c.Lookup(query("GET", "http://a/x"), t0.Add(k.after)); got.Kind != k.want {
				t.Errorf("got %d, want %d", got.Kind, k.want)
			}
		})
	}
	c := open(ir.Cache{Refresh: []ir.RefreshRule{{Pattern: ".", Options: []string{"max-stale=60"}}}})
	put(c, query("GET", "http://a/x"), t0, 200, "b", "Cache-Control: max-age=1")
	for after, want := range map[time.Duration]bool{60 * time.Second: true, 62 * time.Second: false} { // seconds, as Squid reads it
		q := query("GET", "http://a/x")
		out := c.Lookup(q, t0.Add(after))
		if got := c.UsableOnError(out.Object, q, t0.Add(after)); got != want {
			t.Errorf("max-stale=60 %s later: %v", after, got)
		}
		out.Fill.End(ErrIncomplete)
	}
	if err := Verify(&ir.RefreshRule{Pattern: ".", Options: []string{"override-everything"}}); err == nil {
		t.Error("an unknown option was taken")
	}
}

// TestFreshen is section 4.3.4 with 3.2, and 4.3.5.
func TestFreshen(t *testing.T) {
	c := open(ir.Cache{})
	q := query("GET", "http://a/x", `If-None-Match: "mine"`)
	put(c, q, t0, 200, "body", "Cache-Control: max-age=1", `ETag: "a"`, "X: 1", "Content-Encoding: gzip")
	later := t0.Add(5 * time.Second)
	q = query("GET", "http://a/x", `If-None-Match: "mine"`, "Range: bytes=0-1")
	out := c.Lookup(q, later)
	if out.Kind != Fetch || !out.Fill.Conditions(q.Fields) {
		t.Fatalf("%+v", out)
	}
	if v, _ := q.Fields.Lookup([]byte("If-None-Match")); string(v) != `"a"` || func() bool { _, ok := q.Fields.Lookup([]byte("Range")); return ok }() {
		t.Errorf("asked with %q", v)
	}
	a, o := out.Fill.Received(q, &message.Response{Status: 304, Fields: *fields("Cache-Control: max-age=50", "X: 2", "Content-Encoding: br")}, later, later, true)
	var f message.Fields
	if o.Head(&f); a != Fresh {
		t.Fatalf("answer %d", a)
	}
	x, _ := f.Lookup([]byte("X"))
	enc, _ := f.Lookup([]byte("Content-Encoding"))
	if string(x) != "2" || string(enc) != "gzip" {
		t.Errorf("X %q, Content-Encoding %q", x, enc)
	}
	if got := c.Lookup(query("GET", "http://a/x"), later.Add(40*time.Second)); got.Kind != Hit {
		t.Errorf("after 304: %d", got.Kind)
	}
	c.Invalidate(query("HEAD", "http://a/x"), response(200, "", `ETag: "b"`), later, later)
	if got := c.Lookup(query("GET", "http://a/x"), later); got.Kind != Fetch {
		t.Errorf("after HEAD with another tag: %d", got.Kind)
	}
}

func TestInvalidate(t *testing.T) {
	c := open(ir.Cache{})
	for _, k := range []struct {
		status   int
		location string
		gone     []string
		stays    []string
	}{
		{200, "/b?q", []string{"http://a/d/x", "http://a/b?q"}, []string{"http://z/b"}},
		{201, "../b", []string{"http://a/b"}, nil},
		{200, "http://z/b", []string{"http://a/d/x"}, []string{"http://z/b"}},
		{500, "/b", nil, []string{"http://a/d/x", "http://a/b"}},
	} {
		for _, u := range append(append([]string(nil), k.gone...), k.stays...) {
			put(c, query("GET", u), t0, 200, "x", "Cache-Control: max-age=99")
		}
		c.Invalidate(query("POST", "http://a/d/x"), response(k.status, "", "Location: "+k.location), t0, t0)
		for _, u := range k.gone {
			if kind(c, u) == Hit {
				t.Errorf("%d %s: %s is still there", k.status, k.location, u)
			}
		}
		for _, u := range k.stays {
			if kind(c, u) != Hit {
				t.Errorf("%d %s: %s is gone", k.status, k.location, u)
			}
		}
	}
	// What is on its way when the URL is invalidated is not stored.
	q := query("GET", "http://a/w")
	out := c.Lookup(q, t0)
	_, o := out.Fill.Received(q, response(200, "x", "Cache-Control: max-age=9"), t0, t0, false)
	c.Purge(q.Key)
	out.Fill.Write(o, []byte("x"))
	out.Fill.End(nil)
	if c.Lookup(query("GET", "http://a/w"), t0).Kind == Hit {
		t.Error("an answer from before the purge was stored")
	}
}

func TestReply(t *testing.T) {
	c := open(ir.Cache{})
	q := query("GET", "http://a/x")
	put(c, q, t0, 200, "0123456789", "Cache-Control: max-age=99", `ETag: W/"a"`, "Last-Modified: Thu, 01 Jan 2026 03:04:05 GMT", "Content-Type: text/plain")
	for _, k := range []struct {
		line   string
		status int
		body   string
	}{
		{"Range: bytes=2-3", 206, "23"}, {"Range: bytes=-3", 206, "789"}, {"Range: bytes=8-", 206, "89"}, {"Range: bytes=0-0,-1", 206, "09"},
		{"Range: bytes=10-", 416, ""}, {"Range: bytes=5-2", 200, "0123456789"}, {"Range: lines=1-2", 200, "0123456789"},
		{"Range: bytes=0-9,0-9", 200, "0123456789"}, {"Range: bytes=0-99999999999999999999", 206, "0123456789"},
		{`If-None-Match: "b", "a"`, 304, ""}, {"If-None-Match: *", 304, ""}, {`If-None-Match: "b"`, 200, "0123456789"},
		{"If-Modified-Since: Thu, 01 Jan 2026 03:04:05 GMT", 304, ""}, {"If-Modified-Since: Thu, 01 Jan 2026 03:04:04 GMT", 200, "0123456789"},
		{"If-Modified-Since: nonsense", 200, "0123456789"},
	} {
		q := query("GET", "http://a/x", k.line)
		o := c.Lookup(q, t0).Object
		var f message.Fields
		o.Head(&f)
		r := o.Reply(q, &f, t0)
		parts := r.Parts
		if parts == nil && r.Length > 0 {
			parts = []Part{{From: r.From, N: r.Length}}
		}
		body, length := "", int64(len(r.Tail))
		for _, p := range parts {
			length += int64(len(p.Text)) + p.N
			body += read(t, o, p.From, p.N)
		}
		if r.Status != k.status || body != k.body || length != r.Length {
			t.Errorf("%s: %d %q, length %d of %d", k.line, r.Status, body, length, r.Length)
		}
	}
}

func read(t testing.TB, o *Object, from, n int64) string {
	t.Helper()
	var c Cursor
	o.Open(&c, from, n)
	defer c.Close()
	var b strings.Builder
	for {
		p, wait, err := c.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil || wait != nil {
			t.Fatalf("%v %v", wait, err)
		}
		b.Write(p)
	}
}

// TestReadersOfWhatComes has readers of a body on its way get the part that they want, however late it comes, and those
// who come too late to one that is not kept told so.
func TestReadersOfWhatComes(t *testing.T) {
	var b Body
	b.init()
	var part, whole, late Cursor
	if !b.Open(&part, 6000, 10) || !b.Open(&whole, 0, -1) {
		t.Fatal("a body that has just begun cannot be read")
	}
	want := strings.Repeat("0123456789", 1000)
	b.append([]byte(want[:5000]), -1)
	if p, wait, err := part.Next(); p != nil || wait == nil || err != nil {
		t.Fatalf("what is not there yet: %q %v %v", p, wait, err)
	}
	b.append([]byte(want[5000:]), -1)
	var got string
	for {
		p, _, err := part.Next()
		if err == io.EOF {
			break
		}
		if err != nil || p == nil {
			t.Fatal(err)
		}
		got += string(p)
	}
	if got != want[6000:6010] {
		t.Errorf("got %q", got)
	}
	part.Close()
	b.pass()
	got = ""
	for {
		p, _, _ := whole.Next()
		if p == nil {
			break
		}
		got += string(p)
	}
	if got != want {
		t.Errorf("got %d bytes", len(got))
	}
	if b.dropped == 0 || b.Open(&late, 0, -1) {
		t.Errorf("%d chunks were dropped, and the body is read from its beginning", b.dropped)
	}
	b.finish(nil)
	if b.Open(&late, 0, -1) || b.Complete() {
		t.Error("what is left of a body passes for all of it")
	}
}

func TestPassingBodyIsBounded(t *testing.T) {
	c := open(ir.Cache{MemoryBytes: 8 << 20, MaxObjectBytes: 1 << 20})
	q := query("GET", "http://a/huge")
	out := c.Lookup(q, t0)
	resp := response(200, "", "Cache-Control: max-age=9")
	resp.Body = message.Body{Kind: message.Chunked}
	_, o := out.Fill.Received(q, resp, t0, t0, false)
	var cur Cursor
	o.Open(&cur, 0, -1)
	piece := make([]byte, 64<<10)
	var sent, got int64
	for sent < 64<<20 {
		room := out.Fill.Write(o, piece)
		sent += int64(len(piece))
		for room != nil {
			p, wait, err := cur.Next()
			if err != nil {
				t.Fatal(err)
			}
			got += int64(len(p))
			select {
			case <-room:
				room = nil
			default:
				if wait != nil {
					t.Fatal("neither side can go on")
				}
			}
		}
		if o.body.held > 4<<20 {
			t.Fatalf("%d bytes are held", o.body.held)
		}
	}
	out.Fill.End(nil)
	for {
		p, _, err := cur.Next()
		if err == io.EOF {
			break
		}
		got += int64(len(p))
	}
	if got != sent || c.Lookup(query("GET", "http://a/huge"), t0).Kind == Hit {
		t.Errorf("got %d of %d", got, sent)
	}
	if n := c.Stats().Bytes; n > 1<<20 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// TestBound stores several times as many URLs as fit into 32 MiB and looks at the memory of the process.
func TestBound(t *testing.T) {
	const n, limit = 250_000, 32 << 20
	c := open(ir.Cache{MemoryBytes: limit})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range n / 4 {
				put(c, query("GET", fmt.Sprintf("http://a/%d/%d", w, i)), t0, 200, "0123456789abcdef", "Cache-Control: max-age=99", "Content-Type: text/plain")
			}
		})
	}
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	s := c.Stats()
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > limit*5/4 || s.Bytes > limit || s.Objects < 10_000 {
		t.Errorf("%d bytes held, %d counted, %d objects, bound %d", held, s.Bytes, s.Objects, limit)
	}
	c.Lookup(query("GET", "http://a/0/0"), t0)
}

// TestKeepsWhatIsAskedFor sees that a scan does not drive out what is in use.
func TestKeepsWhatIsAskedFor(t *testing.T) {
	c := open(ir.Cache{MemoryBytes: 4 << 20})
	put(c, query("GET", "http://a/hot"), t0, 200, "x", "Cache-Control: max-age=99")
	for i := range 20_000 {
		if i%100 == 0 && c.Lookup(query("GET", "http://a/hot"), t0).Kind != Hit {
			t.Fatalf("gone after %d others", i)
		}
		put(c, query("GET", fmt.Sprint("http://a/", i)), t0, 200, "x", "Cache-Control: max-age=99")
	}
}

func TestDates(t *testing.T) {
	for _, k := range []struct {
		text string
		want int64
		ok   bool
	}{
		{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777, true}, {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777, true}, {"Sun Nov  6 08:49:37 1994", 784111777, true},
		{"sun, 06 nov 1994 08:49:37 gmt", 784111777, true}, {"Sun 06 Nov 1994 8:49:37 UTC", 784111777, true},
		{"Tue, 29 Feb 2000 00:00:00 GMT", 951782400, true}, {"0", 0, false}, {"-1", 0, false}, {"", 0, false}, {"Thu, 29 Feb 2001 00:00:00 GMT", 0, false},
		{"Thu, 18 Aug 2050 02:01:18 AEST", 0, false}, {"Thu, 18 Aug 2050 25:01:18 GMT", 0, false},
	} {
		if got, ok := parseDate([]byte(k.text)); ok != k.ok || ok && got != k.want {
			t.Errorf("%q: %d %v", k.text, got, ok)
		}
	}
}

func FuzzDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT")
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT")
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDate([]byte(s))
		if want, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", s); err == nil && want.Year() > 1601 && (!ok || got != want.Unix()) {
			t.Errorf("%q: %d %v, want %d", s, got, ok, want.Unix())
		}
	})
}

func FuzzDirectives(f *testing.F) {
	f.Add(`max-age=3600, no-cache="a, b", x="\",private"`)
	f.Add(`max-age=60;foo, no-store=?0, a=(1 2);b`)
	f.Fuzz(func(t *testing.T, s string) {
		r, q := newResponseControl(), newRequestControl()
		r.add([]byte(s))
		q.add([]byte(s))
		r.targeted([]byte(s))
		r.surrogate([]byte(s), Device)
		if r.maxAge > maxSeconds || q.maxAge > maxSeconds {
			t.Error("more seconds than the bound")
		}
		if !strings.Contains(strings.ToLower(s), "no-store") && (r.noStore || q.noStore) {
			t.Error("no-store from nowhere")
		}
	})
}

func FuzzRanges(f *testing.F) {
	f.Add("bytes=0-1,5-,-3", int64(10))
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 || size > 1<<40 {
			return
		}
		list, ok := parseRanges([]byte(s), size)
		for _, e := range list {
			if ok && (e.from < 0 || e.n < 1 || e.from+e.n > size) {
				t.Errorf("%q of %d: %+v", s, size, e)
			}
		}
	})
}

func FuzzResolve(f *testing.F) {
	f.Add("../x?y#z")
	f.Fuzz(func(t *testing.T, s string) {
		if key, ok := resolve([]byte("http://a/b/c?d"), []byte(s)); ok && len(key) > len(s)+40 {
			t.Errorf("%q became %q", s, key)
		}
	})
}

func BenchmarkHit(b *testing.B) {
	c := open(ir.Cache{})
	put(c, query("GET", "http://a.example.com/some/path"), t0, 200, strings.Repeat("x", 1024), "Cache-Control: max-age=99", `ETag: "abc"`, "Content-Type: text/html")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		q := query("GET", "http://a.example.com/some/path", "Accept: */*", "User-Agent: x")
		var f message.Fields
		for pb.Next() {
			q.Scan()
			o := c.Lookup(q, t0).Object
			f.Reset()
			o.Head(&f)
			o.Reply(q, &f, t0)
		}
	})
}
