package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// keepBetween is keep for clients and origins of any version.
func keepBetween(t *testing.T, client, origin version, settings *ir.Cache, handler http.Handler) (*gateway, func(ctx context.Context, method, path string, fields ...string) (*http.Response, []byte, error)) {
	t.Helper()
	settings.Name = "CachePolicy test/test"
	g := start(t, setup{backend: server(t, origin, handler.ServeHTTP), protocol: origin.protocol(), tls: client == h2,
		routes: []*ir.Route{{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Cache: settings}}})
	g.p.Caches().Open(settings)
	c := g.client(client)
	return g, func(ctx context.Context, method, path string, fields ...string) (*http.Response, []byte, error) {
		req, err := http.NewRequestWithContext(ctx, method, g.url(client, path), nil)
		if err != nil {
			return nil, nil, err
		}
		for _, f := range fields {
			if name, value, ok := strings.Cut(f, ": "); ok {
				req.Header.Add(name, value)
			}
		}
		resp, err := c.Do(req)
		if err != nil {
			return nil, nil, err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp, b, err
	}
}

// content is a body in which every place can be told from every other.
func content(n int) []byte {
	b := make([]byte, 0, n+8)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%07x ", i)
	}
	return b[:n]
}

// TestCacheVersions serves whole answers, heads, ranges and 304 from the store to clients of every version, also while
// the answer is on its way.
func TestCacheVersions(t *testing.T) {
	body := content(200_000)
	combination(t, func(t *testing.T, client, origin version) {
		var asked atomic.Int64
		_, ask := keepBetween(t, client, origin, &ir.Cache{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("ETag", `"v"`)
			w.Header().Set("Content-Type", "text/plain")
			if strings.HasPrefix(r.URL.Path, "/trailers") {
				w.Header().Set("Trailer", "X-Sum")
				defer w.Header().Set("X-Sum", "42")
			} else {
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			_, _ = w.Write(body)
		}))
		for i, c := range []struct {
			method, path, field string
			status              int
			body                []byte
		}{
			{"GET", "/a", "", 200, body}, {"GET", "/a", "", 200, body}, {"HEAD", "/a", "", 200, nil},
			{"GET", "/a", "Range: bytes=100000-100099", 206, body[100000:100100]}, {"GET", "/a", "Range: bytes=-7", 206, body[len(body)-7:]},
			{"GET", "/a", "Range: bytes=65530-131080", 206, body[65530:131081]}, {"GET", "/a", "Range: bytes=200000-", 416, nil},
			{"HEAD", "/a", "Range: bytes=0-1", 200, nil}, {"GET", "/a", `If-None-Match: "v"`, 304, nil}, {"HEAD", "/a", `If-None-Match: "v"`, 304, nil},
			{"GET", "/trailers", "", 200, body}, {"GET", "/trailers", "", 200, body}, {"GET", "/trailers", "Range: bytes=5-9", 206, body[5:10]},
		} {
			resp, got, err := ask(t.Context(), c.method, c.path, c.field)
			if err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			if resp.StatusCode != c.status || !bytes.Equal(got, c.body) {
				t.Errorf("%d: %s %s %s: %d with %d bytes, want %d with %d", i, c.method, c.path, c.field, resp.StatusCode, len(got), c.status, len(c.body))
			}
			if c.method == "HEAD" && c.status == 200 && resp.ContentLength != int64(len(body)) {
				t.Errorf("%d: HEAD says %d bytes", i, resp.ContentLength)
			}
			if c.path == "/trailers" && c.status == 200 && resp.Trailer.Get("X-Sum") != "42" {
				t.Errorf("%d: trailers %v, %s", i, resp.Trailer, resp.Header.Get("Cache-Status"))
			}
		}
		resp, got, err := ask(t.Context(), "GET", "/a", "Range: bytes=0-1,-2")
		if want := string(body[:2]); err != nil || resp.StatusCode != 206 || !strings.Contains(string(got), want) || !strings.Contains(resp.Header.Get("Content-Type"), "multipart/byteranges") {
			t.Errorf("two ranges: %v %v %q", err, resp, got)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("the origin was asked %d times, want 2", n)
		}
	})
}

// TestCacheRangeOnItsWay asks for a part of an answer that is stale, and of which a new one comes slowly.
func TestCacheRangeOnItsWay(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		var asked atomic.Int64
		body := content(60_000)
		g, ask := keepBetween(t, client, origin, &ir.Cache{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=0")
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, asked.Add(1)))
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			for i := 0; i < len(body); i += 20_000 {
				_, _ = w.Write(body[i : i+20_000])
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}))
		if _, got, err := ask(t.Context(), "GET", "/"); err != nil || !bytes.Equal(got, body) {
			t.Fatal(err)
		}
		awaitTotal(t, g, func(int64) bool { return g.p.Caches().All()[0].Stats().Objects == 1 }) // who has all of it may be faster
		for field, want := range map[string][]byte{"Range: bytes=50000-50019": body[50000:50020], "Range: bytes=-10": body[len(body)-10:], "Range: bytes=9-": body[9:]} {
			if resp, got, err := ask(t.Context(), "GET", "/", field); err != nil || resp.StatusCode != 206 || !bytes.Equal(got, want) {
				t.Errorf("%s: %v %v %q", field, err, resp, got[:min(len(got), 40)])
			}
		}
		if resp, got, err := ask(t.Context(), "GET", "/", "Range: bytes=50000-50001,1-2"); err != nil || resp.StatusCode == 200 && !bytes.Equal(got, body) ||
			resp.StatusCode != 200 && (resp.StatusCode != 206 || !bytes.Contains(got, body[50000:50002])) {
			t.Errorf("two parts: %v %v %d bytes", err, resp, len(got))
		}
	})
}

// TestCacheCollapsesUnderCancellation has clients of one answer leave at every moment; those who stay get all of it.
func TestCacheCollapsesUnderCancellation(t *testing.T) {
	body := content(300_000)
	combination(t, func(t *testing.T, client, origin version) {
		var asked atomic.Int64
		g, ask := keepBetween(t, client, origin, &ir.Cache{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.Header().Set("Cache-Control", "max-age=60")
			time.Sleep(3 * time.Millisecond)
			for i := 0; i < len(body); i += 10_000 {
				_, _ = w.Write(body[i : i+10_000])
				w.(http.Flusher).Flush()
				time.Sleep(500 * time.Microsecond)
			}
		}))
		var wg sync.WaitGroup
		for round := range 5 {
			path := fmt.Sprint("/", round)
			for i := range 16 {
				leaves := i%4 != 3
				wg.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if leaves {
						time.AfterFunc(time.Duration(rand.IntN(25))*time.Millisecond, cancel)
					}
					resp, got, err := ask(ctx, "GET", path)
					switch {
					case leaves:
					case err != nil:
						t.Errorf("who stayed: %v", err)
					case resp.StatusCode != 200 || !bytes.Equal(got, body):
						t.Errorf("who stayed got %d with %d bytes", resp.StatusCode, len(got))
					}
				})
			}
		}
		wg.Wait()
		if n := asked.Load(); n > 40 { // of 80
			t.Errorf("the origin was asked %d times", n)
		}
		awaitTotal(t, g, func(bytes int64) bool { return bytes < 5*(300_000+64<<10) })
	})
}

// awaitTotal waits until what the store holds is as it should be.
func awaitTotal(t *testing.T, g *gateway, ok func(int64) bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n := g.p.Caches().All()[0].Stats().Bytes
		if ok(n) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the store holds %d bytes", n)
		}
	}
}

// TestCacheRevalidatesInBackground has an origin fail while stale answers may be used: clients notice nothing, one asks
// at a time, and what the origin says once it is well again is used.
func TestCacheRevalidatesInBackground(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		var ill atomic.Int32
		var asked, at, most atomic.Int64
		_, ask := keepBetween(t, client, origin, &ir.Cache{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := asked.Add(1)
			if now := at.Add(1); now > most.Load() {
				most.Store(now)
			}
			defer at.Add(-1)
			time.Sleep(2 * time.Millisecond)
			switch ill.Load() {
			case 1:
				panic(http.ErrAbortHandler)
			case 2:
				w.WriteHeader(500)
				return
			}
			w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=60")
			fmt.Fprint(w, n)
		}))
		for round := range 3 {
			ill.Store(0)
			var first string
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
				before := asked.Load()
				_, got, err := ask(t.Context(), "GET", "/")
				if err != nil {
					t.Fatal(err)
				}
				if n, _ := strconv.ParseInt(string(got), 10, 64); n > 0 && (round == 0 || n >= before-1) {
					first = string(got)
					break
				}
				if time.Now().After(end) {
					t.Fatalf("the origin is well, and clients get %q, %d requests ago", got, asked.Load())
				}
			}
			_ = first
			ill.Store(int32(round%2 + 1))
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 5 {
						if resp, got, err := ask(t.Context(), "GET", "/"); err != nil || resp.StatusCode != 200 || len(got) == 0 {
							t.Errorf("while the origin fails: %v %v %q", err, resp, got)
						}
					}
				})
			}
			wg.Wait()
		}
		if n := most.Load(); n > 1 {
			t.Errorf("%d requests at once renew one answer", n)
		}
	})
}

// TestCacheBoundHoldsInFlight has many large answers on their way to slow readers at once.
func TestCacheBoundHoldsInFlight(t *testing.T) {
	const bound, size = 4 << 20, 1 << 20
	body := content(size)
	combination(t, func(t *testing.T, client, origin version) {
		g, ask := keepBetween(t, client, origin, &ir.Cache{MemoryBytes: bound, MaxObjectBytes: 2 << 20}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = w.Write(body)
		}))
		stop := make(chan struct{})
		var watcher, wg sync.WaitGroup
		var most atomic.Int64
		watcher.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					if n := g.p.Caches().All()[0].Stats().Bytes; n > most.Load() {
						most.Store(n)
					}
				}
			}
		})
		for i := range 24 {
			wg.Go(func() {
				for k := range 2 {
					if resp, got, err := ask(t.Context(), "GET", fmt.Sprintf("/%d", i/2+k)); err != nil || resp.StatusCode != 200 || !bytes.Equal(got, body) {
						t.Errorf("%v %v, %d bytes", err, resp, len(got))
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		watcher.Wait()
		if n := most.Load(); n > bound+bound/4 { // what was written before it is trimmed
			t.Errorf("the store held %d bytes, its bound is %d", n, bound)
		}
		awaitTotal(t, g, func(n int64) bool { return n <= bound })
	})
}

// TestCachePurgeRaces has no request that begins after a purge get what was there before it.
func TestCachePurgeRaces(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		var version atomic.Int64
		_, ask := keepBetween(t, client, origin, &ir.Cache{PurgeFrom: []string{"127.0.0.0/8"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v := version.Load()
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
			w.Header().Set("Cache-Control", "max-age=60")
			fmt.Fprint(w, v)
		}))
		var purged atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					least := purged.Load()
					_, got, err := ask(t.Context(), "GET", "/")
					if err != nil {
						t.Error(err)
						return
					}
					if v, _ := strconv.ParseInt(string(got), 10, 64); v < least {
						t.Errorf("got version %d after version %d was purged for", v, least)
						return
					}
				}
			})
		}
		for range 60 {
			v := version.Add(1)
			if _, _, err := ask(t.Context(), "PURGE", "/"); err != nil {
				t.Fatal(err)
			}
			purged.Store(v)
			time.Sleep(time.Millisecond)
		}
		close(stop)
		wg.Wait()
	})
}
