package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// keeper is a gateway whose one route keeps answers of an origin that net/http serves.
type keeper struct {
	*gateway
	url   string
	asked atomic.Int64
}

func keep(t testing.TB, settings *ir.Cache, handle http.HandlerFunc) *keeper {
	t.Helper()
	k := &keeper{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.asked.Add(1)
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	settings.Name = "CachePolicy test/test"
	k.gateway = start(t, setup{backend: s.Listener.Addr().String(), routes: []*ir.Route{
		{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Cache: settings}}})
	k.url = "http://" + k.addr
	return k
}

// get asks with fields as "name: value" and returns the answer with its body.
func (k *keeper) get(t testing.TB, method, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, k.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "a.test"
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestCacheHit(t *testing.T) {
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"v1"`)
		fmt.Fprint(w, "body of ", r.URL.Path)
	})
	for i, want := range []struct {
		method, field string
		status        int
		body, result  string
	}{
		{"GET", "X: y", 200, "body of /a", "TCP_MISS"},
		{"GET", "X: y", 200, "body of /a", "TCP_MEM_HIT"},
		{"HEAD", "X: y", 200, "", "TCP_MEM_HIT"},
		{"GET", `If-None-Match: "v0", "v1"`, 304, "", "TCP_INM_HIT"},
		{"GET", "Range: bytes=0-3", 206, "body", "TCP_MEM_HIT"},
		{"GET", "Range: bytes=99-", 416, "", "TCP_MEM_HIT"},
		{"GET", "Cache-Control: no-cache", 200, "body of /a", "TCP_CLIENT_REFRESH_MISS"},
	} {
		resp, body := k.get(t, want.method, "/a", want.field)
		a := k.record()
		if resp.StatusCode != want.status || body != want.body || a.Result != want.result {
			t.Errorf("%d: %s with %s: %d %q %s, want %d %q %s; %s", i, want.method, want.field, resp.StatusCode, body, a.Result, want.status, want.body, want.result, a.CacheStatus)
		}
		if cs := resp.Header.Get("Cache-Status"); cs != a.CacheStatus || !strings.HasPrefix(cs, "hakone; ") {
			t.Errorf("%d: Cache-Status %q, record %q", i, cs, a.CacheStatus)
		}
	}
	if n := k.asked.Load(); n != 2 {
		t.Errorf("the origin was asked %d times, want 2", n)
	}
}

func TestCacheCollapses(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		<-release
		_, _ = w.Write(make([]byte, 300_000))
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, body := k.get(t, "GET", "/big"); len(body) != 300_000 {
				t.Errorf("got %d bytes", len(body))
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	close(release)
	wg.Wait()
	if n := k.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times, want once", n)
	}
}

// TestCacheKeepsConnections: an answer that is stored while it is served leaves its connection to the next request.
func TestCacheKeepsConnections(t *testing.T) {
	var mu sync.Mutex
	from := map[string]bool{}
	begun := make(chan struct{})
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = true
		mu.Unlock()
		w.Header().Set("Cache-Control", "max-age=60")
		w.(http.Flusher).Flush()
		<-begun // the client has the head, so the answer is being served while the rest comes
		fmt.Fprint(w, "the rest")
	})
	for i := range 4 {
		resp, err := http.Get(fmt.Sprintf("%s/%d", k.url, i))
		if err != nil {
			t.Fatal(err)
		}
		begun <- struct{}{}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "the rest" {
			t.Fatalf("got %q, %v", b, err)
		}
		resp.Body.Close()
	}
	if len(from) != 1 {
		t.Errorf("four answers came over %d connections, want 1", len(from))
	}
}

func TestCacheDoesNotSerializeWhatIsNotKept(t *testing.T) {
	var at, most atomic.Int64
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		if n := at.Add(1); n > most.Load() {
			most.Store(n)
		}
		w.Header().Set("Cache-Control", "private")
		time.Sleep(100 * time.Millisecond)
		at.Add(-1)
		fmt.Fprint(w, "x")
	})
	var wg sync.WaitGroup
	begun := time.Now()
	for range 10 {
		wg.Go(func() { k.get(t, "GET", "/p") })
	}
	wg.Wait()
	if took := time.Since(begun); took > 600*time.Millisecond || most.Load() < 8 {
		t.Errorf("took %v, at most %d at once", took, most.Load())
	}
}

func TestCacheStaleOnFailureAndTruncation(t *testing.T) {
	var mode atomic.Int32
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, stale-if-error=60")
		w.Header().Set("ETag", `"1"`)
		switch mode.Load() {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(503)
		}
		fmt.Fprint(w, "good")
	})
	k.get(t, "GET", "/")
	k.record()
	for m := range int32(3) {
		mode.Store(m)
		resp, body := k.get(t, "GET", "/")
		a := k.record()
		want := "TCP_REFRESH_FAIL_OLD"
		if m == 0 {
			want = "TCP_REFRESH_MODIFIED"
		}
		if resp.StatusCode != 200 || body != "good" || a.Result != want {
			t.Errorf("mode %d: %d %q %s (%v %s)", m, resp.StatusCode, body, a.Result, a.Code, a.Detail)
		}
	}
}

func TestCacheTruncatedIsNotStored(t *testing.T) {
	n := 0
	origin := newOrigin(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			if n++; n == 1 {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 50\r\n\r\nshort")
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nwhole"[:len("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\n")+4])
		}
	})
	g := start(t, setup{backend: origin.addr, routes: []*ir.Route{{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Cache: &ir.Cache{Name: "CachePolicy a/b"}}}})
	c := g.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// The origin's end may be noticed before the head has gone to the client.
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != 502 && (err == nil || string(b) != "short") {
		t.Errorf("got %d %q, %v", resp.StatusCode, b, err)
	}
	if a := g.record(); a.Code == 0 {
		t.Errorf("the record of a truncated answer has no reason: %+v", a)
	}
	c = g.dial()
	if resp, body := roundTrip(t, c, bufio.NewReader(c), "GET", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); body != "whol" || resp.StatusCode != 200 {
		t.Errorf("after it: %d %q", resp.StatusCode, body)
	}
}

func TestCacheStaleWhileRevalidate(t *testing.T) {
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=60")
		fmt.Fprint(w, "x")
	})
	k.get(t, "GET", "/")
	time.Sleep(5 * time.Millisecond)
	if resp, _ := k.get(t, "GET", "/"); !strings.Contains(resp.Header.Get("Cache-Status"), "hit; ttl=-") {
		t.Errorf("Cache-Status %q", resp.Header.Get("Cache-Status"))
	}
	for end := time.Now().Add(3 * time.Second); k.asked.Load() < 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was fetched in the background")
		}
	}
}

func TestCacheClientGone(t *testing.T) {
	slow := make(chan struct{})
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Length", "200000")
		_, _ = w.Write(make([]byte, 100_000))
		w.(http.Flusher).Flush()
		<-slow
		_, _ = w.Write(make([]byte, 100_000))
	})
	c := k.dial()
	_, _ = io.WriteString(c, "GET /f HTTP/1.1\r\nHost: a.test\r\n\r\n")
	_, _ = c.Read(make([]byte, 100))
	c.Close()
	time.Sleep(50 * time.Millisecond)
	close(slow)
	if _, body := k.get(t, "GET", "/f"); len(body) != 200_000 {
		t.Errorf("got %d bytes", len(body))
	}
	if n := k.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times, want once", n)
	}
}

func TestCacheInvalidation(t *testing.T) {
	k := keep(t, &ir.Cache{PurgeFrom: []string{"127.0.0.0/8"}}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if r.Method == "POST" {
			w.Header().Set("Location", "/other")
		}
		fmt.Fprint(w, "x")
	})
	for _, step := range []struct {
		method, path, result string
	}{
		{"GET", "/a", "TCP_MISS"}, {"GET", "/other", "TCP_MISS"}, {"GET", "/a", "TCP_MEM_HIT"}, {"GET", "/other", "TCP_MEM_HIT"},
		{"POST", "/a", "TCP_MISS"}, {"GET", "/a", "TCP_MISS"}, {"GET", "/other", "TCP_MISS"}, {"GET", "/a", "TCP_MEM_HIT"},
		{"PURGE", "/a", "NONE"}, {"GET", "/a", "TCP_MISS"},
	} {
		k.get(t, step.method, step.path)
		if a := k.record(); a.Result != step.result {
			t.Errorf("%s %s: %s, want %s", step.method, step.path, a.Result, step.result)
		}
	}
}
