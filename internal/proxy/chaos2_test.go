package proxy

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestDisorderOfStreams is TestDisorder with streams that clients cancel and upstreams reset, answer early
// and repeat. Whole answers belong to their requests, and at the end nothing is left.
func TestDisorderOfStreams(t *testing.T) {
	combination(t, func(t *testing.T, client, origin version) {
		addr := server(t, origin, func(w http.ResponseWriter, r *http.Request) {
			switch rand.IntN(10) {
			case 0:
				panic(http.ErrAbortHandler)
			case 1:
				_, _ = io.WriteString(w, r.URL.Path)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case 2:
				w.WriteHeader(503)
				return
			case 3: // without reading the body
				_, _ = io.WriteString(w, r.URL.Path)
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			for at := 0; at < len(r.URL.Path); at += 2 {
				_, _ = io.WriteString(w, r.URL.Path[at:min(at+2, len(r.URL.Path))])
				_ = http.NewResponseController(w).Flush()
			}
		})
		g := start(t, setup{backend: addr, protocol: origin.protocol(), tls: client == h2, routes: []*ir.Route{{Name: "r",
			Forward: []ir.Backend{{Upstream: "u", Weight: 1}}, Retry: &ir.Retry{Attempts: 1, On: []ir.RetryCondition{ir.RetryServerError}, Backoff: time.Millisecond}}}})
		end := time.Now().Add(time.Second)
		var wg sync.WaitGroup
		var whole atomic.Int32
		for n := range 3 {
			c := g.client(client)
			for m := range 8 {
				wg.Go(func() {
					for i := 0; time.Now().Before(end); i++ {
						path := fmt.Sprintf("/%d-%d-%d", n, m, i)
						ctx, cancel := context.WithCancel(context.Background())
						if rand.IntN(4) == 0 {
							time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
						}
						var body io.Reader
						if rand.IntN(2) == 0 {
							body = io.NopCloser(strings.NewReader(strings.Repeat("b", rand.IntN(3)*rand.IntN(90_000))))
						}
						req, _ := http.NewRequestWithContext(ctx, "POST", g.url(client, path), body)
						resp, err := c.Do(req)
						if err == nil {
							got, err := io.ReadAll(resp.Body)
							resp.Body.Close()
							if err == nil && resp.StatusCode == 200 {
								whole.Add(1)
								if string(got) != path {
									t.Errorf("the answer to %s is %q", path, got)
								}
							}
						}
						cancel()
					}
				})
			}
			g.t.Cleanup(c.CloseIdleConnections)
		}
		wg.Wait()
		if n := whole.Load(); n < 20 {
			t.Errorf("only %d whole answers came", n)
		}
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if s := g.reg.Stats()[0]; s.Active == 0 && s.Streams == 0 && int(s.Open) == s.Idle {
				break
			} else if time.Now().After(end) {
				t.Fatalf("left: %+v", s)
			}
		}
	})
}
