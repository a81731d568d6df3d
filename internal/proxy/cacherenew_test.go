package proxy

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestCacheRenewalOutlivesItsConnection has clients that are served stale leave at once, while the new answer is fetched.
func TestCacheRenewalOutlivesItsConnection(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		var asked atomic.Int64
		settings := &ir.Cache{Name: "CachePolicy test/test"}
		g := start(t, setup{tls: client == h2, protocol: origin.protocol(), backend: server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			n := asked.Add(1)
			time.Sleep(5 * time.Millisecond)
			w.Header().Set("Cache-Control", "max-age=0, stale-while-revalidate=60")
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
			_, _ = w.Write(content(20_000))
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
			_, _ = w.Write(content(20_000))
		}), routes: []*ir.Route{{Name: "all", Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Cache: settings}}})
		g.p.Caches().Open(settings)
		for i := range 20 {
			c := g.client(client)
			resp, err := c.Get(g.url(client, "/"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			c.CloseIdleConnections()
			time.Sleep(time.Duration(i%4) * 3 * time.Millisecond)
		}
		for end := time.Now().Add(5 * time.Second); g.p.renewals.Load() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a renewal does not end")
			}
		}
		if s := g.p.Caches().All()[0].Stats(); s.Objects != 1 || s.Modified < 2 {
			t.Errorf("%+v", s)
		}
	})
}
