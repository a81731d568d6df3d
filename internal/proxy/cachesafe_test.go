package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/forwarded"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// gullible answers as frameworks do that believe all they are told, and has every answer kept by caches.
func gullible(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=600")
	path := r.URL.Path
	for _, name := range []string{"X-Original-URL", "X-Rewrite-Url", "X_Original_Url"} {
		for k, v := range r.Header {
			if strings.EqualFold(k, name) {
				path = v[0]
			}
		}
	}
	method := r.Method
	if m := r.Header.Get("X-HTTP-Method-Override"); m != "" {
		method = m
	}
	proto, host := r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host")
	fmt.Fprintf(w, "%s %s://%s%s", method, proto, host, path)
}

// TestCacheIsNotPoisoned has one client try to put an answer into the cache that others get for another request.
func TestCacheIsNotPoisoned(t *testing.T) {
	for _, lie := range []string{"X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https", "X_Forwarded_Host: evil.test", "X-Forwarded-Prefix: /evil",
		"X-Original-URL: /evil", "x-original-url: /evil", "X_Original_Url: /evil", "X-Rewrite-URL: /evil", "X-HTTP-Method-Override: DELETE", "Forwarded: host=evil.test",
		"Range: bytes=0-3", `If-None-Match: "x"`, "Authorization: Basic eDp5", "Connection: X-Forwarded-Host", "Host: a.test:80"} {
		t.Run(lie, func(t *testing.T) {
			k := keep(t, &ir.Cache{}, gullible)
			if name, value, _ := strings.Cut(lie, ": "); name == "Host" {
				req, _ := http.NewRequest("GET", k.url+"/page", nil)
				req.Host = value
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			} else {
				k.get(t, "GET", "/page", lie)
			}
			if resp, body := k.get(t, "GET", "/page"); body != "GET http://a.test/page" && body != "GET http://a.test:80/page" || resp.StatusCode != 200 {
				t.Errorf("afterwards another client gets %d %q", resp.StatusCode, body)
			}
		})
	}
	t.Run("body", func(t *testing.T) {
		k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			fmt.Fprint(w, r.ContentLength)
		})
		req, _ := http.NewRequest("GET", k.url+"/page", strings.NewReader("evil"))
		req.Host = "a.test"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if _, body := k.get(t, "GET", "/page"); body != "0" {
			t.Errorf("the answer to a request with a body is given to one without: %q", body)
		}
	})
}

// TestCacheBelievedProxies keeps answers apart that an origin makes differently for what a proxy in front says.
func TestCacheBelievedProxies(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(gullible))
	t.Cleanup(s.Close)
	k := &keeper{gateway: start(t, setup{backend: s.Listener.Addr().String(),
		told:   forwarded.Settings{Trust: filter.Trust{Nets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
		routes: []*ir.Route{{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Cache: &ir.Cache{Name: "CachePolicy test/test"}}}})}
	k.url = "http://" + k.addr
	for range 2 {
		for _, c := range []struct{ field, want string }{
			{"X-Forwarded-Proto: https", "GET https://a.test/"}, {"X-Forwarded-Proto: http", "GET http://a.test/"}, {"X: y", "GET http://a.test/"},
			{"X-Forwarded-Host: other.test", "GET http://other.test/"}, {"X-Original-URL: /other", "GET http://a.test/other"},
		} {
			if _, body := k.get(t, "GET", "/", c.field); body != c.want {
				t.Errorf("with %s: %q, want %q", c.field, body, c.want)
			}
		}
	}
	if n := k.p.Caches().All()[0].Stats().Objects; n != 3 {
		t.Errorf("%d answers are kept, want 3", n)
	}
}

// TestCacheUsers has answers that are for one user stay with that user.
func TestCacheUsers(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		control := r.URL.Query().Get("c")
		if control != "" {
			w.Header().Set("Cache-Control", control)
		}
		if strings.Contains(r.URL.Path, "cookie") {
			w.Header().Set("Set-Cookie", "id=1")
			w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		}
		if strings.Contains(r.URL.Path, "vary") {
			w.Header().Set("Vary", "Cookie")
		}
		fmt.Fprint(w, r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	}
	for _, c := range []struct {
		path, first string
		shared      bool
	}{
		{"/?c=max-age=9", "Authorization: Basic YTph", false},
		{"/?c=max-age=9,public", "Authorization: Basic YTph", true},
		{"/?c=s-maxage=9", "Authorization: Basic YTph", true},
		{"/?c=max-age=9,private", "X: y", false},
		{`/?c=max-age=9,private%3d"x"`, "Authorization: Basic YTph", false},
		{"/?c=no-store", "X: y", false},
		{"/vary?c=max-age=9", "Cookie: id=1", false},
		{"/cookie", "X: y", false}, // a guessed lifetime is not for cookies
		{"/cookie?c=no-cache%3d\"set-cookie\",max-age=9", "X: y", true},
	} {
		k := keep(t, &ir.Cache{}, answer)
		k.get(t, "GET", c.path, c.first)
		k.record()
		resp, body := k.get(t, "GET", c.path)
		hit := k.record().Result == "TCP_MEM_HIT"
		if hit != c.shared || !c.shared && body != "" || hit && resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s after %s: shared %v, %q, cookie %q", c.path, c.first, hit, body, resp.Header.Get("Set-Cookie"))
		}
	}
}

// TestCacheCredentialsDoNotChangeWhatIsKept has a 304 and an answer to HEAD for one user leave what is kept for all as
// it is.
func TestCacheCredentialsDoNotChangeWhatIsKept(t *testing.T) {
	k := keep(t, &ir.Cache{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("Authorization") != "" {
			w.Header().Set("Set-Cookie", "session=alice")
		}
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(304)
			return
		}
		fmt.Fprint(w, "page")
	})
	k.get(t, "GET", "/")
	k.record()
	k.get(t, "HEAD", "/", "Authorization: Basic YTph", "Cache-Control: no-cache")
	k.record()
	k.get(t, "GET", "/", "Authorization: Basic YTph", "Cache-Control: no-cache")
	k.record()
	resp, _ := k.get(t, "GET", "/")
	if a := k.record(); a.Result != "TCP_MEM_HIT" || resp.Header.Get("Set-Cookie") != "" {
		t.Errorf("%s with cookie %q", a.Result, resp.Header.Get("Set-Cookie"))
	}
}

// TestCacheErrorsAreNotKeptByRules has an error that one client provokes not be everybody's for an hour.
func TestCacheErrorsAreNotKeptByRules(t *testing.T) {
	k := keep(t, &ir.Cache{Refresh: []ir.RefreshRule{{Pattern: ".", Min: 3600e9, Max: 3600e9}}}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Odd") != "" {
			w.WriteHeader(405)
		}
		fmt.Fprint(w, "page")
	})
	k.get(t, "GET", "/", "X-Odd: 1")
	if resp, _ := k.get(t, "GET", "/"); resp.StatusCode != 200 {
		t.Errorf("everybody gets %d", resp.StatusCode)
	}
}
